"""The ClickHouse store's side of those who ask."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.series import MetricFamily
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.store import assemble
from dytopo_autotrace.store.clickhouse import housekeeping
from dytopo_autotrace.store.clickhouse.address import parse
from dytopo_autotrace.store.clickhouse.client import ClientConnection
from dytopo_autotrace.store.clickhouse.connection import Rejected
from dytopo_autotrace.store.clickhouse.spans import (
    KEPT,
    PROCESS,
    RUN,
    finished_span,
    open_span,
    site,
)
from dytopo_autotrace.store.clickhouse.tables import TABLES, VERSION
from dytopo_autotrace.store.clickhouse.writer import layout
from dytopo_autotrace.store.location import StoreError, shown
from dytopo_autotrace.store.model import (
    Retention,
    RunInfo,
    RunRecords,
    StoreBusy,
    StoreLost,
)
from dytopo_autotrace.store.plain import from_text, with_fields

WAIT_SECONDS: Final = 5.0

_PROCESSES: Final = """
SELECT Run AS number, Run AS id, toUnixTimestamp64Nano(Started) AS started, Service AS service,
       Script AS script, Argv AS argv, Directory AS directory, Task AS task,
       Process AS process, Host AS host, Pid AS pid, Birth AS birth, Python AS python,
       Version AS version, toUnixTimestamp64Nano(Heard) AS heard,
       toUnixTimestamp64Nano(Joined) AS joined,
       toUnixTimestamp64Nano(Earliest) AS earliest, Spans AS spans, Errors AS errors,
       toUnixTimestamp64Nano(Finished) AS finished, WallSeconds AS wall_seconds,
       ExitStatus AS exit_status, Ended AS ended, Message AS message, Rules AS rules,
       Prices AS prices, Drops AS drops, Cost AS cost, Faults AS faults, Remarks AS remarks
  FROM dytopo_process FINAL
 WHERE Run NOT IN (SELECT Run FROM dytopo_deleted) {where}
 ORDER BY started DESC, number DESC, joined, process
"""

# The name of the service comes first in the order of that table, and days are its partitions.
_OF_RUN: Final = f"""
       ServiceName IN {{services:Array(String)}} AND ResourceAttributes['{RUN}'] = {{run:String}}
   AND Timestamp >= fromUnixTimestamp64Nano({{since:Int64}})
"""

_FINISHED: Final = f"""
SELECT ResourceAttributes['{PROCESS}'] AS process, SpanId AS id, ParentSpanId AS parent,
       TraceId AS trace, toUnixTimestamp64Nano(Timestamp) AS start, Duration AS duration,
       SpanAttributes['{KEPT}site'] AS site, SpanAttributes['{KEPT}status'] AS status,
       SpanAttributes['{KEPT}agent'] AS agent, SpanAttributes['{KEPT}captured'] AS captured,
       SpanAttributes['{KEPT}metadata'] AS metadata, SpanAttributes['{KEPT}error'] AS error,
       SpanAttributes['{KEPT}links'] AS links, SpanAttributes['{KEPT}measured'] AS measured
  FROM otel_traces
 WHERE {_OF_RUN}
 LIMIT 1 BY process, id
"""  # noqa: S608 - names of our own

_OPEN: Final = f"""
SELECT Process AS process, SpanId AS id, ParentSpanId AS parent, TraceId AS trace,
       toUnixTimestamp64Nano(Started) AS start, Site AS site, Agent AS agent,
       Captured AS captured, Metadata AS metadata, Links AS links
  FROM dytopo_open FINAL
 WHERE Run = {{run:String}}
   AND (Process, SpanId) NOT IN
       (SELECT ResourceAttributes['{PROCESS}'], SpanId FROM otel_traces WHERE {_OF_RUN})
"""  # noqa: S608 - names of our own

_RUNNING: Final = f"""
SELECT Process AS process, count() AS running
  FROM dytopo_open FINAL
 WHERE Process IN {{processes:Array(String)}}
   AND (Process, SpanId) NOT IN
       (SELECT ResourceAttributes['{PROCESS}'], SpanId FROM otel_traces
         WHERE ResourceAttributes['{PROCESS}'] IN {{processes:Array(String)}}
           AND Timestamp >= fromUnixTimestamp64Nano({{since:Int64}}))
 GROUP BY process
"""  # noqa: S608 - names of our own

_METRICS: Final = """
SELECT Name AS name, Labels AS labels, Kind AS kind, Help AS help, Bounds AS bounds,
       Count AS count, Sum AS sum, Min AS min, Max AS max, Last AS last, Time AS time,
       Buckets AS buckets
  FROM dytopo_metric FINAL
 WHERE Run = {run:String}
 ORDER BY Process, Name, Labels
