"""Lines of a report: labels with paragraphs beside them, and tables, all within the width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dytopo_autotrace.report.table import Column, layout
from dytopo_autotrace.report.text import clean, shorten, wrap

HEADING: Final = "bold"
QUIET: Final = "dim"
LABEL: Final = 9

Line = tuple[str, str]
"""Text and style."""


def labelled(label: str, text: str, width: int, most: int = 8) -> Iterator[Line]:
    """A label and a paragraph beside it, at most so many lines long."""
    shown = clean(text)
    if not shown:
        return
    indent = 2
    room = width - indent - LABEL
    for index, line in enumerate(paragraph(shown, room, most)):
        head = label.ljust(LABEL) if index == 0 else " " * LABEL
        yield f"{' ' * indent}{head}{line}", ""


def paragraph(text: str, width: int, most: int) -> list[str]:
    """The text in at most so many lines, the last one shortened if need be."""
    lines = wrap(text, width)
    if len(lines) > most:
        return [*lines[: most - 1], shorten(lines[most - 1] + " ...", width)]
    return lines


def item(mark: str, text: str, width: int, style: str = "", most: int = 8) -> Iterator[Line]:
    """A paragraph with a mark before it."""
    indent = 3
    for index, line in enumerate(paragraph(clean(text), width - indent, most)):
        yield (mark.ljust(indent) if index == 0 else " " * indent) + line, style


def table(columns: Sequence[Column], width: int) -> Iterator[Line]:
    """A table, its header less prominent."""
    header, *rows = layout(columns, width - 2)
    yield f"  {header}", QUIET
    yield from ((f"  {row}", "") for row in rows)


def decimal(values: Sequence[float]) -> tuple[str, ...]:
    """Seconds with as many decimals as the largest leaves room for, the same for all."""
    largest = max(values, default=0.0)
    decimals = 3 if largest < 100 else 1 if largest < 10_000 else 0
    return tuple(f"{value:.{decimals}f}" for value in values)
