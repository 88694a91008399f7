"""What a metrics collector is made of: kept points, running totals, and the values it hands over."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]

KINDS: Final[tuple[Kind, ...]] = ("counter", "gauge", "histogram")

SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0),
)
"""Upper bounds for `*_seconds`: routers and parsers take milliseconds, a model call half a second
to two minutes, a client gives up at about five. A quantile read off a histogram is wrong by at most
the ratio of neighbouring bounds, so they at most double where model calls live and are coarser below."""

AMOUNTS: Final = (
    *(0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
    *(4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0),
)
"""Upper bounds for every other histogram: shares and scores up to 1, then powers of four, which is
what OpenTelemetry's semantic conventions use for token counts."""


@dataclass(slots=True)
class MetricPoint:
    """One recorded value, at a Unix time in seconds."""

    name: str
    value: float
    timestamp: float
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One metric under one label set, since the process began.

    A counter's value is `sum`, a gauge's is `last`. `bucket_counts` are those of a histogram, each
    bucket on its own, with one more than its family has bounds: the last one has no upper bound.
    """

    labels: Labels
    count: int
    sum: float
    min: float
    max: float
    last: float
    timestamp: float
    bucket_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """All series of one metric, and what they have in common."""

    name: str
    kind: Kind
    help: str
    series: tuple[MetricSeries, ...]
    bounds: tuple[float, ...] = ()


class Points:
    """The kept points, oldest overwritten first, in columns of plain numbers.

    Twenty bytes a point, and nothing for the host's garbage collector to visit.
    """

    __slots__ = ("_room", "capacity", "owners", "times", "values", "written")

    CHUNK: Final = 4096

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.values = array("d")
        self.times = array("d")
        self.owners = array("I")
        self.written = 0
        self._room = 0

    def add(self, owner: int, value: float, time: float) -> None:
        slot = self.written % self.capacity
        if slot >= self._room:
            self._grow()
        self.values[slot] = value
        self.times[slot] = time
        self.owners[slot] = owner
        # Last, so that an interrupt in between leaves a slot to be written again, not a torn point.
        self.written += 1

    def extend(self, owner: int, values: list[float], times: list[float]) -> None:
        """Add several points of one series, oldest first."""
        done = 0
        while done < len(values):
            slot = self.written % self.capacity
            step = min(len(values) - done, self.capacity - slot)
            while self._room < slot + step:
                self._grow()
            part = slice(done, done + step)
            self.values[slot : slot + step] = array("d", values[part])
            self.times[slot : slot + step] = array("d", times[part])
            self.owners[slot : slot + step] = array("I", [owner]) * step
            self.written += step
            done += step

    def _grow(self) -> None:
        room = min(self._room + self.CHUNK, self.capacity)
        for column in (self.values, self.times, self.owners):
            missing = room - len(column)
            column.frombytes(bytes(missing * column.itemsize))
        self._room = room

    @property
    def overwritten(self) -> int:
        return max(0, self.written - self.capacity)

    def columns(self) -> tuple[array[float], array[float], array[int]]:
        """Copies of (values, times, owners), in the order of arrival."""
        if self.written <= self.capacity:
            end = self.written
            return self.values[:end], self.times[:end], self.owners[:end]
        cut = self.written % self.capacity
        return (
            self.values[cut:] + self.values[:cut],
            self.times[cut:] + self.times[:cut],
            self.owners[cut:] + self.owners[:cut],
        )


class Series:
    """Running totals of one metric under one label set; `index` is its number in the points."""

    __slots__ = (
        *("bounds", "buckets", "count", "index", "kind", "labels"),
        *("last", "max", "min", "name", "sum", "timestamp"),
    )

    def __init__(self, family: Family, labels: Labels, index: int) -> None:
        self.name = family.name
        self.kind = family.kind
        self.bounds = family.bounds
        self.labels = labels
        self.index = index
        self.buckets = [0] * (len(family.bounds) + 1) if family.kind == "histogram" else []
        self.count = 0
        self.sum = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.last = 0.0
        self.timestamp = -math.inf

    def add(self, value: float, timestamp: float) -> None:
        self.count += 1
        self.sum += value
        if value < self.min:  # noqa: PLR1730 - a call of min() costs as much as all the rest
            self.min = value
        if value > self.max:  # noqa: PLR1730
            self.max = value
        # Threads hand over their calls in turns, so a later arrival can be an earlier value.
        if timestamp >= self.timestamp:
            self.timestamp = timestamp
            self.last = value
        if self.buckets:
            self.buckets[bisect_left(self.bounds, value)] += 1

    def extend(self, values: list[float], timestamps: list[float]) -> None:
        """Add several values, oldest first."""
        self.count += len(values)
        self.sum += sum(values)
        self.min = min(self.min, *values)
        self.max = max(self.max, *values)
        if timestamps[-1] >= self.timestamp:
            self.timestamp = timestamps[-1]
            self.last = values[-1]
        if self.buckets:
            bounds, buckets = self.bounds, self.buckets
            for value in values:
                buckets[bisect_left(bounds, value)] += 1

    def snapshot(self) -> MetricSeries:
        buckets = tuple(self.buckets)
        count = sum(buckets) if buckets else self.count
        return MetricSeries(
            self.labels, count, self.sum, self.min, self.max, self.last, self.timestamp, buckets
        )


class Family:
    """All series of one metric; its kind, bounds and help are those it was first seen with."""

    __slots__ = ("bounds", "help", "kind", "name", "series")

    def __init__(self, name: str, kind: Kind, bounds: tuple[float, ...], text: str) -> None:
        self.name = name
        self.kind = kind
        self.bounds = bounds
        self.help = text
        self.series: dict[Labels, Series] = {}

    def emptied(self) -> Family:
        return Family(self.name, self.kind, self.bounds, self.help)

    def snapshot(self) -> MetricFamily:
        # A series whose only values were refused has nothing to say.
        series = tuple(each.snapshot() for _, each in sorted(self.series.items()) if each.count)
        return MetricFamily(self.name, self.kind, self.help, series, self.bounds)
