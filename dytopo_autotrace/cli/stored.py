"""What the commands on kept runs have in common: which store is meant, and its errors as click's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.store.location import StoreError, locate, open_reader
from dytopo_autotrace.store.model import Reader, RunInfo

F = TypeVar("F", bound=Callable[..., Any])

WIDTH = 80
"""Columns where there is no terminal to ask."""


def store_option(command: F) -> F:
    """`--store` of a command that reads."""
    return click.option(
        "--store",
        metavar="PATH",
        help="The store to read, a file or a ClickHouse URL, instead of .dytopo/traces.db here.",
    )(command)


@contextmanager
def reading(store: str | None) -> Iterator[Reader]:
    """The reader of the store that is meant; what it raises for people is said by click."""
    try:
        location = locate(store, str(Path.cwd()))
        if location is None:
            raise StoreError("--store none: there is nothing to read from. Give a path.")
        reader = open_reader(location)
        try:
            yield reader
        finally:
            reader.close()
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error


def width() -> int:
    """The columns of the terminal, 80 where there is none."""
    import shutil
    import sys

    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def moment(unix_ns: int) -> str:
    """A moment in local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ns / 1e9))


def took(info: RunInfo) -> float:
    """Seconds that a run has run, as far as it was heard of."""
    if info.end is not None:
        return info.end.wall_seconds
    until = time.time_ns() if info.status == "running" else info.heard_unix_ns
    return max(0.0, (until - info.start.started_unix_ns) / 1e9)


def program(info: RunInfo) -> str:
    """What ran, as it was called."""
    return " ".join(info.start.argv) or info.start.script or info.start.service


def plain(info: RunInfo) -> dict[str, Any]:
    """A run as JSON has it."""
    start, end = info.start, info.end
    return {
        "run_id": start.run_id,
        "status": info.status,
        "service": start.service,
        "argv": list(start.argv),
        "script": start.script,
        "directory": start.directory,
        "task": start.task,
        "host": start.process.host,
        "pid": start.process.pid,
        "python": start.process.python,
        "version": start.process.version,
        "started": start.started_unix_ns / 1e9,
        "heard": info.heard_unix_ns / 1e9,
        "ended": end.unix_ns / 1e9 if end else None,
        "seconds": took(info),
        "exit_status": end.exit_status if end else None,
        "end": end.ended if end else None,
        "message": end.message if end else "",
        "processes": info.processes,
        "spans": info.spans,
        "errors": info.errors,
        "running_spans": info.running_spans,
        "drops": info.drops,
    }
