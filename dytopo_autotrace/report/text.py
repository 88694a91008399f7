"""Text that fits: host text made harmless, cut to cells of a terminal, wrapped between words."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from rich.cells import cell_len, chop_cells

_NBSP: Final = "\u00a0"
_NUMBER_AND_UNIT: Final = re.compile(
    r"(?<=\d) (?=(?:s|ms|µs|h|%|calls?|spans?|rounds?|failures?|attempts?|tokens|rules?)\b|%)"
)
_ESCAPES: Final = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands, such as window titles
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # control sequences, such as colours
)


def clean(text: str, limit: int = 2000) -> str:
    """Host text on one line, without anything that a terminal would obey.

    Escape sequences go, control characters become spaces, characters that are invisible or turn
    the direction of writing go, and lone surrogates become `?`.
    """
    plain = _ESCAPES.sub("", text[: limit * 2])
    shown = "".join(_harmless(character) for character in plain)
    shown = " ".join(part for part in shown.split(" ") if part)
    return shown if len(shown) <= limit else shown[:limit] + "..."


def _harmless(character: str) -> str:
    if character.isprintable() and not "\ufe00" <= character <= "\ufe0f":
        return character
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    return "?" if category in ("Cs", "Co", "Cn") else ""


def shorten(text: str, width: int) -> str:
    """Text in at most `width` cells; what is too long loses its middle."""
    if cell_len(text) <= width:
        return text
    if width < 5:
        return _head(text, width)
    head = _head(text, (width - 1) // 2)
    return f"{head}..{_tail(text, width - cell_len(head) - 2)}"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken between words; a number stays with its unit."""
    width = max(width, 1)
    lines: list[str] = []
    line = ""
    for word in _NUMBER_AND_UNIT.sub(_NBSP, text).split(" "):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        pieces = chop_cells(word, width) if cell_len(word) > width else [word]
        lines.extend(pieces[:-1])
        line = pieces[-1] if pieces else ""
    if line or not lines:
        lines.append(line)
    return [each.replace(_NBSP, " ") for each in lines]


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Text filled with spaces to `width` cells."""
    space = " " * max(width - cell_len(text), 0)
    return space + text if right else text + space


def _head(text: str, width: int) -> str:
    kept = ""
    for character in text:
        if cell_len(kept + character) > width:
            break
        kept += character
    return kept


def _tail(text: str, width: int) -> str:
    kept = ""
    for character in reversed(text):
        if cell_len(character + kept) > width:
            break
        kept = character + kept
    return kept
