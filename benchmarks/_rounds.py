"""Comparing contestants on a noisy machine: all of them in every round, medians over the rounds.

What slows the machine for a moment slows one round, and in it one contestant or all of them. So
a ratio is taken within each round, and the median of these ratios is what is reported.
"""

from __future__ import annotations

import inspect
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from statistics import median
from typing import NamedTuple, TypeVar

Sample = TypeVar("Sample")


def interleave(
    contestants: Mapping[str, Callable[[], Sample]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[Sample]]:
    """One sample of each contestant in every round, in an order that turns from round to round."""
    names = list(contestants)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            sample = contestants[name]()
            if number >= 0:
                samples[name].append(sample)
        if sys.stderr.isatty():
            print(f"\rround {max(number + 1, 0)} of {rounds}", end="\r", file=sys.stderr)
    return samples


def median_ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return median(value / other for value, other in zip(values, base, strict=True))


def median_difference(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the differences within each round."""
    return median(value - other for value, other in zip(values, base, strict=True))


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Where the middle half of the values lies."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(last * 0.25)], ordered[round(last * 0.75)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left and numbers to the right.

    A row of two cells is a name and a remark, which runs across the columns.
    """
    full = [head, *(row for row in rows if len(row) == len(head))]
    widths = [max(len(row[column]) for row in full) for column in range(len(head))]
    widths[0] = max(widths[0], *(len(row[0]) for row in rows))
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0])]
        if len(row) == len(head):
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        else:
            cells += row[1:]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


class Check(NamedTuple):
    """A measured value beside the most that it may be."""

    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.value:.2f} {'pass' if self.met else 'FAIL'}"


def machine() -> str:
    """What the numbers depend on: processors, Python, wrapt and how it is built."""
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}, {_wrapt()}"
    )


def _wrapt() -> str:
    import wrapt

    kind = "pure Python" if inspect.isfunction(wrapt.FunctionWrapper.__init__) else "C"
    return f"wrapt {wrapt.__version__} ({kind})"


def version(package: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def missing(package: str) -> str:
    """What a table says of a peer that cannot be compared."""
    return f"missing (pip install {package})"
