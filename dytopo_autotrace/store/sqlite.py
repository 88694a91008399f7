"""The SQLite store's side in the watched process: one file, one connection, one thread.

Why these settings:
- WAL: readers never wait for the writer nor it for them, and a commit is one append to a file.
- `synchronous=NORMAL`: a commit is a write to the system's cache. That outlives the process, whatever ends
  it; only a checkpoint waits for the disk, on the background thread. After a power cut the file is sound and
  its last commits may be missing, which is the price of not waiting for the disk ten times a second.
- no `mmap_size`: a disk error stays an error code and does not become a signal that ends the host.
- short `busy_timeout`: who waits is the background thread, and the next tick tries again.
- `journal_size_limit`: a burst does not leave a large log behind.
- `auto_vacuum=INCREMENTAL`: room that retention frees can be given back a few pages at a time.
"""

# pathlib takes longer to import than the store to open.
from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from dytopo_autotrace.store import housekeeping, schema
from dytopo_autotrace.store.descriptors import Descriptors, identity, opened
from dytopo_autotrace.store.location import DEFAULT
from dytopo_autotrace.store.model import (
    Batch,
    Retention,
    RunEnd,
    RunStart,
    StoreBusy,
    StoreLost,
)
from dytopo_autotrace.store.plain import clean, to_text
from dytopo_autotrace.store.rows import Row, RowMaker, state_columns

BUSY_MILLISECONDS: Final = 200
PAGE_BYTES: Final = 8192
"""Half of the work per row of the default page: rows of a hundred bytes, appended in the order of ids."""
CHECKPOINT_PAGES: Final = 1000
LOG_BYTES: Final = 16 << 20
RESERVE_BYTES: Final = 256 << 10
"""Room that a run holds free for its end and its counts of loss, should the disk be full by then."""
MAX_DAMAGED: Final = 3
"""A disk that damages every new file is left alone after so many."""

_BUSY: Final = {
    sqlite3.SQLITE_BUSY: "store_locked",
    sqlite3.SQLITE_LOCKED: "store_locked",
    sqlite3.SQLITE_PROTOCOL: "store_locked",
    sqlite3.SQLITE_FULL: "store_full",
    sqlite3.SQLITE_IOERR: "store_io_error",
    sqlite3.SQLITE_NOMEM: "store_no_memory",
}
_LOST: Final = {
    sqlite3.SQLITE_READONLY: "store_unwritable",
    sqlite3.SQLITE_CANTOPEN: "store_unwritable",
    sqlite3.SQLITE_PERM: "store_unwritable",
    sqlite3.SQLITE_AUTH: "store_unwritable",
}
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_SPAN: Final = f"INTO span VALUES ({', '.join('?' * 14)})"
_METRIC: Final = f"INSERT OR REPLACE INTO metric VALUES ({', '.join('?' * 13)})"  # noqa: S608


