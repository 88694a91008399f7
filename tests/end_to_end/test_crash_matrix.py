"""The example swarm is killed at random instants; the store has its story up to a moment before."""

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dytopo_autotrace.collect import clock
from dytopo_autotrace.store.location import open_reader, open_writer
from dytopo_autotrace.store.model import RunEnd, RunStart
from dytopo_autotrace.store.process import this_process

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("swarm_to_kill.py")
ENDS = {
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "SIGSEGV": -signal.SIGSEGV,
    "abort": -signal.SIGABRT,
    "exit": 3,
}
BOUND_NS = 200_000_000
"""A tick every tenth of a second, and one that is under way, on a machine that lets threads run."""
BEAT_NS = 25_000_000
"""How far apart beats are at most on such a machine."""
UNHEARD_NS = 300_000_000
"""How exactly it is known how long a call ran: a heartbeat, and a tick that is under way."""


@dataclass(frozen=True)
class Killed:
    """What a swarm said until it was killed: ids and moments on the monotonic clock."""

    status: int
    at_ns: int
    began: dict[int, int]
    ended: dict[int, int]
    withheld_ns: int
    """How long, in the last second, the machine let no thread of the swarm run that wanted to."""

    @property
    def bound_ns(self) -> int:
        """What ended longer ago than this is on disk."""
        return BOUND_NS + self.withheld_ns


def kill(directory, how, seconds):
    """Let the swarm run for a while after its first call, have it die, and say what it said."""
    command = [
        *("sh", "-c", 'ulimit -c 0; exec "$@"', "-", sys.executable, "-m", "dytopo_autotrace"),
        *("--rules", str(ROOT / "instrumentation.toml"), "--store", "traces.db"),
        *(str(PROGRAM), how, str(seconds), str(ROOT / "examples")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        open(directory / "stderr", "w+") as stderr,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as swarm,
    ):
        try:
            first = swarm.stdout.readline()
            assert first.startswith("begun"), (directory / "stderr").read_text()
            at_ns = 0
            if how.startswith("SIG") and how != "SIGSEGV":
                time.sleep(seconds)
                at_ns = time.perf_counter_ns()
                swarm.send_signal(getattr(signal, how))
            said = first + swarm.stdout.read()
            swarm.wait(60)
        finally:
            swarm.kill()
    heard = {"begun": {}, "ended": {}}
    beats = []
    for kind, *values in map(str.split, said.splitlines()):
        if kind == "dies":
            at_ns = int(values[0])
        elif kind == "beat":
            beats.append(int(values[0]))
        else:
            heard[kind][int(values[0], 16)] = int(values[1])
    return Killed(swarm.returncode, at_ns, heard["begun"], heard["ended"], withheld(beats, at_ns))


def withheld(beats, at_ns):
    late = [beat for beat in (*beats, at_ns) if at_ns - 1_000_000_000 <= beat <= at_ns]
    return sum(max(0, after - before - BEAT_NS) for before, after in itertools.pairwise(late))


def report(directory, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", "report", "--store", "traces.db", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def latest(directory):
    reader = open_reader(str(directory / "traces.db"))
    try:
        info = max(reader.runs(), key=lambda run: run.start.started_unix_ns)
        return info, reader.load(info.start.run_id)
    finally:
        reader.close()


def check(directory, how, killed):
    """Whatever is promised of a swarm that was killed."""
    assert killed.status == ENDS[how]
    info, records = latest(directory)
    assert info.status == "died"
    spans = {span.id: span for span in records.spans}
    assert len(spans) == len(records.spans)
    long_ago = {key for key, end in killed.ended.items() if end < killed.at_ns - killed.bound_ns}
    missing = [key for key in long_ago if key not in spans or not spans[key].end_ns]
    assert missing == []
    was_open = {
        key: began
        for key, began in killed.began.items()
        if began < killed.at_ns - killed.bound_ns and key not in killed.ended
    }
    for key, began in was_open.items():
        ran_ns = records.now_ns - spans[key].start_ns
        assert not spans[key].end_ns
        assert abs(ran_ns - (killed.at_ns - began)) < UNHEARD_NS + killed.withheld_ns
    assert_another_can_write_at_once(str(directory / "traces.db"))
    return len(long_ago), len(was_open)


def assert_another_can_write_at_once(path):
    """No lock is left: the next run begins and ends in the same store without waiting."""
    began = time.monotonic()
    writer = open_writer(path)
    start = RunStart(f"{random.getrandbits(128):032x}", this_process(), 1, script="next")
    writer.begin(start)
    writer.end(RunEnd(clock.unix_ns(clock.now_ns())))
    writer.close()
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV"])
def test_a_swarm_that_is_killed_is_told(tmp_path, how):
    """What ended two ticks before the end is on disk, what ran is listed, and the report tells it."""
    _, running = check(tmp_path, how, kill(tmp_path, how, 0.8))
    assert running > 0
    told = json.loads(report(tmp_path, "--json"))
    assert told["verdict"]["text"]
    assert any("still running" in remark for remark in told["remarks"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_the_crash_matrix(tmp_path, how):
    """Ten random instants for each way to die, all in one store: bound, open calls, locks, report."""
    chance = random.Random(how)
    ended = running = 0
    for number in range(10):
        instant = chance.uniform(0.0, 2.5)
        killed = kill(tmp_path, how, instant)
        if not (tmp_path / "traces.db").exists():
            assert killed.at_ns - min(killed.began.values(), default=killed.at_ns) < killed.bound_ns
            continue
        counts = check(tmp_path, how, killed)
        ended, running = ended + counts[0], running + counts[1]
        if number % 3 == 0:
            assert report(tmp_path)
    assert ended > 100
    assert running > 10
    with sqlite3.connect(tmp_path / "traces.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
