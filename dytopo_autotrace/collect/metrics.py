"""Numbers that the program and its woven calls produce: kept as points, summed up as series.

A *point* is one recorded value; the exact percentiles come from the points that are kept. A *series*
is one metric under one label set, and lasts longer than its points: it is what Prometheus reads.

`metrics`, at the end, is process-wide state, because the API it serves is: host code imports that
name and records into it from anywhere. Everything else takes a collector as an argument.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from array import array
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, SupportsFloat, SupportsIndex, cast

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.faults import around_forks
from dytopo_autotrace.collect.series import (
    AMOUNTS,
    KINDS,
    SECONDS,
    Family,
    Kind,
    Labels,
    MetricFamily,
    MetricPoint,
    MetricSeries,
    Points,
    Series,
)

if TYPE_CHECKING:
    from types import TracebackType

OVERFLOW: Final[Labels] = (("otel_metric_overflow", "true"),)
"""Labels of the series that takes what exceeds a limit: OpenTelemetry's convention."""

MAX_REFUSALS: Final = 20
MAX_NAME: Final = 100
LOSSES: Final = "dytopo_metrics_losses_total"
"""Name of the counter under which a collector exposes its own losses."""

LONGEST_TEXT: Final = 1024
"""Characters kept of a name or a label's value."""


