"""What calls waited for: slots that others held, or whatever else let them go on.

Only waits tell of slots: how many were free when each began, or, where none said so, that each ended as
another caller gave one back. When a slot is given back is in no record. It is read from the calls: of the
ends of what the caller of the wait did then, the ones at which others stopped waiting.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span

PARTIAL_KEY: Final = "partial"
"""Metadata key of a wait: true if only those were recorded who had to wait."""
RESOURCE_KEY: Final = "resource"
"""Metadata key of a wait: which semaphore it is, where there are several."""
FREE_KEY: Final = "free"
"""Metadata key of a wait: how many slots were free when it began."""
WAITED_NS: Final = 1_000_000
"""A wait of less found what it asked for."""
_AT_ONCE_NS: Final = 5_000_000
"""Who gets a slot goes on this soon after it was given back."""
_WOKEN_NS: Final = 1_000_000
"""Who waited for what a call made goes on this soon after that call."""
_TRIED_BACK: Final = 16


@dataclass(slots=True)
class Resource:
    """What calls of the role `wait` waited for, and held from the end of the wait."""

    name: str
    capacity: int
    """Slots: the most that were said to be free, else the most that were held at a time."""
    waits: list[int] = field(default_factory=list)
    """Indices of the waits that got a slot, in order of start."""
    contended: bool = False
    """Whether anybody waited while all slots were held."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Which waits were for slots, and the moments at which those were given back.

    The start of call `i` is moment `2 * i`, its end `2 * i + 1`.
    """

    resources: Mapping[str, Resource]
    resource_of: Mapping[int, str]
    """By the index of a wait."""
    given_back: Mapping[int, int]
    """By the index of a wait: the moment at which its caller gives the slot back."""


def resource_name(wait: Span) -> str:
    """What the wait was for."""
    return f"{wait.operation} {wait.metadata.get(RESOURCE_KEY, '')}".strip()


def slots(tree: Tree, index: Mapping[int, int]) -> Slots:
    """The slots that the waits of the records tell of; `index` is the number of each call by its id."""
    groups: dict[str, list[Span]] = {}
    for span in tree.spans:
        if (
            span.site.role == WAIT_ROLE
            and span.id in tree.parents
            # Who had a slot without waiting is not known, so neither is how many there are.
            and span.metadata.get(PARTIAL_KEY) is not True
        ):
            groups.setdefault(resource_name(span), []).append(span)
    resources: dict[str, Resource] = {}
    of: dict[int, str] = {}
    given_back: dict[int, int] = {}
    for name, waits in groups.items():
        got = sorted((w for w in waits if w.status == "success"), key=lambda w: (w.start_ns, w.id))
        frees = [value for wait in waits if type(value := wait.metadata.get(FREE_KEY)) is int]
        back = _given_back(tree, index, got, max(frees, default=len(got)))
        capacity = _capacity(tree, got, back, frees)
        if not capacity:
            continue
        resources[name] = Resource(
            name,
            capacity,
            [index[wait.id] for wait in got],
            0 in frees if frees else any(_waited(tree, wait) for wait in got),
        )
        for wait in got:
            of[index[wait.id]] = name
            given_back[index[wait.id]] = back[wait.id][1]
    return Slots(resources, of, given_back)


def _waited(tree: Tree, wait: Span) -> bool:
    return tree.end_ns(wait) - wait.start_ns > WAITED_NS


_Back = tuple[int, int]
"""When a slot is given back, and which moment that is."""


def _capacity(
    tree: Tree, got: Sequence[Span], back: Mapping[int, _Back], frees: Sequence[int]
) -> int:
    """How many slots there are; 0 where nobody could say, or where it is something else."""
    if not got or frees:
        return max(frees, default=0)
    callers = {tree.parents[wait.id].id for wait in got}
    if len(callers) < len(got):
        return 0  # One mailbox, asked again and again, or slots that nobody says are free.
    if any(gap >= _AT_ONCE_NS for gap in _gaps(tree, got, back)):
        return 0
    return max(_held_at_each(tree, got, back))


def _held_at_each(tree: Tree, got: Sequence[Span], back: Mapping[int, _Back]) -> Iterator[int]:
    """How many slots were held whenever one was got, that one with them."""
    changes = [(tree.end_ns(wait), 1) for wait in got]
    changes += [(back[wait.id][0], -1) for wait in got]
    now = 0
    for _, change in sorted(changes):
        now += change
        if change > 0:
            yield now


def _given_back(
    tree: Tree, index: Mapping[int, int], got: Sequence[Span], capacity: int
) -> dict[int, _Back]:
    """By the id of a wait: when its slot was given back.

    That is the end of a call that the caller of the wait made before its next wait, the last of them
    or the first, or the caller's own: whichever fits best when others got a slot.
    """
    by_caller: dict[int, list[Span]] = {}
    for wait in got:
        by_caller.setdefault(tree.parents[wait.id].id, []).append(wait)
    whole: dict[int, _Back] = {}
    last: dict[int, _Back] = {}
    first: dict[int, _Back] = {}
    for waits in by_caller.values():
        caller = tree.parents[waits[0].id]
        own = max(tree.end_ns(caller), *map(tree.end_ns, waits)), 2 * index[caller.id] + 1
        for wait, after, held in _held(tree, caller, waits):
            ends = [(tree.end_ns(span), 2 * index[span.id] + 1) for span in held]
            nothing = own if after is None else (after.start_ns, 2 * index[after.id])
            last[wait.id] = max(ends, default=nothing)
            first[wait.id] = ends[0] if ends else nothing
            whole[wait.id] = own if after is None else last[wait.id]
    if all(whole[wait.id] == first[wait.id] for wait in got):
        return whole
    return min((whole, last, first), key=lambda back: _misfit(tree, got, back, capacity))


def _misfit(tree: Tree, got: Sequence[Span], back: Mapping[int, _Back], capacity: int) -> int:
    """How badly it explains who had to wait and who had not, in nanoseconds."""
    too_many = sum(held > capacity for held in _held_at_each(tree, got, back))
    return sum(_gaps(tree, got, back)) + too_many * _AT_ONCE_NS


def _held(
    tree: Tree, caller: Span, waits: Sequence[Span]
) -> Iterator[tuple[Span, Span | None, list[Span]]]:
    """Each wait of one caller, the one after it, and what was called between them."""
    mine = {wait.id for wait in waits}
    others = [span for span in tree.children_of(caller) if span.id not in mine]
    starts = [span.start_ns for span in others]
    if any(then.start_ns < tree.end_ns(wait) for wait, then in pairwise(waits)):
        # Several at once: each slot is for the call that began next after it was got.
        taken = 0
        for wait in sorted(waits, key=tree.end_ns):
            taken = max(bisect_left(starts, tree.end_ns(wait)), taken)
            yield wait, None, others[taken : taken + 1]
            taken += 1
        return
    for wait, then in zip(waits, (*waits[1:], None), strict=True):
        until = then.start_ns if then is not None else tree.end_ns(caller)
        low = bisect_left(starts, tree.end_ns(wait))
        high = bisect_right(starts, until, low)
        yield wait, then, [span for span in others[low:high] if tree.end_ns(span) <= until]


def _gaps(tree: Tree, got: Sequence[Span], back: Mapping[int, _Back]) -> Iterator[int]:
    """For each that had to wait: how long before it went on another had given back a slot."""
    freed = sorted((back[wait.id][0], wait.id) for wait in got)
    for wait in got:
        if _waited(tree, wait):
            end = tree.end_ns(wait)
            place = bisect_right(freed, (end, 2**64)) - 1
            if place >= 0 and freed[place][1] == wait.id:
                place -= 1
            yield min(end - freed[place][0], _AT_ONCE_NS) if place >= 0 else _AT_ONCE_NS


def plain_waits(tree: Tree, index: Mapping[int, int], found: Slots) -> list[int]:
    """Indices of waits that took time and are not known to be for slots."""
    return [
        number
        for span in tree.spans
        if span.site.role == WAIT_ROLE
        and span.id in tree.parents
        and not tree.children.get(span.id)
        and _waited(tree, span)
        and span.status == "success"
        and (number := index[span.id]) not in found.resource_of
    ]


def ended_by(tree: Tree, index: Mapping[int, int], waits: Sequence[int]) -> dict[int, int]:
    """By the index of a wait: the end of the call right after which it went on, where there is one."""
    if not waits:
        return {}
    ends = sorted(
        (tree.end_ns(span), index[span.id])
        for span in tree.spans
        if span.site.role != WAIT_ROLE and span.end_ns
    )
    found: dict[int, int] = {}
    for number in waits:
        wait = tree.spans[number]
        above = {each.id for each in ancestors(tree, wait)}
        end = tree.end_ns(wait)
        # A call that ended in the same nanosecond may as well have been woken by this one.
        place = bisect_right(ends, (end, -1)) - 1
        for at, call in reversed(ends[max(place - _TRIED_BACK, 0) : place + 1]):
            if at <= max(wait.start_ns, end - _WOKEN_NS):
                break
            if tree.spans[call].id not in above:
                found[number] = 2 * call + 1
                break
    return found
