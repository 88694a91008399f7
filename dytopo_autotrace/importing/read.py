"""Opens a file of traces, finds out what it is, and reads it."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dytopo_autotrace.collect.records import RUN_FILE, RunRecords, records_from_json
from dytopo_autotrace.errors import UsageError
from dytopo_autotrace.importing import build, classic, console, jaeger, otlp, zipkin
from dytopo_autotrace.importing.foreign import Findings, ForeignSpan

KNOWN: Final = (
    "OTLP JSON (one request, or one a line), Jaeger JSON, Zipkin v2 JSON, the spans that "
    "opentelemetry's console exporter prints, trace-*.json of --out, "
    "and what the records of a run are kept in"
)
_GZIP: Final = b"\x1f\x8b"


def read(path: str | os.PathLike[str]) -> RunRecords:
    """The records in a file, or in a directory that `--out` wrote: its run.json, else its traces.

    Raises:
        UsageError: there is no such file, or it is none of the formats.
    """
    name = os.fspath(path)
    try:
        if Path(name).is_dir():
            whole = Path(name, RUN_FILE)
            return read(whole) if whole.is_file() else _read_directory(Path(name))
        data = Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror or error}.") from error
    return parse(data, name)


def parse(data: bytes, name: str = "<input>") -> RunRecords:
    """The records in the bytes of a file, which may be gzipped; `name` is what messages call it.

    Raises:
        UsageError: it is none of the formats.
    """
    findings = Findings()
    documents = _documents(_text(data, name), name, findings)
    first = next(documents, None)
    if first is None:
        raise UsageError(f"{name}: is empty. It can be {KNOWN}.")
    if _is_records(first[1]):
        return _own_records(first[1], name)
    everything = itertools.chain((first,), documents)
    spans = itertools.chain.from_iterable(
        _spans(document, findings, place, name) for place, document in everything
    )
    return build.records(spans, findings)


def _read_directory(directory: Path) -> RunRecords:
    files = sorted(directory.glob("trace-*.json"))
    if not files:
        raise UsageError(
            f"{directory}: has no trace-*.json in it. Name a file, or what --out wrote."
        )
    findings = Findings()
    spans: list[ForeignSpan] = []
    for file in files:
        for place, document in _documents(_text(file.read_bytes(), str(file)), str(file), findings):
            spans.extend(_spans(document, findings, f"{file.name} {place}", str(file)))
    return build.records(spans, findings)


def _text(data: bytes, name: str) -> str:
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise UsageError(f"{name}: is gzip that breaks off or is damaged: {error}.") from error
    try:
        return data.decode(json.detect_encoding(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name}: byte {error.start} is not {error.encoding.upper()}. It has to be {KNOWN}."
        ) from error


def _documents(source: str, name: str, findings: Findings) -> Iterator[tuple[str, Any]]:
    """Each JSON document of the text and its place: one, or one after another.

    In a file of lines, one that is broken is left out and counted; a writer that was stopped leaves
    such a one at the end.
    """
    decoder = json.JSONDecoder()
    position, count = _skip_space(source, 0), 0
    while position < len(source):
        try:
            document, end = decoder.raw_decode(source, position)
        except (ValueError, RecursionError) as error:
            line_end = source.find("\n", position)
            if count == 0 or not _is_line_start(source, position):
                raise UsageError(f"{name}{_fault(source, position, error)}") from error
            place = f"line {source.count(chr(10), 0, position) + 1}"
            findings.leave_out("a line is not JSON", place)
            end = line_end if line_end >= 0 else len(source)
        else:
            yield (f"document {count + 1}, " if count else ""), document
        count += 1
        position = _skip_space(source, end)


def _skip_space(source: str, position: int) -> int:
    while position < len(source) and source[position] in " \t\r\n":
        position += 1
    return position


def _is_line_start(source: str, position: int) -> bool:
    return not source[source.rfind("\n", 0, position) + 1 : position].strip()


def _fault(source: str, position: int, error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        start = max(source.rfind("\n", 0, error.pos) + 1, error.pos - 20)
        seen = source[start : error.pos + 20].splitlines() or ["the end"]
        return (
            f":{error.lineno}:{error.colno}: not JSON: {error.msg}, at {seen[0]!r}. "
            f"It has to be {KNOWN}."
        )
    line = source.count("\n", 0, position) + 1
    reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
    return f":{line}: not JSON that can be read: {reason}."


def _spans(document: Any, findings: Findings, place: str, name: str) -> Iterator[ForeignSpan]:
    """The spans of one document, whatever format it is.

    Raises:
        UsageError: it is none of them.
    """
    if isinstance(document, list) and zipkin.is_spans(document):
        findings.found("Zipkin")
        return zipkin.spans(document, findings, place)
    if isinstance(document, list) and (found := _bare(document, findings, place)) is not None:
        return found
    if isinstance(document, list):
        return itertools.chain.from_iterable(
            _spans(each, findings, f"{place}[{index}].", name)
            for index, each in enumerate(document)
        )
    if isinstance(document, dict):
        if otlp.is_traces(document):
            findings.found("OTLP")
            return otlp.spans(document, findings, place)
        if classic.is_traces(document):
            findings.found("classic")
            return classic.spans(document, findings, place)
        if jaeger.is_traces(document):
            findings.found("Jaeger")
            return jaeger.spans(document, findings, place)
        if zipkin.is_span(document):
            findings.found("Zipkin")
            return zipkin.spans([document], findings, place)
        data = document.get("data")  # Phoenix' API
        listed = data if isinstance(data, list) else [document]
        if (found := _bare(listed, findings, place)) is not None:
            return found
        if any(key in document for key in ("resourceMetrics", "resourceLogs")):
            return iter(())
    raise UsageError(f"{name}: {place}{_unknown(document)}")


def _bare(listed: list[Any], findings: Findings, place: str) -> Iterator[ForeignSpan] | None:
    """The spans of a list of nothing but spans, None if it is none."""
    if not listed:
        return None
    if all(map(otlp.is_span, listed)):
        findings.found("OTLP")
        return otlp.spans(otlp.bare(listed), findings, place)
    if all(map(jaeger.is_span, listed)):
        findings.found("Jaeger")
        return jaeger.spans(jaeger.bare(listed), findings, place)
    if all(map(console.is_span, listed)):
        findings.found("console")
        return console.spans(listed, findings, place)
    return None


def _unknown(document: Any) -> str:
    if not isinstance(document, dict):
        return f"is a JSON {type(document).__name__} and no trace. It has to be {KNOWN}."
    if "traceEvents" in document:
        return "is a Chrome or Perfetto trace, which keeps too little to be read back. Use --format otlp."
    keys = ", ".join(repr(key) for key in list(document)[:5]) or "none"
    return f"is JSON of no known format (its keys: {keys}). It has to be {KNOWN}."


def _is_records(document: Any) -> bool:
    return isinstance(document, dict) and "spans" in document and "now_unix_ns" in document


def _own_records(document: Any, name: str) -> RunRecords:
    try:
        return records_from_json(json.dumps(document))
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{name}: {error}") from error
