"""Reads the JSON of Jaeger's UI and its query API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dytopo_autotrace.importing.foreign import (
    BadSpan,
    Findings,
    ForeignEvent,
    ForeignSpan,
    is_true,
    mapping,
    restored,
    sequence,
    text,
    whole,
)

_OPENTRACING: Final = {
    "error.kind": "exception.type",
    "message": "exception.message",
    "stack": "exception.stacktrace",
}
"""Fields of a log of an error, as OpenTracing named them."""


def is_trace(document: Any) -> bool:
    """Whether this is one trace."""
    return isinstance(document, dict) and "spans" in document and "traceID" in document


def is_span(document: Any) -> bool:
    """Whether this is a span by itself."""
    return isinstance(document, dict) and "traceID" in document and "spanID" in document


def bare(spans: list[Any]) -> dict[str, Any]:
    """A trace of these spans, each of which says itself which trace it is of."""
    return {"traceID": None, "spans": spans}


def is_traces(document: dict[str, Any]) -> bool:
    """Whether this is a trace, or the answer of the query API."""
    data = document.get("data")
    is_answer = isinstance(data, list) and (not data or any(map(is_trace, data)))
    return is_answer or is_trace(document)


def spans(document: dict[str, Any], findings: Findings, place: str) -> Iterator[ForeignSpan]:
    """The spans of every trace."""
    traces = [document] if is_trace(document) else sequence(document.get("data"))
    for first, trace in enumerate(traces):
        processes = mapping(mapping(trace).get("processes"))
        for process in processes.values():
            tags = _tags(mapping(process).get("tags"))
            if tags.get("telemetry.sdk.name") == "dytopo-autotrace" and not findings.resource:
                findings.resource = {**tags, "service.name": mapping(process).get("serviceName")}
        for second, each in enumerate(sequence(mapping(trace).get("spans"))):
            try:
                yield _span(each, mapping(trace).get("traceID"), processes)
            except BadSpan as fault:
                findings.leave_out(str(fault), f"{place}data[{first}].spans[{second}]")


def _span(written: Any, trace: Any, processes: dict[str, Any]) -> ForeignSpan:
    if not isinstance(written, dict):
        raise BadSpan("a span is not an object")
    tags = restored(_tags(written.get("tags")))
    trace = written.get("traceID") or trace
    process = mapping(written.get("process")) or mapping(
        processes.get(text(written.get("processID")))
    )
    start = whole(written.get("startTime"), "the start time of a span") * 1000
    duration = written.get("duration")
    error = tags.pop("error", None)
    status = text(tags.pop("otel.status_code", ""))
    span = ForeignSpan(
        trace=trace,
        id=written.get("spanID"),
        parent=None,
        name=text(written.get("operationName")),
        start_ns=start,
        end_ns=start + whole(duration, "the duration of a span") * 1000
        if duration is not None
        else None,
        kind=text(tags.pop("span.kind", "")).lower().replace("internal", ""),
        service=text(process.get("serviceName")),
        attributes=tags,
        events=[_log(mapping(each)) for each in sequence(written.get("logs"))],
        failed=is_true(error) or status == "ERROR",
        message=text(tags.pop("otel.status_description", "")),
    )
    if isinstance(error, str) and not is_true(error) and error.lower() != "false":
        tags["error"] = error
    _refer(span, written, trace)
    return span


def _refer(span: ForeignSpan, written: dict[str, Any], trace: Any) -> None:
    """Set parent and links: the first that it is a child of, or else follows from, is the parent."""
    references = [mapping(each) for each in sequence(written.get("references"))]
    follows = []
    for each in references:
        other, kind = each.get("spanID"), each.get("refType")
        same_trace = each.get("traceID") in (None, trace)
        if kind == "CHILD_OF" and same_trace and span.parent is None:
            span.parent = other
        else:
            follows.append((each.get("traceID") or trace, other))
    if span.parent is None:
        span.parent = written.get("parentSpanID") or None
    if span.parent is None and not span.is_ours:
        for index, (trace_of_other, other) in enumerate(follows):
            if trace_of_other == trace:
                span.parent = other
                del follows[index]
                break
    span.links = follows


def _log(written: dict[str, Any]) -> ForeignEvent:
    fields = _tags(written.get("fields"))
    name = text(fields.pop("event", ""))
    if name == "error" or (not name and "error.kind" in fields):
        name = "exception"
        fields = {_OPENTRACING.get(key, key): value for key, value in fields.items()}
    try:
        unix_ns = whole(written.get("timestamp"), "its time") * 1000
    except BadSpan:
        unix_ns = None
    return ForeignEvent(name, unix_ns, fields)


def _tags(written: Any) -> dict[str, Any]:
    # Elasticsearch keeps them as an object.
    found: dict[str, Any] = dict(written) if isinstance(written, dict) else {}
    for tag in sequence(written):
        if isinstance(tag, dict) and isinstance(tag.get("key"), str):
            value = tag.get("value")
            if tag.get("type") == "int64" and isinstance(value, str):
                try:
                    value = whole(value, "")
                except BadSpan:
                    pass
            found[tag["key"]] = value
    return found
