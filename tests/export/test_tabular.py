"""Spans as a table, as CSV and as Parquet."""

import csv
import io
import json
import sys

import pytest
from hypothesis import given, settings

from dytopo_autotrace.errors import UsageError
from dytopo_autotrace.export.formats import render
from dytopo_autotrace.export.tabular import COLUMNS
from tests.export.sample_runs import records, runs, swarm


def table(run, **options):
    text = b"".join(render("csv", run, **options)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def rows(run, **options):
    return {int(row["span_id"], 16): row for row in table(run, **options)}


@settings(max_examples=40)
@given(runs())
def test_every_span_is_a_row(run):
    """Whatever text a run holds, quotes and line ends included, a reader gets a row for each span."""
    found = rows(run, content=True)
    assert set(found) == {span.id for span in run.spans}
    for row in found.values():
        assert tuple(row) == tuple(COLUMNS)
        assert isinstance(json.loads(row["metadata"]), dict)


def test_a_row_says_what_is_known():
    """Numbers are numbers, owners are found, and what is not known is empty, never zero."""
    found = rows(swarm())
    call, running = found[4], found[14]
    assert (call["owner"], call["agent"], call["round"]) == ("manager", "", "1")
    assert (call["input_tokens"], call["output_tokens"], call["model"]) == ("120", "30", "m-1")
    assert call["duration_seconds"] == "0.08"
    assert call["start_unix_ns"] == "1790000000133456789"
    assert (running["open"], running["end_unix_ns"], running["duration_seconds"]) == (
        "true",
        "",
        "",
    )
    assert (found[10]["error_type"], found[10]["input_tokens"]) == ("httpx.ReadTimeout", "")
    assert (found[11]["soft_failure"], found[10]["soft_failure"]) == ("true", "false")
    assert found[8]["links"] == "0000000000000006 0000000000000194"


def test_content_is_left_out_and_counted():
    """The same as in the other formats."""
    assert (rows(swarm())[1]["withheld"], rows(swarm())[1]["metadata"]) == ("1", '{"tau":0.3}')
    assert "poem" in rows(swarm(), content=True)[1]["metadata"]


def test_parquet_has_the_same_rows():
    """Types are those of the columns, and a reader of Parquet gets what CSV has."""
    pq = pytest.importorskip("pyarrow.parquet")
    found = pq.read_table(io.BytesIO(b"".join(render("parquet", swarm()))))
    assert {field.name: str(field.type).replace("double", "float64") for field in found.schema} == (
        COLUMNS
    )
    by_id = {row["span_id"]: row for row in found.to_pylist()}
    for row in table(swarm()):
        other = by_id[row["span_id"]]
        shown = {
            key: (
                ""
                if value is None
                else str(value).lower()
                if value in (True, False) and COLUMNS[key] == "bool"
                else str(value)
            )
            for key, value in other.items()
        }
        assert shown == row


def test_parquet_of_nothing_is_a_table():
    """A run without spans still has the columns."""
    pq = pytest.importorskip("pyarrow.parquet")
    found = pq.read_table(io.BytesIO(b"".join(render("parquet", records([])))))
    assert (found.num_rows, tuple(found.column_names)) == (0, tuple(COLUMNS))


def test_without_pyarrow_it_says_what_to_install(monkeypatch):
    """The error names the extra, and the format that needs nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"dytopo-autotrace\[parquet\].*--format csv"):
        list(render("parquet", swarm()))