class SqliteWriter:
    """Writes the records of one process into a file that other processes write to as well."""

    pace_seconds = 0.0
    prunes_at_end = True

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._descriptors: Descriptors | None = None
        self._start: RunStart | None = None
        self._rows = RowMaker(0)
        self._file: tuple[int, int] | None = None
        self._written = 0
        self._unreadable = 0
        self._damaged = 0
        self._losses: Counter[str] = Counter()

    @property
    def losses(self) -> Mapping[str, int]:
        return self._losses + Counter(store_unreadable=self._unreadable)

    def begin(self, start: RunStart) -> None:
        self._start = start
        with self._guard():
            self._usable()

    def _begin(self, start: RunStart) -> sqlite3.Connection:
        self._file = identity(self.path)
        others = opened(self.path)
        connection = _open(self.path)
        try:
            number = _enter(connection, start)
        except BaseException:
            connection.close()
            raise
        self._rows = RowMaker(number)
        self._descriptors = Descriptors(self.path, others)
        self._file = identity(self.path)
        self._connection = connection
        _hold_reserve(self._reserve)
        return connection

    def write(self, batch: Batch) -> None:
        with self._guard():
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        connection = self._usable()
        rows = self._rows
        rows.unreadable = self._unreadable
        # The lock first: while another process has it, no row is made in vain.
        with _transaction(connection):
            running = rows.rows(batch.opened, still_open=True)
            finished = rows.rows(batch.finished)
            if rows.new_sites:
                connection.executemany(
                    "INSERT OR IGNORE INTO site VALUES (?, ?, ?, ?, ?, ?)", rows.new_sites
                )
            if rows.new_traces:
                connection.executemany(
                    "INSERT OR IGNORE INTO trace VALUES (?, ?, ?)", rows.new_traces
                )
            if running:
                # What has ended in the meantime stays ended.
                connection.executemany(f"INSERT OR IGNORE {_SPAN}", running)
            if finished:
                connection.executemany(f"INSERT OR REPLACE {_SPAN}", finished)
            self._write_rest(connection, batch)
            errors = sum(span.status == "error" for span in batch.finished)
            known = connection.execute(
                "UPDATE process SET heard = max(heard, ?), spans = spans + ?, errors = errors + ?"
                " WHERE number = ?",
                (batch.unix_ns, len(finished), errors, rows.process),
            ).rowcount
            if not known:
                raise StoreLost("store_deleted", f"the run was deleted from {self.path}")
        self._unreadable = rows.unreadable
        rows.new_sites.clear()
        rows.new_traces.clear()
        self._written += len(finished)

    def _write_rest(self, connection: sqlite3.Connection, batch: Batch) -> None:
        process = self._rows.process
        if batch.state is not None:
            connection.execute(
                "UPDATE process SET rules = ?, prices = ?, drops = ?, cost = ?, faults = ?,"
                " remarks = ? WHERE number = ?",
                (*state_columns(batch.state), process),
            )
        if batch.failures:
            connection.executemany(
                "INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?)",
                [
                    (process, clean(each.failure_id), each.timestamp, to_text(each.to_dict()))
                    for each in batch.failures
                ],
            )
        if batch.families:
            connection.executemany(_METRIC, _metric_rows(process, batch))

    def end(self, end: RunEnd) -> None:
        with self._guard():
            connection = self._usable()
            with _transaction(connection):
                connection.execute(
                    "UPDATE process SET finished = ?, heard = ?, wall_seconds = ?,"
                    " exit_status = ?, ended = ?, message = ? WHERE number = ?",
                    (
                        *(end.unix_ns, end.unix_ns, end.wall_seconds),
                        *(end.exit_status, clean(end.ended), clean(end.message)),
                        self._rows.process,
                    ),
                )

    def make_room(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._reserve)

    @property
    def _reserve(self) -> str:
        return f"{self.path}-reserve"

    def close(self) -> None:
        if self._connection is not None:
            self.make_room()
        self._disconnect()
        self._start = None

    def prune(self, keep: Retention) -> Iterator[None]:
        steps: Iterator[str | int] | None = None
        begun_on: sqlite3.Connection | None = None
        while True:
            with self._guard():
                connection = self._usable()
                if steps is None or connection is not begun_on:
                    begun_on = connection
                    process = self._rows.process
                    steps = chain(
                        housekeeping.prune(connection, keep, process),
                        housekeeping.trim(connection, keep, process),
                        housekeeping.give_back(connection, 0.25, keep.megabytes),
                    )
                try:
                    step = next(steps)
                except StopIteration:
                    return
                if isinstance(step, int):
                    self._losses["store_pruned"] += step
                    self._written -= min(step, self._written)
            yield

    def hurry(self) -> None:
        """A file does not keep anybody waiting."""

    def abandon(self) -> None:
        # Nothing closes it behind our back: see `_open`.
        self._connection = self._start = None

    def _usable(self) -> sqlite3.Connection:
        """The connection, if the file behind it is still the one at the path and still ours."""
        if self._start is None:
            raise StoreLost("store_closed", "the store was closed")
        if self._connection is None:
            return self._begin(self._start)
        if self._descriptors is not None and not self._descriptors.are_ours():
            self._connection = self._start = None
            raise StoreLost("store_descriptors", f"the program closed our file {self.path}")
        if self._file != identity(self.path):
            self._disconnect()
            self._lose_what_was_written("store_removed")
            return self._begin(self._start)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or (self._descriptors and not self._descriptors.are_ours()):
            return
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def _lose_what_was_written(self, reason: str) -> None:
        self._losses[reason] += self._written
        self._written = 0

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn what SQLite raises into what the store raises; a damaged file is put aside."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            detail = f"{self.path}: {error}"
            if code in _DAMAGED:
                self._put_aside(detail)
            if code in _BUSY:
                raise StoreBusy(_BUSY[code], detail) from error
            raise StoreLost(_LOST.get(code, "store_fault"), detail) from error
        except schema.NewerSchema as error:
            raise StoreLost(
                "store_newer", f"{self.path} was written by a later version; use another --store"
            ) from error
        except schema.ForeignDatabase as error:
            raise StoreLost(
                "store_foreign",
                f"{self.path} is a database of another program; use another --store",
            ) from error
        except OSError as error:
            raise StoreLost("store_unwritable", f"{self.path}: {error.strerror}") from error

    def _put_aside(self, detail: str) -> None:
        """Move a damaged file away; the next call begins in a new one."""
        damaged = self._file
        self._disconnect()
        self._lose_what_was_written("store_corrupt")
        self._damaged += 1
        if damaged is None or self._damaged > MAX_DAMAGED:
            raise StoreLost("store_corrupt", detail)
        try:
            housekeeping.put_aside(self.path, lambda: identity(self.path) == damaged)
        except OSError as error:
            raise StoreLost("store_corrupt", f"{detail}; {error}") from error
        raise StoreBusy("store_corrupt", detail)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _open(path: str) -> sqlite3.Connection:
    _make_private(path)
    # The thread that opens it is the one that uses it, but a stop may come from another.
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        schema.is_present(connection)  # Before anything is set in a file that is not ours.
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")
        schema.migrate(connection)
    except BaseException:
        connection.close()
        raise
    # The connection refers to itself by way of SQLite, where neither the reference count nor the
    # garbage collector can end it: only `close` does. A forked child that drops its copy, or a thread
    # that is cut off when the interpreter ends, would otherwise close it in the middle of a
    # transaction, and in the child that would write into the parent's log.
    connection.create_function("held_by", 0, lambda: str(connection))
    return connection


