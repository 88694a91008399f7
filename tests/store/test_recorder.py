"""The recorder: nothing it meets reaches the host, and what it cannot keep is counted."""

import gc
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.store import backlog, housekeeping, recorder
from dytopo_autotrace.store.backlog import Backlog
from dytopo_autotrace.store.intake import Intake
from dytopo_autotrace.store.location import open_writer
from dytopo_autotrace.store.model import LOSSES, Retention, RunEnd, RunState
from dytopo_autotrace.store.recorder import Recorder, Sources
from dytopo_autotrace.store.sqlite import SqliteWriter


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def ended():
    return RunEnd(time.time_ns(), 0.5, 0)


def only_run(read):
    (info,) = read().runs()
    return info


def test_what_is_taken_is_on_disk_after_the_tick(record, read, span):
    """Spans of any number of drains are read back after one tick, each once."""
    kept = record()
    batches = [[span() for _ in range(size)] for size in (1, 0, 7, 3)]
    for batch in batches:
        kept.take(batch)
    kept.tick()
    reader = read()
    (info,) = reader.runs()
    written = sorted(each.id for each in reader.load(info.start.run_id).spans)
    assert written == [each.id for batch in batches for each in batch]
    assert (kept.recorder.written, kept.backlog.waiting, kept.losses()) == (11, 0, {})


def test_a_store_has_its_own_pace(record, span, clock, monkeypatch):
    """What is written to seldom is written to once a pace, unless a full batch waits; ends wait for none."""
    monkeypatch.setattr(SqliteWriter, "pace_seconds", 1.0)
    monkeypatch.setattr(recorder, "BATCH_SPANS", 10)
    kept = record(monotonic=clock)
    kept.take([span()])
    kept.tick()
    kept.take([span()])
    clock.now += 0.9
    kept.tick([span(is_open=True)])
    assert (kept.recorder.written, kept.backlog.waiting) == (1, 1)
    clock.now += 0.2
    kept.tick()
    assert (kept.recorder.written, kept.backlog.waiting) == (2, 0)
    kept.take([span() for _ in range(10)])
    kept.tick()
    assert kept.recorder.written == 12
    kept.take([span()])
    kept.finish(ended)
    kept.tick()
    assert kept.recorder.written == 13


def test_a_large_drain_is_written_in_many_commits(record, read, span, clock, monkeypatch):
    """A burst is split, so that other processes get their turn, and loses nothing."""
    monkeypatch.setattr(recorder, "BATCH_SPANS", 10)
    kept = record(monotonic=clock)
    kept.take([span() for _ in range(95)])
    kept.take([span() for _ in range(10)])
    kept.tick([span(is_open=True)])
    assert kept.progress == 11
    assert only_run(read).spans == 105


def test_the_end_writes_the_rest_and_lets_go(record, read, span, folder):
    """After the last tick all is in one file, with how it ended; later spans are counted."""
    kept = record(sources=Sources(state=lambda: RunState(remarks=("r",))))
    kept.take([span()])
    kept.finish(ended)
    kept.tick()
    assert kept.is_done
    assert sorted(each.name for each in folder.iterdir()) == [".gitignore", "traces.db"]
    assert only_run(read).status == "ended"
    kept.take([span()])
    kept.tick()
    assert kept.losses() == {"store_closed": 1}


def test_an_idle_process_is_heard_of(record, read, span, clock):
    """Without anything to write, a process lets hear of itself, but not at every tick."""
    kept = record(monotonic=clock)
    kept.take([span()])
    kept.tick()
    first = only_run(read).heard_unix_ns
    kept.tick()
    assert only_run(read).heard_unix_ns == first
    clock.now += recorder.HEARTBEAT_SECONDS * 1.1
    kept.tick()
    assert only_run(read).heard_unix_ns > first


def test_a_summary_is_written_once_a_second_and_only_what_changed(record, read, span, clock):
    """State, failures and metrics are asked for once a second, and only changes are written."""
    metrics, asked, failure = MetricsCollector(), [], FailureRecord(*"abcdefgh")
    failure.timestamp = 1.0

    def state():
        asked.append(clock.now)
        return RunState(drops={"buffer": 1})

    metrics.record("m", 1)
    sources = Sources(state, lambda: [failure], metrics.families)
    kept = record(sources=sources, monotonic=clock)
    kept.take([span()])
    for _ in range(30):
        kept.tick()
        clock.now += 0.3
    assert len(asked) == 8
    run_id = only_run(read).start.run_id
    changes = kept.recorder.writer._connection.total_changes
    kept.tick()
    assert kept.recorder.writer._connection.total_changes == changes + 1  # the heartbeat
    failure.recovered = True
    metrics.record("m", 2)
    clock.now += 1.1
    kept.tick()
    assert kept.recorder.writer._connection.total_changes == changes + 4
    assert read().failures(run_id)[0].recovered
    assert read().metrics(run_id)[-1].series[0].sum == 3


