"""`import`: what it keeps says what the run said, and no more than is known."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.cli import import_, runs
from dytopo_autotrace.collect.records import ModelPrice
from dytopo_autotrace.export.formats import render
from dytopo_autotrace.importing import parse
from dytopo_autotrace.store.location import open_reader
from dytopo_autotrace.store.model import Retention, RunStart, StoreBusy
from dytopo_autotrace.store.process import this_process
from dytopo_autotrace.store.sqlite import SqliteWriter
from tests.export.sample_runs import records, span, swarm

TRACES = ("otlp", "jaeger", "zipkin")

ENDS = {
    "killed": {"ended": "died", "exit_status": None},
    "raised": {"ended": "RuntimeError", "ended_message": "no router", "exit_status": 1},
    "exited": {"ended": "SystemExit", "exit_status": 3},
    "returned": {},
}


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "kept" / "traces.db")


@pytest.fixture
def imported(tmp_path, store):
    """Imports a file with these bytes into a store, and gives what the store has of it."""

    def make(data):
        file = tmp_path / "traces.json"
        file.write_bytes(data)
        done = CliRunner().invoke(import_.command, [str(file), "--store", store])
        assert done.exit_code == 0, done.output
        reader = open_reader(store)
        try:
            info = reader.runs()[0]
            run_id = info.start.run_id
            return (
                info,
                reader.load(run_id),
                reader.failures(run_id),
                reader.metrics(run_id),
                done,
            )
        finally:
            reader.close()

    return make


def otlp(*spans):
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def foreign(start, end, **more):
    return {"traceId": "1" * 32, "spanId": "2" * 16, "name": "x", **more} | {
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
    }


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("end", ENDS)
def test_the_verdict_is_the_same_after_export_and_import(imported, name, end):
    """A run that was killed, or that an exception ended, is said to have ended so ever after."""
    run = replace(swarm(), **ENDS[end])
    _, back, _, _, _ = imported(b"".join(render(name, run)))
    assert summarize(back).verdict == summarize(run).verdict


@pytest.mark.parametrize("name", TRACES)
def test_losses_and_prices_travel(imported, name):
    """What was lost, what was remarked on and what tokens cost is kept with the run."""
    prices = (ModelPrice("m-*", 1.5, 6.0), ModelPrice("n", 1.0, 2.0, 0.25))
    run = replace(swarm(), prices=prices, remarks=("a remark",))
    info, back, _, _, _ = imported(b"".join(render(name, run)))
    assert (back.prices, back.drops, back.remarks) == (prices, {"buffer": 3}, ("a remark",))
    assert info.drops == 3


def test_failures_and_metrics_are_worked_out_from_the_spans(imported):
    """An imported run has the failure records and the durations that its program had."""
    _, back, failures, metrics, _ = imported(b"".join(render("otlp", swarm())))
    assert [each.operation for each in failures] == ["llm_call", "agent_call"]
    (durations,) = [each for each in metrics if each.name == "dytopo_operation_duration_seconds"]
    ended = sum(bool(each.end_ns) for each in back.spans)
    assert sum(series.count for series in durations.series) == ended


def test_a_foreign_trace_is_not_said_to_have_ended_normally(imported):
    """Nobody recorded how the program of another tool's trace ended: its length is said."""
    start = time.time_ns() - 10**10
    _, back, _, _, done = imported(otlp(foreign(start, start + 3 * 10**9)))
    verdict = summarize(back).verdict
    assert verdict.text == "The trace spans 3.00 s, and no agent's call failed."
    assert "1 span in 1 trace, 0 agents" in done.output


def test_a_very_long_span_is_kept(imported):
    """From the first nanosecond to the last that there is: no number is too large for the store."""
    _, back, _, _, _ = imported(otlp(foreign(1, 2**63 - 1)))
    assert len(back.spans) == 1
    assert back.wall_seconds > 9e9


def test_a_file_without_spans_is_not_kept(tmp_path, store):
    """Nothing in it is an error, and no run is made of it."""
    file = tmp_path / "empty.json"
    file.write_text('{"resourceSpans": []}')
    done = CliRunner().invoke(import_.command, [str(file), "--store", store])
    assert done.exit_code == 1
    assert "no span in it" in done.output
    assert not Path(store).exists()


def test_a_run_that_could_not_be_kept_whole_is_removed(tmp_path, store, monkeypatch):
    """A fault in the middle leaves no half of a run behind."""

    def fail(*_args):
        raise ZeroDivisionError

    def half(records, writer, run_id):
        writer.begin(RunStart(run_id, this_process(), 1))
        fail()

    monkeypatch.setattr(import_, "keep", half)
    file = tmp_path / "traces.json"
    file.write_bytes(otlp(foreign(1, 2)))
    done = CliRunner().invoke(import_.command, [str(file), "--store", store])
    assert isinstance(done.exception, ZeroDivisionError)
    reader = open_reader(store)
    assert reader.runs() == []
    reader.close()


def test_the_age_of_an_imported_run_is_that_of_its_import(imported, store):
    """A trace from years ago is not removed by the next that tidies up."""
    imported(otlp(foreign(10**18, 10**18 + 1)))
    reader = open_reader(store)
    assert reader.prune(Retention(days=30)) == []
    assert len(reader.runs()) == 1
    reader.close()


def test_a_run_of_which_no_end_is_known_is_listed_as_such(imported, store):
    """The list of runs does not call the end of a foreign trace ok."""
    imported(otlp(foreign(10**18, 10**18 + 10**9)))
    line = CliRunner().invoke(runs.command, ["--store", store]).output.splitlines()[1]
    assert "unknown" in line


def test_own_records_without_spans_say_so(tmp_path):
    """A trace of ours says how its run ended even where that is all there is."""
    run = records([span(1, "x", 0, 1)], ended="died", exit_status=None)
    assert parse(b"".join(render("otlp", run))).ended == "died"


def test_a_store_in_which_nothing_may_be_deleted_takes_imports(imported, monkeypatch):
    """Whoever may write and not delete keeps a run all the same."""

    def refuse(_writer, _keep):
        raise StoreBusy("store_refused")
        yield

    monkeypatch.setattr(SqliteWriter, "prune", refuse)
    info, *_ = imported(otlp(foreign(10**18, 10**18 + 1)))
    assert info.spans == 1