class _Done(Coroutine[Any, Any, None]):
    """What `record` returns: its work is done, so awaiting it, or not, makes no difference.

    It is a coroutine to the event loop (`create_task`, `gather`, `run` take it), and a real one
    would warn when it is never awaited.
    """

    __slots__ = ()

    def send(self, _value: Any) -> Any:
        raise StopIteration

    def throw(
        self,
        kind: BaseException | type[BaseException],
        value: object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        error = kind if isinstance(kind, BaseException) else kind()
        if isinstance(value, BaseException):
            error = value
        raise error.with_traceback(traceback) if traceback else error

    def close(self) -> None:
        pass

    def __await__(self) -> Any:
        return iter(())


DONE: Final = _Done()


def _nothing() -> None:
    """Hand nothing over: nobody feeds this collector late."""


def _text(value: object) -> str:
    """Any value as text, cut to what is kept; the host's `str` may do as it likes."""
    if type(value) is not str:
        try:
            value = str.__str__(value) if isinstance(value, str) else str(value)
        except Exception:
            value = f"<{type(value).__name__}>"
    return value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"


def _is_plain(value: object) -> bool:
    # Only text can be looked up: in other types what is equal need not read the same (1 and True).
    return type(value) is str and len(value) <= LONGEST_TEXT


def _pairs(labels: Mapping[str, object]) -> Labels:
    return tuple(
        [
            (_text(key), value if type(value) is str else _text(value))
            for key, value in labels.items()
        ]
    )


def _number(value: object) -> float:
    """The value as a float, NaN if it is none (text that looks like a number is none)."""
    if isinstance(value, (str, bytes, bytearray)):
        return math.nan
    try:
        return float(cast("SupportsFloat | SupportsIndex", value))
    except Exception:
        return math.nan


def _median(ordered: Sequence[float]) -> float:
    # Not the statistics module: importing it takes longer than all else that this one imports.
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _percentile(ordered: list[float], p: float) -> float:
    return ordered[min(int(len(ordered) * p), len(ordered) - 1)]


def _new_family(name: str, kind: Kind | None, buckets: Iterable[float] | None, text: str) -> Family:
    if kind is None:
        kind = "histogram" if name.endswith("_seconds") else "gauge"
    if kind != "histogram":
        return Family(name, kind, (), text)
    bounds = sorted({bound for bound in map(_number, buckets or ()) if math.isfinite(bound)})
    default = SECONDS if name.endswith("_seconds") else AMOUNTS
    return Family(name, kind, tuple(bounds) or default, text)


def _losses_family(losses: Mapping[str, int]) -> MetricFamily:
    series = tuple(
        MetricSeries((("reason", reason),), count, float(count), 0.0, 0.0, 0.0, 0.0)
        for reason, count in losses.items()
    )
    text = "What the metrics collector could not keep as it came, by reason."
    return MetricFamily(LOSSES, "counter", text, series)


_collectors: weakref.WeakSet[MetricsCollector] = weakref.WeakSet()


def _after_fork() -> None:
    # Another thread of the parent may have held a lock at that moment; nobody here will release it.
    for collector in list(_collectors):
        collector._lock = threading.Lock()  # noqa: SLF001


around_forks(after_in_child=_after_fork)

_Observation = tuple[Kind | None, str, float, Labels, float, Iterable[float] | None, str]


class MetricsCollector:
    """Takes numbers from any thread and any event loop, and answers questions about them.

    `record` and `observe` never raise, cannot deadlock wherever they are called, and count what they
    could not keep: `dropped_points` (the oldest gave way to newer ones), `refused` (not a finite number,
    a negative step of a counter, a name too many), `overflowed` (went to the overflow series) and
    `conflicting` (came as another kind than the metric was first seen with, and was counted as that).

    Every query calls `before_query` first: whoever feeds the collector late can hand over the rest.
    """

    def __init__(
        self,
        retention_hours: float = 24.0,
        *,
        max_points: int = 200_000,
        max_label_sets: int = 2_000,
        max_series: int = 20_000,
    ) -> None:
        """Keep at most so many points, label sets of one metric, and series of all metrics."""
        self.retention_hours = retention_hours
        self.max_points = max(1, max_points)
        self.max_label_sets = max_label_sets
        self.max_series = max_series
        self.before_query: Callable[[], object] = _nothing
        self._waiting: deque[_Observation] = deque()
        self._lock = threading.Lock()
        self._forget()
        _collectors.add(self)

    def _forget(self) -> None:
        self._points = Points(self.max_points)
        self._families: dict[str, Family] = {}
        self._series: list[Series] = []
        self._lookup: dict[tuple[str, Labels], Series] = {}
        self._overwritten = 0
        self.refused = 0
        self.refusals: Counter[tuple[str, str]] = Counter()
        """What was refused by metric and reason, of the first metrics that had any refused."""
        self.overflowed = 0
        self.conflicting = 0

    # Taking numbers in

    def record(self, name: str, value: float, **labels: Any) -> Coroutine[Any, Any, None]:
        """Record a value now; `await` the result or leave it.

        A metric first seen here is a gauge, or a histogram if its name ends in `_seconds`.
        """
        try:
            pairs = _pairs(labels) if labels else ()
            self.observe(None, name, value, pairs, clock.unix_seconds(clock.now_ns()))
        except Exception:
            self._refuse(name, "not a number")
        return DONE

    def observe(
        self,
        kind: Kind | None,
        name: str,
        value: float,
        labels: Labels | Mapping[str, object],
        timestamp: float,
        buckets: Iterable[float] | None = None,
        help: str = "",  # noqa: A002 - the exposition format's word
    ) -> None:
        """Record a value of a metric whose kind is known, at a Unix time in seconds.

        Labels are looked up fastest as a tuple of (name, value) pairs in an order that stays the same.
        """
        try:
            # The host's own conversions run here, before the lock is taken.
            if type(value) is not float:
                value = _number(value)
            if type(name) is not str:
                name = _text(name)
            if type(labels) is not tuple:
                labels = _pairs(cast("Mapping[str, object]", labels))
            # A held lock is another thread's, or our own if a signal handler or a finalizer came
            # in between: waiting for it could wait forever, so the holder's successor does the work.
            if self._lock.locked():
                self._waiting.append((kind, name, value, labels, timestamp, buckets, help))
                return
            with self._lock:
                if self._waiting:
                    self._apply_waiting()
                self._apply(kind, name, value, labels, timestamp, buckets, help)
        except Exception:
            self._refuse(name, "not a number")

    def observe_many(
        self,
        name: str,
        labels: Labels,
        seconds: list[float],
        timestamps: list[float],
        help: str = "",  # noqa: A002
    ) -> None:
        """Record several values of one histogram series at once, oldest first.

        Unlike `observe` it takes plain floats, and labels as a tuple of (name, value) pairs only.
        """
        if not seconds:
            return
        try:
            observations = zip(seconds, timestamps, strict=True)
            if self._lock.locked():
                self._waiting.extend(
                    ("histogram", name, value, labels, timestamp, None, help)
                    for value, timestamp in observations
                )
                return
            with self._lock:
                if self._waiting:
                    self._apply_waiting()
                series = self._lookup.get((name, labels))
                if series is None or series.kind != "histogram":
                    # The first of its kind, or no histogram elsewhere: the long way says which.
                    for value, timestamp in observations:
                        self._apply("histogram", name, value, labels, timestamp, None, help)
                    return
                self._points.extend(series.index, seconds, timestamps)
                series.extend(seconds, timestamps)
        except Exception:
            self.refused += 1

    def _apply(
        self,
        kind: Kind | None,
        name: str,
        value: float,
        labels: Labels,
        timestamp: float,
        buckets: Iterable[float] | None,
        text: str,
    ) -> None:
        if not -math.inf < value < math.inf:
            self._refuse(name, "not finite")
            return
        try:
            series = self._lookup[name, labels]
        except (KeyError, TypeError):
            found = self._find(kind, name, labels, buckets, text)
            if found is None:
                self._refuse(name, "too many metrics")
                return
            series = found
        if kind != series.kind and kind is not None:
            self.conflicting += 1
        if value < 0 and series.kind == "counter":
            self._refuse(name, "negative step")
            return
        self._points.add(series.index, value, timestamp)
        series.add(value, timestamp)

    def _refuse(self, name: object, what: str) -> None:
        self.refused += 1
        key = (name[:MAX_NAME] if type(name) is str else "", what)
        if key in self.refusals or len(self.refusals) < MAX_REFUSALS:
            self.refusals[key] += 1

    def _apply_waiting(self) -> None:
        while self._waiting:
            try:
                self._apply(*self._waiting.popleft())
            except Exception:
                self.refused += 1

    def _find(
        self,
        kind: Kind | None,
        name: str,
        labels: Labels,
        buckets: Iterable[float] | None,
        text: str,
    ) -> Series | None:
        """The series for these labels in any order, a new one, the overflow series, or none."""
        given = (name, labels)
        name = _text(name)  # Cut, if it is too long.
        labels = tuple(sorted({_text(key): _text(value) for key, value in labels}.items()))
        family = self._families.get(name)
        if family is None:
            if len(self._series) >= self.max_series or (kind is not None and kind not in KINDS):
                return None
            family = _new_family(name, kind, buckets, text)
            self._families[name] = family
        elif text and not family.help:
            family.help = text
        series = family.series.get(labels)
        if series is None:
            if self._is_full(family):
                labels = OVERFLOW
                self.overflowed += 1
                series = family.series.get(labels)
            if series is None:
                series = Series(family, labels, len(self._series))
                self._series.append(series)
                family.series[labels] = series
        if (
            labels is not OVERFLOW
            and len(self._lookup) < 2 * self.max_series
            and _is_plain(given[0])
            and all(_is_plain(part) for pair in given[1] for part in pair)
        ):
            self._lookup[given] = series
        return series

    def _is_full(self, family: Family) -> bool:
        return bool(family.series) and (
            len(family.series) - (OVERFLOW in family.series) >= self.max_label_sets
            or len(self._series) >= self.max_series
        )

    # Answering questions. Each has a synchronous core, for threads that have no event loop.

    def _hand_over(self) -> None:
        try:
            self.before_query()
        except Exception:
            pass  # Whoever feeds us counts its own faults.

    def _columns(self) -> tuple[array[float], array[float], array[int], list[Series]]:
        self._hand_over()
        with self._lock:
            self._apply_waiting()
            return *self._points.columns(), self._series

    def remarks(self) -> Iterator[str]:
        """What a reader of the metrics should know of what was not kept as it came, in words."""
        named = 0
        for (name, what), count in sorted(self.refusals.items()):
            named += count
            yield f"{name or 'a metric'}: {count:,} refused ({what})"
        if self.refused > named:
            yield f"metrics: {self.refused - named:,} others refused"
        complete = "totals are complete"
        if self.dropped_points:
            count = self.dropped_points
            yield f"metrics: single values that gave way to newer ones: {count:,}; {complete}"
        if self.overflowed:
            count = self.overflowed
            yield f"metrics: values merged, since they had too many labels: {count:,}; {complete}"
        if self.conflicting:
            yield f"metrics: values that came as another kind than before: {self.conflicting:,}"

    @property
    def dropped_points(self) -> int:
        """How many points gave way to newer ones."""
        return self._overwritten + self._points.overwritten

    def losses(self) -> dict[str, int]:
        """What was not kept as it came, by reason."""
        return {
            "dropped_points": self.dropped_points,
            "refused": self.refused,
            "overflowed": self.overflowed,
            "conflicting": self.conflicting,
        }

    def stats(self, name: str, labels: Mapping[str, object] | None = None) -> dict[str, float]:
        """What the kept points of a metric say whose labels include these; `{}` if there are none.

        A percentile p is the value at index `int(n * p)` of the sorted ones: one that was measured.
        """
        wanted = {(_text(key), _text(value)) for key, value in (labels or {}).items()}
        values, _, owners, series = self._columns()
        indices = {
            index
            for index, each in enumerate(series)
            if each.name == name and wanted.issubset(each.labels)
        }
        kept = sorted(
            value for value, owner in zip(values, owners, strict=True) if owner in indices
        )
        if not kept:
            return {}
        total, count = sum(kept), len(kept)
        return {
            "count": count,
            "sum": total,
            "min": kept[0],
            "max": kept[-1],
            "mean": total / count,
            "median": _median(kept),
            "p50": _percentile(kept, 0.50),
            "p95": _percentile(kept, 0.95),
            "p99": _percentile(kept, 0.99),
        }

    def points(self) -> list[MetricPoint]:
        """The kept points in the order of their times."""
        values, times, owners, series = self._columns()
        found = [
            MetricPoint(series[owner].name, value, time, dict(series[owner].labels))
            for value, time, owner in zip(values, times, owners, strict=True)
        ]
        found.sort(key=lambda point: point.timestamp)
        return found

    def summary(self) -> dict[str, Any]:
        """How many points are kept, from when, and count, mean, min and max of each metric."""
        values, times, owners, series = self._columns()
        if not values:
            return {"total_metrics": 0}
        by_name: dict[str, list[float]] = {}
        for value, owner in zip(values, owners, strict=True):
            by_name.setdefault(series[owner].name, []).append(value)
        return {
            "total_metrics": len(values),
            "unique_metric_names": len(by_name),
            "oldest_metric": min(times),
            "newest_metric": max(times),
            "metrics": {
                name: {
                    "count": len(kept),
                    "mean": sum(kept) / len(kept),
                    "min": min(kept),
                    "max": max(kept),
                }
                for name, kept in sorted(by_name.items())
            },
        }

    def families(self) -> list[MetricFamily]:
        """Every metric by name, then the collector's own losses; none if it never saw a number."""
        self._hand_over()
        with self._lock:
            self._apply_waiting()
            found = [family.snapshot() for _, family in sorted(self._families.items())]
            losses = self.losses()
        found = [family for family in found if family.series]
        return [*found, _losses_family(losses)] if found or any(losses.values()) else []

    def cleanup(self) -> int:
        """Forget points older than the retention, and series that are older still; how many points.

        A metric that comes back later counts from zero again, which is a restart to Prometheus.
        """
        self._hand_over()
        oldest = clock.unix_seconds(clock.now_ns()) - self.retention_hours * 3600
        with self._lock:
            self._apply_waiting()
            values, times, owners = self._points.columns()
            old = sum(time < oldest for time in times)
            series = [each for each in self._series if each.timestamp >= oldest]
            if not old and len(series) == len(self._series):
                return 0
            number = {each.index: index for index, each in enumerate(series)}
            points = Points(self.max_points)
            for value, time, owner in zip(values, times, owners, strict=True):
                if time >= oldest:
                    points.add(number[owner], value, time)
            families = {name: family.emptied() for name, family in self._families.items()}
            for index, each in enumerate(series):
                each.index = index
                families[each.name].series[each.labels] = each
            # A query that is under way keeps the old lists, so these are new ones.
            self._families = {name: each for name, each in families.items() if each.series}
            self._series = series
            self._lookup = {}
            self._overwritten += self._points.overwritten
            self._points = points
        return old

    def write_prometheus(self, path: str | os.PathLike[str]) -> None:
        """Write the text exposition format to a file."""
        # The classic API asks the collector to write files; the formats live to the right of it.
        from dytopo_autotrace.export import prometheus, replace_file  # noqa: PLC0415

        replace_file(path, prometheus.render(self.families()).encode())

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write the kept points, and what was lost, to a JSON file."""
        from dytopo_autotrace.export import classic  # noqa: PLC0415

        classic.write_json(
            path, classic.metrics(self.points(), self.retention_hours, self.losses())
        )

    def reset(self) -> None:
        """Forget everything, losses included."""
        self._hand_over()
        with self._lock:
            self._waiting.clear()
            self._forget()

    # The classic names of the same

    async def get_stats(self, name: str, **labels: Any) -> dict[str, float]:
        """See `stats`."""
        return self.stats(name, labels)

    async def get_all_metrics(self) -> list[MetricPoint]:
        """See `points`."""
        return self.points()

    async def cleanup_old_metrics(self) -> int:
        """See `cleanup`."""
        return self.cleanup()

    async def export_prometheus(self, path: str | os.PathLike[str]) -> None:
        """See `write_prometheus`."""
        self.write_prometheus(path)

    async def export_json(self, path: str | os.PathLike[str]) -> None:
        """See `write_json`."""
        self.write_json(path)

    async def get_summary(self) -> dict[str, Any]:
        """See `summary`."""
        return self.summary()

    async def clear(self) -> None:
        """See `reset`."""
        self.reset()


metrics: Final = MetricsCollector()
"""The process-wide collector that the classic API names."""
