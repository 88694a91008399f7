"""What is read off a call, and how much of it is kept."""

import ast
import builtins
import enum
import functools
import json
import math
import signal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dytopo_autotrace import traced
from dytopo_autotrace.collect.settle import REDACTED
from dytopo_autotrace.rules.expressions import ExpressionError, parse
from dytopo_autotrace.rules.model import Capture
from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.advice import given_to
from dytopo_autotrace.weave.capture import Keeper, Parameters
from dytopo_autotrace.weave.decorators import _weaver


def captured(expression, function, *args, **kwargs):
    """The value that an expression has for a call, `None` if there is none."""
    with capture() as seen:
        traced(operation="f", attributes={"value": expression})(function)(*args, **kwargs)
    return seen.one("f").metadata.get("value")


# --- Expressions -----------------------------------------------------------------------------------

EXPRESSIONS = [
    "a",
    "a + b",
    "{'braces': a, 'nested': {'b': b}}",
    "f'{a}-{b!r:>5}'",
    'f"{a}\'{b}"',
    "f'{{literal}} {a}'",
    "'{a} {0} {} %s'",
    "'line\\nbreak \\' \" \\\\ \\t'",
    "f'line\\n{a}'",
    "'__dytopo_result'",
    "[x for x in [a, b]]",
    "[x + y for x in [a, b] for y in [1, 2] if x != y]",
    "{k: v for k, v in [('x', a), ('y', b)]}",
    "[len for len in [a, b]]",
    "len([len for len in [a, b]])",
    "[[y for y in [x, a]] for x in [b]]",
    "sum(x for x in [a, b])",
    "sorted([b, a], reverse=True)[0]",
    "a if a > b else b",
    "a < b < 100",
    "isinstance(a, (int, str)) and type(a).__name__ == 'int'",
    "max(a, b) - min(a, b)",
    "-a // 2 % 3",
    "str(a).zfill if False else str(a).rpartition('1')",
    "not a or b is None",
    "(a, b)",
    "(a,)",
    "result",
    "[result for _ in [1]][0]",
    "error is None",
    "[error, a]",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_has_the_value_that_python_gives_it(text):
    """Inside generated code an expression means what it means by itself, quotes, braces and all."""
    try:
        parse(text)
    except ExpressionError:
        pytest.skip("not in the language")
    expected = eval(text, {"a": 1, "b": 2, "result": 3, "error": None})
    assert captured(text, lambda a, b: 3, 1, 2) == Keeper(Capture()).keep(expected)
    failed = sum(sum(form.unreadable.values()) for form in _weaver().shapes.values())
    captured(text, lambda a, b: 3, 1, 2)
    assert sum(sum(form.unreadable.values()) for form in _weaver().shapes.values()) == failed


names = st.sampled_from(["a", "b", "result"])
texts = st.text(max_size=5).map(repr)


def combined(inner):
    return st.one_of(
        st.tuples(inner, inner).map("({0[0]}, {0[1]})".format),
        st.tuples(inner, inner).map("[{0[0]}] + [{0[1]}]".format),
        st.tuples(texts, inner).map(lambda pair: f"{{{pair[0]}: {pair[1]}}}"),
        inner.map(lambda text: f"[x for x in [{text}]]"),
        inner.map(lambda text: f"str({text})"),
        inner.map(lambda text: f"len([{text}])"),
        st.tuples(inner, names, inner).map("({0[0]} if {0[1]} else {0[2]})".format),
        st.tuples(st.text("ab{}'\"\\ \n", max_size=4), names).map(
            lambda pair: ast.unparse(
                ast.JoinedStr([ast.Constant(pair[0]), ast.FormattedValue(ast.Name(pair[1]), -1)])
            )
        ),
    )


@settings(max_examples=150, deadline=None)
@given(st.recursive(st.one_of(names, texts, st.integers(0, 99).map(str)), combined, max_leaves=6))
def test_any_expression_has_the_value_that_python_gives_it(text):
    """Whatever an expression is made of, weaving it in does not change its value."""
    try:
        parse(text)
    except ExpressionError:
        assume(False)
    keeper = Keeper(Capture(max_length=10_000))
    expected = eval(text, {"a": 1, "b": [2], "result": 3})
    with capture() as seen:
        traced(operation="f", attributes={"value": text})(lambda a, b: 3)(1, [2])
    assert seen.one("f").metadata.get("value") == keeper.keep(expected)


@pytest.mark.parametrize("name", sorted({"type", "len", "str", "Exception", "list", "int", "sum"}))
def test_a_parameter_may_have_the_name_of_a_builtin(name):
    """Expressions still reach the builtin by its name when they call it, and the parameter else."""
    scope = {}
    exec(f"def f({name}, other): return other", scope)
    with capture() as seen:
        woven = traced(
            operation="f",
            attributes={
                "parameter": name,
                "length": "len(other)",
                "kind": "type(other).__name__",
                "text": "str(other)",
                "is_list": "isinstance(other, list)",
            },
        )(scope["f"])
        woven("given", [1, 2])
    read = seen.one("f").metadata
    expected = {"length": 2, "kind": "list", "text": "[1, 2]", "is_list": True}
    assert read == {**expected, "parameter": "given"}


def test_result_is_the_result_whatever_the_parameters_are_called():
    """The language's own names win over parameters that have the same."""
    assert captured("result", lambda result: result * 2, 4) == 8
    assert captured("[result, error]", lambda result, error: 1, 4, 5) == [1, None]


def test_error_is_read_when_the_call_raises_and_is_none_when_not():
    """An expression over `error` alone is read on both ways out, one over `result` on one."""

    def f(fail):
        if fail:
            raise KeyError("gone")
        return 1

    attributes = {"kind": "type(error).__name__", "none": "error is None", "out": "result"}
    with capture() as seen:
        woven = traced(operation="f", attributes=attributes)(f)
        woven(False)
        with pytest.raises(KeyError):
            woven(True)
    assert [span.metadata for span in seen.spans] == [
        {"kind": "NoneType", "none": True, "out": 1},
        {"kind": "KeyError", "none": False},
    ]


def test_an_expression_over_error_is_read_at_once_when_nothing_was_raised():
    """Reading `error` after a success is no failed reading."""
    with capture():
        woven = traced(operation="f", attributes={"e": "error"})(lambda: 1)
        woven()
    form = next(
        form
        for form in _weaver().shapes.values()
        if form.site is given_to(woven, "site").cell_contents
    )
    assert not form.readers


# --- How much is kept ------------------------------------------------------------------------------

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=200),
    lambda inner: (
        st.lists(inner, max_size=130)
        | st.dictionaries(st.text(max_size=30), inner, max_size=20)
        | st.tuples(inner, inner)
    ),
    max_leaves=60,
)


