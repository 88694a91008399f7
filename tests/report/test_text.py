"""Host text made harmless, and text that fits."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dytopo_autotrace.report.text import clean, pad, shorten, wrap

ANY = st.text(st.characters(codec=None, categories=None), max_size=60)
WIDE = st.text(st.sampled_from("ab 日本😀é\u0301"), max_size=60)


@given(ANY)
def test_clean_text_has_nothing_that_a_terminal_obeys(text):
    """No control, format or surrogate character is left, and no line break."""
    categories = {unicodedata.category(character) for character in clean(text)}
    assert categories.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("two\nlines\tand\r\x00", "two lines and"),
        ("left\u202eright", "leftright"),
        ("half \ud800", "half ?"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
        ("\x9b2J", ""),
    ],
)
def test_what_becomes_of_hostile_text(text, shown):
    """Escape sequences go whole; markup stays as the text that it is."""
    assert clean(text) == shown


@given(ANY, st.integers(1, 20))
def test_clean_text_is_clamped(text, limit):
    """Endless text is cut, with dots to say so."""
    assert len(clean(text, limit)) <= limit + 3


@given(WIDE, st.integers(1, 30))
def test_shortened_text_fits(text, width):
    """Wide characters count for two."""
    assert cell_len(shorten(text, width)) <= width


@given(WIDE)
def test_text_that_fits_is_not_touched(text):
    """Nothing is shortened without need."""
    assert shorten(text, cell_len(text)) == text


def test_the_middle_goes_first():
    """Beginning and end of a name tell it apart best."""
    assert shorten("build_routing_result_with_hyde", 16) == "build_r..th_hyde"


@given(WIDE, st.integers(2, 30))
def test_wrapped_lines_fit_and_lose_nothing(text, width):
    """Words stay whole where they can; all characters but the blanks at breaks are there."""
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_number_stays_with_its_unit():
    """No line ends between 1.21 and s."""
    assert wrap("it took 1.21 s", 12) == ["it took", "1.21 s"]


@given(WIDE, st.integers(0, 30), st.booleans())
def test_padding_fills_to_the_width(text, width, right):
    """In cells, not in characters."""
    assert cell_len(pad(text, width, right=right)) == max(width, cell_len(text))