def test_what_waits_for_a_lock_is_bounded(record, read, span, clock, path, monkeypatch):
    """A store that stays locked costs the oldest spans, by reason; the rest comes when it opens."""
    monkeypatch.setattr(recorder, "MAX_STUCK", 25)
    kept = record(monotonic=clock)
    kept.take([span()])
    kept.tick()
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    batches = [[span() for _ in range(10)] for _ in range(4)]
    for batch in batches:
        kept.take(batch)
        clock.now += 10
        kept.tick()
    assert (kept.backlog.waiting, kept.losses()) == (25, {"store_locked": 15})
    lock.execute("ROLLBACK")
    lock.close()
    clock.now += 10
    kept.tick()
    reader = read()
    (info,) = reader.runs()
    assert info.spans == 26
    written = {each.id for each in reader.load(info.start.run_id).spans}
    assert {each.id for batch in batches[2:] for each in batch} <= written
    clock.now += 10
    kept.tick()
    assert reader.load(info.start.run_id).drops == {"store_locked": 15}


def test_a_locked_store_is_not_asked_at_every_tick(record, span, clock, path):
    """Who waits for a lock waits longer each time, up to two seconds."""
    kept = record(monotonic=clock)
    kept.take([span()])
    kept.tick()
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    kept.recorder.writer._connection.execute("PRAGMA busy_timeout = 0")
    asked = []
    kept.recorder.writer._connection.set_trace_callback(asked.append)
    kept.take([span()])
    for _ in range(100):
        kept.tick()
        clock.now += 0.1
    lock.close()
    assert 5 <= len(asked) <= 12


def test_a_store_that_stays_locked_holds_up_the_end_only_so_long(
    record, span, path, read, monkeypatch
):
    """At the end the recorder waits a moment for the lock, then counts and lets the host go."""
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", 0.1)
    kept = record()
    kept.take([span()])
    kept.tick()
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    kept.take([span(), span()])
    kept.finish(ended)
    began = time.monotonic()
    kept.tick()
    assert time.monotonic() - began < 2
    lock.close()
    assert kept.is_done
    assert kept.losses() == {"store_locked": 2}


def test_a_full_disk_leaves_room_for_the_end_and_for_what_is_lost(
    record, span, read, path, monkeypatch
):
    """A run whose disk is full says how it ended and how many of its spans are missing."""
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", 0.1)
    kept = record()
    kept.take([span()])
    kept.tick()
    reserve = Path(f"{path}-reserve")
    assert reserve.stat().st_size > 100_000
    connection = kept.recorder.writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    kept.take([span() for _ in range(20_000)])
    kept.finish(ended)
    kept.tick()
    reader = read()
    (info,) = reader.runs()
    assert (info.status, info.drops) == ("ended", 20_000)
    assert reader.load(info.start.run_id).drops == {"store_full": 20_000} == kept.losses()
    assert not reserve.exists()


def test_a_store_that_cannot_be_opened_leaves_the_host_alone(span, start):
    """Where there can be no store, everything is counted and nothing is raised."""
    kept = Intake(lambda backlog: Recorder(backlog, open_writer("/proc/no/traces.db"), start()))
    kept.take([span()])
    kept.tick()
    kept.take([span()])
    kept.tick()
    kept.finish(ended)
    kept.tick()
    assert kept.losses() == {"store_unwritable": 2}
    assert "/proc/no/traces.db" in kept.trouble


def test_a_recorder_that_cannot_be_made_is_counted(span):
    """Where making the recorder raises, nothing reaches the host and all spans are counted."""

    def fail(_):
        raise ZeroDivisionError("ours")

    kept = Intake(fail)
    for _ in range(2):
        kept.take([span()])
        kept.tick()
    kept.finish(ended)
    kept.tick()
    assert kept.losses() == {"store_fault": 2}
    assert kept.trouble == "ZeroDivisionError: ours"


def test_a_fault_of_ours_is_counted_and_not_raised(record, start, span):
    """Whatever raises inside is counted; what keeps raising is given up."""
    kept = record(start()._replace(process=None))
    for _ in range(recorder.MAX_FAULTS + 2):
        kept.take([span()])
        kept.tick()
    assert kept.is_done
    assert kept.losses() == {"store_fault": recorder.MAX_FAULTS + 2}
    assert kept.trouble.startswith("AttributeError")


