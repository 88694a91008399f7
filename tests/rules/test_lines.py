"""Where in a text a value stands."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.rules.lines import locate

VALUES = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "true",
        "1979-05-27T07:32:00Z",
        "'x # [[rule]]'",
        '"a \\" b"',
        "[1, [2, 3], 'a]b']",
        "[\n  # one\n  1,\n  2,\n]",
        "{ a = 1, 'b.c' = [1, 2], d.e = '}' }",
        '"""\n[[rule]]\nname = 1\n"""',
        "'''\n[agent]\n''\n'''",
        '""""quoted\\\n   text"""""',
        "[\n\n{ a = 1 }, { a = [\n1] }]",
    ]
)
BLANKS = st.sampled_from(["", "\n", "# a = 1\n", "   \n\t# [[rule]]\n", "\r\n"])


@st.composite
def documents(draw):
    """A TOML text and the lines on which its tables and keys are known to stand."""
    text, expected = "", {}

    def add(path, piece):
        nonlocal text
        text += draw(BLANKS)
        expected[path] = text.count("\n") + 1
        text += piece + draw(st.sampled_from(["\n", "  # why\n", "\r\n"]))

    for key in draw(
        st.lists(st.sampled_from(["service", '"a b"', "'c'"]), unique=True, max_size=3)
    ):
        add((key.strip("'\""),), f"{key} = {draw(VALUES)}")
    if draw(st.booleans()):
        add(("agent",), draw(st.sampled_from(["[agent]", "[ agent ]", '["agent"]'])))
        add(("agent", "capture", "max"), f"capture . max = {draw(VALUES)}")
    for index in range(draw(st.integers(0, 3))):
        add(("rule", index), draw(st.sampled_from(["[[rule]]", "  [[ rule ]]"])))
        add(("rule", index, "name"), f"name={draw(VALUES)}")
        for nested in range(draw(st.integers(0, 2))):
            add(("rule", index, "metric", nested), "[[rule.metric]]")
            add(("rule", index, "metric", nested, "value"), f" value\t= {draw(VALUES)}")
        if draw(st.booleans()):
            add(("rule", index, "attributes"), "[rule.attributes]")
            add(("rule", index, "attributes", "goal"), f"goal = {draw(VALUES)}")
    return text, expected


@given(documents())
def test_the_line_of_every_table_and_key_is_found(document):
    """Whatever the texts, comments and arrays in between, each table and key has its own line."""
    text, expected = document
    tomllib.loads(text)
    lines = locate(text)
    assert {path: lines.of(*path) for path in expected} == expected


def test_elements_of_arrays_have_their_own_lines():
    """In an array over several lines each element is found, and what is within it falls back to it."""
    lines = locate("a = [\n  'x',\n\n  'y', { b = 1 },\n]\n")
    assert [lines.of("a", index) for index in range(3)] == [2, 4, 4]
    assert lines.of("a", 1, "z") == 4


def test_what_is_not_there_has_the_line_of_what_is_around_it():
    """A missing key has the line of its table, and a missing table none."""
    lines = locate("[[rule]]\nname = 1\n\n[[rule]]\n")
    assert lines.of("rule", 1, "target") == 4
    assert lines.of("agent") is None


@given(st.text() | st.text("[]{}='\"\n#a.,1\\ "))
def test_any_text_has_some_lines(text):
    """A text that is no TOML is no error either, and never takes for ever."""
    assert locate(text).of("nothing", "here") is None or "nothing" in text