"""


class ClickHouseReader:
    """Reads runs from a server, or from the folder of the embedded engine, that others may write to."""

    def __init__(self, location: str) -> None:
        self._where = shown(location)
        address = parse(location)
        self._connection = ClientConnection(address)
        with self._guard():
            found = self._first(
                "SELECT name, comment FROM system.tables WHERE database = {database:String}",
                {"database": address.database},
            )
            present = {row["name"]: row["comment"] for row in found}
        missing = set(TABLES) - set(present)
        if missing:
            self.close()
            raise self._nothing()
        if layout(present["dytopo_process"]) > VERSION:
            self.close()
            raise StoreError(
                f"{self._where} was written by a later version of dytopo-autotrace. Upgrade this "
                "one: pip install --upgrade dytopo-autotrace."
            )

    def runs(self) -> list[RunInfo]:
        with self._guard():
            rows = self._query(_PROCESSES.format(where=""))
            still = [row for row in rows if row["finished"] is None]
            running: dict[Any, int] = {}
            if still:
                found = self._query(
                    _RUNNING,
                    {
                        "processes": [row["process"] for row in still],
                        "since": min(row["earliest"] for row in still),
                    },
                )
                running = {row["process"]: row["running"] for row in found}
        return [assemble.info(processes, running) for processes in assemble.by_run(rows)]

    def load(self, run_id: str) -> RunRecords:
        with self._guard():
            processes = self._processes(run_id)
            of_run = {
                "run": run_id,
                "services": sorted({row["service"] for row in processes}),
                "since": min(row["earliest"] for row in processes),
            }
            # The open ones first: one that ends in between is then there twice, and not missing.
            opened = self._query(_OPEN, of_run)
            finished = self._query(_FINISHED, of_run)
            # Written before the spans that name them, so read after those.
            sites: dict[str, dict[int, Any]] = {row["process"]: {} for row in processes}
            for row in self._query(
                "SELECT Process AS process, Number AS number, Site AS site"
                " FROM dytopo_site FINAL WHERE Run = {run:String}",
                {"run": run_id},
            ):
                sites.setdefault(row["process"], {})[row["number"]] = site(row["site"])
        spans: dict[str, list[Span]] = {row["process"]: [] for row in processes}
        # A process that joined while this was read is told the next time.
        opened, finished = (
            [row for row in rows if row["process"] in spans] for rows in (opened, finished)
        )
        ended = {(row["process"], row["id"]) for row in finished}
        for row in finished:
            spans[row["process"]].append(finished_span(row, sites[row["process"]]))
        for row in opened:
            if (row["process"], row["id"]) not in ended:
                spans[row["process"]].append(open_span(row, sites[row["process"]]))
        return assemble.records(processes, spans)

    def failures(self, run_id: str) -> list[FailureRecord]:
        with self._guard():
            self._processes(run_id)
            rows = self._query(
                "SELECT Record AS record FROM dytopo_failure FINAL WHERE Run = {run:String}",
                {"run": run_id},
            )
        found = (with_fields(FailureRecord, from_text(row["record"])) for row in rows)
        return sorted(found, key=lambda each: each.timestamp)

    def metrics(self, run_id: str) -> list[MetricFamily]:
        with self._guard():
            self._processes(run_id)
            rows = self._query(_METRICS, {"run": run_id})
        return assemble.families(rows)

    def delete(self, run_id: str) -> None:
        with self._guard():
            self._processes(run_id)
            for _ in housekeeping.delete(self._connection, run_id):
                pass

    def prune(self, keep: Retention) -> list[str]:
        with self._guard():
            return list(dict.fromkeys(housekeeping.prune(self._connection, keep)))

    def size(self) -> int:
        with self._guard():
            found = self._query(
                "SELECT sum(total_bytes) AS size FROM system.tables"
                " WHERE database = currentDatabase()"
                " AND (name LIKE 'dytopo\\_%' OR name LIKE 'otel\\_traces%')"
            )
        return int(found[0]["size"] or 0)

    def close(self) -> None:
        self._connection.close()

    def _first(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Ask, and again while the process that wrote last may be letting go of the engine's folder."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return self._query(sql, values)
            except StoreBusy as busy:
                if busy.reason != "store_locked" or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._connection.query(sql, values)

    def _processes(self, run_id: str) -> list[dict[str, Any]]:
        rows = self._query(_PROCESSES.format(where="AND Run = {run:String}"), {"run": run_id})
        if not rows:
            raise StoreError(f"{self._where}: no run {run_id}. See: dytopo-autotrace runs")
        return rows

    def _nothing(self) -> StoreError:
        return StoreError(
            f"{self._where}: no store there. Watch a program first (python -m dytopo_autotrace "
            f"--store {self._where} script.py), or name another store."
        )

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except StoreBusy as busy:
            if busy.reason == "store_removed":
                raise self._nothing() from busy
            if busy.reason == "store_locked":
                raise StoreError(
                    f"{self._where} is in use by another process: the embedded engine serves one "
                    "at a time. Wait for its end, or use a server: clickhouse://host/database."
                ) from busy
            raise StoreError(f"{busy.detail or busy.reason}.") from busy
        except StoreLost as lost:
            raise StoreError(f"{lost.detail or lost.reason}.") from lost
        except Rejected as rejected:
            raise StoreError(f"{rejected}.") from rejected
