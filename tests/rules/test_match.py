"""Which functions a target matches, and which rule wins."""

import fnmatch
import sys
import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.rules.match import TargetError, compile_rules, parse_target
from dytopo_autotrace.rules.model import Origin, Rule, RuleSet

ORIGIN = Origin("rules.toml")


def rule(name, *targets, exclude=()):
    return Rule(
        name,
        tuple(map(parse_target, targets)),
        ORIGIN,
        exclude=tuple(parse_target(entry, module_optional=True) for entry in exclude),
    )


def matcher(*rules):
    return compile_rules(RuleSet(ORIGIN, rules=rules))


def matches(target, module, qualname):
    return matcher(rule("only", target)).rule_for(module, qualname) is not None


@pytest.mark.parametrize(
    ("target", "module", "qualname", "expected"),
    [
        ("a.b:f", "a.b", "f", True),
        ("a.b:f", "a.bc", "f", False),
        ("a.b:f", "a.b", "g", False),
        ("a.*:f", "a.b", "f", True),
        ("a.*:f", "a.b.c", "f", False),
        ("a.*:f", "a", "f", False),
        ("a.**:f", "a", "f", True),
        ("a.**:f", "a.b.c", "f", True),
        ("a.**.z:f", "a.z", "f", True),
        ("a.**.z:f", "a.b.c.z", "f", True),
        ("a.?b:f", "a.xb", "f", True),
        ("a.?b:f", "a.b", "f", False),
        ("a.b:*", "a.b", "f", True),
        ("a.b:*", "a.b", "C.f", False),
        ("a.b:C.*", "a.b", "C.f", True),
        ("a.b:C.*", "a.b", "C.__init__", False),
        ("a.b:C.*", "a.b", "C.__private", True),
        ("a.b:C.__*", "a.b", "C.__init__", True),
        ("a.b:C.__init__", "a.b", "C.__init__", True),
        ("a.b:**", "a.b", "C.D.f", True),
        ("a.b:**", "a.b", "C.__init__", False),
        ("a.b:**", "a.b", "f.<locals>.g", False),
        ("a.b:*", "a.b", "<lambda>", False),
        ("a.b:f.**", "a.b", "f.<locals>.g", False),
        ("a.b:f.<locals>.g", "a.b", "f.<locals>.g", True),
        ("a.b:f.<locals>.*", "a.b", "f.<locals>.g", True),
        ("a.b:f.<locals>.*", "a.b", "f.<locals>.g.<locals>.h", False),
        ("a.b:**.<locals>.*", "a.b", "C.f.<locals>.g", True),
        ("a.b:**.<locals>.*", "a.b", "f.<locals>.g.<locals>.h", True),
        ("a.b:C.f.__wrapped__", "a.b", "C.f.__wrapped__", True),
        ("a.b:C.f.__wrapped__", "a.b", "C.f", False),
        ("a.b:C.*.__wrapped__", "a.b", "C.f.__wrapped__", True),
        ("a.b:C.*", "a.b", "C.f.__wrapped__", False),
        ("__main__:main", "__main__", "main", True),
        ("*:main", "__main__", "main", True),
        ("*:main", "this", "main", False),
        ("**:run", "asyncio.runners", "run", False),
        ("asyncio.*:run", "asyncio.runners", "run", True),
        ("**:run", "dytopo_autotrace.cli.run", "run", False),
        ("wrapt.wrappers:f", "wrapt.wrappers", "f", False),
        ("größe:f", "größe", "f", True),
    ],
)
def test_what_targets_match(target, module, qualname, expected):
    """Wildcards stay within their part, dunders and nested functions are matched only when asked for."""
    assert matches(target, module, qualname) is expected


PARTS = st.text("ab_", min_size=1, max_size=5)
GLOB_PARTS = st.just("**") | st.text("ab_*?", min_size=1, max_size=5).filter(
    lambda part: "**" not in part
)


@given(
    st.lists(GLOB_PARTS, min_size=1, max_size=3).map(".".join),
    st.lists(PARTS | st.just("<locals>"), min_size=1, max_size=5).map(".".join),
)
@settings(max_examples=250)
def test_globs_agree_with_a_plain_search(glob, name):
    """The compiled globs match what a plain search over the parts matches."""
    assert matches(f"m:{glob}", "m", name) is _search(
        tuple(glob.split(".")), tuple(name.split("."))
    )
    if "<" not in name:
        module = f"mod.{name}"
        pattern = ("mod", *glob.split("."))
        expected = _search(pattern, tuple(module.split(".")), dunders=True)
        assert bool(matcher(rule("only", f"mod.{glob}:f")).wants(module)) is expected


@cache
def _search(pattern, parts, dunders=False):
    if not pattern:
        return not parts
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return _search(rest, parts, dunders) or (
            bool(parts) and _plain(parts[0], dunders) and _search(pattern, parts[1:], dunders)
        )
    if not parts or not fnmatch.fnmatchcase(parts[0], first):
        return False
    wild = "*" in first or "?" in first
    if wild and not first.startswith("__") and not _plain(parts[0], dunders):
        return False
    return not (wild and parts[0].startswith("<")) and _search(rest, parts[1:], dunders)


def _plain(part, dunders):
    is_dunder = len(part) >= 4 and part.startswith("__") and part.endswith("__")
    return not part.startswith("<") and (dunders or not is_dunder)


