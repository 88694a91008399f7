"""A program under the launcher that dies: it ends as it would have, and its run says what was running."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import dytopo_autotrace
from dytopo_autotrace.store.location import open_reader

PROGRAM = """
import os, sys, time
def think(number):
    time.sleep(0.002)
def wait_for_model():
    time.sleep(60)
def main(how, seconds):
    print("begun", flush=True)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        think(number)
        number += 1
    if how == "exit":
        os._exit(3)
    if how == "abort":
        os.abort()
    if how == "stderr":
        os.close(2)
        return
    wait_for_model()
main(sys.argv[1], float(sys.argv[2]))
"""
RULES = """
[[rule]]
target = "__main__:*"
"""
ENDS = {
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "exit": 3,
    "abort": -signal.SIGABRT,
    "stderr": 0,
}


@pytest.mark.parametrize("how", ENDS)
def test_a_run_says_what_was_running(tmp_path, how):
    """However it dies, the status is the program's own, and what ran longer than a moment is on disk."""
    chance = random.Random(how)
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "rules.toml").write_text(RULES)
    store = str(tmp_path / "traces.db")
    seconds = chance.uniform(0.3, 0.6)
    command = [sys.executable, "-m", "dytopo_autotrace", "--rules", "rules.toml", "--store", store]
    program = subprocess.Popen(
        ["sh", "-c", 'ulimit -c 0; exec "$@"', "-", *command, "program.py", how, str(seconds)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(dytopo_autotrace.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "begun\n"
    if how.startswith("SIG"):
        time.sleep(seconds + 0.6)
        program.send_signal(getattr(signal, how))
    program.communicate()
    assert program.returncode == ENDS[how]
    reader = open_reader(store)
    (info,) = reader.runs()
    records = reader.load(info.start.run_id)
    reader.close()
    running = {
        span.operation: records.now_ns - span.start_ns for span in records.spans if not span.end_ns
    }
    assert sum(span.operation == "think" for span in records.spans) > 10
    if how == "stderr":
        assert (info.status, running) == ("ended", {})
        return
    assert info.status == "died"
    assert "main" in running
    if how.startswith("SIG"):
        assert {"main", "wait_for_model"} == set(running)
        assert running["main"] > running["wait_for_model"] > 0.05e9
