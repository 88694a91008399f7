"""What keeps a SQLite store in order: removing runs in small steps, putting a damaged file aside.

Each step is a transaction of a few milliseconds, so that whoever else writes gets a turn in between.
What was interrupted is taken up by the next one who tidies: a run is first marked as deleted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Final

from dytopo_autotrace.store.model import ProcessInfo, Retention
from dytopo_autotrace.store.process import is_alive

STEP_ROWS: Final = 1000
STEP_PAGES: Final = 64

_KEYS: Final = {
    "span": "process, id",
    "failure": "process, id",
    "metric": "process, name, labels",
    "site": "process, number",
    "trace": "process, number",
}
"""The tables that belong to a process, with their keys."""


def prune(connection: sqlite3.Connection, keep: Retention, own_process: int = 0) -> Iterator[str]:
    """Remove what is not kept, step by step; each step says which run it was about.

    Args:
        own_process: the process that asks, whose run stays.
    """
    left = _mark(connection, keep, own_process)
    for run, run_id in connection.execute(
        "SELECT number, id FROM run WHERE deleted ORDER BY started"
    ).fetchall():
        yield from _remove(connection, run, run_id)
    for run, run_id in left:
        if not keep.megabytes or used_bytes(connection) <= keep.megabytes * 1e6:
            break
        yield from delete(connection, run, run_id)
    yield from give_back(connection, spare=0.25, megabytes=keep.megabytes)


def _mark(
    connection: sqlite3.Connection, keep: Retention, own_process: int
) -> list[tuple[int, str]]:
    """Mark the runs that are too old or too many, which hides them at once; the removable others."""
    if not any(keep):
        return []
    removable = list(_removable(connection, own_process))
    kept = connection.execute("SELECT count(*) FROM run WHERE NOT deleted").fetchone()[0]
    too_many = max(0, kept - keep.runs) if keep.runs else 0
    oldest = time.time_ns() - keep.days * 86_400e9 if keep.days else float("-inf")
    going = [
        run for index, (run, _, began) in enumerate(removable) if index < too_many or began < oldest
    ]
    connection.executemany("UPDATE run SET deleted = 1 WHERE number = ?", [(run,) for run in going])
    return [(run, run_id) for run, run_id, _ in removable if run not in set(going)]


def trim(connection: sqlite3.Connection, keep: Retention, process: int) -> Iterator[int]:
    """Remove the oldest spans of a run that is alone too large; each step says how many went."""
    room = keep.megabytes * 1e6
    if not room or used_bytes(connection) <= room:
        return
    while used_bytes(connection) > 0.9 * room:
        gone = connection.execute(
            "DELETE FROM span WHERE (process, id) IN (SELECT process, id FROM span"
            " WHERE process = ? AND duration IS NOT NULL ORDER BY id LIMIT ?)",
            (process, STEP_ROWS),
        ).rowcount
        if not gone:
            return
        yield gone


def delete(connection: sqlite3.Connection, run: int, run_id: str) -> Iterator[str]:
    """Remove one run, step by step; after the first step it does not show any more."""
    connection.execute("UPDATE run SET deleted = 1 WHERE number = ?", (run,))
    yield run_id
    yield from _remove(connection, run, run_id)


def _remove(connection: sqlite3.Connection, run: int, run_id: str) -> Iterator[str]:
    processes = connection.execute("SELECT number FROM process WHERE run = ?", (run,)).fetchall()
    for (process,) in processes:
        for table, key in _KEYS.items():
            while True:
                gone = connection.execute(
                    f"DELETE FROM {table} WHERE ({key}) IN"  # noqa: S608 - names of our own
                    f" (SELECT {key} FROM {table} WHERE process = ? LIMIT ?)",
                    (process, STEP_ROWS),
                ).rowcount
                if not gone:
                    break
                yield run_id
        connection.execute("DELETE FROM process WHERE number = ?", (process,))
    connection.execute("DELETE FROM run WHERE number = ?", (run,))
    yield run_id


def _removable(connection: sqlite3.Connection, own_process: int) -> Iterator[tuple[int, str, int]]:
    """(number, id, when it came) of the runs of which no process runs, the oldest first.

    What was imported came when it was imported, however long ago it ran.
    """
    now = time.time_ns()
    alive: dict[int, bool] = {}
    came: dict[int, int] = {}
    rows = connection.execute(
        "SELECT run, number, host, pid, birth, started, heard, finished FROM process"
    ).fetchall()
    for run, number, host, pid, birth, started, heard, finished in rows:
        came[run] = max(started, came.get(run, started))
        alive[run] = alive.get(run, False) or (
            number == own_process
            or (finished is None and is_alive(ProcessInfo(host, pid, birth), (now - heard) / 1e9))
        )
    found = connection.execute(
        "SELECT number, id, started FROM run WHERE NOT deleted ORDER BY started"
    ).fetchall()
    removable = [
        (run, run_id, max(started, came.get(run, started)))
        for run, run_id, started in found
        if not alive.get(run)
    ]
    return iter(sorted(removable, key=lambda each: each[2]))


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes that records take; room that is free again is not counted."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def give_back(connection: sqlite3.Connection, spare: float, megabytes: float = 0) -> Iterator[str]:
    """Give free pages back to the file system, but for a share that the next runs will use.

    That share is kept only as far as the file stays below its limit of size, if it has one.
    """
    while True:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        is_too_large = bool(megabytes) and pages * size > megabytes * 1e6
        if not free or (free <= pages * spare and not is_too_large):
            return
        connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
        yield ""


def put_aside(path: str, is_still_there: Callable[[], bool]) -> None:
    """Move a damaged database, with its log, out of the way; nothing of it is deleted.

    Several processes may find it damaged at once: the first moves it, the others see a new file.
    """
    with _alone(os.path.dirname(path)):
        if not is_still_there():
            return
        aside = f"{path}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}"
        while os.path.exists(aside):
            aside += "x"
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path + suffix, aside + suffix)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One process at a time, by a lock on the folder, which ends with whoever holds it."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:
        yield
        return
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