def _hold_reserve(path: str) -> None:
    """Take some room on the disk, in a file, so that it can be given back when there is none."""
    with contextlib.suppress(OSError):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, bytes(RESERVE_BYTES))
        finally:
            os.close(descriptor)


def _make_private(path: str) -> None:
    """Create the file, and the folder it is in, for nobody else's eyes, and unseen by git."""
    if os.path.exists(path):
        return
    folder = os.path.dirname(path)
    is_new = not os.path.isdir(folder)
    if is_new:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    # A folder of this name is ours, whoever made it.
    if is_new or os.path.basename(folder) == os.path.dirname(DEFAULT):
        with (
            contextlib.suppress(FileExistsError),
            open(os.path.join(folder, ".gitignore"), "x", encoding="ascii") as ignore,
        ):
            ignore.write("*\n")
    # SQLite gives its other files the mode of this one.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))


def _enter(connection: sqlite3.Connection, start: RunStart) -> int:
    """Enter a process into its run; its number."""
    process = start.process
    with _transaction(connection):
        connection.execute(
            "INSERT OR IGNORE INTO run (id, started, service, script, argv, directory, task)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(start.run_id, start.started_unix_ns),
                *(clean(start.service), clean(start.script)),
                to_text([clean(word) for word in start.argv]),
                *(clean(start.directory), clean(start.task)),
            ),
        )
        number = connection.execute(
            "INSERT INTO process (run, host, pid, birth, python, version, started, heard)"
            " SELECT number, ?, ?, ?, ?, ?, ?, ? FROM run WHERE id = ?",
            (
                *(clean(process.host), process.pid, process.birth),
                *(process.python, process.version),
                *(start.joined_unix_ns or start.started_unix_ns,) * 2,
                start.run_id,
            ),
        ).lastrowid
    return number or 0


def _metric_rows(process: int, batch: Batch) -> Iterator[Row]:
    for family in batch.families:
        bounds = json.dumps(family.bounds) if family.bounds else None
        for series in family.series:
            yield (
                *(process, clean(family.name), to_text(series.labels), family.kind),
                *(clean(family.help), bounds, series.count, series.sum, series.min, series.max),
                *(series.last, series.timestamp),
                json.dumps(series.bucket_counts) if series.bucket_counts else None,
            )
