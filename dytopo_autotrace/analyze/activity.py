"""What each agent did with its time: busy, waiting, unattributed, idle; and how much ran at once.

Busy is the own time of a call that called nothing watched, and that in which it held its event loop;
waiting that of a call of the role `wait`, and that in which another call held the loop.
What a caller did between the calls below it is unattributed: it may have worked, or waited for something
that nobody watched. Idle is what remains of the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.holds import (
    Piece,
    held_up,
    holding,
    holds,
    joined,
    own_pieces,
    without,
)
from dytopo_autotrace.analyze.ownership import ROUND_KEYS, Owners
from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

BUCKETS: Final = 60
_KINDS: Final = ("busy", "waiting", "unattributed")
_NO_AGENT: Final = frozenset({"orchestrator"})


@dataclass(frozen=True, slots=True)
class Activity:
    """Seconds of one agent in one window; they add up to the window."""

    agent: str
    busy_seconds: float
    waiting_seconds: float
    unattributed_seconds: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class RoundTime:
    """One round: when it was, how long, and what its agents did meanwhile."""

    round: str
    trace_id: str
    span_id: str
    """Of the scope; `""` where the round is only known from its calls."""
    start_seconds: float
    seconds: float
    calls: int
    busy_seconds: float
    """Own time of all its calls, added up; waits left out."""
    parallelization_factor: float
    at_once: float
    """How many of its calls were busy at a time, in the mean."""
    agents: tuple[Activity, ...]


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many calls were busy at a time."""

    mean: float
    most: int
    levels: tuple[tuple[int, float], ...]
    """Seconds in which exactly so many were busy."""
    over_time: tuple[float, ...]
    """The mean in equal parts of the time from the first call to the last."""


@dataclass(frozen=True, slots=True)
class Activities:
    agents: tuple[Activity, ...]
    rounds: tuple[RoundTime, ...]
    concurrency: Concurrency


def activities(tree: Tree, owned: Owners, busy: Mapping[int, int]) -> Activities:
    """The time of every agent, over the run and in each round."""
    window = (tree.first_ns, tree.last_ns)
    pieces: dict[str, dict[str, list[Piece]]] = {}
    working: list[Piece] = []
    own = _Own(tree)
    for span in tree.spans:
        agent = owned.agents[span.id]
        of = None
        if agent and span.role not in _NO_AGENT:
            of = pieces.setdefault(agent, {each: [] for each in _KINDS})
        for kind, found in own.of(span):
            if kind == "busy":
                working += found
            if of is not None:
                of[kind] += found
    return Activities(
        tuple(_activity(agent, each, window) for agent, each in sorted(pieces.items())),
        tuple(_rounds(tree, owned, busy, own)),
        _concurrency(working, window),
    )


class _Own:
    """The own time of calls by kind, with what is known of held event loops."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        found = holds(tree)
        self._held_up, self._holding = held_up(tree, found), holding(tree, found)

    def of(self, span: Span) -> Iterator[tuple[str, list[Piece]]]:
        """The kinds of a call's own time, and when that was."""
        tree = self._tree
        is_wait = span.site.role == WAIT_ROLE
        has_called = bool(tree.children.get(span.id))
        if has_called:
            own = list(own_pieces(tree, span))
        else:
            start, end = span.start_ns, tree.ends[span.id]
            own = [(start, end)] if start < end else []
        if span.id in self._held_up:
            yield "waiting", self._held_up[span.id]
            own = list(without(own, self._held_up[span.id]))
        if has_called and span.id in self._holding:
            yield "busy", self._holding[span.id]
            own = list(without(own, self._holding[span.id]))
        yield "waiting" if is_wait else "unattributed" if has_called else "busy", own


