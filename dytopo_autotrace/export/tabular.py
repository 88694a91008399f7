"""Spans as a table, one row each: CSV for everything, Parquet for notebooks.

Metadata is one column of JSON, since every rule captures other keys. Text is written as it is: a
spreadsheet may take what begins with `=` for a formula, so open files from elsewhere as text.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator
from typing import Any, Final

from dytopo_autotrace.errors import UsageError
from dytopo_autotrace.export import genai
from dytopo_autotrace.export.run import ExportedSpan, Run, error_type
from dytopo_autotrace.export.values import compact, text

COLUMNS: Final = {
    "trace_id": "string",
    "span_id": "string",
    "parent_id": "string",
    "service": "string",
    "name": "string",
    "operation": "string",
    "role": "string",
    "agent": "string",
    "owner": "string",
    "rule": "string",
    "round": "string",
    "status": "string",
    "open": "bool",
    "start_unix_ns": "int64",
    "end_unix_ns": "int64",
    "duration_seconds": "float64",
    "error_type": "string",
    "error_message": "string",
    "soft_failure": "bool",
    "model": "string",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "links": "string",
    "withheld": "int64",
    "metadata": "string",
}
"""Column to type. `owner` is the agent by the span's own word or its callers', `links` are span ids
with spaces between, `withheld` counts values left out because they are content."""

ROWS_PER_GROUP: Final = 50_000


def csv_text(run: Run) -> Iterator[str]:
    """The table as CSV with a header, a chunk a row; nothing stands for what is not there."""
    # RFC 4180's line end. With another one, carriage returns in text would not be quoted.
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows(run):
        writer.writerow(_csv_value(row[column]) for column in COLUMNS)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def parquet(run: Run) -> Iterator[bytes]:
    """The table as a Parquet file, a chunk for each group of rows.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        # Large, not typed, and needed by nothing else.
        pa = importlib.import_module("pyarrow")
        pq = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow: pip install 'dytopo-autotrace[parquet]', or use --format csv."
        ) from error
    types = {
        "string": pa.string(),
        "bool": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    sink = _Chunks()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for table in _tables(pa, schema, rows(run)):
            writer.write_table(table)
            yield sink.take()
    yield sink.take()


def rows(run: Run) -> Iterator[dict[str, Any]]:
    """The rows; None where there is nothing to say."""
    for each in run.spans():
        yield _row(run, each)


def _row(run: Run, each: ExportedSpan) -> dict[str, Any]:
    span, attributes = each.span, each.attributes
    error = span.error
    metadata, _ = run.metadata(span)
    usage, _ = genai.attributes(span, metadata, "", "")
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "service": each.service,
        "name": each.name,
        "operation": attributes["dytopo.operation"],
        "role": attributes.get("dytopo.role"),
        "agent": attributes.get("dytopo.agent"),
        "owner": text(run.owners.agents[span.id]) or None,
        "rule": attributes.get("dytopo.rule"),
        "round": attributes.get("dytopo.round"),
        "status": span.status,
        "open": not span.end_ns,
        "start_unix_ns": each.start_ns,
        "end_unix_ns": each.end_ns if span.end_ns else None,
        "duration_seconds": run.tree.seconds(span) if span.end_ns else None,
        "error_type": error_type(error) if error is not None else attributes.get("error.type"),
        "error_message": text(error.message if error is not None else each.message) or None,
        "soft_failure": error is not None and error.soft,
        "model": usage.get("gen_ai.request.model"),
        "input_tokens": usage.get("gen_ai.usage.input_tokens"),
        "output_tokens": usage.get("gen_ai.usage.output_tokens"),
        "links": " ".join(f"{link:016x}" for link in span.links) or None,
        "withheld": each.withheld,
        "metadata": compact(metadata),
    }


def _csv_value(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _tables(pa: Any, schema: Any, found: Iterator[dict[str, Any]]) -> Iterator[Any]:
    group: list[dict[str, Any]] = []
    for row in found:
        group.append(row)
        if len(group) == ROWS_PER_GROUP:
            yield pa.Table.from_pylist(group, schema=schema)
            group = []
    if group:
        yield pa.Table.from_pylist(group, schema=schema)


class _Chunks(io.RawIOBase):
    """A file that is written to on one side and taken from on the other."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        self._position += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        taken, self._written = b"".join(self._written), []
        return taken
