"""Whatever a text has in it, a page shows it as it is written, wherever the page is read."""

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dytopo_autotrace.documentation.markdown import (
    block,
    clean,
    code,
    next_fence,
    paragraphs,
    prose,
)
from tests.documentation.conftest import seen

PIECES = st.sampled_from(
    [
        *(
            "|",
            "`",
            "``",
            "```",
            "*",
            "**",
            "_",
            "__",
            "~~",
            "<b>",
            "</td>",
            "<!--",
            "-->",
            "&amp;",
        ),
        *(
            "&",
            "[x](y)",
            "![",
            "](",
            "\\",
            "#",
            "# ",
            "- ",
            "+ ",
            "1. ",
            "2) ",
            "> ",
            "=",
            "===",
            "$x$",
        ),
        *(
            ":smile:",
            "https://a.b",
            "@me",
            "é",
            "日本",
            "\U0001d4b3",
            "\n",
            "\n\n",
            "    ",
            "\t",
            "{: .a}",
            "{{",
        ),
        *(
            "a",
            "b c",
            "word",
            "x_y_z",
            "*a*",
            "\x00",
            "\ud800",
            "\u2028",
            "<script>",
            "[^1]",
            "^",
            '"',
        ),
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))


def github(text):
    """As GitHub reads it, near enough: CommonMark with tables and strikethrough."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return reader.render(text)


def site(text):
    """As mkdocs reads it."""
    if importlib.util.find_spec("markdown") is None:
        pytest.skip("Python-Markdown is not installed: it comes with mkdocs-material")
    import markdown

    return markdown.markdown(text, extensions=["tables", "fenced_code", "attr_list"])


def folded(text):
    return " ".join(clean(text).split())


@pytest.mark.parametrize("read", [github, site])
@given(TEXTS)
def test_prose_is_shown_as_it_is_written(read, text):
    """A paragraph shows every character of the text and is nothing but a paragraph."""
    shown, tags = seen(read(f"{prose(text)}\n"))

    assert shown == folded(text)
    assert set(tags) <= {"p"}


@pytest.mark.parametrize("read", [github, site])
@given(TEXTS, TEXTS)
def test_a_table_keeps_its_cells(read, one, other):
    """Whatever is in two cells, there are two cells in the row, and they show it."""
    row = f"| {prose(one)} | {code(other)} | end |"
    shown, tags = seen(read(f"| a | b | c |\n|---|---|---|\n{row}\n"))

    assert tags.count("td") == 3
    assert set(tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert shown.replace(" ", "") == f"abc{folded(one)}{folded(other)}end".replace(" ", "")


@pytest.mark.parametrize("read", [github, site])
@given(TEXTS)
def test_code_is_shown_as_it_is_written(read, text):
    """Code within a line shows every character of the text."""
    shown, tags = seen(read(f"see {code(text)} there\n"))

    assert shown.replace(" ", "") == f"see{folded(text)}there".replace(" ", "")
    assert set(tags) <= {"p", "code"}


@given(TEXTS)
def test_nothing_ends_a_block_of_code_from_inside(text):
    """A block shows the text, and what follows it is outside of it again."""
    shown, tags = seen(github(f"{block(text, 'text')}\n\n*after*\n"))

    assert tags == ["pre", "code", "p", "em"]
    lines = text.replace("\r\n", "\n")
    assert shown.replace(" ", "") == f"{folded(lines)}after".replace(" ", "")


@given(TEXTS)
def test_after_a_block_no_fence_is_open(text):
    """Lines of a page are told from lines of code by the fence that is open, and none stays open."""
    fence = ""
    for line in block(text).split("\n"):
        fence = next_fence(line, fence)

    assert fence == ""


@given(TEXTS)
def test_paragraphs_stay_paragraphs(text):
    """A longer text is paragraphs of prose and nothing else."""
    shown, tags = seen(github(f"{paragraphs(text)}\n"))

    assert set(tags) <= {"p"}
    assert shown.replace(" ", "") == folded(text).replace(" ", "")


def test_a_template_cannot_forget_to_escape():
    """What a template puts out without a word is escaped."""
    from dytopo_autotrace.documentation import markdown

    found = markdown._environment().from_string("{{ value }}").render(value="*a* <b> | `c`")

    assert seen(github(found)) == ("*a* <b> | `c`", ["p"])