def _activity(agent: str, pieces: Mapping[str, Sequence[Piece]], window: Piece) -> Activity:
    """A moment with several kinds at once counts for the first of them."""
    taken: list[Piece] = []
    seconds: list[float] = []
    covered = 0
    for kind in _KINDS:
        more = list(_clipped(pieces[kind], window))
        if more:
            taken = joined((*taken, *more))
        total = sum([end - start for start, end in taken]) if more else covered
        seconds.append((total - covered) / 1e9)
        covered = total
    idle = (window[1] - window[0] - covered) / 1e9
    return Activity(agent, seconds[0], seconds[1], seconds[2], idle)


def _clipped(pieces: Iterable[Piece], window: Piece) -> Iterator[Piece]:
    first, last = window
    for start, end in pieces:
        low = max(first, start)
        high = min(last, end)
        if low < high:
            yield low, high


def _concurrency(working: list[Piece], window: Piece) -> Concurrency:
    length = window[1] - window[0]
    if length <= 0:
        return Concurrency(0.0, 0, (), ())
    edges: dict[int, int] = {window[0]: 0, window[1]: 0}
    for start, end in working:
        edges[start] = edges.get(start, 0) + 1
        edges[end] = edges.get(end, 0) - 1
    levels: dict[int, int] = {}
    parts = [0.0] * BUCKETS
    step = length / BUCKETS
    now = most = 0
    since = window[0]
    for at in sorted(edges):
        if at > since:
            levels[now] = levels.get(now, 0) + at - since
            _spread(parts, since - window[0], at - window[0], now, step)
        now += edges[at]
        most = max(most, now)
        since = at
    mean = sum(level * time for level, time in levels.items()) / length
    return Concurrency(
        mean,
        most,
        tuple((level, time / 1e9) for level, time in sorted(levels.items())),
        tuple(round(part / step, 3) for part in parts),
    )


def _spread(parts: list[float], start: int, end: int, level: int, step: float) -> None:
    if not level:
        return
    first, last = int(start / step), min(int(end / step), len(parts) - 1)
    for part in range(min(first, last), last + 1):
        overlap = min(end, (part + 1) * step) - max(start, part * step)
        if overlap > 0:
            parts[part] += level * overlap


def _rounds(tree: Tree, owned: Owners, busy: Mapping[int, int], own: _Own) -> Iterator[RoundTime]:
    groups: dict[tuple[int, str], list[Span]] = {}
    for span in tree.spans:
        if owned.rounds[span.id]:
            groups.setdefault((span.trace, owned.rounds[span.id]), []).append(span)
    scopes = {
        (scope.trace, str(scope.metadata[key])[:16]): scope
        for scope in tree.scopes
        for key in ROUND_KEYS
        if key in scope.metadata
    }
    windows = {key: _window(tree, scopes.get(key), spans) for key, spans in groups.items()}
    first_ns = tree.first_ns
    for key in sorted(groups, key=lambda each: windows[each]):
        trace, number = key
        spans, window, scope = groups[key], windows[key], scopes.get(key)
        pieces: dict[str, dict[str, list[Piece]]] = {}
        working = 0
        for span in spans:
            agent = owned.agents[span.id]
            of = pieces.setdefault(agent, {each: [] for each in _KINDS}) if agent else None
            for kind, found in own.of(span):
                if kind == "busy":
                    working += sum([end - start for start, end in _clipped(found, window)])
                if of is not None:
                    of[kind] += found
        spent = sum(busy[span.id] for span in spans)
        length = window[1] - window[0]
        yield RoundTime(
            number,
            f"{trace:032x}",
            scope.span_id if scope is not None else "",
            (window[0] - first_ns) / 1e9,
            length / 1e9,
            len(spans),
            spent / 1e9,
            spent / length if length > 0 else 0.0,
            working / length if length > 0 else 0.0,
            tuple(_activity(agent, each, window) for agent, each in sorted(pieces.items())),
        )


def _window(tree: Tree, scope: Span | None, spans: Sequence[Span]) -> Piece:
    if scope is not None:
        return scope.start_ns, tree.ends[scope.id]
    return min(span.start_ns for span in spans), max(tree.end_ns(span) for span in spans)
