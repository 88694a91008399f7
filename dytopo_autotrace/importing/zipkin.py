"""Reads Zipkin v2 JSON: a list of spans, or the list of traces that its API answers with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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


def is_span(document: Any) -> bool:
    """Whether this is a span."""
    return isinstance(document, dict) and "traceId" in document and "id" in document


def is_spans(document: list[Any]) -> bool:
    """Whether this is a list of spans, or of lists of them."""
    return any(
        is_span(each) or (isinstance(each, list) and any(map(is_span, each))) for each in document
    )


def spans(document: list[Any], findings: Findings, place: str) -> Iterator[ForeignSpan]:
    """The spans of the list."""
    found: list[tuple[ForeignSpan, bool]] = []
    for where, written in _flat(document):
        try:
            span = _span(written)
            found.append((span, is_true(mapping(written).get("shared"))))
            if span.is_ours:
                of_run = [key for key in span.attributes if key.startswith("dytopo.run.")]
                findings.resource.update({key: span.attributes.pop(key) for key in of_run})
        except BadSpan as fault:
            findings.leave_out(str(fault), f"{place}{where}")
    _split_shared(found)
    for span, _ in found:
        yield span


def _flat(document: list[Any]) -> Iterator[tuple[str, Any]]:
    for first, each in enumerate(document):
        if isinstance(each, list):
            for second, inner in enumerate(each):
                yield f"[{first}][{second}]", inner
        else:
            yield f"[{first}]", each


def _span(written: Any) -> ForeignSpan:
    if not isinstance(written, dict):
        raise BadSpan("a span is not an object")
    tags = restored(dict(mapping(written.get("tags"))))
    start = whole(written.get("timestamp"), "the start time of a span") * 1000
    duration = written.get("duration")
    error = tags.pop("error", None)
    status = tags.pop("otel.status_code", None)
    service = tags.pop("dytopo.service", None)
    return ForeignSpan(
        trace=_id(written.get("traceId")),
        id=_id(written.get("id")),
        parent=_id(written.get("parentId")),
        name=text(written.get("name")),
        start_ns=start,
        end_ns=start + whole(duration, "the duration of a span") * 1000
        if duration is not None
        else None,
        kind=text(written.get("kind")).lower(),
        service=text(service) or text(mapping(written.get("localEndpoint")).get("serviceName")),
        attributes=tags,
        events=[_event(mapping(each)) for each in sequence(written.get("annotations"))],
        links=_links(tags.pop("dytopo.links", None)),
        # An error tag says so, whatever is in it.
        failed=error is not None or status == "ERROR",
        message=text(error),
    )


def _id(written: Any) -> str | int | None:
    return written if isinstance(written, (str, int)) else None


def _split_shared(found: list[tuple[ForeignSpan, bool]]) -> None:
    """Give the server's half of a span that both sides recorded an id of its own, below the client's.

    What the server did below it has the server's half for a parent.
    """
    halves: dict[tuple[Any, Any], list[ForeignSpan]] = {}
    for span, _ in found:
        halves.setdefault((span.trace, span.id), []).append(span)
    servers: dict[tuple[Any, Any, str], Any] = {}
    for span, shared in found:
        both = halves[span.trace, span.id]
        is_half = shared or (span.kind == "server" and any(one.kind == "client" for one in both))
        if is_half and len(both) > 1:
            mine = f"{span.id}/server"
            if not any(other is not span and other.service == span.service for other in both):
                servers[span.trace, span.id, span.service] = mine
            span.parent, span.id = span.id, mine
    for span, _ in found:
        server = servers.get((span.trace, span.parent, span.service))
        if server is not None and span.id != server:
            span.parent = server


def _event(written: dict[str, Any]) -> ForeignEvent:
    value = text(written.get("value"))
    attributes: dict[str, Any] = {}
    # OpenTelemetry's form of an event with attributes: "name": {...}
    try:
        name, end = json.JSONDecoder().raw_decode(value)
        rest = value[end:].lstrip()
        if isinstance(name, str) and rest.startswith(":"):
            attributes = mapping(json.loads(rest[1:]))
            value = name
    except (ValueError, RecursionError):
        pass
    try:
        unix_ns = whole(written.get("timestamp"), "its time") * 1000
    except BadSpan:
        unix_ns = None
    return ForeignEvent(value, unix_ns, attributes)


def _links(written: Any) -> list[tuple[Any, Any]]:
    if not isinstance(written, str):
        return []
    pairs = (each.partition(":") for each in written.split())
    return [(trace, span) for trace, _, span in pairs if span]
