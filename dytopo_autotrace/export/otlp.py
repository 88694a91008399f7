"""OTLP in its JSON form: what OpenTelemetry's receivers take at `/v1/traces` and `/v1/metrics`.

A file has one request a line, as the Collector's file exporter and receiver have it; a run of up to
`SPANS_PER_LINE` spans is a single line, which can be posted as it is.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export.genai import SCHEMA_URL
from dytopo_autotrace.export.run import ExportedSpan, Run
from dytopo_autotrace.export.values import compact, plain, separated, text

if TYPE_CHECKING:
    from dytopo_autotrace.collect.series import MetricFamily, MetricSeries

Json = dict[str, Any]

SPANS_PER_LINE: Final = 10_000

_INTERNAL, _CLIENT = 1, 3
_ERROR: Final = 2
_CUMULATIVE: Final = 2


def traces(run: Run) -> Iterator[str]:
    """Export requests for the spans, one a line, a chunk for each span."""
    services: dict[str, list[Span]] = {run.service: []}
    for span in run.tree.spans:
        services.setdefault(run.service_of(span), []).append(span)
    for service, spans in services.items():
        for first in range(0, len(spans), SPANS_PER_LINE):
            batch = map(run.exported, spans[first : first + SPANS_PER_LINE])
            yield _opening("resourceSpans", "scopeSpans", "spans", _resource(run, service))
            yield from separated((compact(_span(each)) for each in batch), ",")
            yield _CLOSING
    if not run.tree.spans:
        yield _opening("resourceSpans", "scopeSpans", "spans", _resource(run, run.service))
        yield _CLOSING


def metrics(run: Run, families: Iterable[MetricFamily], units: Mapping[str, str]) -> Iterator[str]:
    """An export request for the metrics, a chunk for each; `units` has those that are known."""
    started = run.records.started_unix_ns or clock.unix_ns(run.tree.first_ns)
    yield _opening("resourceMetrics", "scopeMetrics", "metrics", _resource(run, run.service))
    yield from separated(
        (compact(_metric(each, units.get(each.name, ""), started)) for each in families), ","
    )
    yield _CLOSING


def _opening(resource_key: str, scope_key: str, key: str, resource: Json) -> str:
    scope = compact({"name": "dytopo_autotrace", "version": resource["telemetry.sdk.version"]})
    described = compact({"attributes": attributes(resource)})
    return (
        f'{{"{resource_key}":[{{"resource":{described},'
        f'"{scope_key}":[{{"scope":{scope},"schemaUrl":"{SCHEMA_URL}","{key}":['
    )


_CLOSING: Final = f']}}],"schemaUrl":"{SCHEMA_URL}"}}]}}\n'


def _resource(run: Run, service: str) -> Json:
    found = run.resource()
    if service != run.service:
        found = {key: value for key, value in found.items() if not key.startswith("dytopo.")}
    return {"service.name": service, **found}


def attributes(values: Mapping[str, Any]) -> list[Json]:
    """Plain values as a list of key and typed value."""
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> Json:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {}  # The form of a value that is null.


def _span(each: ExportedSpan) -> Json:
    span = each.span
    found: Json = {"traceId": span.trace_id, "spanId": span.span_id}
    if span.parent_id is not None:
        found["parentSpanId"] = span.parent_id
    found["name"] = each.name
    found["kind"] = _CLIENT if each.is_client else _INTERNAL
    found["startTimeUnixNano"] = str(each.start_ns)
    found["endTimeUnixNano"] = str(each.end_ns)
    found["attributes"] = attributes(each.attributes)
    if each.withheld:
        found["droppedAttributesCount"] = each.withheld
    if each.events:
        found["events"] = [
            {
                "timeUnixNano": str(event.unix_ns),
                "name": event.name,
                "attributes": attributes(event.attributes),
            }
            for event in each.events
        ]
    if each.links:
        found["links"] = [{"traceId": to.trace_id, "spanId": to.span_id} for to in each.links]
    if each.lost_links:
        found["droppedLinksCount"] = each.lost_links
    # What succeeded is left unset: OK is for a person's final word, say the conventions.
    found["status"] = {"code": _ERROR, "message": each.message} if each.failed else {}
    return found


def _metric(family: MetricFamily, unit: str, started: int) -> Json:
    found: Json = {"name": text(family.name)}
    if family.help:
        found["description"] = text(family.help)
    if unit:
        found["unit"] = unit
    points = [_point(family, series, started) for series in family.series]
    if family.kind == "counter":
        found["sum"] = {
            "dataPoints": points,
            "aggregationTemporality": _CUMULATIVE,
            "isMonotonic": True,
        }
    elif family.kind == "gauge":
        found["gauge"] = {"dataPoints": points}
    else:
        found["histogram"] = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE}
    return found


def _point(family: MetricFamily, series: MetricSeries, started: int) -> Json:
    found: Json = {
        "attributes": attributes({text(key): text(value) for key, value in series.labels})
    }
    now = max(int(series.timestamp * 1e9), started)
    if family.kind != "gauge":
        found["startTimeUnixNano"] = str(started)
    found["timeUnixNano"] = str(now)
    if family.kind == "histogram":
        found["count"] = str(series.count)
        found["sum"] = plain(series.sum)
        found["min"] = plain(series.min)
        found["max"] = plain(series.max)
        found["bucketCounts"] = [str(count) for count in series.bucket_counts]
        found["explicitBounds"] = list(family.bounds)
    else:
        found["asDouble"] = plain(series.sum if family.kind == "counter" else series.last)
    return found
