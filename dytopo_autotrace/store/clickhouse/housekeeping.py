"""Removing runs from ClickHouse: by age and number, and when somebody asks.

A server may be the store of many: whoever writes tidies up among the runs of its own service only, and the
size of the whole is the server's business. A run is first marked as deleted, which hides it, then removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from dytopo_autotrace.store.clickhouse.connection import Connection
from dytopo_autotrace.store.clickhouse.lines import lines
from dytopo_autotrace.store.clickhouse.spans import RUN
from dytopo_autotrace.store.clickhouse.tables import (
    COLUMNS,
    DELETED,
    LOOKUP,
    OF_A_RUN,
    PROCESS,
    TRACES,
)
from dytopo_autotrace.store.model import ProcessInfo, Retention
from dytopo_autotrace.store.process import is_alive

MAX_TRACES: Final = 10_000
"""Traces of a run whose entries are taken out of the Collector's look-up table."""

_KNOWN: Final = f"""
SELECT Run AS run, Service AS service, toUnixTimestamp64Nano(Started) AS started,
       Host AS host, Pid AS pid, Birth AS birth, toUnixTimestamp64Nano(Heard) AS heard,
       Finished IS NOT NULL AS has_ended, Run IN (SELECT Run FROM {DELETED}) AS is_deleted
  FROM {PROCESS} FINAL
 ORDER BY started, run
"""  # noqa: S608 - names of our own


def prune(
    connection: Connection, keep: Retention, *, service: str | None = None, own_run: str = ""
) -> Iterator[str]:
    """Remove what is not kept, step by step; each step says which run it was about.

    Args:
        service: the only one whose runs are looked at; None for all.
        own_run: the run of the process that asks, which stays.
    """
    now = time.time_ns()
    runs: dict[str, int] = {}
    alive: set[str] = {own_run}
    deleted: dict[str, None] = {}
    for row in connection.query(_KNOWN):
        run = row["run"]
        if service is not None and row["service"] != service:
            continue
        if row["is_deleted"]:
            deleted[run] = None
            continue
        runs.setdefault(run, row["started"])
        process = ProcessInfo(row["host"], row["pid"], row["birth"])
        if not row["has_ended"] and is_alive(process, (now - row["heard"]) / 1e9):
            alive.add(run)
    kept = len(runs)
    for run in deleted:
        yield from _remove(connection, run)
    for run, started in runs.items():
        too_many = keep.runs and kept > keep.runs
        too_old = keep.days and started < now - keep.days * 86_400e9
        if run not in alive and (too_many or too_old):
            yield from delete(connection, run)
            kept -= 1


def delete(connection: Connection, run: str) -> Iterator[str]:
    """Remove one run, step by step; after the first step it does not show any more."""
    connection.insert(DELETED, COLUMNS[DELETED], lines([(run,)]))
    yield run
    yield from _remove(connection, run)


def _remove(connection: Connection, run: str) -> Iterator[str]:
    values = {"run": run}
    mine = f"ResourceAttributes['{RUN}'] = {{run:String}}"
    traces = [
        row["trace"]
        for row in connection.query(
            f"SELECT DISTINCT TraceId AS trace FROM {TRACES} WHERE {mine} LIMIT {MAX_TRACES}",  # noqa: S608
            values,
        )
    ]
    connection.command(f"DELETE FROM {TRACES} WHERE {mine}", values)  # noqa: S608
    yield run
    if traces:
        # A trace may go on in other services, whose spans stay and must be found.
        found = connection.query(
            f"SELECT DISTINCT TraceId AS trace FROM {TRACES} WHERE TraceId IN {{ids:Array(String)}}",  # noqa: S608
            {"ids": traces},
        )
        gone = sorted(set(traces) - {row["trace"] for row in found})
        connection.command(
            f"DELETE FROM {LOOKUP} WHERE TraceId IN {{ids:Array(String)}}",  # noqa: S608
            {"ids": gone},
        )
        yield run
    for table in OF_A_RUN:
        connection.command(f"DELETE FROM {table} WHERE Run = {{run:String}}", values)  # noqa: S608
        yield run
