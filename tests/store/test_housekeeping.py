"""What is kept and what goes: retention, deletion in steps, and what an interruption leaves."""

import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.store import housekeeping
from dytopo_autotrace.store.location import open_reader, open_writer
from dytopo_autotrace.store.model import Batch, Retention, RunEnd, RunStart
from dytopo_autotrace.store.process import this_process

DAY = 86_400 * 10**9
START = RunStart("", this_process(), 0)
TABLES = ("run", "process", "site", "trace", "span", "failure", "metric")


@pytest.fixture
def keep_run(path, start, span):
    """Makes runs that ended, so many days ago, with so many spans."""

    def make(days=0.0, spans=3, is_ended=True):
        began = start()
        began = began._replace(started_unix_ns=began.started_unix_ns - int(days * DAY))
        writer = open_writer(path)
        writer.begin(began)
        writer.write(Batch(finished=[span() for _ in range(spans)], unix_ns=time.time_ns()))
        if is_ended:
            writer.end(RunEnd(time.time_ns()))
        writer.close()
        return began.run_id

    return make


def rows(path):
    connection = sqlite3.connect(path)
    try:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in TABLES
        }
    finally:
        connection.close()


def ids(reader):
    return [info.start.run_id for info in reader.runs()]


def test_a_deleted_run_leaves_nothing(path, keep_run, read):
    """All rows of a run go with it, and none of another's."""
    kept = keep_run()
    before = rows(path)
    gone = keep_run(spans=2500)
    read().delete(gone)
    assert ids(read()) == [kept]
    assert rows(path) == before


def test_a_deleted_run_is_gone_from_the_file(path, keep_run, read):
    """What was deleted cannot be found in the file, and the file gives its room back."""
    gone = keep_run(spans=5000)
    size = Path(path).stat().st_size
    reader = read()
    reader.delete(gone)
    reader.close()
    assert Path(path).stat().st_size < size / 2
    assert b"worker_1" not in Path(path).read_bytes()


def test_an_interrupted_deletion_is_finished_by_the_next(path, keep_run, read):
    """A run does not show from the first step on, and whoever tidies next removes the rest."""
    gone, kept = keep_run(spans=2500), keep_run()
    connection = sqlite3.connect(path, isolation_level=None)
    (number,) = connection.execute("SELECT number FROM run WHERE id = ?", (gone,)).fetchone()
    steps = housekeeping.delete(connection, number, gone)
    next(steps)
    next(steps)
    connection.close()
    reader = read()
    assert ids(reader) == [kept]
    assert rows(path)["run"] == 2
    assert reader.prune(Retention()) == [gone]
    assert rows(path)["run"] == rows(path)["process"] == 1
    assert rows(path)["span"] == 3


def test_deleting_a_run_finishes_what_others_have_begun_to_delete(path, keep_run, read):
    """A run that is marked and half removed goes with the next that is deleted."""
    marked, gone, kept = keep_run(spans=2500), keep_run(), keep_run()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE run SET deleted = 1 WHERE id = ?", (marked,))
    connection.close()
    reader = read()
    reader.delete(gone)
    assert ids(reader) == [kept]
    assert rows(path)["run"] == 1


def test_age_count_and_size_each_limit_what_is_kept(keep_run, read):
    """The oldest go first: those too old, those too many, those that make the store too large."""
    old, large, third, last = keep_run(40), keep_run(3, 20_000), keep_run(2), keep_run(1)
    reader = read()
    assert reader.prune(Retention(days=30, runs=0, megabytes=0)) == [old]
    assert reader.prune(Retention(days=0, runs=0, megabytes=1)) == [large]
    assert reader.prune(Retention(days=0, runs=0, megabytes=0)) == []
    assert reader.prune(Retention(days=0, runs=1, megabytes=0)) == [third]
    assert ids(reader) == [last]


def test_a_run_that_runs_is_kept(keep_run, read):
    """A run whose process is there is kept, however old, and however many there may be."""
    running = keep_run(400, is_ended=False)
    keep_run()
    reader = read()
    reader.prune(Retention(days=1, runs=1))
    assert running in ids(reader)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 60))
def test_retention_keeps_what_it_says(tmp_path_factory, ages, runs, days):
    """Whatever the ages, no run too old or too many is left, and none other is gone."""
    path = str(tmp_path_factory.mktemp("store") / "traces.db")
    made = {}
    for number, age in enumerate(ages):
        run_id = f"{number:032x}"
        writer = open_writer(path)
        began = time.time_ns() - int((age + 0.5) * DAY)
        writer.begin(START._replace(run_id=run_id, started_unix_ns=began))
        writer.end(RunEnd(time.time_ns()))
        writer.close()
        made[run_id] = began
    reader = open_reader(path)
    reader.prune(Retention(days=days, runs=runs, megabytes=0))
    left = ids(reader)
    reader.close()
    latest = sorted(made, key=made.get, reverse=True)
    young = [run for run in latest if not days or time.time_ns() - made[run] < days * DAY]
    assert left == young[: runs or None]
