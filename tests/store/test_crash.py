"""However a process ends, and whenever: what it had written reads back, and it says what was running."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dytopo_autotrace
from dytopo_autotrace.collect import clock
from dytopo_autotrace.store.location import open_reader

PROGRAM = Path(__file__).with_name("swarm_that_dies.py")
INSTANTS = int(os.environ.get("DYTOPO_AUTOTRACE_TEST_INSTANTS", "5"))
"""Random instants for each way to die; more of them find rarer faults."""
ENDS = {
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "SIGSEGV": -signal.SIGSEGV,
    "exit": 3,
    "abort": -signal.SIGABRT,
}


def run_until_it_dies(path, how, seconds):
    """Start the program and have it die; its exit status and what it said."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dytopo_autotrace.__file__).parents[1])}
    # A core file of each would fill the disk.
    program = subprocess.Popen(
        [
            "sh",
            "-c",
            'ulimit -c 0; exec "$@"',
            "-",
            sys.executable,
            PROGRAM,
            path,
            how,
            str(seconds),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    said = []
    for line in program.stdout:
        said.append(line.split())
        if how.startswith("SIG") and line.startswith("open"):
            time.sleep(seconds)
            program.send_signal(getattr(signal, how))
    program.wait()
    errors = program.stderr.read()
    program.stdout.close()
    program.stderr.close()
    return program.returncode, said, errors


@pytest.mark.parametrize("how", ENDS)
def test_what_was_committed_reads_back(tmp_path, how):
    """Killed at any instant, a process ends as it would without us, and all it had committed is there.

    What it had committed last is less than a moment old; the span it was in is listed as open, for as
    long as it ran; no lock is left behind, and the file is sound.
    """
    chance = random.Random(how)
    for instant in range(INSTANTS):
        path = str(tmp_path / str(instant) / "traces.db")
        seconds = chance.uniform(0.0, 0.5)
        code, said, errors = run_until_it_dies(path, how, seconds)
        died = time.time_ns()
        assert code == ENDS[how]
        assert errors == ""
        committed = max([int(words[1]) for words in said if words[0] == "kept"], default=0)
        if not Path(path).exists() or not committed:
            continue
        with_lock = sqlite3.connect(path, timeout=0, isolation_level=None)
        with_lock.execute("BEGIN IMMEDIATE")
        assert with_lock.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with_lock.execute("ROLLBACK")
        with_lock.close()
        reader = open_reader(path)
        (info,) = reader.runs()
        records = reader.load(info.start.run_id)
        reader.close()
        finished = [span for span in records.spans if span.end_ns]
        assert len(finished) == info.spans >= committed
        numbers = [span.metadata["number"] for span in finished if span.operation == "call"]
        assert sorted(numbers) == list(range(len(numbers)))
        assert info.status == records.ended == "died"
        (outer,) = [span for span in records.spans if span.operation == "swarm"]
        assert outer.span_id == next(words[1] for words in said if words[0] == "open")
        assert (outer.status, outer.agent) == ("in_progress", "outer")
        assert outer.start_ns <= records.now_ns <= clock.counter_ns(died)


def test_the_loss_is_a_moment(tmp_path):
    """At a thousand spans in a tenth of a second, what a kill costs is what came after the last tick."""
    path = str(tmp_path / "traces.db")
    _, said, _ = run_until_it_dies(path, "SIGKILL", 1.0)
    reader = open_reader(path)
    (info,) = reader.runs()
    records = reader.load(info.start.run_id)
    reader.close()
    finished = [span for span in records.spans if span.end_ns]
    ticks = sum(words[0] == "kept" for words in said)
    assert ticks >= 4  # in a second, on however busy a machine
    assert (clock.unix_ns(records.now_ns) - info.start.started_unix_ns) / 1e9 > 0.5
    assert max(span.end_ns for span in finished) <= records.now_ns
