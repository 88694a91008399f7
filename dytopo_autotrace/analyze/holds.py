"""Times in which an event loop was held, and whose calls could not go on meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span

Piece = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Hold:
    """One time in which a loop was held by one call, or by one turn that no watched call began."""

    start_ns: int
    end_ns: int
    before_ns: int
    """How long before the start the loop did nothing else either, whoever held it then."""
    after_ns: int
    """How long after the end it may have gone on."""
    holder: Span | None
    held_up: frozenset[int]
    """Ids of the calls on that loop that could not go on, other than the holder and its callers."""
    is_loop_known: bool
    """Whether it is known which calls were on that loop; else `held_up` is empty."""
    is_exact: bool
    where: str


def holds(tree: Tree) -> tuple[Hold, ...]:
    """In order of start. Of calls that held a loop within one another, the outermost."""
    blocked = [span for span in tree.others if span.role == "blocked"]
    if not blocked:
        return ()
    by_id = {span.id: span for span in tree.spans}
    scopes = {span.id: span for span in tree.scopes}
    found: list[Hold] = []
    reach: dict[str, int] = {}
    # Of those that start together the longest is the outermost.
    for span in sorted(blocked, key=lambda each: (each.start_ns, -tree.ends[each.id])):
        start, end, said = span.start_ns, tree.ends[span.id], span.metadata
        thread = str(said.get("thread"))
        if end <= reach.get(thread, start):
            continue
        reach[thread] = end
        caller = span.parent
        seen: set[int] = set()
        while caller in scopes and caller not in seen:
            seen.add(caller)
            caller = scopes[caller].parent
        holder = by_id.get(caller)
        line = {holder.id, *(each.id for each in ancestors(tree, holder))} if holder else set()
        found.append(
            Hold(
                *(start, end, _nanoseconds(said, "before_ns"), _nanoseconds(said, "after_ns")),
                holder,
                frozenset(each for each in span.links if each in by_id and each not in line),
                is_loop_known=bool(span.links),
                is_exact=said.get("exact") is True,
                where=str(said.get("where", "")),
            )
        )
    return tuple(found)


def _nanoseconds(said: Mapping[str, Any], key: str) -> int:
    value = said.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def held_up(tree: Tree, found: Iterable[Hold]) -> dict[int, list[Piece]]:
    """By the id of a call: when, in its own time, its loop was held by another, so that it waited."""
    stretches: dict[int, list[Piece]] = {}
    for hold in found:
        for call in hold.held_up:
            stretches.setdefault(call, []).append((hold.start_ns - hold.before_ns, hold.end_ns))
    return _own(tree, stretches)


def stood_still_ns(found: Iterable[Hold]) -> dict[int, int]:
    """By the id of a call: for how long it, or what it waited for, could not go on."""
    stood: dict[int, int] = {}
    for hold in found:
        for call in hold.held_up:
            stood[call] = stood.get(call, 0) + hold.end_ns - hold.start_ns
    return stood


def stood_ns(found: Iterable[Hold], call: int, start: int, end: int) -> int:
    """For how much of a time the loop of a call was held by another."""
    pieces = [
        (each.start_ns - each.before_ns, each.end_ns) for each in found if call in each.held_up
    ]
    return sum(high - low for low, high in common([(start, end)], joined(pieces)))


def holding(tree: Tree, found: Iterable[Hold]) -> dict[int, list[Piece]]:
    """By the id of a call: when, in its own time, it held its loop, so that it was busy."""
    stretches: dict[int, list[Piece]] = {}
    for hold in found:
        if hold.holder is not None:
            stretches.setdefault(hold.holder.id, []).append((hold.start_ns, hold.end_ns))
    return _own(tree, stretches)


def _own(tree: Tree, stretches: Mapping[int, Sequence[Piece]]) -> dict[int, list[Piece]]:
    if not stretches:
        return {}
    return {
        span.id: list(common(own_pieces(tree, span), joined(stretches[span.id])))
        for span in tree.spans
        if span.id in stretches
    }


def own_pieces(tree: Tree, span: Span) -> Iterator[Piece]:
    """The stretches of a call in which none of the calls below it ran."""
    reach, end = span.start_ns, tree.end_ns(span)
    for child in tree.children_of(span):
        if child.start_ns > reach:
            yield reach, min(child.start_ns, end)
        reach = max(reach, tree.end_ns(child))
        if reach >= end:
            return
    if reach < end:
        yield reach, end


def common(pieces: Iterable[Piece], others: Sequence[Piece]) -> Iterator[Piece]:
    """What both cover, of pieces in order of which none overlap, as none of the others do."""
    place = 0
    for start, end in pieces:
        while place < len(others) and others[place][1] <= start:
            place += 1
        at = place
        while at < len(others) and others[at][0] < end:
            yield max(others[at][0], start), min(others[at][1], end)
            at += 1


def without(pieces: Iterable[Piece], taken: Sequence[Piece]) -> Iterator[Piece]:
    """What is left of pieces in order of which none overlap, as none of those taken do."""
    place = 0
    for start, end in pieces:
        while place < len(taken) and taken[place][1] <= start:
            place += 1
        at, reach = place, start
        while at < len(taken) and taken[at][0] < end:
            if taken[at][0] > reach:
                yield reach, taken[at][0]
            reach = max(reach, taken[at][1])
            at += 1
        if reach < end:
            yield reach, end


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same moments in order, none of them twice."""
    found: list[Piece] = []
    for start, end in sorted(pieces):
        if found and start <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
