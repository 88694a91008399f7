"""The ClickHouse store's side in the watched process.

There is no transaction over several tables, so what refers to something is written after it, and each write
may be done again: rows of our own tables replace each other by their keys, and of a span that was written
twice (the server had it, its answer was lost) one counts when it is read.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from dytopo_autotrace.store.clickhouse import housekeeping, spans
from dytopo_autotrace.store.clickhouse.address import parse
from dytopo_autotrace.store.clickhouse.connection import Connection, Rejected
from dytopo_autotrace.store.clickhouse.courier import Courier
from dytopo_autotrace.store.clickhouse.lines import lines, moment, number
from dytopo_autotrace.store.clickhouse.tables import (
    COLUMNS,
    COMMENT,
    DELETED,
    FAILURE,
    METRIC,
    OPEN,
    PROCESS,
    SITE,
    TABLES,
    TRACES,
    VERSION,
)
from dytopo_autotrace.store.location import shown
from dytopo_autotrace.store.model import (
    Batch,
    Retention,
    RunEnd,
    RunStart,
    StoreBusy,
    StoreLost,
)
from dytopo_autotrace.store.plain import clean, to_text
from dytopo_autotrace.store.rows import Row, RowMaker, signed, state_columns

PACE_SECONDS: Final = 1.0
"""A server of many programs is written to once a second, unless a full batch waits."""

MAX_ROWS: Final = 10_000
"""Rows of one insert: some megabytes, a tenth of a second of the server's time."""

LOOK_SECONDS: Final = 10.0
"""How often it is asked whether the run was deleted."""