@given(st.text(max_size=20) | st.text("a.*?:<>locals_+[1 ", max_size=20))
@settings(max_examples=250)
def test_any_text_is_a_target_or_a_target_error(text):
    """Whatever the text, reading it as a target returns or raises TargetError, and what it returns works."""
    for optional in (False, True):
        try:
            target = parse_target(text, module_optional=optional)
        except TargetError:
            continue
        assert target.text == text
        only = matcher(Rule("only", (target,), ORIGIN))
        only.wants("a.b")
        only.rule_for("a.b", "c.d")


@pytest.mark.parametrize(
    ("text", "says", "advises"),
    [
        ("", "is empty", "module:qualname"),
        ("a.b.f", "no colon", "'a.b:f'"),
        ("f", "no colon", "'f:function'"),
        (":f", "no module", ""),
        ("a:", "no qualname", "every function"),
        ("a..b:f", "empty part in its module", ""),
        ("a:.f", "empty part in its qualname", ""),
        ("a:f()", "'(' in its qualname", "names"),
        ("a:Base+", "misplaced +", "Base+.method"),
        ("a:b:c", "':' in its qualname", "One colon"),
        ("a-b:f", "'-' in its module", ""),
        ("a: f", "' ' in its qualname", ""),
        ("a:f**", "`**` within a part", "alone"),
        ("a:<locals>.f", "misplaced <locals>", "outer.<locals>.f"),
        ("a:f.<locals>", "misplaced <locals>", ""),
        ("a:__wrapped__", "misplaced __wrapped__", "at the end"),
        ("a:C.__wrapped__.f", "misplaced __wrapped__", ""),
        ("a:**.b.**.b.**.b.**", "more than 3 `**`", ""),
        ("a:1f", "begins with a digit", ""),
        ("a:<lambda>", "'<' in its qualname", ""),
        ("a:" + "f" * 400, "characters", ""),
    ],
)
def test_refused_targets_teach(text, says, advises):
    """A refused target says what is wrong with it and how to write it."""
    with pytest.raises(TargetError) as refusal:
        parse_target(text)
    assert says in refusal.value.message
    assert advises in refusal.value.hint


def test_the_first_rule_wins_and_the_others_are_shadowed():
    """Rules are tried in order; `matches` shows all that would match, the winner first."""
    one = rule("one", "a.*:f")
    two = rule("two", "a.b:*")
    three = rule("three", "a.b:f")
    asked = matcher(one, two, three)
    assert asked.rule_for("a.b", "f") is one
    assert asked.matches("a.b", "f") == (one, two, three)
    assert asked.rule_for("a.b", "g") is two
    assert asked.rule_for("a.c", "g") is None
    assert asked.wants("a.b") == (one, two, three)
    assert asked.wants("a.c") == (one,)
    assert asked.wants("b") == ()


@pytest.mark.parametrize(
    ("exclude", "left_out"),
    [
        ("f", {("a.b", "f"), ("a.c", "f")}),
        ("a.b:f", {("a.b", "f")}),
        ("a.*:g", {("a.b", "g"), ("a.c", "g")}),
        ("*", {("a.b", "f"), ("a.c", "f"), ("a.b", "g"), ("a.c", "g")}),
        ("z", set()),
    ],
)
def test_exclude_takes_functions_out_of_a_rule(exclude, left_out):
    """An excluded function falls to the next rule; without a module an exclude holds in all of the rule's."""
    first = rule("first", "a.*:*", exclude=[exclude])
    second = rule("second", "a.*:*")
    asked = matcher(first, second)
    for module in ("a.b", "a.c"):
        for name in ("f", "g"):
            expected = second if (module, name) in left_out else first
            assert asked.rule_for(module, name) is expected


def test_selections_say_what_to_look_for_in_a_module():
    """A selection has a rule's literal names, less the excluded ones, and its globs, in order."""
    one = rule("one", "a.b:f", "a.b:g", "a.*:h", "c:x", "a.b:f", exclude=["g"])
    two = rule("two", "a.*:C.*", "a.b:D.m")
    first, second = matcher(one, two).selections("a.b")
    assert (first.rule, first.literals, first.globs) == (one, ("f", "h"), ())
    assert (second.rule, second.literals, second.globs) == (two, ("D.m",), ("C.*",))
    assert matcher(one, two).selections("d") == ()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("a:f", False),
        ("a:C.*", False),
        ("a:f.<locals>.g", True),
        ("a:**.<locals>.*", True),
        ("a:C.f.__wrapped__", True),
        ("a:C.*.__wrapped__", True),
        ("b:f.<locals>.g", False),
    ],
)
def test_needs_source_tells_what_no_attribute_reaches(target, expected):
    """Only nested functions and functions below their decorators need the module's source."""
    asked = matcher(rule("other", "a:f"), rule("asked", target))
    assert asked.needs_source("a") is expected


def test_an_import_no_rule_cares_about_costs_next_to_nothing():
    """Asking for modules that no rule names keeps nothing, and with literal targets is one look-up."""
    asked = matcher(rule("literal", "a.b:f"), rule("glob", "swarm.**:f"))
    names = [f"package.module_{number}" for number in range(10_000)]
    before = sum(map(sys.getsizeof, (asked._literal, asked._globs, asked._rules)))
    assert not any(map(asked.wants, names))
    assert sum(map(sys.getsizeof, (asked._literal, asked._globs, asked._rules))) == before


@given(st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_many_wildcards_do_not_take_long(length):
    """A part full of stars is matched in time that does not explode with the name."""
    began = time.process_time()
    assert not matches("m:" + "*a" * 100 + "*b", "m", "a" * length * 10)
    assert not matches("m:" + "**.a." * 3 + "b", "m", ".".join("a" * length))
    assert time.process_time() - began < 1
