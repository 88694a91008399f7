"""Where time went: busy time, parallelization, rows per agent, operations by own time.

Busy time: a span is busy while none of its children runs, so an orchestrator that merely awaits
its workers is not, and a second is never counted twice on one line of calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dytopo_autotrace.analyze.findings import AgentRow, OperationRow
from dytopo_autotrace.analyze.holds import held_up, holds
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.tree import Tree, build
from dytopo_autotrace.collect.span import Span

NO_ROLE: Final = "-"
WAIT_ROLE: Final = "wait"
"""Role of calls that only wait: for a slot, a lock, a queue."""
SWARM_ROLES: Final = ("orchestrator", "manager", "router", "worker", "llm", "tool")


def covered_ns(intervals: Iterable[tuple[int, int]]) -> int:
    """Length of the union of intervals."""
    covered = 0
    reach: int | None = None
    for start, end in sorted(intervals):
        if reach is None or start > reach:
            covered += max(end - start, 0)
            reach = end
        elif end > reach:
            covered += end - reach
            reach = end
    return covered


def busy_ns(tree: Tree) -> dict[int, int]:
    """Own time of every span: its interval without those of its children, clipped to it.

    A call of the role `wait` has none: it waits for others, and is not busy. Nor is one that could not
    go on because another held its event loop.
    """
    busy: dict[int, int] = {}
    for span in tree.spans:
        start, end = span.start_ns, tree.end_ns(span)
        idle = 0
        reach = start
        for child in tree.children_of(span):
            child_start = max(child.start_ns, reach)
            child_end = min(tree.end_ns(child), end)
            if child_end > child_start:
                idle += child_end - child_start
                reach = child_end
        busy[span.id] = end - start - idle if span.role != WAIT_ROLE else 0
    for call, pieces in held_up(tree, holds(tree)).items():
        busy[call] = max(busy[call] - sum([end - start for start, end in pieces]), 0)
    return busy


def parallelization(tree: Tree, busy: Mapping[int, int]) -> float:
    """Busy time over wall time: 1.0 for one thing after another, 5.0 for five side by side.

    Wall time is the time in which at least one span ran; gaps in which nothing was watched belong
    to neither. That makes it 1.0 or more for whatever was recorded without waits, and 0.0 for no spans.
    """
    if not tree.spans:
        return 0.0
    wall = covered_ns((span.start_ns, tree.end_ns(span)) for span in tree.spans)
    return sum(busy.values()) / wall if wall else 1.0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank in ordered values, so that it is always a value that occurred; 0.0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def row_key(span: Span, owners: Owners) -> tuple[str, str]:
    """Role and agent for the roles of a swarm, role and operation for all others.

    Such a role says what kind of call it is and an agent on whose behalf, so their durations
    compare. What else shares a role (steps, governance) or has none does different things, and
    mixing them would compare nothing.
    """
    site = span.site
    if site.role in SWARM_ROLES:
        return site.role, owners.agents[span.id]
    return site.role or NO_ROLE, site.operation


def outermost(tree: Tree, owners: Owners) -> dict[tuple[str, str], list[Span]]:
    """The calls of each row: its spans that are not inside another span of the same row.

    What lies inside (a client's method below the function that calls it, attempts below that) is
    part of the same call to whoever reads the table. A swarm inside, below an orchestrator's call,
    is not: its calls are calls of their own.
    """
    return {key: row.calls for key, row in _rows(tree, owners).items()}


class _Row:
    """The spans of a row."""

    __slots__ = ("calls", "passed_on", "spans")

    def __init__(self) -> None:
        self.calls: list[Span] = []
        """The outermost."""
        self.spans: list[Span] = []
        """All of them."""
        self.passed_on = 0
        """Those that failed like one of the row below them."""


def _rows(tree: Tree, owners: Owners) -> dict[tuple[str, str], _Row]:
    rows: dict[tuple[str, str], _Row] = {}
    # What is open in a swarm within a call has nothing to do with what is open around it.
    open_rows: dict[tuple[int, tuple[str, str]], list[Span]] = {}
    path: list[tuple[int, tuple[str, str]]] = []
    passed_on: set[int] = set()
    depths = tree.depths
    for span in tree.spans:
        depth = depths[span.id]
        while len(path) > depth:
            open_rows[path.pop()].pop()
        key = row_key(span, owners)
        row = rows.get(key)
        if row is None:
            row = rows[key] = _Row()
        swarm = span.id if span.role == "orchestrator" else path[-1][0] if path else 0
        place = (swarm, key)
        around = open_rows.setdefault(place, [])
        row.spans.append(span)
        if not around:
            row.calls.append(span)
        elif is_failed(span) and is_failed(around[-1]) and around[-1].id not in passed_on:
            passed_on.add(around[-1].id)
            row.passed_on += 1
        around.append(span)
        path.append(place)
    return rows


def agent_rows(
    tree: Tree, owners: Owners, tokens: Mapping[tuple[str, str], float] | None = None
) -> tuple[AgentRow, ...]:
    """The agent table, roles in the order of a swarm's work, the largest total first within one.

    The total is the union of the row's intervals: nested and simultaneous calls of one agent do
    not add up to more than the time that passed.
    """
    tokens = tokens or {}
    rows = []
    for key, row in _rows(tree, owners).items():
        calls, spans = row.calls, row.spans
        durations = sorted(tree.seconds(span) for span in calls)
        rows.append(
            AgentRow(
                role=key[0],
                name=key[1],
                calls=len(calls),
                spans=len(spans),
                total_seconds=covered_ns((s.start_ns, tree.end_ns(s)) for s in spans) / 1e9,
                p50_seconds=percentile(durations, 50),
                p95_seconds=percentile(durations, 95),
                p99_seconds=percentile(durations, 99),
                errors=sum(is_failed(span) for span in spans) - row.passed_on,
                cancelled=sum(span.status == "cancelled" for span in calls),
                running=sum(not span.end_ns for span in calls),
                tokens=tokens.get(key),
            )
        )
    return tuple(sorted(rows, key=_row_order))


def _row_order(row: AgentRow) -> tuple[int, str, float, str]:
    if row.role in SWARM_ROLES:
        return SWARM_ROLES.index(row.role), "", -row.total_seconds, row.name
    return len(SWARM_ROLES) + (row.role == NO_ROLE), row.role, -row.total_seconds, row.name


def operation_rows(
    tree: Tree, owners: Owners, busy: Mapping[int, int], limit: int = 10
) -> tuple[OperationRow, ...]:
    """Operations by own time, per agent, the largest first."""
    all_busy = sum(busy.values())
    groups: dict[tuple[str, str, str], list[Span]] = {}
    for span in tree.spans:
        key = (span.operation, span.role, owners.agents[span.id])
        groups.setdefault(key, []).append(span)
    rows = [
        OperationRow(
            operation=operation,
            role=role,
            agent=agent,
            calls=len(spans),
            own_seconds=(own := sum(busy[span.id] for span in spans)) / 1e9,
            longest_seconds=max(tree.seconds(span) for span in spans),
            share=own / all_busy if all_busy else 0.0,
        )
        for (operation, role, agent), spans in groups.items()
    ]
    rows.sort(key=lambda row: (-row.own_seconds, row.operation, row.agent))
    return tuple(rows[:limit])


def trace_statistics(spans: Iterable[Span], now_ns: int | None = None) -> dict[str, Any]:
    """The classic statistics of a trace: spans, duration, errors, and each operation's numbers."""
    tree = build(spans, now_ns)
    errors = sum(is_failed(span) for span in tree.spans)
    return {
        "total_spans": len(tree.spans),
        "total_duration": (tree.last_ns - tree.first_ns) / 1e9,
        "total_errors": errors,
        "error_rate": errors / len(tree.spans) if tree.spans else 0.0,
        "operation_stats": operation_stats(tree),
    }


def operation_stats(tree: Tree) -> dict[str, dict[str, float | int]]:
    """Per operation: count, total, average, minimum and maximum duration, errors, error rate."""
    groups: dict[str, list[Span]] = {}
    for span in tree.spans:
        groups.setdefault(span.operation, []).append(span)
    stats: dict[str, dict[str, float | int]] = {}
    for operation, calls in groups.items():
        durations = [tree.seconds(span) for span in calls]
        errors = sum(is_failed(span) for span in calls)
        stats[operation] = {
            "count": len(calls),
            "total_duration": math.fsum(durations),
            "avg_duration": math.fsum(durations) / len(calls),
            "min_duration": min(durations),
            "max_duration": max(durations),
            "errors": errors,
            "error_rate": errors / len(calls),
        }
    return stats
