"""Reads the classic JSON form of traces: `trace-*.json` of `--out`, and `export_trace`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dytopo_autotrace.importing.foreign import (
    OWN_MARK,
    BadSpan,
    Findings,
    ForeignSpan,
    mapping,
    sequence,
    text,
)


def is_trace(document: Any) -> bool:
    """Whether this is one trace."""
    return isinstance(document, dict) and "spans" in document and "trace_id" in document


def is_traces(document: dict[str, Any]) -> bool:
    """Whether this is a trace, or a document with a list of them."""
    traces = document.get("traces")
    return is_trace(document) or (isinstance(traces, list) and all(map(is_trace, traces)))


def spans(document: dict[str, Any], findings: Findings, place: str) -> Iterator[ForeignSpan]:
    """The spans of every trace."""
    traces = [document] if is_trace(document) else sequence(document.get("traces"))
    for first, trace in enumerate(traces):
        for second, each in enumerate(sequence(mapping(trace).get("spans"))):
            try:
                yield _span(each, mapping(trace).get("trace_id"))
            except BadSpan as fault:
                findings.leave_out(str(fault), f"{place}traces[{first}].spans[{second}]")


def _span(written: Any, trace: Any) -> ForeignSpan:
    if not isinstance(written, dict):
        raise BadSpan("a span is not an object")
    end = written.get("end_time")
    trace = written.get("trace_id") or trace
    metadata = mapping(written.get("metadata"))
    operation = text(written.get("operation"))
    attributes: dict[str, Any] = {f"dytopo.metadata.{key}": each for key, each in metadata.items()}
    attributes[OWN_MARK] = operation
    for key in ("role", "agent", "rule", "status"):
        attributes[f"dytopo.{key}"] = text(written.get(key))
    if isinstance(metadata.get("error_type"), str) and written.get("status") == "error":
        attributes["error.type"] = metadata["error_type"]
    return ForeignSpan(
        trace=trace,
        id=written.get("span_id"),
        parent=written.get("parent_id"),
        name=operation,
        start_ns=_nanoseconds(written.get("start_time"), "the start time of a span"),
        end_ns=_nanoseconds(end, "the end time of a span") if end is not None else None,
        attributes=attributes,
        links=[(None, link) for link in sequence(written.get("links"))],
        failed=written.get("status") == "error",
        message=text(metadata.get("error_message")),
    )


def _nanoseconds(seconds: Any, what: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise BadSpan(f"{what} is not a number")
    if not abs(seconds) < 2**33:
        raise BadSpan(f"{what} is beyond every calendar")
    return round(seconds * 1e6) * 1000
