"""Starts the process that renders a report, and waits for it no longer than it is worth."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PATIENCE_SECONDS = 60.0


def show(records: str, kind: str = "terminal") -> None:
    """Have records (see `collect.records`) reported on stderr by a process of its own.

    Raises:
        RuntimeError: there is no interpreter to start, or it failed or took too long.
    """
    import subprocess  # noqa: PLC0415 - at the end of a run only

    if not sys.executable:
        raise RuntimeError("this interpreter does not know where it is (sys.executable is empty)")
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        # Where this package is found may be known to this process alone.
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "DYTOPO_AUTOTRACE_DISABLED": "1",
    }
    if (encoding := getattr(sys.stderr, "encoding", None)) is not None:
        environment["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
    try:
        done = subprocess.run(  # noqa: S603 - our own module in our own interpreter
            [sys.executable, "-P", "-m", "dytopo_autotrace.report.render", kind],
            input=records.encode("ascii", "backslashreplace"),
            stdout=subprocess.DEVNULL,
            env=environment,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(f"it took longer than {late.timeout:.0f} s") from None
    if done.returncode not in (0, 1):  # 1 has said why itself
        raise RuntimeError(f"its process ended with status {done.returncode}")
