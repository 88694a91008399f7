"""What is left to do once a call is over: soft failures, long text, and the numbers it stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.collect.span import FAILED, ErrorInfo, Span

DURATION = "dytopo_operation_duration_seconds"
DURATION_HELP = "Seconds that watched calls took, by operation, role, agent and status."

MAX_BITS = 64
"""Whole numbers of more bits are not kept: nobody reads them, and they can have any size."""

REDACTED = "[redacted]"
"""Stands for a value of which nothing is kept."""

_CUT = "… ("


def settle(spans: Sequence[Span]) -> None:
    """Decide soft failures and cut captured text to its limit; comes before all other consumers."""
    for span in spans:
        site = span.site
        if site.failed_if and span.status == "success" and span.captured(FAILED) is True:
            span.status = "error"
            span.error = ErrorInfo(
                type_name="SoftFailure",
                message=f"failed_if held: {site.failed_if}",
                soft=True,
            )
        if span.at_entry:
            span.at_entry = _cut(span.at_entry, site.max_length)
        if span.at_exit:
            span.at_exit = _cut(span.at_exit, site.max_length)


def _cut(values: tuple[Any, ...], limit: int) -> tuple[Any, ...]:
    for value in values:
        kind = type(value)
        if (kind is str and len(value) > limit) or (kind is int and value.bit_length() > MAX_BITS):
            return tuple(_cut_one(each, limit) for each in values)
    return values


def _cut_one(value: Any, limit: int) -> Any:
    if type(value) is str and len(value) > limit:
        return value if _is_cut(value, limit) or value == REDACTED else cut(value, limit)
    if type(value) is int and value.bit_length() > MAX_BITS:
        return f"int of {value.bit_length()} bits"
    return value


def cut(text: str, limit: int) -> str:
    """A text up to its limit, and how long it was."""
    return text if len(text) <= limit else f"{text[:limit]}{_CUT}{len(text)} characters)"


def _is_cut(text: str, limit: int) -> bool:
    return text.startswith(_CUT, limit) and len(text) < limit + 40


class Measurer:
    """Records the duration of each span, and what its rule measures, into a metrics collector."""

    def __init__(self, metrics: MetricsCollector) -> None:
        self.unmeasured: Counter[str] = Counter()
        """How often a metric's value was no number, by metric name."""
        self._metrics = metrics

    def measure(self, spans: Sequence[Span]) -> None:
        self._measure_durations(spans)
        observe = self._metrics.observe
        for span in spans:
            site = span.site
            if not site.measurements and not site.observed:
                continue
            ended = span.end_time or 0.0
            measured = span.measurements
            is_short = site.observed or len(measured) < len(site.measurements)
            if is_short and span.error is None:
                self._count_unmeasured(span)
            specs = {each.name: each for each in site.measurements}
            for name, kind, value, labels in measured:
                spec = specs.get(name)
                if spec is None:
                    observe(kind, name, value, labels, ended)  # type: ignore[arg-type] # checked where it was said
                else:
                    observe(spec.kind, name, value, labels, ended, spec.buckets, help=spec.help)

    def _measure_durations(self, spans: Sequence[Span]) -> None:
        # By series, since looking one up costs more than all that is added to it.
        groups: dict[tuple[int, str, str], tuple[Span, list[float], list[float]]] = {}
        for span in spans:
            key = id(span.site), span.agent, span.status
            group = groups.get(key)
            if group is None:
                group = groups[key] = (span, [], [])
            group[1].append((span.end_ns - span.start_ns) / 1e9)
            group[2].append(clock.unix_seconds(span.end_ns))
        for first, seconds, ended in groups.values():
            labels = (
                ("agent", first.agent),
                ("operation", first.site.operation),
                ("role", first.site.role),
                ("status", first.status),
            )
            self._metrics.observe_many(DURATION, labels, seconds, ended, DURATION_HELP)

    def _count_unmeasured(self, span: Span) -> None:
        for each in span.site.measurements:
            if not isinstance(span.captured(each.value), int | float):
                self.unmeasured[each.name] += 1