@settings(max_examples=200, deadline=None)
@given(jsons, st.integers(0, 300))
def test_no_value_is_kept_beyond_its_limit(value, limit):
    """However a value is built, what is kept of it has a bounded size and is plain."""
    kept = Keeper(Capture(max_length=limit)).keep(value)
    # Per character of room an item of up to a cut's marks, quotes and a remark on what is missing.
    assert len(json.dumps(kept, ensure_ascii=False)) < 60 * (limit + 10)


def test_small_values_are_kept_as_they_are():
    """Plain values and containers of them come through unchanged, tuples and sets as lists."""
    keep = Keeper(Capture()).keep
    for value in (None, True, 1, -2.5, "text", [1, [2, {"k": "v"}]], {"a": [1]}, math.inf):
        assert keep(value) == value
        assert type(keep(value)) is type(value)
    assert keep((1, 2)) == keep(frozenset([1, 2])) == [1, 2]


class Loud(str):
    """A text that is more than a text."""


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("x" * 30, "xxxxxxxxxx… (30 characters)"),
        ("x" * 10, "xxxxxxxxxx"),
        (2**65, "int of 66 bits"),
        (-(2**200), "int of 201 bits"),
        ([2**65], ["int of 66 bits"]),
        (b"bytes", "b'bytes'"),
        (b"x" * 1000, "<1000 byte… (12 characters)"),
        ([b"x" * 1_000_000], ["<1000000 b… (15 characters)"]),
        (range(3), "range(0, 3… (11 characters)"),
        (Loud("loud"), "'loud'"),
        (Number.ONE, "<Number.ON… (15 characters)"),
        (["aaaa", "bbbb", "cccc"], ["aaaa", "bbbb", "… 1 more"]),
        ({"aaaa": "bbbbbb", "k": 1}, {"aaaa": "bbbbb… (6 characters)", "…": "… 1 more"}),
        ([[[[[1, 2]]]]], [[[["<list of 2>"]]]]),
    ],
)
def test_larger_values_are_cut_and_say_so(value, kept):
    """What is left out is said, and how much it was."""
    assert Keeper(Capture(max_length=10)).keep(value) == kept


def test_long_lists_are_cut_by_count_as_well():
    """At most a hundred items are kept, whatever the limit of characters."""
    kept = Keeper(Capture(max_length=100_000)).keep([0] * 250)
    assert kept == [*[0] * 100, "… 150 more"]


