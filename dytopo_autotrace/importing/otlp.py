"""Reads OTLP's JSON form, also as protobuf's JSON printer and Tempo's API write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from dytopo_autotrace.importing.foreign import (
    BadSpan,
    Findings,
    ForeignEvent,
    ForeignSpan,
    mapping,
    sequence,
    text,
    whole,
)

_DEEPEST: Final = 16
_KINDS: Final = {2: "server", 3: "client", 4: "producer", 5: "consumer"}
_CAPITAL = re.compile(r"(?=[A-Z])")


def is_traces(document: dict[str, Any]) -> bool:
    """Whether this is a request to export spans, or an answer that has one in it."""
    document = mapping(document.get("result")) or document  # Jaeger's API, version 3
    return any(key in document for key in ("resourceSpans", "resource_spans", "batches")) or (
        "resourceSpans" in mapping(document.get("trace"))
    )


def spans(document: dict[str, Any], findings: Findings, place: str) -> Iterator[ForeignSpan]:
    """The spans of a request."""
    document = mapping(document.get("result")) or document
    document = mapping(document.get("trace")) or document
    resources = _get(document, "resourceSpans") or document.get("batches")
    for first, resource_spans in enumerate(sequence(resources)):
        resource = _attributes(mapping(mapping(resource_spans).get("resource")).get("attributes"))
        service = text(resource.get("service.name"))
        if resource.get("telemetry.sdk.name") == "dytopo-autotrace" and not findings.resource:
            findings.resource = resource
        scopes = _get(mapping(resource_spans), "scopeSpans") or _get(
            mapping(resource_spans), "instrumentationLibrarySpans"
        )
        for second, scope_spans in enumerate(sequence(scopes)):
            for third, each in enumerate(sequence(mapping(scope_spans).get("spans"))):
                try:
                    yield _span(each, service)
                except BadSpan as fault:
                    where = f"resourceSpans[{first}].scopeSpans[{second}].spans[{third}]"
                    findings.leave_out(str(fault), f"{place}{where}")


def is_span(document: Any) -> bool:
    """Whether this is a span by itself."""
    return isinstance(document, dict) and {"traceId", "spanId", "startTimeUnixNano"} <= set(
        document
    )


def bare(spans: list[Any]) -> dict[str, Any]:
    """A request with these spans, whose resource nobody knows."""
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def _span(written: Any, service: str) -> ForeignSpan:
    if not isinstance(written, dict):
        raise BadSpan("a span is not an object")
    status = mapping(written.get("status"))
    kind = written.get("kind")
    if isinstance(kind, str):
        named = kind.removeprefix("SPAN_KIND_").lower()
        kind_name = "" if named in ("internal", "unspecified") else named
    else:
        kind_name = _KINDS.get(kind, "") if isinstance(kind, int) else ""
    end = _get(written, "endTimeUnixNano")
    return ForeignSpan(
        trace=_get(written, "traceId"),
        id=_get(written, "spanId"),
        parent=_get(written, "parentSpanId"),
        name=text(written.get("name")),
        start_ns=whole(_get(written, "startTimeUnixNano"), "the start time of a span"),
        end_ns=whole(end, "the end time of a span") or None if end is not None else None,
        kind=kind_name,
        service=service,
        attributes=_attributes(written.get("attributes")),
        events=[_event(mapping(each)) for each in sequence(written.get("events"))],
        links=[
            (_get(mapping(link), "traceId"), _get(mapping(link), "spanId"))
            for link in sequence(written.get("links"))
        ],
        failed=status.get("code") in (2, "2", "STATUS_CODE_ERROR"),
        message=text(status.get("message")),
    )


def _event(written: dict[str, Any]) -> ForeignEvent:
    try:
        unix_ns = whole(_get(written, "timeUnixNano"), "its time")
    except BadSpan:
        unix_ns = None
    return ForeignEvent(text(written.get("name")), unix_ns, _attributes(written.get("attributes")))


def _get(written: dict[str, Any], key: str) -> Any:
    """The value under a key or, where protobuf's field names were kept, under that one."""
    if key in written:
        return written[key]
    return written.get(_field_name(key))


@cache
def _field_name(key: str) -> str:
    return _CAPITAL.sub("_", key).lower()


def _attributes(written: Any, depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in sequence(written):
        if isinstance(pair, dict) and isinstance(pair.get("key"), str):
            found[pair["key"]] = _value(pair.get("value"), depth)
    return found


def _value(written: Any, depth: int) -> Any:
    if not isinstance(written, dict) or depth > _DEEPEST:
        return None
    for key, value in written.items():
        match key:
            case "stringValue" | "string_value" | "boolValue" | "bool_value":
                return value
            case "bytesValue" | "bytes_value":
                return value
            case "intValue" | "int_value":
                try:
                    return whole(value, "")
                except BadSpan:
                    return value
            case "doubleValue" | "double_value":
                return value
            case "arrayValue" | "array_value":
                return [_value(each, depth + 1) for each in sequence(mapping(value).get("values"))]
            case "kvlistValue" | "kvlist_value":
                return _attributes(mapping(value).get("values"), depth + 1)
    return None
