"""A table that never overflows: numbers keep their room, the names share what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len

from dytopo_autotrace.report.text import pad, shorten, wrap

_GAP = 2
_NARROWEST_NAME = 14
"""Cells that a name keeps as long as there is an optional column to give up for it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text; names may be shortened, numbers never.

    When there is no room for all, the column with the highest `expendable` above 0 goes first.
    """

    title: str
    cells: tuple[str, ...]
    is_name: bool = False
    expendable: int = 0
    wraps: bool = False
    """A name that is told in several lines rather than shortened."""


def layout(columns: Sequence[Column], width: int) -> list[str]:
    """Header and rows as lines of at most `width` cells."""
    kept = [column for column in columns if column.is_name or any(column.cells)]
    while _least(kept) > width and any(column.expendable for column in kept):
        kept.remove(max(kept, key=lambda column: column.expendable))
    widths = _widths(kept, width)
    rows = zip(*(column.cells for column in kept), strict=True)
    lines = []
    for row in ([column.title for column in kept], *rows):
        cells = [
            wrap(cell, room) if column.wraps else [shorten(cell, room)]
            for cell, room, column in zip(row, widths, kept, strict=True)
        ]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = [
                pad(part, room, right=not column.is_name)
                for part, room, column in zip(parts, widths, kept, strict=True)
            ]
            lines.append((" " * _GAP).join(padded).rstrip())
    # Narrower than numbers alone can be: cut rather than let the terminal wrap.
    return [line if cell_len(line) <= width else shorten(line, width) for line in lines]


def _natural(column: Column) -> int:
    return max(cell_len(text) for text in (column.title, *column.cells))


def _least(columns: Sequence[Column]) -> int:
    rooms = (
        min(_natural(column), _NARROWEST_NAME) if column.is_name else _natural(column)
        for column in columns
    )
    return sum(rooms) + _GAP * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    widths = [_natural(column) for column in columns]
    names = [index for index, column in enumerate(columns) if column.is_name]
    excess = sum(widths) + _GAP * (len(columns) - 1) - width
    while excess > 0 and names:
        widest = max(names, key=lambda index: widths[index])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
        excess -= 1
    return widths
