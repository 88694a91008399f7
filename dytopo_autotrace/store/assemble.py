"""From rows that name their columns alike to what is known of a run: the same for every kind of store."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.series import MetricFamily, MetricSeries
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.store.model import (
    Cost,
    ModelPrice,
    ProcessInfo,
    RuleState,
    RunEnd,
    RunInfo,
    RunRecords,
    RunStart,
    RunStatus,
)
from dytopo_autotrace.store.plain import from_text, with_fields
from dytopo_autotrace.store.process import is_alive


class Row(Protocol):
    """One row: of a process with its run, or of a series of a metric."""

    def __getitem__(self, column: str, /) -> Any: ...


def records(processes: Sequence[Row], spans_of: Mapping[Any, Sequence[Span]]) -> RunRecords:
    """All that a run left behind, from the rows of its processes and the spans of each."""
    spans = [span for each in spans_of.values() for span in each]
    known = info(processes, {})
    finished = sorted((span for span in spans if span.end_ns), key=lambda span: span.end_ns)
    still_open = sorted((span for span in spans if not span.end_ns), key=lambda span: span.start_ns)
    now = time.time_ns() if known.status == "running" else known.heard_unix_ns
    ended, message = known.status if known.end is None else known.end.ended, ""
    if known.end is not None:
        message = known.end.message
    elif known.status == "died":
        message = "its process is gone and did not say how it ended"
    started = known.start.started_unix_ns
    return RunRecords(
        service=known.start.service,
        argv=known.start.argv,
        started_unix_ns=started,
        wall_seconds=known.end.wall_seconds if known.end else (now - started) / 1e9,
        exit_status=known.end.exit_status if known.end else None,
        ended=ended,
        ended_message=message,
        now_ns=clock.counter_ns(now),
        spans=(*finished, *still_open),
        prices=_prices(processes),
        rules=_rules(processes)
        if all(row["finished"] for row in processes)
        else _recounted(_rules(processes), spans),
        drops=_drops(processes),
        cost=_cost(processes),
        faults=_texts(processes, "faults"),
        remarks=(*_texts(processes, "remarks"), *_children_that_died(processes, spans_of)),
    )


def by_run(rows: Iterable[Row]) -> list[list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row["number"], []).append(row)
    return list(found.values())


def info(processes: Sequence[Row], running: dict[int, int]) -> RunInfo:
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
        drops=sum(
            count
            for reason, count in _drops(processes).items()
            if not reason.startswith("metric")  # Of what was measured, nothing is missing here.
        ),
    )


def _children_that_died(
    processes: Sequence[Row], spans_of: Mapping[Any, Sequence[Span]]
) -> Iterator[str]:
    for row in processes[1:]:
        process = ProcessInfo(row["host"], row["pid"], row["birth"])
        silent = (time.time_ns() - row["heard"]) / 1e9
        spans = [span for span in spans_of[row["process"]] if not span.end_ns]
        if spans and row["finished"] is None and not is_alive(process, silent):
            heard = clock.counter_ns(row["heard"])
            running = ", ".join(
                f"{span.operation} for {max(0, heard - span.start_ns) / 1e9:.2f} s"
                for span in sorted(spans, key=lambda span: span.start_ns)
            )
            yield (
                f"child process {row['pid']} is gone and did not say how it ended; "
                f"until then it was running {running}"
            )


def _each(processes: Iterable[Row], column: str) -> Iterator[Any]:
    for row in processes:
        if row[column] is not None:
            yield from_text(row[column])


def _drops(processes: Iterable[Row]) -> dict[str, int]:
    drops: Counter[str] = Counter()
    for each in _each(processes, "drops"):
        drops.update(each)
    return dict(drops)


def _prices(processes: Iterable[Row]) -> tuple[ModelPrice, ...]:
    found = (
        with_fields(ModelPrice, table) for each in _each(processes, "prices") for table in each
    )
    return tuple({price.model: price for price in found}.values())


def _rules(processes: Iterable[Row]) -> tuple[RuleState, ...]:
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
    """The rules where a process said no end: it counted its calls a moment before the last spans came."""
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


def _cost(processes: Iterable[Row]) -> Cost | None:
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


def _texts(processes: Iterable[Row], column: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for each in _each(processes, column) for text in each))


def families(rows: Iterable[Row]) -> list[MetricFamily]:
    families: dict[str, tuple[Row, dict[str, MetricSeries]]] = {}
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


def _series(row: Row) -> MetricSeries:
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