def test_a_batch_that_cannot_be_written_costs_only_itself(record, read, span):
    """A fault in one batch is counted, and the next batch is written."""
    kept = record()
    kept.tick()
    odd = span()
    odd.start_ns = 1 << 70  # beyond every integer of a database
    odd.end_ns = odd.start_ns + 1
    kept.take([odd])
    kept.tick()
    kept.take([span()])
    kept.tick()
    assert kept.losses() == {"store_fault": 1}
    assert only_run(read).spans == 1


def test_nothing_watched_leaves_nothing(record, folder):
    """A program in which nothing was watched leaves no store behind."""
    kept = record()
    kept.tick()
    kept.finish(ended)
    kept.tick()
    assert not folder.exists()
    assert kept.losses() == {}


def test_what_a_thread_that_hangs_in_the_store_leaves_is_counted(record, span):
    """Given up, a tick that hangs leaves what waits and what it had in hand: all of it is counted."""
    hangs, go_on = threading.Event(), threading.Event()

    def hang():
        hangs.set()
        go_on.wait(30)
        return RunState()

    kept = record(sources=Sources(state=hang))
    kept.take([span()])
    thread = threading.Thread(target=kept.tick)
    thread.start()
    assert hangs.wait(30)
    kept.take([span(), span()])
    kept.give_up()
    assert kept.losses() == {"store_stuck": 3}
    go_on.set()
    thread.join()


@pytest.mark.parametrize("broken", ["state", "failures", "families"])
def test_a_source_that_fails_costs_no_span(record, read, span, broken):
    """Who is asked for sums and raises is left out; the spans are written all the same."""

    def fail():
        raise ZeroDivisionError("ours")

    kept = record(sources=Sources(**{broken: fail}))
    kept.take([span()])
    kept.tick()
    kept.finish(ended)
    kept.tick()
    assert "ZeroDivisionError: ours" in kept.trouble
    assert (only_run(read).spans, only_run(read).status, kept.losses()) == (1, "ended", {})


def test_every_reason_has_words():
    """Each reason under which a span can be counted as lost is explained."""
    folder = Path(recorder.__file__).parent
    used = {
        reason
        for file in folder.glob("*.py")
        for reason in re.findall(r'"(store_[a-z_]+)"', file.read_text())
    }
    assert used == set(LOSSES)


def test_a_writer_that_is_stuck_bounds_what_waits(span, monkeypatch):
    """While the background thread hangs in the store, what is taken is bounded and counted."""
    monkeypatch.setattr(backlog, "MAX_WAITING", 5)
    kept = Backlog()
    for _ in range(4):
        kept.take([span(), span()])
    assert (kept.waiting, kept.drops) == (4, {"store_behind": 4})


