"""Every format that a run can be exported to, by name: the one list that all else goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.errors import UsageError, nearest
from dytopo_autotrace.export import (
    classic_run,
    jaeger,
    otlp,
    perfetto,
    prometheus,
    tabular,
    topology,
    zipkin,
)
from dytopo_autotrace.export.families import as_prometheus_names, families, unit
from dytopo_autotrace.export.run import Run

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords

Chunks = Iterator[str] | Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """How a run is written in one format: a function to chunks, and how files are called."""

    render: Callable[[Run], Chunks]
    suffix: str
    description: str
    has_spans: bool = True
    """Whether it has spans with their values, or only what was worked out from them."""
    is_streamed: bool = True
    """Whether a chunk stands for about one span, so that it can be seen how far it is."""


def _otlp_metrics(run: Run) -> Iterator[str]:
    found = families(run)
    return otlp.metrics(run, found, {each.name: unit(each.name) for each in found})


def _prometheus(run: Run) -> Iterator[str]:
    yield prometheus.render(as_prometheus_names(families(run)))


def _openmetrics(run: Run) -> Iterator[str]:
    yield prometheus.render_openmetrics(as_prometheus_names(families(run)))


FORMATS: Final[Mapping[str, Format]] = {
    "otlp": Format(
        otlp.traces, ".otlp.json", "OTLP JSON of the spans, for OpenTelemetry's receivers"
    ),
    "otlp-metrics": Format(
        _otlp_metrics,
        ".otlp-metrics.json",
        "OTLP JSON of the metrics, for the same receivers",
        has_spans=False,
        is_streamed=False,
    ),
    "jaeger": Format(jaeger.render, ".jaeger.json", "Jaeger JSON, for the upload in Jaeger's UI"),
    "zipkin": Format(zipkin.render, ".zipkin.json", "Zipkin v2 JSON, for Zipkin's /api/v2/spans"),
    "perfetto": Format(
        perfetto.render,
        ".perfetto.json",
        "Chrome trace JSON, for ui.perfetto.dev: a track an agent",
    ),
    "prometheus": Format(
        _prometheus, ".prom", "metrics as Prometheus text 0.0.4", has_spans=False, is_streamed=False
    ),
    "openmetrics": Format(
        _openmetrics,
        ".openmetrics",
        "metrics as OpenMetrics 1.0",
        has_spans=False,
        is_streamed=False,
    ),
    "classic": Format(
        classic_run.render,
        ".classic.json",
        "the classic JSON of export_trace, every trace in one file",
        is_streamed=False,
    ),
    "csv": Format(tabular.csv_text, ".csv", "a table with a row for each span"),
    "parquet": Format(tabular.parquet, ".parquet", "the same table for notebooks (needs pyarrow)"),
    "mermaid": Format(
        topology.mermaid,
        ".mmd",
        "who sent to whom, as a Mermaid flowchart",
        has_spans=False,
        is_streamed=False,
    ),
    "graphviz": Format(
        topology.graphviz,
        ".dot",
        "who sent to whom, as a Graphviz digraph",
        has_spans=False,
        is_streamed=False,
    ),
}
"""Format by name."""


def find(name: str) -> Format:
    """The format of this name.

    Raises:
        UsageError: there is none.
    """
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"no format {name!r}. {nearest(name, FORMATS)}")
    return found


def render(name: str, records: RunRecords, *, content: bool = False) -> Iterator[bytes]:
    """A run in the format of this name, in chunks of a file's bytes.

    Raises:
        UsageError: there is no such format, or a library that it needs is missing.
    """
    return encoded(find(name).render(Run(records, content=content)))


def encoded(chunks: Chunks) -> Iterator[bytes]:
    """The chunks as they go into a file: text in UTF-8."""
    for chunk in chunks:
        yield chunk.encode() if isinstance(chunk, str) else chunk
