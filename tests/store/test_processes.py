"""Several processes on one store at once, in one run or each in its own: the counts add up exactly."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import dytopo_autotrace
from dytopo_autotrace.store.model import ProcessInfo
from dytopo_autotrace.store.process import host_name, is_alive, this_process

PROGRAM = Path(__file__).with_name("writer_of_many.py")
SPANS = 1000


@pytest.mark.parametrize("processes", [2, 5, 8])
@pytest.mark.parametrize("shared", [True, False], ids=["one run", "a run each"])
def test_counts_add_up(path, read, processes, shared):
    """Two to eight processes begin one store together and write at once: nothing is lost or doubled."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dytopo_autotrace.__file__).parents[1])}
    programs = [
        subprocess.Popen(
            [
                *(sys.executable, PROGRAM, path),
                *(("0" if shared else str(number)) * 32, f"name{number}", str(SPANS)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        for number in range(processes)
    ]
    said = [program.communicate()[0] for program in programs]
    assert said == [f"{SPANS} {{}}\n"] * processes
    reader = read()
    runs = reader.runs()
    assert len(runs) == (1 if shared else processes)
    assert sum(info.processes for info in runs) == processes
    assert sum(info.spans for info in runs) == processes * SPANS
    assert sum(info.errors for info in runs) == processes * SPANS // 10
    assert {info.status for info in runs} == {"ended"}
    seen = Counter()
    for info in runs:
        for span in reader.load(info.start.run_id).spans:
            assert span.end_ns
            seen[span.rule, span.agent, span.metadata["number"]] += 1
        (family,) = [each for each in reader.metrics(info.start.run_id) if each.name == "calls"]
        assert family.series[0].sum == SPANS * info.processes
    assert set(seen.values()) == {1}
    assert set(seen) == {
        (f"name{process}", f"name{process}", number)
        for process in range(processes)
        for number in range(SPANS)
    }


def test_this_process_is_alive():
    """The process that asks is there, however long it was silent."""
    assert is_alive(this_process(), 1e9)


def test_a_process_that_ended_is_not_alive():
    """One that ended is gone, also while nobody has asked for its exit status."""
    program = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    program.stdout.read()
    birth = this_process().birth.rsplit("/", 1)[0]
    process = ProcessInfo(host_name(), program.pid, f"{birth}/1")
    assert not is_alive(process, 0)
    program.wait()
    program.stdout.close()
    assert not is_alive(process, 0)


def test_another_process_with_the_same_number_is_not_it():
    """A number that is used again does not make the old process alive."""
    mine = this_process()
    birth = mine.birth.rsplit("/", 1)[0] + "/1"
    assert not is_alive(ProcessInfo(mine.host, mine.pid, birth), 0)


@pytest.mark.parametrize("elsewhere", ["host", "birth"])
def test_where_it_cannot_be_looked_up_silence_decides(elsewhere):
    """On another host, or without a birth mark, a process counts as gone once it was long silent."""
    mine = this_process()
    process = ProcessInfo(
        "elsewhere" if elsewhere == "host" else mine.host,
        mine.pid,
        "" if elsewhere == "birth" else mine.birth,
    )
    assert is_alive(process, 1)
    assert not is_alive(process, 3600)
