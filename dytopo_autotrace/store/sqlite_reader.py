"""The SQLite store's side of those who ask, while it is being written or long after."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.series import MetricFamily, MetricSeries
from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.store import housekeeping, schema
from dytopo_autotrace.store.location import StoreError
from dytopo_autotrace.store.model import (
    Cost,
    ModelPrice,
    ProcessInfo,
    Retention,
    RuleState,
    RunEnd,
    RunInfo,
    RunRecords,
    RunStart,
    RunStatus,
)
from dytopo_autotrace.store.plain import from_text, with_fields
from dytopo_autotrace.store.process import is_alive
from dytopo_autotrace.store.rows import site_of, span_of

WAIT_SECONDS: Final = 5.0

_RUN: Final = """
SELECT run.number, run.id, run.started, service, script, argv, directory, task,
       process.number AS process, host, pid, birth, python, version, process.started AS joined,
       heard, spans, errors, finished, wall_seconds, exit_status, ended, message,
       rules, prices, drops, cost, faults, remarks
  FROM run JOIN process ON process.run = run.number
 WHERE NOT deleted {where}
 ORDER BY run.started DESC, run.number DESC, process.number
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
        with self._guard():
            self._connection = _open(path)

    def runs(self) -> list[RunInfo]:
        with self._reading():
            rows = self._connection.execute(_RUN.format(where="")).fetchall()
            running = {
                process: self._count_open(process)
                for process in {row["process"] for row in rows if row["finished"] is None}
            }
        return [_info(processes, running) for processes in _by_run(rows)]

    def load(self, run_id: str) -> RunRecords:
        with self._reading():
            processes = self._processes(run_id)
            spans = [span for row in processes for span in self._spans(row["process"])]
        info = _info(processes, {})
        finished = sorted((span for span in spans if span.end_ns), key=lambda span: span.end_ns)
        still_open = sorted(
            (span for span in spans if not span.end_ns), key=lambda span: span.start_ns
        )
        now = time.time_ns() if info.status == "running" else info.heard_unix_ns
        ended, message = info.status if info.end is None else info.end.ended, ""
        if info.end is not None:
            message = info.end.message
        elif info.status == "died":
            message = "its process is gone and did not say how it ended"
        started = info.start.started_unix_ns
        return RunRecords(
            service=info.start.service,
            argv=info.start.argv,
            started_unix_ns=started,
            wall_seconds=info.end.wall_seconds if info.end else (now - started) / 1e9,
            exit_status=info.end.exit_status if info.end else None,
            ended=ended,
            ended_message=message,
            now_ns=clock.counter_ns(now),
            spans=(*finished, *still_open),
            prices=_prices(processes),
            rules=_rules(processes) if info.end else _recounted(_rules(processes), spans),
            drops=_drops(processes),
            cost=_cost(processes),
            faults=_texts(processes, "faults"),
            remarks=_texts(processes, "remarks"),
        )

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
        return _families(rows)

    def delete(self, run_id: str) -> None:
        with self._guard():
            (row, *_) = self._processes(run_id)
            for _ in housekeeping.delete(self._connection, row["number"], run_id):
                pass
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


def _by_run(rows: Iterable[sqlite3.Row]) -> list[list[sqlite3.Row]]:
    found: dict[int, list[sqlite3.Row]] = {}
    for row in rows:
        found.setdefault(row["number"], []).append(row)
    return list(found.values())


def _info(processes: list[sqlite3.Row], running: dict[int, int]) -> RunInfo:
    """A run is what its first process is: it was started with the program, others by it."""
    main = processes[0]
    process = ProcessInfo(main["host"], main["pid"], main["birth"], main["python"], main["version"])
    heard = max(row["heard"] for row in processes)
    end = None
    if main["finished"] is not None:
        end = RunEnd(
            unix_ns=main["finished"],
            wall_seconds=main["wall_seconds"],
            exit_status=main["exit_status"],
            ended=main["ended"],
            message=main["message"],
        )
    status: RunStatus = "ended"
    if end is None:
        silent = (time.time_ns() - main["heard"]) / 1e9
        status = "running" if is_alive(process, silent) else "died"
    return RunInfo(
        start=RunStart(
            run_id=main["id"],
            process=process,
            started_unix_ns=main["started"],
            service=main["service"],
            argv=tuple(from_text(main["argv"])),
            script=main["script"],
            directory=main["directory"],
            task=main["task"],
        ),
        status=status,
        heard_unix_ns=heard,
        end=end,
        spans=sum(row["spans"] for row in processes),
        errors=sum(row["errors"] for row in processes),
        running_spans=sum(running.get(row["process"], 0) for row in processes),
        processes=len(processes),
        drops=sum(_drops(processes).values()),
    )


