"""The language of expressions: what it accepts, what it refuses, and how it says so."""

import ast
import dis
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.rules.expressions import (
    FUNCTIONS,
    MAX_LENGTH,
    METHODS,
    TYPES,
    ExpressionError,
    parse,
)

NAMES = ["x", "result", "error", "self", "messages", "len", "type", "str", "m"]
ODD_NAMES = ["__import__", "__x", "true", "eval", "getattr", "é"]
ATTRIBUTES = ["goal", "agent_id", "_private", "__class__", "__name__", "gi_frame", "format", "get"]
CONSTANTS = [
    "0",
    "1",
    "-3",
    "1.5",
    "1e999",
    "'a'",
    "''",
    "None",
    "True",
    "b'a'",
    "...",
    "10000",
    "1j",
]
CALLABLES = [*FUNCTIONS, "eval", "print", "open", "getattr", "x", "lambda: 1"]
METHOD_NAMES = [*METHODS, "append", "format", "pop", "__init__", "strpi"]
OPERATORS = [*"+-*/%&|^@", "//", "**", "<<", ">>", "==", "<", "is", "is not", "in", "and", "or"]


def compounds(inner):
    """Expressions around other ones, allowed and not."""
    targets = st.sampled_from(["m", "len", "m, n", "x.y", "x[0]", "*m", "__m"])
    loops = st.builds("for {} in {}".format, targets, inner) | st.builds(
        "for m in {} for n in {} if {}".format, inner, inner, inner
    )
    arguments = st.lists(
        inner | st.builds("{}={}".format, st.sampled_from(["default", "key", "sep"]), inner),
        max_size=3,
    ).map(", ".join) | st.builds("{} {}".format, inner, loops)
    return st.one_of(
        st.builds("{}.{}".format, inner, st.sampled_from(ATTRIBUTES)),
        st.builds("({}).{}".format, inner, st.sampled_from(ATTRIBUTES)),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("({})[{}:{}]".format, inner, inner, inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("{} {}".format, st.sampled_from(["not", "-", "~", "*", "await"]), inner),
        st.builds("{}({})".format, st.sampled_from(CALLABLES), arguments),
        st.builds("({}).{}({})".format, inner, st.sampled_from(METHOD_NAMES), arguments),
        st.builds("type({}).__name__".format, inner),
        st.builds("[{} {}]".format, inner, loops),
        st.builds("{{{}: {} {}}}".format, inner, inner, loops),
        st.builds("({} {})".format, inner, loops),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("({}, {})".format, inner, inner),
        st.builds("{{{}, {}}}".format, inner, inner),
        st.builds("{{{}: {}, **{}}}".format, inner, inner, inner),
        st.builds('f"{{{}!r:>{}}}"'.format, st.sampled_from(NAMES), st.integers(0, 2000)),
        st.builds("(y := {})".format, inner),
        st.builds("(lambda x: {})".format, inner),
    )


LEAVES = st.sampled_from([*NAMES, *ODD_NAMES, *CONSTANTS])
PYTHON = st.recursive(LEAVES, compounds, max_leaves=8)
SOUP = st.lists(
    st.sampled_from(
        [*NAMES, *CONSTANTS, *OPERATORS, *"()[]{}.,:'\"\\=#\n\t;!?", "for", "in", "if", "f'"]
    ),
    max_size=40,
).map("".join)


def accepted(text):
    """The expression, or `None`; with every warning of Python an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return parse(text)
        except ExpressionError:
            return None


@given(st.text() | SOUP | PYTHON)
@settings(max_examples=200)
def test_any_text_is_an_expression_or_an_expression_error(text):
    """Whatever the text, parsing returns or raises ExpressionError, warns of nothing, and ends soon."""
    began = time.process_time()
    accepted(text)
    assert time.process_time() - began < 1


@given(PYTHON)
@settings(max_examples=300)
def test_what_is_accepted_reaches_nothing_that_is_not_listed(text):
    """No accepted expression has a dunder name, a call off the lists, or anything but an expression."""
    expression = accepted(text)
    if expression is None:
        return
    for node in ast.walk(expression.tree):
        assert not isinstance(
            node, (ast.Lambda, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom, ast.Starred)
        )
        if isinstance(node, ast.Name):
            assert not node.id.startswith("__")
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"gi_frame", "format"}
            if node.attr.startswith("__"):
                assert ast.unparse(node).startswith("type(")
                assert node.attr == "__name__"
        if isinstance(node, ast.Call):
            assert (
                node.func.id in FUNCTIONS
                if isinstance(node.func, ast.Name)
                else node.func.attr in METHODS
            )


@given(PYTHON)
@settings(max_examples=300)
def test_what_is_accepted_compiles_with_exactly_the_names_it_states(text):
    """An accepted tree compiles without a warning; its free names are `names` and listed builtins."""
    expression = accepted(text)
    if expression is None:
        return
    function = ast.parse("lambda: 0", mode="eval")
    function.body.body = expression.tree
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code = compile(ast.fix_missing_locations(function), "<rule>", "eval")
    nodes = list(ast.walk(expression.tree))
    called = {
        node.func.id
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    asked = TYPES if "isinstance" in called else frozenset()
    assert _globals_of(code) <= expression.names | called | asked
    assert expression.names <= {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not expression.names & called


def _globals_of(code):
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    return names.union(
        *(_globals_of(each) for each in code.co_consts if isinstance(each, type(code)))
    )


@pytest.mark.parametrize(
    ("text", "names", "values", "expected"),
    [
        ("result[0].goal", {"result"}, {"result": [type("D", (), {"goal": "g"})]}, "g"),
        ("[m['role'] for m in messages]", {"messages"}, {"messages": [{"role": "a"}]}, ["a"]),
        ("type(error).__name__", {"error"}, {"error": OSError()}, "OSError"),
        ("sum(len(m) for m in x if m)", {"x"}, {"x": ["ab", "", "c"]}, 3),
        ("f'{x:>4}|{x!r}'", {"x"}, {"x": "a"}, "   a|'a'"),
        ("(x or {}).get('k', 0)", {"x"}, {"x": None}, 0),
        ("', '.join(sorted({str(v) for v in x}))", {"x"}, {"x": [2, 1, 2]}, "1, 2"),
        ("x[-2:] if isinstance(x, (str, list)) else None", {"x"}, {"x": "abc"}, "bc"),
        ("{k: v for k, v in x.items() if v is not None}", {"x"}, {"x": {1: None, 2: 3}}, {2: 3}),
        ("max((v for v in x), default=0)", {"x"}, {"x": []}, 0),
        ("seconds * 1000000", {"seconds"}, {"seconds": 2}, 2000000),
        ("type", {"type"}, {"type": "t"}, "t"),
        (" result == 0 ", {"result"}, {"result": 0}, True),
        ("[x for x in x]", {"x"}, {"x": [1]}, [1]),
    ],
)
def test_expressions_mean_what_python_means(text, names, values, expected):
    """An accepted expression has the value that Python gives it, and names what it needs."""
    expression = parse(text)
    assert expression.names == names
    assert expression.text == text
    code = compile(ast.Expression(expression.tree), "<rule>", "eval")
    assert eval(code, dict(values)) == expected


@pytest.mark.parametrize(
    ("text", "says", "advises"),
    [
        ("", "is empty", "in quotes"),
        ("result.strpi()", "`strpi` cannot be called at character 1", "Did you mean 'strip'?"),
        ("ab + lenn(x)", "`lenn` cannot be called at character 6", "Did you mean 'len'?"),
        ("x.append(1)", "`append` cannot be called", "Valid:"),
        ("type(x)", "not allowed on its own", "type(x).__name__"),
        ("x.__class__", "`__class__` is not allowed", "type(x).__name__"),
        ("x.gi_frame.f_globals", "is not allowed", ""),
        ("'{}'.format(x)", "`format` cannot be called", ""),
        ("__import__('os')", "`__import__` cannot be called", ""),
        ("lambda: 1", "`lambda` is not allowed", "comprehension"),
        ("(y := x)", "`:=` is not allowed", "=="),
        ("await x", "`await` is not allowed", "reads"),
        ("len(*x)", "`*` before a value is not allowed", ""),
        ("dict(**x)", "`**` in a call is not allowed", ""),
        ("sorted(x, key=len)", "takes no `key`", "reverse"),
        ("len(x, y)", "takes 1 arguments here, not 2", ""),
        ("import os", "not a Python expression", "Statements"),
        ("a && b", "not a Python expression", "`and`"),
        ("result == true", "`true` is no Python", "True"),
        ("x is 1", "`is` asks only", "=="),
        ("'\\d'", "no escape", "backslash twice"),
        ("(v for v in x)", "generator", "list(...)"),
        ("[v async for v in x]", "`async for`", "for"),
        ("[0 for x.y in z]", "plain names", ""),
        ("[len(v) for len in x]", "`len` cannot be called", ""),
        ("len + len(x)", "both as a function and as a parameter", ""),
        ("isinstance(x, OSError)", "cannot ask for this", "type(x).__name__"),
        ("1j", "type complex", "Numbers"),
        ("x[__y]", "`__y` is not allowed", ""),
        ("'%d' % x", "`%` on a text", "f-string"),
        ("x" * (MAX_LENGTH + 1), "characters", ""),
        ("(" * 300 + "x" + ")" * 300, "not a Python expression", ""),
        ("-" * 900 + "1", "nested too deeply", ""),
        ("\ud800", "not a Python expression", ""),
        ("x\0", "not a Python expression", ""),
    ],
)
def test_refusals_teach(text, says, advises):
    """A refusal says what is wrong and where, and what to write instead."""
    with pytest.raises(ExpressionError) as refusal:
        parse(text)
    assert says in refusal.value.message
    assert advises in refusal.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9",
        "'a' * 9999999",
        "x * 1000 * 10000",
        "x * (1000000 + 1)",
        "[0] * x",
        "(x or 'a') * y",
        "str(x) * y",
        "1 << x",
        "'%999999999d' % x",
        "f'{x:999999999}'",
        "f'{x:{y}}'",
        "round(x, -999999999)",
        "round(x, y)",
        "x.ljust(999999999)",
        "[0 for a in x for b in x for c in x for d in x]",
        "range(999999999)",
    ],
)
def test_nothing_small_grows_large_by_accident(text):
    """Expressions that turn small values into huge ones are refused."""
    with pytest.raises(ExpressionError):
        parse(text)


@given(st.sampled_from("([{"), st.integers(1, 400), st.text(max_size=3))
def test_deep_nesting_is_refused_or_accepted_but_never_fatal(bracket, depth, core):
    """Nesting of any depth ends in an answer."""
    closing = {"(": ")", "[": "]", "{": "}"}[bracket]
    accepted(bracket * depth + core + closing * depth)


def test_equal_texts_are_equal_expressions():
    """Expressions are values: equal by their text, and fit to be kept in sets."""
    assert parse("a + b") == parse("a + b") != parse("a - b")
    assert len({parse("a"), parse("a"), parse("b")}) == 2