def test_recursive_and_deep_values_end():
    """A list that holds itself is cut off at a depth."""
    endless = []
    endless.append(endless)
    assert Keeper(Capture()).keep(endless) == [[[["<list of 1>"]]]]


def test_a_representation_that_raises_is_said_to():
    """`repr` may fail in any way; the value then says so."""

    class Shy:
        def __repr__(self):
            raise RuntimeError("no words")

    class Wrong:
        def __repr__(self):
            return 17

    keep = Keeper(Capture()).keep
    assert keep(Shy()) == "<Shy: repr raised RuntimeError>"
    assert keep([Wrong()]) == ["<Wrong: repr raised TypeError>"]


def test_nothing_of_the_host_runs_unless_a_rule_asks():
    """With no expression on an argument, none of its methods is called."""

    class Watchful:
        def __getattribute__(self, name):
            raise AssertionError(name)

        def __repr__(self):
            raise AssertionError

    with capture() as seen:
        assert traced(operation="f")(lambda a: a is not None)(Watchful())
    assert seen.one("f").metadata == {}


@pytest.mark.parametrize("function", [lambda a: a, lambda a: [a]], ids=["text", "in a list"])
def test_long_texts_are_cut_by_the_time_they_are_seen(function):
    """A text is bounded however it ends, and is not cut twice."""
    for text in ("x" * 5000, "x" * 5000 + " characters)", "y" * 1023 + "… (7 characters)" * 100):
        value = captured("result", function, text)
        kept = value if type(value) is str else value[0]
        assert len(kept) < 1024 + 40
        assert kept.startswith(text[:1000])
        assert kept.endswith(f"… ({len(text)} characters)")


# --- What is never kept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        *("[x for x in items]", "{x: 1 for x in items}", "any(x for x in items)", "3 in items"),
        *(
            "3 not in items",
            "list(items)",
            "sum(items)",
            "sum(items, 0)",
            "max(items)",
            "sorted(items)",
        ),
        *("list(zip(items, [1, 2]))", "[n for n, x in enumerate(items)]", "''.join(items)"),
        *("[y for x in [items] for y in x]", "dict(items)", "len([x for x in items]) > 0"),
    ],
)
@pytest.mark.parametrize("one_time", [iter, lambda x: (y for y in x), lambda x: map(int, x)])
def test_what_can_be_gone_through_once_is_left_to_the_host(expression, one_time):
    """An expression over an iterator has no value, and the host finds all of its items."""
    assert captured(expression, lambda items: list(items), one_time([1, 2, 3])) is None
    with capture():
        function = traced(attributes={"value": expression})(lambda items: list(items))
        assert function(one_time([1, 2, 3])) == [1, 2, 3]


def test_iterators_of_the_expressions_own_can_be_gone_through():
    """What `zip` and `enumerate` give is nobody else's."""
    expression = "[list(zip(items, items)), max(enumerate(items)), dict(zip(items, [4]))]"
    assert captured(expression, lambda items: None, [1, 2]) == [[[1, 1], [2, 2]], [1, 2], {"1": 4}]


def test_secrets_are_redacted_by_the_name_they_are_kept_under():
    """An attribute with a telling name has no value, nor has a key of a mapping at any depth."""

    @traced(operation="f", attributes={"api_key": "key", "settings": "settings"})
    def f(key, settings):
        pass

    with capture() as seen:
        f("sk-1", {"API_KEY": "sk-2", "nested": [{"user": "u", "Password": "p"}], "token": "t"})
    assert seen.one("f").metadata == {
        "api_key": REDACTED,
        "settings": {
            "API_KEY": REDACTED,
            "nested": [{"user": "u", "Password": REDACTED}],
            "token": REDACTED,
        },
    }


@pytest.mark.parametrize(
    "expression",
    [
        *("password", "self.password", "d['password']", "d.get('password', '')", "str(password)"),
        *("self.password.strip()", "f'{password}'", "'' + password", "password[:9]"),
        *("password or ''", "password if d else ''", "''.join([c for c in password])"),
    ],
)
def test_secrets_are_redacted_by_the_name_they_are_read_by(expression):
    """Giving a secret another name or form does not make it less of one; its length may be kept."""

    class Self:
        password = "hunter2"

    def f(self, password, d):
        pass

    given_args = (Self(), "hunter2", {"password": "hunter2"})
    assert captured(expression, f, *given_args) == REDACTED
    assert captured(f"len({expression})", f, *given_args) == 7