def test_a_read_only_folder_leaves_the_host_alone(start, span):
    """In a folder where nothing may be made, spans are counted."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        child = os.fork()
        if child == 0:
            # A root that tests may do everything, so somebody else has to try.
            if os.geteuid() == 0:
                os.seteuid(65534)
            kept = Intake(
                lambda backlog: Recorder(backlog, open_writer(f"{name}/.dytopo/traces.db"), start())
            )
            kept.take([span()])
            kept.tick()
            os._exit(0 if kept.losses() == {"store_unwritable": 1} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_file_size_limit_leaves_the_host_alone(path, start, span, read):
    """When the system refuses to let files grow, what fitted reads back and the rest is counted."""
    program = """if True:
        import resource, sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from dytopo_autotrace.collect.span import Site, Span
        from dytopo_autotrace.store import recorder
        from dytopo_autotrace.store.intake import Intake
        from dytopo_autotrace.store.location import open_writer
        from dytopo_autotrace.store.model import RunEnd, RunStart
        from dytopo_autotrace.store.process import this_process
        recorder.PATIENCE_SECONDS = 0.1
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        start = RunStart("0" * 32, this_process(), time.time_ns())
        kept = Intake(lambda backlog: recorder.Recorder(backlog, open_writer(sys.argv[1]), start))
        number = 0
        for _ in range(20):
            spans = [Span(number := number + 1, 0, 1, Site("f" * 100), number) for _ in range(1000)]
            for span in spans:
                span.end_ns = span.start_ns + 1
            kept.take(spans)
            kept.tick()
        kept.finish(lambda: RunEnd(time.time_ns()))
        kept.tick()
        print(kept.recorder.written, kept.losses())
    """
    root = Path(recorder.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, path, str(root)],
        capture_output=True,
        text=True,
        check=True,
    )
    written, losses = done.stdout.strip().split(" ", 1)
    assert done.stderr == ""
    assert 0 < int(written) < 20_000
    assert losses == str({"store_io_error": 20_000 - int(written)})
    assert only_run(read).spans == int(written)
    assert only_run(read).status == "died"


def test_a_forked_child_leaves_the_parents_store_alone(path, record, read, span):
    """A child that ends as programs do, while its parent writes on, changes nothing in the store."""
    kept = record()
    kept.take([span()])
    kept.tick()
    connection = kept.recorder.writer._connection
    connection.execute("PRAGMA cache_size = 5")  # The log has more of the transaction than memory.
    connection.execute("BEGIN IMMEDIATE")
    insert = "INSERT INTO trace VALUES (99, ?, zeroblob(16))"
    connection.executemany(insert, [(number,) for number in range(20_000)])
    child = os.fork()
    if child == 0:
        # All that the end of an interpreter does to objects, short of ending the test's own.
        kept.take([span()])
        kept.tick()
        nothing_written = kept.recorder.written == 1 and kept.recorder.writer._connection is None
        del connection
        gc.collect()
        os._exit(0 if nothing_written else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    connection.executemany(insert, [(number,) for number in range(20_000, 30_000)])
    connection.execute("COMMIT")
    kept.take([span()])
    kept.tick()
    assert only_run(read).spans == 2
    assert connection.execute("SELECT count(*) FROM trace WHERE process = 99").fetchone() == (
        30_000,
    )
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Walk(Clock):
    """A clock by which whatever is asked of it takes a share of a tick."""

    def __call__(self):
        self.now += recorder.PRUNE_SHARE_SECONDS / 4
        return self.now


@pytest.fixture
def run_once(record, span, start):
    """Runs a program whose only tick is its last, with so many spans."""

    def run(service="", spans=1, **more):
        kept = record(start(service=service), **more)
        kept.take([span() for _ in range(spans)])
        kept.finish(ended)
        kept.tick()
        return kept

    return run


def test_what_is_not_kept_goes_while_a_program_is_never_idle(record, read, span, run_once):
    """Old runs go after a write too, a few steps a tick, and never the run that runs."""
    for number in range(4):
        run_once(str(number), spans=20_000)
    kept = record(keep=Retention(runs=2), monotonic=Walk())
    for _ in range(60):
        kept.take([span()])
        kept.tick()
        assert kept.backlog.waiting == 0
    assert [info.start.service for info in read().runs()] == ["", "3"]
    reader = read()
    assert reader.prune(Retention(0, 0, 0)) == []
    assert kept.losses() == {}


def test_one_tick_does_not_go_on_pruning(record, read, span, run_once):
    """A tick prunes for its share of time only, however much there is: writing has its turn."""
    run_once("0", spans=20_000)
    kept = record(keep=Retention(runs=1), monotonic=Walk())
    kept.take([span()])
    kept.tick()
    assert [info.start.service for info in read().runs()] == [""]
    assert read().prune(Retention(0, 0, 0)) != []


def test_programs_that_end_at_once_keep_no_more_than_is_kept(read, run_once, clock):
    """A program that is over before any tick removes what is beyond the limit of runs."""
    for number in range(6):
        run_once(str(number), keep=Retention(runs=2), monotonic=clock)
    assert [info.start.service for info in read().runs()] == ["5", "4"]


def test_a_huge_old_run_is_removed_by_the_ends_of_short_programs(read, run_once, path):
    """What one end has not finished the next takes up, until the file is within its size."""
    run_once("huge", spans=30_000)
    assert os.path.getsize(path) > 2e6
    for number in range(30):
        run_once(str(number), keep=Retention(megabytes=1), monotonic=Walk())
    assert "huge" not in [info.start.service for info in read().runs()]
    assert os.path.getsize(path) <= 1e6


def test_what_the_end_prunes_of_its_own_run_is_counted(read, run_once, clock):
    """A short program whose run is too large alone loses its oldest spans, and says how many."""
    run_once(spans=20_000, keep=Retention(megabytes=0.5), monotonic=clock)
    (info,) = read().runs()
    records = read().load(info.start.run_id)
    assert info.status == "ended"
    assert records.drops["store_pruned"] == 20_000 - len(records.spans) > 0


def test_a_run_that_is_too_large_alone_loses_its_oldest_spans(record, read, span, clock):
    """A store stays within its limit of size also while one program runs on; what went is counted."""
    kept = record(keep=Retention(megabytes=0.5), monotonic=clock)
    for _ in range(40):
        kept.take([span() for _ in range(500)])
        kept.tick()
        clock.now += recorder.PRUNE_SECONDS
        for _ in range(20):
            kept.tick()
            clock.now += 0.01
    lost = kept.losses()["store_pruned"]
    reader = read()
    (info,) = reader.runs()
    left = reader.load(info.start.run_id).spans
    assert info.spans == len(left) + lost == 20_000
    assert lost > 10_000
    assert housekeeping.used_bytes(kept.recorder.writer._connection) <= 0.7e6
    assert min(each.id for each in left) == (1 << 40) + lost
