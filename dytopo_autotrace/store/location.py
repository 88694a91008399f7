"""Where the store is, and which run is meant. Light: the watched program settles its store at the start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.errors import AutotraceError, nearest

if TYPE_CHECKING:
    from dytopo_autotrace.store.clickhouse.spans import Describe
    from dytopo_autotrace.store.model import Reader, RunInfo, Writer

DEFAULT: Final = os.path.join(".dytopo", "traces.db")
"""Where runs are kept unless told otherwise, below the working directory of the start."""

SCHEMES: Final = ("sqlite", "clickhouse", "clickhouses", "chdb")


HARMLESS: Final = frozenset(("secure", "verify"))
"""What may follow the `?` of a URL and may be printed."""


class StoreError(AutotraceError):
    """The store cannot do what a person asked for: what, where, and what to do instead."""


def locate(asked: str | None, directory: str) -> str | None:
    """Where the store is, settled for good: an absolute path, a URL, or None for no store.

    Args:
        asked: a path, a URL, `none`, or None for the default.
        directory: what a relative path is relative to: the working directory of the start, since
            programs change theirs.

    Raises:
        StoreError: a URL of a kind that there is not.
    """
    if asked is None or not asked.strip():
        return os.path.join(directory, DEFAULT)
    if asked == "none":
        return None
    scheme, separator, rest = asked.partition("://")
    if separator:
        if scheme not in SCHEMES:
            raise StoreError(
                f"--store {shown(asked)}: no store of the kind {scheme!r}. {nearest(scheme, SCHEMES)} "
                "Or give a path, or none."
            )
        if scheme == "chdb":
            return f"chdb://{os.path.abspath(os.path.join(directory, os.path.expanduser(rest)))}"
        if scheme != "sqlite":
            return asked
        asked = rest
    path = os.path.join(directory, os.path.expanduser(asked))
    if asked.endswith(os.sep) or os.path.isdir(path):
        path = os.path.join(path, os.path.basename(DEFAULT))
    return os.path.abspath(path)


def shown(location: str) -> str:
    """A location as it may be printed: without the password, nor what follows the `?`."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return location
    rest, mark, query = rest.partition("?")
    if mark:
        pairs = (each.partition("=") for each in query.split("&"))
        query = "&".join(
            f"{key}{equals}{value if key in HARMLESS or not value else '***'}"
            for key, equals, value in pairs
        )
    user, at, host = rest.rpartition("@")
    if at and ":" in user:
        rest = f"{user.partition(':')[0]}:***@{host}"
    return f"{scheme}://{rest}{mark}{query}"


def open_writer(location: str, describe: Describe | None = None) -> Writer:
    """The writer for a location that `locate` settled; nothing is opened before `begin`.

    Args:
        describe: puts a span into OpenTelemetry's words, for a store that others read as well.

    Raises:
        StoreError: a URL that says nothing.
    """
    if "://" in location:
        from dytopo_autotrace.store.clickhouse.writer import ClickHouseWriter  # noqa: PLC0415

        return ClickHouseWriter(location, describe)
    from dytopo_autotrace.store.sqlite import SqliteWriter  # noqa: PLC0415 - sqlite3 comes with it

    return SqliteWriter(location)


def open_reader(location: str) -> Reader:
    """The reader for a location that `locate` settled.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    if "://" in location:
        from dytopo_autotrace.store.clickhouse.reader import ClickHouseReader  # noqa: PLC0415

        return ClickHouseReader(location)
    from dytopo_autotrace.store.sqlite_reader import SqliteReader  # noqa: PLC0415

    return SqliteReader(location)


def choose(runs: Sequence[RunInfo], asked: str | None) -> RunInfo:
    """The run whose id begins with the given digits; the latest if none are given.

    Raises:
        StoreError: no run, or several, begin so.
    """
    if not runs:
        raise StoreError("no runs yet. Watch one: python -m dytopo_autotrace script.py")
    if asked is not None and not asked.strip():
        raise StoreError("an empty id names no run. Give the beginning of one, or last.")
    if asked is None or asked == "last":
        return max(runs, key=lambda run: run.start.started_unix_ns)
    found = [run for run in runs if run.start.run_id.startswith(asked.lower())]
    if len(found) == 1:
        return found[0]
    shown = found or sorted(runs, key=lambda run: -run.start.started_unix_ns)
    lines = [
        f"  {short_id(run, runs)}  {run.start.script or run.start.service}" for run in shown[:10]
    ]
    if len(shown) > 10:
        lines.append(f"  and {len(shown) - 10} more")
    if found:
        head = f"{asked!r} begins the ids of {len(found)} runs; give more digits:"
    else:
        head = f"no run's id begins with {asked!r}. The latest:"
    raise StoreError("\n".join((head, *lines)))


def short_id(run: RunInfo, runs: Sequence[RunInfo]) -> str:
    """The fewest digits, but at least eight, that name a run among others."""
    mine = run.start.run_id
    others = [other.start.run_id for other in runs if other.start.run_id != mine]
    length = 8
    while length < len(mine) and any(other.startswith(mine[:length]) for other in others):
        length += 1
    return mine[:length]