@pytest.mark.parametrize("expression", ["d.items()", "list(d.items())", "[[k, d[k]] for k in d]"])
def test_secrets_among_pairs_are_redacted_by_their_first(expression):
    """Headers and the items of a mapping are judged like the mapping itself."""
    given = {"Authorization": "Bearer 1", "Accept": "json"}
    kept = captured(expression, lambda d: None, given)
    assert kept == [["Authorization", REDACTED], ["Accept", "json"]]


def test_what_a_secret_is_taken_from_may_be_kept_otherwise():
    """Only what is shown counts: not what else the same object has, nor what is compared or counted."""

    class Vault:
        region, token = "eu", "t-1"

    assert captured("secret.region", lambda secret: None, Vault()) == "eu"
    assert captured("secret.token == 't-1'", lambda secret: None, Vault()) is True


def test_a_secret_key_that_is_cut_off_is_still_one():
    """A key longer than what is kept of it is judged by all of it."""
    kept = Keeper(Capture(max_length=10)).keep({"x" * 50 + "_password": "hunter2"})
    assert "hunter2" not in json.dumps(kept)


def test_metrics_are_numbers_whatever_they_are_called(load):
    """A metric's name does not make its value a secret; a label's name does."""
    text = """
[[rule]]
target = "patient.plain:add"
  [[rule.metric]]
  name = "secret_rotations_api_key_total"
  kind = "counter"
  value = "a"
  labels = { access_token = "b", kind = "'k'" }
"""
    with capture(text) as seen:
        load("patient.plain").add(3, 4)
        name = "secret_rotations_api_key_total"
        stats = seen.metrics.stats(name, {"access_token": REDACTED, "kind": "k"})
    assert stats["sum"] == 3


def test_the_limit_and_the_names_come_from_the_rules(load):
    """`[agent.capture]` says how much is kept and of what nothing."""
    text = """
[agent.capture]
max_length = 5
redact = ["b"]
[[rule]]
target = "patient.plain:add"
attributes = { first = "a", b = "b" }
"""
    with capture(text) as seen:
        load("patient.plain").add("abcdefgh", "x")
    assert seen.one("add").metadata == {"first": "abcde… (8 characters)", "b": REDACTED}


def test_parameters_are_read_off_the_code():
    """Every kind of parameter is found, with private names as Python has mangled them."""

    class C:
        def m(self, a, /, b, *rest, __c, d=1, **others):
            pass

    parameters = Parameters.of(C.m)
    assert parameters.header == "self, a, /, b, *rest, _C__c, d, **others"
    assert parameters.arguments == "self, a, b, *rest, _C__c=_C__c, d=d, **others"
    assert parameters.names == {"self", "a", "b", "rest", "_C__c", "d", "others"}


def test_every_builtin_of_the_language_is_pythons():
    """What an expression may call is what Python has under that name."""
    for name in ("len", "sorted", "isinstance"):
        text = {"isinstance": "isinstance(a, list)"}.get(name, f"{name}(a)")
        assert captured(text, lambda a: 1, [2, 1]) == (
            True if name == "isinstance" else getattr(builtins, name)([2, 1])
        )


# --- What objects of the program's raise when they are read ----------------------------------------


class Leaving(BaseException):
    """No `Exception`: it passes what contains faults."""


class Awkward:
    def __init__(self, error):
        self._error = error

    def _raise(self, *_):
        raise self._error

    __repr__ = __bool__ = __getattr__ = _raise


@pytest.mark.parametrize("error", [SystemExit(3), Leaving(), GeneratorExit()])
def test_no_exit_of_an_object_that_is_read_reaches_the_program(error):
    """`repr`, truth and attributes may raise what is no `Exception`: it ends with the value."""

    def f(a):
        return a

    attributes = {"a": "a", "b": "a.b", "c": "1 if a else 2", "r": "result", "s": "str(result)"}
    with capture() as seen:
        woven = traced(attributes=attributes, failed_if="result.c", when="a.d")(f)
        kept = traced(attributes=attributes)(functools.cache(f))
        awkward = Awkward(error)
        assert woven(awkward) is awkward
        assert kept(awkward) is awkward
    assert len(seen.spans) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_a_signal_brings_reaches_the_program(error):
    """An interrupt, or the exit of a signal handler, that comes during a reading is the program's."""

    def handler(*_):
        raise error

    class Slow:
        def __repr__(self):
            signal.raise_signal(signal.SIGTERM)
            return "slow"

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with capture(), pytest.raises(type(error)):
            traced(attributes={"a": "a"})(lambda a: a)(Slow())
    finally:
        signal.signal(signal.SIGTERM, before)