def _each(processes: Iterable[sqlite3.Row], column: str) -> Iterator[Any]:
    for row in processes:
        if row[column] is not None:
            yield from_text(row[column])


def _drops(processes: Iterable[sqlite3.Row]) -> dict[str, int]:
    drops: Counter[str] = Counter()
    for each in _each(processes, "drops"):
        drops.update(each)
    return dict(drops)


def _prices(processes: Iterable[sqlite3.Row]) -> tuple[ModelPrice, ...]:
    found = (
        with_fields(ModelPrice, table) for each in _each(processes, "prices") for table in each
    )
    return tuple({price.model: price for price in found}.values())


def _rules(processes: Iterable[sqlite3.Row]) -> tuple[RuleState, ...]:
    """The rules of the first process, with the calls of all; a rule that only others know follows."""
    found: dict[tuple[str, str], RuleState] = {}
    for each in _each(processes, "rules"):
        for rule in (with_fields(RuleState, table) for table in each):
            known = found.get((rule.name, rule.target))
            if known is None:
                found[rule.name, rule.target] = rule
            else:
                woven = "woven" in (known.state, rule.state)
                found[rule.name, rule.target] = dataclasses.replace(
                    known,
                    state="woven" if woven else known.state,
                    woven=max(known.woven, rule.woven),
                    calls=known.calls + rule.calls,
                )
    return tuple(found.values())


def _recounted(rules: Iterable[RuleState], spans: Iterable[Span]) -> tuple[RuleState, ...]:
    """The rules of a run that said no end: it counted its calls a moment before the last spans came."""
    calls = Counter(span.rule for span in spans)
    return tuple(
        rule
        if calls[rule.name] <= rule.calls
        else dataclasses.replace(
            rule,
            calls=calls[rule.name],
            state="woven" if rule.state == "never_called" else rule.state,
        )
        for rule in rules
    )


def _cost(processes: Iterable[sqlite3.Row]) -> Cost | None:
    costs = [with_fields(Cost, each) for each in _each(processes, "cost") if each]
    if len(costs) < 2:
        return costs[0] if costs else None
    calls = sum(cost.calls for cost in costs)
    seconds = sum(cost.calls * cost.seconds_per_call for cost in costs)
    return Cost(
        calls=calls,
        seconds_per_call=seconds / calls if calls else costs[0].seconds_per_call,
        drain_seconds=sum(cost.drain_seconds for cost in costs),
    )


def _texts(processes: Iterable[sqlite3.Row], column: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for each in _each(processes, column) for text in each))


def _families(rows: Iterable[sqlite3.Row]) -> list[MetricFamily]:
    families: dict[str, tuple[sqlite3.Row, dict[str, MetricSeries]]] = {}
    for row in rows:
        _, found = families.setdefault(row["name"], (row, {}))
        series = _series(row)
        if row["labels"] in found:
            series = _together(found[row["labels"]], series)
        found[row["labels"]] = series
    return [
        MetricFamily(
            name=name,
            kind=first["kind"],
            help=first["help"],
            series=tuple(sorted(found.values(), key=lambda each: each.labels)),
            bounds=tuple(from_text(first["bounds"])) if first["bounds"] else (),
        )
        for name, (first, found) in sorted(families.items())
    ]


def _series(row: sqlite3.Row) -> MetricSeries:
    def number(name: str) -> float:
        value = row[name]  # What is no number is NULL to SQLite.
        return float("nan") if value is None else value

    return MetricSeries(
        labels=tuple((name, value) for name, value in from_text(row["labels"])),
        count=row["count"],
        sum=number("sum"),
        min=number("min"),
        max=number("max"),
        last=number("last"),
        timestamp=number("time"),
        bucket_counts=tuple(from_text(row["buckets"])) if row["buckets"] else (),
    )


def _together(one: MetricSeries, other: MetricSeries) -> MetricSeries:
    """One series of two processes: sums and counts add up, the latest value is the later one's."""
    later = max(one, other, key=lambda each: each.timestamp)
    return MetricSeries(
        labels=one.labels,
        count=one.count + other.count,
        sum=one.sum + other.sum,
        min=min(one.min, other.min),
        max=max(one.max, other.max),
        last=later.last,
        timestamp=later.timestamp,
        bucket_counts=tuple(
            a + b for a, b in zip(one.bucket_counts, other.bucket_counts, strict=False)
        ),
    )
