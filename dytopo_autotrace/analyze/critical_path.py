"""The chain of calls that decided how long the run took, from its last moment back to its first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dytopo_autotrace.analyze.dependencies import TOGETHER_NS, Dependencies, latest_ns
from dytopo_autotrace.analyze.findings import Place
from dytopo_autotrace.analyze.holds import Hold, holds
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.slots import PARTIAL_KEY, resource_name
from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of the critical path: own time of one call. `place` is None outside of all calls."""

    place: Place | None
    start_seconds: float
    """Since the first call began."""
    seconds: float


@dataclass(frozen=True, slots=True)
class PathShare:
    """How much of the critical path one operation of one agent, or one agent, is."""

    operation: str
    agent: str
    seconds: float
    share: float
    steps: int
    spans: tuple[str, ...]
    """Ids of the calls with the longest stretches, longest first."""


@dataclass(frozen=True, slots=True)
class RoundShare:
    """How much of the critical path the calls of one round are."""

    round: str
    trace_id: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The path, its shares, and the time it adds up to: from the first start to the last end."""

    seconds: float
    steps: tuple[Step, ...]
    by_operation: tuple[PathShare, ...]
    by_agent: tuple[PathShare, ...]
    by_round: tuple[RoundShare, ...]
    """In order of time."""


def stretches(graph: Dependencies) -> list[tuple[int, int, int]]:
    """(index of the call or -1, start, end) in order of time; they touch and cover all of it."""
    found: list[tuple[int, int, int]] = []
    releases, held = _releases(graph), _held(graph)
    spoken_to = _read_by(graph.tree)
    loops = _HeldLoops(graph)
    moment, now = graph.last, graph.at[graph.last]
    seen: set[int] = set()
    while moment != graph.first and moment not in seen:
        seen.add(moment)
        reason = (
            _holder(graph, held, moment)
            or _release_before(graph, releases, moment)
            or _reason(graph, spoken_to, moment)
        )
        since = min(graph.at[reason], now)
        if since < now:
            found += reversed(loops.shared_out(graph.owner[moment], since, now))
        moment, now = reason, since
    if now > graph.at[graph.first]:
        found.append((-1, graph.at[graph.first], now))
    found.reverse()
    return found


class _HeldLoops:
    """The holds on event loops that no moment of the graph tells of, for each call held up by one."""

    def __init__(self, graph: Dependencies) -> None:
        tree = graph.tree
        self._holds: dict[int, list[Hold]] = {}
        found = holds(tree)
        if not found:
            self._index: dict[int, int] = {}
            return
        self._index = {span.id: number for number, span in enumerate(tree.spans)}
        for hold in found:
            for call in hold.held_up:
                self._holds.setdefault(self._index[call], []).append(hold)

    def shared_out(self, owner: int, start: int, end: int) -> list[tuple[int, int, int]]:
        """A stretch of a call, with what another one held the loop for given to that other one.

        Only where the stretch ended as soon as the loop was let go: any other may have been waited
        for something else all the while.
        """
        for hold in reversed(self._holds.get(owner, ())):
            if hold.end_ns <= end <= latest_ns(hold) and start <= hold.start_ns:
                by = -1 if hold.holder is None else self._index[hold.holder.id]
                parts = (
                    (owner, start, hold.start_ns),
                    (by, hold.start_ns, hold.end_ns),
                    (owner, hold.end_ns, end),
                )
                return [part for part in parts if part[1] < part[2]]
            if latest_ns(hold) < start:
                break
        return [(owner, start, end)]


def _reason(graph: Dependencies, spoken_to: Mapping[int, frozenset[int]], moment: int) -> int:
    """The moment that this one waited for last."""
    candidates = graph.before[moment]
    at = graph.at
    latest = max(candidates, key=lambda each: at[each], default=graph.first)
    if at[latest] > at[moment]:
        return graph.first
    if moment % 2 == 0 and moment < graph.first:
        read = spoken_to.get(graph.tree.spans[moment // 2].id)
        if read:
            close = [
                each
                for each in candidates
                if each % 2
                and at[latest] - at[each] <= TOGETHER_NS
                and graph.tree.spans[each // 2].id in read
            ]
            latest = max(close, key=lambda each: at[each], default=latest)
    return _who_cut_off(graph, candidates, latest)


def _who_cut_off(graph: Dependencies, candidates: Sequence[int], latest: int) -> int:
    """Of calls that ended together, the last that was not cancelled: it is why the others were.

    Where all were, a call that worked comes before one that was cut off while it only waited.
    """
    spans = graph.tree.spans
    if latest % 2 == 0 or latest >= graph.first or spans[latest // 2].status != "cancelled":
        return latest
    since = graph.at[latest] - TOGETHER_NS
    together = [e for e in candidates if e % 2 and e < graph.first and graph.at[e] >= since]
    ended = [each for each in together if spans[each // 2].status in ("success", "error")]
    worked = [each for each in together if not _was_waiting(graph.tree, spans[each // 2])]
    return max(ended or worked or [latest], key=lambda each: (graph.at[each], each == latest))


def _was_waiting(tree: Tree, span: Span) -> bool:
    """Whether all that ran in a call when it was cut off were waits."""
    since = tree.end_ns(span) - TOGETHER_NS
    at = [span]
    while at:
        call = at.pop()
        below = [each for each in tree.children_of(call) if tree.end_ns(each) >= since]
        cut_off = [each for each in below if each.status == "cancelled"]
        if not cut_off and call.site.role != WAIT_ROLE:
            return False
        at += cut_off
    return True


def _read_by(tree: Tree) -> dict[int, frozenset[int]]:
    """By call: the calls whose output it, or what it called, read; with all that called those."""
    by_id = {span.id: span for span in tree.spans}
    read: dict[int, set[int]] = {}
    for span in tree.spans:
        sources = [by_id[link] for link in span.links if link in by_id and span.parent]
        if not sources:
            continue
        above = {each.id for source in sources for each in (source, *ancestors(tree, source))}
        for reader in (span, *ancestors(tree, span)):
            if reader.id in above:
                break
            read.setdefault(reader.id, set()).update(above)
    return {reader: frozenset(sources) for reader, sources in read.items()}


def _releases(graph: Dependencies) -> dict[str, list[tuple[int, int]]]:
    """For each resource that was short: when a slot became free, and at which moment."""
    return {
        resource.name: sorted(
            (graph.at[back], back) for back in map(graph.holder_of.__getitem__, resource.waits)
        )
        for resource in graph.resources.values()
        if resource.contended
    }


def _release_before(
    graph: Dependencies, releases: Mapping[str, list[tuple[int, int]]], moment: int
) -> int | None:
    """Of the end of a wait for a slot: the moment at which the one that had held it gave it back."""
    name = graph.resource_of.get(moment // 2) if moment % 2 and moment < graph.first else None
    if name is None or name not in releases:
        return None
    began, ended = graph.at[moment - 1], graph.at[moment]
    place = bisect_right(releases[name], (ended, len(graph.at))) - 1
    if place < 0 or releases[name][place][0] <= began:
        return None
    back = releases[name][place][1]
    mine = graph.tree.parents[graph.tree.spans[moment // 2].id]
    if graph.tree.spans[back // 2] in (mine, *ancestors(graph.tree, mine)):
        return None
    return back


_Holding = tuple[int, int, int]
"""Since when and until when somebody held what was waited for, and the moment of that end."""


def _held(graph: Dependencies) -> dict[str, list[_Holding]]:
    """By what was waited for: who held it when, also where only those who waited are known."""
    tree = graph.tree
    index = {span.id: number for number, span in enumerate(tree.spans)}
    held: dict[str, list[_Holding]] = {}
    for span in tree.spans:
        if span.site.role == WAIT_ROLE and span.status == "success" and span.id in tree.parents:
            back = graph.holder_of.get(index[span.id])
            if back is None and span.metadata.get(PARTIAL_KEY) is True:
                back = 2 * index[tree.parents[span.id].id] + 1
            if back is not None:
                holding = tree.end_ns(span), graph.at[back], back
                held.setdefault(resource_name(span), []).append(holding)
    return held


def _holder(graph: Dependencies, held: Mapping[str, list[_Holding]], moment: int) -> int | None:
    """Of the end of a wait that was cut off: the moment until which another held what it was for.

    Of those that held it then, the one that had got it last.
    """
    if moment % 2 == 0 or moment >= graph.first:
        return None
    tree = graph.tree
    wait = tree.spans[moment // 2]
    if wait.site.role != WAIT_ROLE or wait.status != "cancelled" or wait.id not in tree.parents:
        return None
    end, caller = graph.at[moment], tree.parents[wait.id].id
    holders = [
        (since, back)
        for since, until, back in held.get(resource_name(wait), ())
        if since <= end <= until and tree.spans[back // 2].id != caller
    ]
    return max(holders)[1] if holders else None


def critical_path(graph: Dependencies, owned: Owners, most_steps: int = 2000) -> CriticalPath:
    """The path with its shares; of its steps the longest are kept, in order of time."""
    tree, first = graph.tree, graph.at[graph.first]
    found = stretches(graph)
    steps = [
        Step(
            owned.place(tree.spans[owner]) if owner >= 0 else None,
            (start - first) / 1e9,
            (end - start) / 1e9,
        )
        for owner, start, end in found
    ]
    if len(steps) > most_steps:
        kept = set(sorted(range(len(steps)), key=lambda each: -steps[each].seconds)[:most_steps])
        steps = [step for number, step in enumerate(steps) if number in kept]
    lengths = [(tree.spans[o] if o >= 0 else None, end - start) for o, start, end in found]
    return CriticalPath(
        graph.wall_ns / 1e9,
        tuple(steps),
        _shares(lengths, owned, graph.wall_ns, per_operation=True),
        _shares(lengths, owned, graph.wall_ns, per_operation=False),
        _of_rounds(lengths, owned, graph.wall_ns),
    )


def _of_rounds(
    lengths: Iterable[tuple[Span | None, int]], owned: Owners, wall: int
) -> tuple[RoundShare, ...]:
    found: dict[tuple[str, str], int] = {}
    for span, length in lengths:
        if span is not None and (number := owned.rounds[span.id]):
            key = number, span.trace_id
            found[key] = found.get(key, 0) + length
    return tuple(
        RoundShare(number, trace, length / 1e9, length / wall if wall else 0.0)
        for (number, trace), length in found.items()
    )


def _shares(
    lengths: Iterable[tuple[Span | None, int]], owned: Owners, wall: int, *, per_operation: bool
) -> tuple[PathShare, ...]:
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for span, length in lengths:
        key = ("", "")
        if span is not None:
            key = (span.operation if per_operation else "", owned.agents[span.id])
        groups.setdefault(key, []).append((length, span.span_id if span is not None else ""))
    shares = [
        PathShare(
            operation,
            agent,
            (total := sum(length for length, _ in each)) / 1e9,
            total / wall if wall else 0.0,
            len(each),
            tuple(dict.fromkeys(i for _, i in sorted(each, reverse=True) if i))[:3],
        )
        for (operation, agent), each in groups.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-share.seconds, share.operation, share.agent)))
