"""Which process this is, and whether another one that left its mark still runs."""

from __future__ import annotations

import os
import sys
from typing import Final

from dytopo_autotrace import __version__
from dytopo_autotrace.store.model import ProcessInfo

SILENCE_SECONDS: Final = 60.0
"""Where a process cannot be asked for, it counts as gone once it was silent for so long."""


def this_process() -> ProcessInfo:
    """The process that asks."""
    return ProcessInfo(
        host=host_name(),
        pid=os.getpid(),
        birth=_birth(os.getpid()) or "",
        python=".".join(map(str, sys.version_info[:3])),
        version=__version__,
    )


def host_name() -> str:
    """The name of this host, `""` if it has none."""
    # Not the socket module, which takes longer to import than all of the store.
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def is_alive(process: ProcessInfo, silent_seconds: float) -> bool:
    """Whether a process still runs, as well as that can be known from here.

    Args:
        silent_seconds: how long ago it was last heard of; decides where it cannot be looked up: on
            another host or in another container, or where the system has no process table to read.
    """
    if process.host != host_name() or not process.birth or _namespace() != _namespace_of(process):
        return silent_seconds < SILENCE_SECONDS
    return _birth(process.pid) == process.birth


def _birth(pid: int) -> str | None:
    """Boot, process namespace and start time of a process; None if there is none, or no way to ask."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The second field is the name in parentheses, which may have spaces and parentheses.
            fields = stat.read().rpartition(b")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            boot_id = boot.read(8)
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None  # It has ended, and only waits for its parent to ask how.
    return f"{boot_id}/{_namespace()}/{int(fields[19])}"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def _namespace_of(process: ProcessInfo) -> str:
    return process.birth.split("/")[1]
