"""Faults of ours stay ours."""

import subprocess
import sys

import pytest

from dytopo_autotrace.collect import faults
from dytopo_autotrace.collect.faults import attempt


@pytest.mark.parametrize("error", [ValueError, MemoryError, RecursionError])
def test_a_fault_is_counted_and_goes_no_further(error, monkeypatch):
    """Whoever attempts something of ours that fails gets nothing, and a count says what it was."""
    monkeypatch.setattr(faults, "contained", faults.Counter())

    def fails(number):
        raise error(number)

    assert [attempt(fails, 1), attempt(fails, 2), attempt(int, "3")] == [None, None, 3]
    ((where, count),) = faults.contained.items()
    assert where.endswith(f"fails: {error.__name__}")
    assert count == 2


def test_what_ends_the_program_is_not_kept_from_it():
    """Somebody who presses Ctrl-C while something of ours runs is not ignored."""

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted)


def test_a_fault_around_a_fork_is_not_printed():
    """The parent and the child go on without a word, and each counts what failed in it."""
    program = """
import os
from dytopo_autotrace.collect.faults import around_forks, contained
def fails():
    raise ValueError
around_forks(before=fails, after_in_parent=fails, after_in_child=fails)
child = os.fork()
if child:
    os.waitpid(child, 0)
print(sum(contained.values()), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n2\n", "")
