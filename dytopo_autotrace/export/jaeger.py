"""Traces as the JSON that Jaeger's UI takes and gives ("JSON File" upload, `/api/traces`).

Times are whole microseconds, start and end cut alike, so that spans stay inside their parents.
Links are references FOLLOWS_FROM, after the parent's CHILD_OF.

https://github.com/jaegertracing/jaeger/blob/main/internal/uimodel/model.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export.run import ExportedSpan, Run
from dytopo_autotrace.export.values import compact, separated, text

Json = dict[str, Any]


def render(run: Run) -> Iterator[str]:
    """One JSON document with every trace, a chunk for each span."""
    traces: dict[int, list[Span]] = {}
    for span in run.tree.spans:
        traces.setdefault(span.trace, []).append(span)
    warnings = [text(remark) for remark in (*run.records.remarks, *run.tree.remarks)]
    before = '{"data":['
    for spans in traces.values():
        yield f'{before}{{"traceID":"{spans[0].trace_id}","spans":['
        processes: dict[str, str] = {}
        exported = map(run.exported, spans)
        yield from separated(compact(_span(each, processes)) for each in exported)
        tags = _tags(run.resource())
        described = {
            process: {"serviceName": service, "tags": tags if service == run.service else []}
            for service, process in processes.items()
        }
        yield f'],"processes":{compact(described)},"warnings":{compact(warnings)}}}'
        before = ",\n"
    yield "]}\n" if traces else '{"data":[]}\n'


def _span(each: ExportedSpan, processes: dict[str, str]) -> Json:
    span = each.span
    start = each.start_ns // 1000
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": each.name,
        "references": list(_references(each)),
        "startTime": start,
        "duration": each.end_ns // 1000 - start,
        "tags": _tags(dict(_all_tags(each))),
        "logs": [
            {
                "timestamp": event.unix_ns // 1000,
                "fields": _tags({"event": event.name, **event.attributes}),
            }
            for event in each.events
        ],
        "processID": processes.setdefault(each.service, f"p{len(processes) + 1}"),
        "warnings": [],
    }


def _references(each: ExportedSpan) -> Iterator[Json]:
    span = each.span
    if span.parent_id is not None:
        yield {"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": span.parent_id}
    for other in each.links:
        yield {"refType": "FOLLOWS_FROM", "traceID": other.trace_id, "spanID": other.span_id}


def _all_tags(each: ExportedSpan) -> Iterable[tuple[str, Any]]:
    yield "span.kind", "client" if each.is_client else "internal"
    if each.failed:
        yield "error", True
        yield "otel.status_code", "ERROR"
        if each.message:
            yield "otel.status_description", each.message
    yield from each.attributes.items()


def _tags(values: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, **_typed(value)} for key, value in values.items()]


def _typed(value: Any) -> Json:
    if isinstance(value, bool):
        return {"type": "bool", "value": value}
    if isinstance(value, int):
        return {"type": "int64", "value": value}
    if isinstance(value, float):
        return {"type": "float64", "value": value}
    return {"type": "string", "value": value if isinstance(value, str) else compact(value)}
