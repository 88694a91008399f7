"""Starts the process that imports a program's modules with the rules woven in, and hears what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from dytopo_autotrace.preflight.model import Imported, Note, Subject, Woven

PATIENCE_SECONDS: Final = 120.0
_LOOK_EVERY_SECONDS: Final = 0.02

_START: Final = """\
import json, sys
with open(sys.argv[1], encoding="utf-8") as stream:
    request = json.load(stream)
sys.path[:] = [request["root"]]
import dytopo_autotrace
sys.path[:] = request["search_path"]
from dytopo_autotrace.preflight.importing import main
main(request)
"""
"""The program's search path counts from the beginning; ours is on it for one import only."""


def weave(
    rules: str | None,
    subject: Subject,
    modules: Sequence[str],
    patience_seconds: float = PATIENCE_SECONDS,
) -> Woven:
    """Import modules in a process of its own, and say what was woven in them.

    The process has this one's environment and interpreter flags; what it prints is thrown away.

    Args:
        rules: the rule file as it was asked for, None for the one that counts without asking.
        subject: the program; its main module is imported only if that does not run it.
        modules: what to import.
        patience_seconds: it is killed after that.
    """
    if not sys.executable:
        return Woven(trouble="this interpreter does not know where it is: sys.executable is empty")
    with tempfile.TemporaryDirectory(prefix="dytopo-autotrace-") as directory:
        request, answer = Path(directory, "request"), Path(directory, "answer")
        document = {
            "search_path": subject.search_path,
            "root": str(Path(__file__).resolve().parents[2]),
            "rules": rules,
            "script": subject.script,
            "module": subject.module,
            "modules": list(modules),
            "answer": str(answer),
        }
        request.write_text(json.dumps(document), encoding="utf-8")
        answer.touch()
        with tempfile.TemporaryFile() as errors:
            ended = _run(str(request), errors, patience_seconds)
            said = _last_line(errors)
        return _read(answer.read_text(encoding="utf-8"), ended, said)


def _run(request: str, errors: Any, patience_seconds: float) -> str:
    """Run the process to its end; returns how it ended if that was not well, else `""`."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # noqa: SLF001 - as multiprocessing does
    environment = {**os.environ}
    environment.pop("DYTOPO_AUTOTRACE_DISABLED", None)  # a check is asked for, whatever a run is
    process = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        [sys.executable, *flags, "-P", "-c", _START, request],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        start_new_session=True,  # so that what it started can be ended with it
    )
    try:
        has_ended = _has_ended(process.pid, time.monotonic() + patience_seconds)
    finally:
        # Before it is waited for its number cannot be another's, so only what it started is hit.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    if not has_ended:
        return f"it took longer than {patience_seconds:.0f} s"
    return f"its process ended with status {status}" if status else ""


def _has_ended(pid: int, deadline: float) -> bool:
    """Whether a child ends in time; it is not reaped."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_SECONDS)
    return True


def _last_line(errors: Any) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(size - 4096, 0))
    lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def _read(text: str, ended: str, said: str) -> Woven:
    modules: list[Imported] = []
    notes: list[Note] = []
    faults: list[str] = []
    begun, is_complete = "", False
    for kind, values in _lines(text):
        if kind == "begin":
            begun = values["module"]
        elif kind == "module":
            modules.append(Imported(**values))
            begun = ""
        elif kind == "note":
            notes.append(Note(**values))
        elif kind == "fault":
            faults.append(values["text"])
        elif kind == "end":
            is_complete = True
    trouble = ""
    if not is_complete:
        where = f" while {begun} was imported" if begun else ""
        trouble = f"{ended or 'its process ended'}{where}" + (f": {said}" if said else "")
        if begun:
            modules.append(Imported(begun, trouble))
    return Woven(tuple(modules), tuple(notes), tuple(faults), trouble)


def _lines(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in text.splitlines():
        try:
            kind, values = json.loads(line)
        except ValueError:
            return  # Cut off: the process was killed as it wrote.
        yield kind, values
