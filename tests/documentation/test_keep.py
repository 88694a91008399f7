"""What people wrote between keep comments survives, and nothing else is disturbed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.documentation.keep import essence, merge, split
from dytopo_autotrace.documentation.markdown import tidy
from dytopo_autotrace.errors import AutotraceError

LINES = st.sampled_from(
    [
        "# One",
        "## Two",
        "### Three",
        "text",
        "more text",
        "- item",
        "",
        "```bash\n# no heading\n```",
    ]
)
PAGES = st.lists(LINES, min_size=1, max_size=12).map(lambda lines: tidy("\n".join(lines)))
SECTIONS = st.lists(
    st.lists(st.sampled_from(["mine", "", "## My heading", "```\ncode\n```", "- x"]), max_size=4),
    max_size=3,
)


def wrapped(name, lines):
    return "\n".join([f"<!-- keep: {name} -->", *lines, f"<!-- /keep: {name} -->"])


def without_origin(lines):
    """The lines of a section without that which says what it was under."""
    if not lines[1].startswith("*Was under: "):
        return lines
    return (lines[0], *lines[3:])


def with_sections(page, sections, draw):
    """The page with sections put between its lines, never inside of code."""
    lines = page.rstrip("\n").split("\n")
    free, fence = [0], False
    for number, line in enumerate(lines):
        fence = fence != line.startswith("```")
        if not fence:
            free.append(number + 1)
    for number, section in enumerate(sections):
        at = draw(st.sampled_from([each for each in free if each <= len(lines)]))
        lines.insert(at, f"\n{wrapped(f's{number}', section)}\n")
        free = [each if each <= at else each + 1 for each in free]
    return "\n".join(lines) + "\n"


@given(PAGES, SECTIONS, st.data())
def test_nothing_changes_when_only_sections_were_added(page, sections, data):
    """A page that differs from the generated one in kept sections only is left as it is, byte by byte."""
    edited = with_sections(page, sections, data.draw)

    assert merge(page, edited, "page") == edited


@given(PAGES, PAGES, SECTIONS, st.data())
def test_every_section_survives_every_change(before, after, sections, data):
    """Whatever becomes of the page, each section is in it once, as it was written.

    One whose heading is gone has a line before it that says which it was.
    """
    edited = with_sections(before, sections, data.draw)
    merged = merge(after, edited, "page")
    bare, found = split(merged, "page")

    assert {each.name: without_origin(each.lines) for each in found} == {
        f"s{number}": tuple("\n".join(wrapped(f"s{number}", section).split("\n")).split("\n"))
        for number, section in enumerate(sections)
    }
    assert essence(bare) == essence(after)


@given(PAGES, PAGES, SECTIONS, st.data())
def test_the_second_time_nothing_moves(before, after, sections, data):
    """A merged page merged again is the same bytes."""
    merged = merge(after, with_sections(before, sections, data.draw), "page")

    assert merge(after, merged, "page") == merged


def test_a_section_stays_at_its_line():
    """A section follows the line that it followed, although the text around it changed."""
    mine = wrapped("mine", ["Mine."])
    before = f"# A\n\nfirst\n\n{mine}\n\nsecond\n"
    after = "# New\n\nother\n\n# A\n\nfirst\n\nchanged\n"

    assert merge(after, before, "page") == f"# New\n\nother\n\n# A\n\nfirst\n\n{mine}\n\nchanged\n"


def test_a_section_whose_heading_is_gone_says_which_it_was():
    """What was written about a failure that is told no more is not taken for words about another."""
    before = f'# A\n\n### <a id="x"></a>Failure of x\n\n{wrapped("mine", ["Mine."])}\n'
    after = "# A\n\n### Failure of y\n\ntext\n\n## Notes\n"
    told = wrapped("mine", ["*Was under: Failure of x*", "", "Mine."])

    assert merge(after, before, "page") == f"{after}\n{told}\n"


def test_a_slot_is_filled_where_it_is():
    """A section with the name of one that the page has itself goes there."""
    before = f"# A\n\n{wrapped('notes', ['Mine.'])}\n"
    after = f"# B\n\ntext\n\n{wrapped('notes', [])}\n\n# End\n"

    assert merge(after, before, "p") == f"# B\n\ntext\n\n{wrapped('notes', ['Mine.'])}\n\n# End\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# A\n<!-- keep: x -->\nmine\n", "page:2: <!-- keep: x --> is not ended"),
        ("# A\n<!-- /keep: x -->\n", "page:2: <!-- /keep: x --> ends what no"),
        ("<!-- keep: a -->\n<!-- keep: b -->\n<!-- /keep: b -->\n", "page:1: <!-- keep: a -->"),
        (f"{wrapped('a', [])}\n{wrapped('a', [])}\n", "page:3: a second section"),
    ],
)
def test_unclear_marks_are_an_error(text, said):
    """Marks that do not pair up are said with their line, since what they mean to keep is unclear."""
    with pytest.raises(AutotraceError) as caught:
        merge("# A\n", text, "page")

    assert str(caught.value).startswith(said)
