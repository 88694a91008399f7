"""The metrics of a run, worked out from its spans: what it measured, and the two of the conventions."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.metrics import LOSSES, MetricsCollector
from dytopo_autotrace.collect.series import KINDS, Kind, MetricFamily
from dytopo_autotrace.collect.settle import DURATION, DURATION_HELP
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export import genai
from dytopo_autotrace.export.run import Run

_HELP: Final = {
    genai.OPERATION_DURATION: "GenAI operation duration.",
    genai.TOKEN_USAGE: "Number of input and output tokens used.",
}
_BUCKETS: Final = {
    genai.OPERATION_DURATION: genai.DURATION_BUCKETS,
    genai.TOKEN_USAGE: genai.TOKEN_BUCKETS,
}
_KINDS: Final[dict[str, Kind]] = {kind: kind for kind in KINDS}
_UNITS: Final = {genai.OPERATION_DURATION: "s", genai.TOKEN_USAGE: "{token}"}


def families(run: Run, *, client: bool = True) -> list[MetricFamily]:
    """Every metric of the run, by name. A span that still runs has no duration yet.

    Args:
        client: also the two of the conventions, which no program records itself.
    """
    collector = MetricsCollector(max_points=sys.maxsize)
    for span in run.tree.spans:
        ended = clock.unix_seconds(run.tree.ends[span.id])
        if span.end_ns:
            labels = (
                *(("agent", span.agent), ("operation", span.operation)),
                *(("role", span.role), ("status", span.status)),
            )
            seconds = run.tree.seconds(span)
            collector.observe("histogram", DURATION, seconds, labels, ended, help=DURATION_HELP)
        _measured(collector, span, ended)
        if client:
            observe_client(collector, run, span, ended)
    # The collector's losses are told only if there are any: there were none while it ran.
    lost = any(collector.losses().values())
    return [each for each in collector.families() if lost or each.name != LOSSES]


def observe_client(collector: MetricsCollector, run: Run, span: Span, ended: float) -> None:
    """Add what a model call means to the two histograms of a client; nothing for other spans."""
    if span.role != "llm":
        return
    for name, value, pairs in genai.observations(span, run.exported(span).attributes):
        collector.observe("histogram", name, value, pairs, ended, _BUCKETS[name], _HELP[name])


def unit(name: str) -> str:
    """The metric's unit in UCUM, `""` if its name does not tell."""
    if name in _UNITS:
        return _UNITS[name]
    return "s" if name.removesuffix("_total").endswith("_seconds") else ""


def as_prometheus_names(found: Iterable[MetricFamily]) -> list[MetricFamily]:
    """OpenTelemetry's mapping to Prometheus: what is in seconds says so in its name."""
    return [
        replace(each, name=f"{each.name}_seconds")
        if "." in each.name and unit(each.name) == "s"
        else each
        for each in found
    ]


def _measured(collector: MetricsCollector, span: Span, ended: float) -> None:
    measured = span.measurements
    if not measured:
        return
    # Records that were read back know no more of a metric than its kind.
    specs = {each.name: each for each in span.site.measurements}
    for name, kind, value, labels in measured:
        spec = specs.get(name)
        if known := _KINDS.get(kind):
            buckets, text = (spec.buckets, spec.help) if spec else (None, "")
            collector.observe(known, name, value, labels, ended, buckets, text)
