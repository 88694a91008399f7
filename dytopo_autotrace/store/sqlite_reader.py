"""The SQLite store's side of those who ask, while it is being written or long after."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from typing import Final

from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.series import MetricFamily
from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.store import assemble, housekeeping, schema
from dytopo_autotrace.store.location import StoreError
from dytopo_autotrace.store.model import (
    Retention,
    RunInfo,
    RunRecords,
)
from dytopo_autotrace.store.plain import from_text, with_fields
from dytopo_autotrace.store.rows import site_of, span_of

WAIT_SECONDS: Final = 5.0

_RUN: Final = """
SELECT run.number, run.id, run.started, service, script, argv, directory, task,
       process.number AS process, host, pid, birth, python, version, process.started AS joined,
       heard, spans, errors, finished, wall_seconds, exit_status, ended, message,
       rules, prices, drops, cost, faults, remarks
  FROM run JOIN process ON process.run = run.number
 WHERE NOT deleted {where}
 ORDER BY run.started DESC, run.number DESC, process.started, process.number
"""


class SqliteReader:
    """Reads runs from a file that other processes may be writing to."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise StoreError(
                f"{path}: no store there. Watch a program first (python -m dytopo_autotrace "
                "script.py), or name another store: --store PATH."
            )
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        with self._guard():
            self._connection = self._open(path)

    def runs(self) -> list[RunInfo]:
        with self._reading():
            rows = self._connection.execute(_RUN.format(where="")).fetchall()
            running = {
                process: self._count_open(process)
                for process in {row["process"] for row in rows if row["finished"] is None}
            }
        return [assemble.info(processes, running) for processes in assemble.by_run(rows)]

    def load(self, run_id: str) -> RunRecords:
        with self._reading():
            processes = self._processes(run_id)
            spans = {row["process"]: list(self._spans(row["process"])) for row in processes}
        return assemble.records(processes, spans)

    def failures(self, run_id: str) -> list[FailureRecord]:
        with self._reading():
            found = [
                from_text(record)
                for row in self._processes(run_id)
                for (record,) in self._connection.execute(
                    "SELECT record FROM failure WHERE process = ?", (row["process"],)
                )
            ]
        return sorted(
            (with_fields(FailureRecord, each) for each in found), key=lambda each: each.timestamp
        )

    def metrics(self, run_id: str) -> list[MetricFamily]:
        with self._reading():
            rows = [
                row
                for process in self._processes(run_id)
                for row in self._connection.execute(
                    "SELECT * FROM metric WHERE process = ?", (process["process"],)
                )
            ]
        return assemble.families(rows)

    def delete(self, run_id: str) -> None:
        with self._guard():
            (row, *_) = self._processes(run_id)
            for _ in housekeeping.delete(self._connection, row["number"], run_id):
                pass
            for _ in housekeeping.prune(self._connection, Retention(0, 0, 0)):
                pass  # What others have marked and not removed.
            for _ in housekeeping.give_back(self._connection, spare=0):
                pass
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def prune(self, keep: Retention) -> list[str]:
        with self._guard():
            return list(dict.fromkeys(filter(None, housekeeping.prune(self._connection, keep))))

    def size(self) -> int:
        total = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                total += os.path.getsize(self.path + suffix)
        return total

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    def _open(self, path: str) -> sqlite3.Connection:
        try:
            return _open(path)
        except _LogUnread:
            # What is not in the file yet can be read only where a log can be worked on.
            self._copy = tempfile.TemporaryDirectory(prefix="dytopo-autotrace-")
            copy = os.path.join(self._copy.name, "traces.db")
            for suffix in ("", "-wal"):
                shutil.copyfile(path + suffix, copy + suffix)
            return _open(copy)

    def _processes(self, run_id: str) -> list[sqlite3.Row]:
        rows = self._connection.execute(_RUN.format(where="AND run.id = ?"), (run_id,)).fetchall()
        if not rows:
            raise StoreError(f"{self.path}: no run {run_id}. See: dytopo-autotrace runs")
        return rows

    def _count_open(self, process: int) -> int:
        (count,) = self._connection.execute(
            "SELECT count(*) FROM span WHERE process = ? AND duration IS NULL", (process,)
        ).fetchone()
        return int(count)

    def _spans(self, process: int) -> Iterator[Span]:
        query = self._connection.cursor()
        query.row_factory = None
        sites: dict[int, Site] = {
            number: site_of(*texts)
            for number, *texts in query.execute(
                "SELECT number, operation, role, rule, rest FROM site WHERE process = ?", (process,)
            )
        }
        traces: dict[int, int] = {
            number: int.from_bytes(trace, "big")
            for number, trace in query.execute(
                "SELECT number, id FROM trace WHERE process = ?", (process,)
            )
        }
        for row in query.execute("SELECT * FROM span WHERE process = ?", (process,)):
            yield span_of(row, sites[row[4]], traces[row[3]])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the store for all that is asked inside, whatever is written meanwhile."""
        with self._guard():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise StoreError(
                    f"{self.path} is damaged ({error}). The next run that is watched moves it "
                    "aside and begins a new one; nothing of it is deleted."
                ) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreError(
                    f"{self.path} is locked by another program; try again when it is done."
                ) from error
            raise StoreError(f"{self.path}: {error}.") from error
        except schema.NewerSchema as error:
            raise StoreError(
                f"{self.path} was written by a later version of dytopo-autotrace. Upgrade this "
                "one: pip install --upgrade dytopo-autotrace."
            ) from error
        except schema.ForeignDatabase as error:
            raise StoreError(
                f"{self.path} is a database of another program. Name a store: --store PATH."
            ) from error


class _LogUnread(Exception):  # noqa: N818 - said to nobody
    """The file cannot be written to, and its last commits are in a log beside it."""


def _open(path: str) -> sqlite3.Connection:
    uri = "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = _connect(f"{uri}?mode=rw")
    try:
        try:
            schema.migrate(connection)
        except sqlite3.OperationalError as error:
            # Without the right to write, the log of a reader cannot be made: read what is there.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (
                sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_CANTOPEN,
            ):
                raise
            connection.close()
            with contextlib.suppress(OSError):
                if os.path.getsize(f"{path}-wal"):
                    raise _LogUnread from error
            connection = _connect(f"{uri}?mode=ro&immutable=1")
            schema.is_present(connection)
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection
