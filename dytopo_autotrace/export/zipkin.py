"""Spans as Zipkin v2 JSON, the body of `POST /api/v2/spans`.

Zipkin has whole microseconds of at least one, text for every tag, and names in lower case. It has
no links; they are the tag `dytopo.links`, as `trace:span` with spaces between. It has no place for
what is true of a whole run; those are tags of the first span.

https://zipkin.io/zipkin-api/
https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dytopo_autotrace.export.run import RUN, ExportedSpan, Run
from dytopo_autotrace.export.values import compact, separated


def render(run: Run) -> Iterator[str]:
    """One JSON array, a chunk for each span."""
    yield "["
    yield from separated(
        compact(_span(each, {} if index else run.resource()))
        for index, each in enumerate(run.spans())
    )
    yield "]\n"


def _span(each: ExportedSpan, of_run: Mapping[str, Any]) -> dict[str, Any]:
    span = each.span
    start = each.start_ns // 1000
    found: dict[str, Any] = {"traceId": span.trace_id, "id": span.span_id}
    if span.parent_id is not None:
        found["parentId"] = span.parent_id
    found["name"] = each.name.lower()
    if each.is_client:
        found["kind"] = "CLIENT"
    found["timestamp"] = start
    found["duration"] = max(each.end_ns // 1000 - start, 1)
    found["localEndpoint"] = {"serviceName": each.service.lower()}
    if each.events:
        found["annotations"] = [
            {
                "timestamp": event.unix_ns // 1000,
                "value": f"{compact(event.name)}: {compact(event.attributes)}",
            }
            for event in each.events
        ]
    tags = [*((key, of_run[key]) for key in of_run if key.startswith(RUN)), *_tags(each)]
    found["tags"] = {key: _text(value) for key, value in tags}
    return found


def _tags(each: ExportedSpan) -> Iterator[tuple[str, Any]]:
    yield from each.attributes.items()
    if each.service != each.service.lower():
        yield "dytopo.service", each.service
    if each.links:
        yield "dytopo.links", " ".join(f"{to.trace_id}:{to.span_id}" for to in each.links)
    if each.failed:
        yield "otel.status_code", "ERROR"
        yield "error", each.message


def _text(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)
