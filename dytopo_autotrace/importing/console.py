"""Reads spans as opentelemetry's console exporter prints them, and as Phoenix' API lists them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dytopo_autotrace.importing.foreign import (
    BadSpan,
    Findings,
    ForeignEvent,
    ForeignSpan,
    mapping,
    sequence,
    text,
)


def is_span(document: Any) -> bool:
    """Whether this is a span."""
    context = mapping(document).get("context")
    return isinstance(context, dict) and "trace_id" in context and "span_id" in context


def spans(document: list[Any], findings: Findings, place: str) -> Iterator[ForeignSpan]:
    """The spans of the list."""
    for index, each in enumerate(document):
        try:
            yield _span(each)
        except BadSpan as fault:
            findings.leave_out(str(fault), f"{place}[{index}]")


def _span(written: Any) -> ForeignSpan:
    if not is_span(written):
        raise BadSpan("a span has no context")
    context, status = written["context"], mapping(written.get("status"))
    resource = mapping(mapping(written.get("resource")).get("attributes"))
    attributes = dict(mapping(written.get("attributes")))
    if kind := text(written.get("span_kind")):  # Phoenix' own
        attributes.setdefault("openinference.span.kind", kind)
    end = written.get("end_time")
    kind_name = text(written.get("kind")).removeprefix("SpanKind.").lower()
    code = text(status.get("status_code")) or text(written.get("status_code"))
    return ForeignSpan(
        trace=context["trace_id"],
        id=context["span_id"],
        parent=written.get("parent_id"),
        name=text(written.get("name")),
        start_ns=_nanoseconds(written.get("start_time"), "the start time of a span"),
        end_ns=_nanoseconds(end, "the end time of a span") if end is not None else None,
        kind="" if kind_name == "internal" else kind_name,
        service=text(resource.get("service.name")),
        attributes=attributes,
        events=[_event(mapping(each)) for each in sequence(written.get("events"))],
        links=[
            (mapping(context).get("trace_id"), mapping(context).get("span_id"))
            for context in (mapping(link).get("context") for link in sequence(written.get("links")))
        ],
        failed=code == "ERROR",
        message=text(status.get("description")) or text(written.get("status_message")),
    )


def _event(written: dict[str, Any]) -> ForeignEvent:
    try:
        unix_ns = _nanoseconds(written.get("timestamp"), "its time")
    except BadSpan:
        unix_ns = None
    return ForeignEvent(text(written.get("name")), unix_ns, mapping(written.get("attributes")))


def _nanoseconds(written: Any, what: str) -> int:
    """A moment as ISO 8601 writes it; without a zone it is UTC, as OpenTelemetry has it."""
    try:
        moment = datetime.fromisoformat(written)
    except (TypeError, ValueError) as fault:
        raise BadSpan(f"{what} is no time") from fault
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
