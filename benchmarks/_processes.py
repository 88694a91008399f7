"""Starting programs and timing them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """A program that has ended: milliseconds from its start, milliseconds of processor time."""

    wall: float
    cpu: float
    stderr: str


def environment(cache: str, **more: str) -> dict[str, str]:
    """That of this process, with bytecode kept in a directory that all contestants share."""
    inherited = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**inherited, "PYTHONPYCACHEPREFIX": cache, **more}


def run(command: Sequence[str], directory: str, variables: Mapping[str, str]) -> Ended:
    """Run a program to its end; one that fails ends the benchmark."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process.stderr as stream:
        said = stream.read()
    # Unlike `wait`, this tells the processor time of this one child.
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return Ended(wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3, said)
