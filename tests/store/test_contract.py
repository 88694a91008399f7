"""What every kind of store promises: what is written is what is read, deleted or kept.

ClickHouse is asked by clickhouse-connect over HTTP, of the embedded engine in a process of its own.
"""

import dataclasses
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import dytopo_autotrace
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.collect.span import MISSING, ErrorInfo
from dytopo_autotrace.recording import describe
from dytopo_autotrace.store.location import StoreError, open_writer
from dytopo_autotrace.store.model import (
    Batch,
    Cost,
    ModelPrice,
    Retention,
    RuleState,
    RunEnd,
    RunState,
)

STATE = RunState(
    rules=(RuleState("worker", "m:f", "rules.toml:3", "woven", 2, 7, ""),),
    prices=(ModelPrice("m-1", 3.0, 15.0, 0.3),),
    drops={"buffer": 3},
    cost=Cost(7, 1.5e-6),
    faults=("consumer: ValueError",),
    remarks=("a remark",),
)


DAY = 86_400 * 10**9


@pytest.fixture(params=["sqlite", pytest.param("clickhouse", marks=pytest.mark.slow)])
def path(request, tmp_path):
    """Where the store of this test is, of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / ".dytopo" / "traces.db")
    return request.getfixturevalue("clickhouse_url")


@pytest.fixture
def run_id():
    return os.urandom(16).hex()


@pytest.fixture
def writer(path, start, run_id):
    made = open_writer(path, describe)
    made.begin(start(run_id, service="svc", argv=("a.py", "--x\udcff"), script="a.py", task="why"))
    yield made
    made.close()


@pytest.fixture
def keep_run(path, start, span):
    """Keeps runs that ended, so many days ago."""

    def make(days=0.0, spans=3, service="svc", is_ended=True):
        began = start(service=service)
        began = began._replace(started_unix_ns=began.started_unix_ns - int(days * DAY))
        writer = open_writer(path, describe)
        writer.begin(began)
        made = [span() for _ in range(spans)]
        for each in made:
            each.start_ns -= int(days * DAY)
            each.end_ns -= int(days * DAY)
        writer.write(Batch(finished=made, unix_ns=time.time_ns(), state=STATE))
        if is_ended:
            writer.end(RunEnd(time.time_ns()))
        writer.close()
        return began.run_id

    return make


def only_run(read):
    reader = read()
    (info,) = reader.runs()
    return info, reader.load(info.start.run_id)


def ids(reader):
    return [info.start.run_id for info in reader.runs()]


def test_a_run_comes_back(writer, read, span):
    """What was said at the start, while it ran and at the end is what the reader says."""
    spans = [span() for _ in range(5)]
    writer.write(Batch(finished=spans, unix_ns=time.time_ns(), state=STATE))
    end = RunEnd(time.time_ns(), 1.25, 3, "SystemExit", "boom")
    writer.end(end)
    info, records = only_run(read)
    assert (info.status, info.end, info.spans, info.drops) == ("ended", end, 5, 3)
    assert (info.start.service, info.start.task) == ("svc", "why")
    assert records.argv == ("a.py", "--x\\udcff")
    assert [each.to_dict() for each in records.spans] == [each.to_dict() for each in spans]
    assert [each.measurements for each in records.spans] == [each.measurements for each in spans]
    assert (records.rules, records.prices, records.cost) == (STATE.rules, STATE.prices, STATE.cost)
    assert (records.drops, records.faults, records.remarks) == (
        {"buffer": 3},
        STATE.faults,
        STATE.remarks,
    )
    assert (records.exit_status, records.ended, records.ended_message) == (3, "SystemExit", "boom")
    assert records.wall_seconds == 1.25
    assert clock.unix_ns(records.now_ns) == end.unix_ns


def test_an_open_span_is_replaced_by_its_end(writer, read, span):
    """A span that was written while it ran is there once, ended, when its end was written too."""
    running, other = span(is_open=True), span(is_open=True)
    writer.write(Batch(opened=[running, other], unix_ns=time.time_ns()))
    info, records = only_run(read)
    assert (info.spans, info.running_spans) == (0, 2)
    assert [each.status for each in records.spans] == ["in_progress"] * 2
    running.finish()
    writer.write(Batch(finished=[running], opened=[running], unix_ns=time.time_ns()))
    info, records = only_run(read)
    assert (info.spans, info.running_spans) == (1, 1)
    assert [each.status for each in records.spans] == ["success", "in_progress"]


def test_a_run_without_an_end_counts_its_calls_anew(writer, read, span):
    """Calls were counted a moment before the process died: the spans that came after count as well."""
    rules = (
        RuleState("worker", "m:f", "r", "never_called", 1, 0),
        RuleState("x", "m:g", "r", "woven", 1, 9),
    )
    writer.write(Batch(finished=[span(), span()], state=RunState(rules=rules)))
    worker, other = only_run(read)[1].rules
    assert (worker.state, worker.calls) == ("woven", 2)
    assert (other.state, other.calls) == ("woven", 9)


def test_metrics_and_failures_come_back(writer, read, run_id):
    """The last state of every series and of every failure record is what the reader gives."""
    collector = MetricsCollector()
    for step in (1, 2):
        collector.record("latency_seconds", 0.2 * step, who="a")
        collector.observe("counter", "calls", 1, (("who", "b"),), 5.0, help="Calls.")
        failure = FailureRecord("f1", 1.5, "c", "op", "E", "m", "t", "s", {"k": [1, None]})
        failure.recovered, failure.recovery_strategy = step == 2, "retry" if step == 2 else None
        writer.write(Batch(families=collector.families(), failures=[failure]))
    stored = {family.name: family for family in read().metrics(run_id)}
    for family in collector.families():
        assert dataclasses.replace(stored.pop(family.name), series=()) == dataclasses.replace(
            family, series=()
        )
    assert not stored
    assert {each for family in read().metrics(run_id) for each in family.series} == {
        each for family in collector.families() for each in family.series
    }
    assert read().failures(run_id) == [failure]


def test_captured_values_keep_their_types(writer, read, span):
    """Numbers, nothing, lists, text in any script or none, errors, links: each comes back as it was."""
    odd, failed = span(), span()
    odd.at_entry = ("wörker\udcff", 2**70)
    odd.at_exit = ([1, None, {"a": 1.5, "b": "'\\\n\0"}], False, MISSING)
    odd.metadata = {"by hand": True, "nan": float("inf")}
    odd.links = (failed.id, (1 << 64) - 1)
    failed.status = "error"
    failed.error = ErrorInfo("E", "no\udcff", "m", (("f.py", 3, "g"),), 7, (8, 9))
    failed.parent = odd.id
    writer.write(Batch(finished=[odd, failed], unix_ns=time.time_ns()))
    info, records = only_run(read)
    assert info.errors == 1
    for kept, made in zip(records.spans, (odd, failed), strict=True):
        assert (kept.agent, kept.site, kept.trace) == (made.agent, made.site, made.trace)
        assert (kept.at_entry[1:], kept.at_exit[0]) == (made.at_entry[1:], made.at_exit[0])
        assert (kept.metadata, kept.error, kept.links) == (made.metadata, made.error, made.links)
        assert (kept.start_ns, kept.end_ns, kept.parent) == (
            made.start_ns,
            made.end_ns,
            made.parent,
        )


def test_a_batch_that_is_written_twice_counts_once(writer, read, span):
    """When the answer was lost and the same is written again, each span is there once."""
    batch = Batch(finished=[span()], opened=[span(is_open=True)], unix_ns=time.time_ns())
    writer.write(batch)
    writer.write(batch)
    assert len(only_run(read)[1].spans) == 2


def test_a_deleted_run_leaves_the_others(keep_run, read):
    """A run that is deleted is gone, with all it had; the others are as they were."""
    kept, gone = keep_run(), keep_run(spans=10)
    reader = read()
    before = reader.load(kept)
    reader.delete(gone)
    assert ids(read()) == [kept]
    with pytest.raises(StoreError, match="no run"):
        read().load(gone)
    after = read().load(kept)
    assert [each.to_dict() for each in after.spans] == [each.to_dict() for each in before.spans]


def test_age_and_number_limit_what_is_kept(keep_run, read):
    """The oldest go first, those too old and those too many; one that runs stays."""
    old, third, last = keep_run(40), keep_run(2), keep_run(1)
    running = keep_run(50, is_ended=False)
    reader = read()
    assert reader.prune(Retention(days=30, runs=0, megabytes=0)) == [old]
    assert reader.prune(Retention(days=0, runs=0, megabytes=0)) == []
    assert reader.prune(Retention(days=0, runs=2, megabytes=0)) == [third]
    assert ids(reader) == [last, running]


@pytest.mark.parametrize("shared", [True, False], ids=["one run", "a run each"])
def test_processes_write_at_once(path, read, shared):
    """Three processes begin one store together and write at once: nothing is lost or doubled."""
    program = Path(__file__).with_name("writer_of_many.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(dytopo_autotrace.__file__).parents[1])}
    programs = [
        subprocess.Popen(
            [
                *(sys.executable, program, path),
                *(("0" if shared else str(number)) * 32, f"name{number}", "200"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        for number in range(3)
    ]
    assert [program.communicate()[0] for program in programs] == ["200 {}\n"] * 3
    reader = read()
    runs = reader.runs()
    assert len(runs) == (1 if shared else 3)
    assert sum(info.spans for info in runs) == 600
    assert sum(info.errors for info in runs) == 60
    seen = Counter(
        (each.rule, each.metadata["number"])
        for info in runs
        for each in reader.load(info.start.run_id).spans
    )
    assert (set(seen.values()), len(seen)) == ({1}, 600)
    (family,) = [each for each in reader.metrics(runs[0].start.run_id) if each.name == "calls"]
    assert family.series[0].sum == 200 * runs[0].processes