class ClickHouseWriter:
    """Writes the records of one process.

    Args:
        describe: puts a span into OpenTelemetry's words.
    """

    pace_seconds = PACE_SECONDS

    def __init__(
        self,
        location: str,
        describe: spans.Describe | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        address = parse(location)
        self._where = shown(location)
        self._courier = Courier(address)
        self._connection: Connection = self._courier
        self._database = address.database
        self._describe = describe
        self._monotonic = monotonic
        self._start: RunStart | None = None
        self._process = ""
        self._joined = 0
        self._is_ready = False
        self._earliest = self._heard = self._spans = self._errors = self._unreadable = 0
        self._state: tuple[str | None, ...] = (None,) * 6
        self._shared: Row = ()
        self._service = ""
        self._rows = RowMaker(0)
        self._losses: Counter[str] = Counter()
        self._looked = 0.0

    @property
    def losses(self) -> Mapping[str, int]:
        return self._losses + Counter(store_unreadable=self._unreadable)

    def begin(self, start: RunStart) -> None:
        if self._start is None:
            self._process = os.urandom(16).hex()
            self._joined = start.joined_unix_ns or start.started_unix_ns
            self._earliest = self._heard = start.started_unix_ns
            self._service = clean(start.service)
            resource = _resource(start, self._process)
            version = clean(start.process.version)
            self._shared = (self._service, resource, "dytopo_autotrace", version, "")
        self._start = start
        with _Lasting(self._where):
            self._prepare()

    def write(self, batch: Batch) -> None:
        start = self._begun()
        with _Lasting(self._where):
            if not self._is_ready:
                self._prepare()
            self._look()
        self._write(start, batch)

    def end(self, end: RunEnd) -> None:
        start = self._begun()
        self._heard = max(self._heard, end.unix_ns)
        ended = (moment(end.unix_ns), end.wall_seconds, end.exit_status, end.ended, end.message)
        self._insert(PROCESS, [self._process_row(start, self._spans, self._errors, ended)])

    def close(self) -> None:
        self._connection.close()
        self._start = None

    def make_room(self) -> None:
        """A server's disk is the server's business."""

    prunes_at_end = False  # A server may take its time, and the program waits.

    def hurry(self) -> None:
        self._courier.hurry()

    def abandon(self) -> None:
        self._connection.abandon()
        self._start = None

    def prune(self, keep: Retention) -> Iterator[None]:
        start = self._begun()
        steps = housekeeping.prune(
            self._connection, keep, service=self._service, own_run=start.run_id
        )
        while True:
            try:
                next(steps)
            except StopIteration:
                return
            except (Rejected, StoreLost) as refused:
                # Who may not delete may still write.
                raise StoreBusy("store_refused", str(refused)) from refused
            yield

    def _begun(self) -> RunStart:
        if self._start is None:
            raise StoreLost("store_closed", "the store was closed")
        return self._start

    def _prepare(self) -> None:
        """Make the tables that are not there, and enter this process."""
        present = {
            row["name"]: row["comment"]
            for row in self._connection.query(
                "SELECT name, comment FROM system.tables WHERE database = {database:String}",
                {"database": self._database},
            )
        }
        if layout(present.get(PROCESS, "")) > VERSION:
            raise StoreLost(
                "store_newer", f"{self._where} was written by a later version; use another --store"
            )
        for name, statement in TABLES.items():
            # Who may write need not be allowed to make tables that are there.
            if name not in present:
                self._connection.command(statement)
        start = self._begun()
        self._insert(PROCESS, [self._process_row(start, self._spans, self._errors)])
        # Tables that were dropped and made again do not have the sites of before.
        self._rows = RowMaker(0)
        self._is_ready = True

    def _look(self) -> None:
        now = self._monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        start = self._begun()
        found = self._connection.query(
            f"SELECT count() AS found FROM {DELETED} WHERE Run = {{run:String}}",  # noqa: S608
            {"run": start.run_id},
        )
        if found[0]["found"]:
            raise StoreLost("store_deleted", f"the run was deleted from {self._where}")

    def _write(self, start: RunStart, batch: Batch) -> None:
        run, process, rows = start.run_id, self._process, self._rows
        rows.unreadable = 0
        ended = {span.id for span in batch.finished}
        running = [span for span in batch.opened if span.id not in ended]
        opened = rows.rows(running, still_open=True)
        finished = rows.rows(batch.finished)
        rows.new_traces.clear()
        for row in (*opened, *finished):
            self._earliest = min(self._earliest, row[5])
        if rows.new_sites:
            self._insert(SITE, [spans.site_row(run, (process, *row[1:])) for row in rows.new_sites])
            rows.new_sites.clear()
        if opened:
            by_id = {signed(span.id): span for span in running}
            self._insert(OPEN, spans.open_rows(opened, by_id, run, process))
        if finished:
            by_id = {signed(span.id): span for span in batch.finished}
            made = spans.finished_rows(finished, by_id, self._service, self._describe)
            while rows_of_one := list(islice(made, MAX_ROWS)):
                self._insert(TRACES, rows_of_one, self._shared)
        self._write_rest(start, batch)
        if batch.state is not None:
            self._state = state_columns(batch.state)
        self._heard = max(self._heard, batch.unix_ns)
        errors = sum(span.status == "error" for span in batch.finished)
        counted = self._spans + len(finished), self._errors + errors
        self._insert(PROCESS, [self._process_row(start, *counted)])
        self._spans, self._errors = counted
        self._unreadable += rows.unreadable
        self._connection.rest()

    def _write_rest(self, start: RunStart, batch: Batch) -> None:
        key, now = (start.run_id, self._process), time.time_ns()
        if batch.failures:
            self._insert(
                FAILURE,
                [
                    (*key, clean(each.failure_id), now, to_text(each.to_dict()))
                    for each in batch.failures
                ],
            )
        if batch.families:
            self._insert(METRIC, list(_metric_rows(*key, now, batch)))

    def _insert(self, table: str, rows: list[Row], shared: Row = ()) -> None:
        try:
            self._connection.insert(table, COLUMNS[table], lines(rows, shared))
        except StoreBusy as busy:
            if busy.reason == "store_removed":
                self._is_ready = False
                self._losses["store_removed"] += self._spans
                self._spans = self._errors = 0
            raise

    def _process_row(
        self, start: RunStart, count: int, errors: int, ended: tuple[Any, ...] = (None,) * 5
    ) -> Row:
        process = start.process
        if isinstance(ended[3], str):
            ended = (*ended[:3], clean(ended[3]), clean(ended[4]))
        return (
            *(start.run_id, self._process, time.time_ns(), moment(start.started_unix_ns)),
            *(self._service, clean(start.script)),
            to_text([clean(word) for word in start.argv]),
            *(clean(start.directory), clean(start.task)),
            *(clean(process.host), process.pid, process.birth),
            *(process.python, process.version, moment(self._joined), moment(self._earliest)),
            *(moment(self._heard), count, errors),
            *ended,
            *self._state,
        )


def layout(comment: str) -> int:
    """The number of the layout that the comment of a table tells, 0 if it tells none."""
    number = comment.removeprefix(COMMENT)
    return int(number) if number != comment and number.isdecimal() else 0


class _Lasting:
    """What ClickHouse will not do now it will not do later: of what a run begins with, that is the end."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Rejected):
            raise StoreLost("store_refused", f"{self._where}: {error}") from error


def _resource(start: RunStart, process: str) -> dict[str, str]:
    """What all spans of the process share, in OpenTelemetry's words."""
    found = {
        "service.name": start.service,
        "telemetry.sdk.name": "dytopo-autotrace",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": start.process.version,
        "process.runtime.version": start.process.python,
        "host.name": start.process.host,
        "process.pid": str(start.process.pid),
        spans.RUN: start.run_id,
        spans.PROCESS: process,
    }
    return {key: clean(value) for key, value in found.items() if value}


def _metric_rows(run: str, process: str, revision: int, batch: Batch) -> Iterator[Row]:
    for family in batch.families:
        bounds = json.dumps(family.bounds) if family.bounds else ""
        for series in family.series:
            yield (
                *(run, process, clean(family.name), to_text(series.labels), revision),
                *(family.kind, clean(family.help), bounds, series.count),
                *(number(each) for each in (series.sum, series.min, series.max, series.last)),
                number(series.timestamp),
                json.dumps(series.bucket_counts) if series.bucket_counts else "",
            )
