"""What had to happen before what: the graph of moments that critical path and replay are read from.

A moment is the start or the end of a call. Below one caller, a call begins after all that had ended by
then and that nothing else explains: the calls that ended after the latest start among them. A tier that
follows a tier so depends on all of its members. A caller ends after the calls below it that ended before
it did. The time between a moment and the latest that it had to wait for is the caller's own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

PARTIAL_KEY: Final = "partial"
"""Metadata key of a wait: true if only those were recorded who had to wait."""
RESOURCE_KEY: Final = "resource"
"""Metadata key of a wait: which semaphore it is, where there are several."""
FREE_KEY: Final = "free"
"""Metadata key of a wait: how many slots were free when it began."""
TOGETHER_NS: Final = 5_000_000
"""Of calls that ended this close to each other, the one whose output was read is the reason."""


@dataclass(slots=True)
class Resource:
    """What calls of the role `wait` waited for; a slot is held until the caller of the wait ends."""

    name: str
    capacity: int
    """Slots: as captured, else the most that were held at a time."""
    waits: list[int] = field(default_factory=list)
    """Indices of the waits that got a slot, in order of start."""
    contended: bool = False
    """Whether anybody waited while all slots were held."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Moments and what each had to wait for. Calls are numbered as in `tree.spans`.

    The start of call `i` is moment `2 * i`, its end `2 * i + 1`. The last two moments are the
    beginning and the end of all that was recorded.
    """

    tree: Tree
    at: Sequence[int]
    """When each moment was, in nanoseconds."""
    before: Sequence[Sequence[int]]
    """Moments that each moment came after; those with the same ones share the sequence."""
    delay: Sequence[int]
    """Nanoseconds between each moment and the latest of those."""
    owner: Sequence[int]
    """Whose time it is until the moment since the last of those, -1 for nobody that was watched."""
    resources: Mapping[str, Resource]
    resource_of: Mapping[int, str]
    """By the index of a wait."""
    holder_of: Mapping[int, int]
    """By the index of a wait: the moment at which its caller ends, and gives the slot back."""
    size: int
    """How many dependencies there are, shared ones once: what one replay costs."""

    @property
    def first(self) -> int:
        return len(self.at) - 2

    @property
    def last(self) -> int:
        return len(self.at) - 1

    @property
    def wall_ns(self) -> int:
        return self.at[self.last] - self.at[self.first]


def dependencies(tree: Tree, together: Mapping[int, int] | None = None) -> Dependencies:
    """The graph of all calls in the records.

    Args:
        together: by the id of a call, which of several calls (a number) start with the first of them
            instead of one after another.
    """
    index = {span.id: number for number, span in enumerate(tree.spans)}
    count = 2 * len(tree.spans) + 2
    at = [0] * count
    before: list[Sequence[int]] = [()] * count
    owner = [-1] * count
    first, last = count - 2, count - 1
    at[first], at[last] = tree.first_ns, tree.last_ns
    ends, children = tree.ends, tree.children
    for number, span in enumerate(tree.spans):
        at[2 * number], at[2 * number + 1] = span.start_ns, ends[span.id]
    moments = _Moments(at, before, owner, [0] * count, index, together or {})
    moments.below(tree.roots, first, last, -1)
    for number, span in enumerate(tree.spans):
        calls = children.get(span.id)
        if calls:
            moments.below(calls, 2 * number, 2 * number + 1, number)
        else:
            moments.leaf(2 * number, number)
    outliving = tuple(
        2 * number + 1
        for number, span in enumerate(tree.spans)
        if (parent := tree.parents.get(span.id)) is not None and ends[span.id] > ends[parent.id]
    )
    delay = moments.delay
    if outliving:
        is_shared = any(before[2 * index[root.id]] is before[last] for root in tree.roots)
        moments.size += len(outliving) + (len(before[last]) if is_shared else 0)
        before[last] = (*before[last], *outliving)
        delay[last] = max(at[last] - max(at[reason] for reason in before[last]), 0)
    for moment, head in moments.heads.items():
        delay[moment] = delay[head]
    if moments.heads:
        moments.size = sum(map(len, {id(reasons): reasons for reasons in before}.values()))
    resources, resource_of = _resources(tree, index)
    holder_of = {wait: 2 * index[tree.parents[tree.spans[wait].id].id] + 1 for wait in resource_of}
    return Dependencies(
        tree, at, before, delay, owner, resources, resource_of, holder_of, moments.size
    )


@dataclass(slots=True)
class _Moments:
    """The graph while it is made."""

    at: Sequence[int]
    before: list[Sequence[int]]
    owner: list[int]
    delay: list[int]
    index: Mapping[int, int]
    together: Mapping[int, int]
    heads: dict[int, int] = field(default_factory=dict)
    """For calls that run together: the start of the first of them, by the start of each other one."""
    size: int = 0

    def leaf(self, start: int, caller: int) -> None:
        """Fill in what the end of a call that called nothing came after: its start."""
        end = start + 1
        self.before[end], self.owner[end] = (start,), caller
        self.delay[end] = self.at[end] - self.at[start]
        self.size += 1

    def below(self, calls: Sequence[Span], start: int, end: int, caller: int) -> None:
        """Fill in what the calls below one caller, and its end, came after."""
        at, before, owner, delay = self.at, self.before, self.owner, self.delay
        starts = [2 * self.index[call.id] for call in calls]
        by_end = sorted([(at[moment + 1], moment + 1) for moment in starts])
        groups = self._groups(starts, calls) if self.together else {}
        begun: dict[int, int] = {}
        count = len(by_end)
        # The clock may have any origin: a run of before the machine was started has times below zero.
        done = 0
        latest = since = at[start]
        known: tuple[int, int] | None = None
        shared: Sequence[int] = (start,)
        starts.append(end)
        for moment in starts:
            now = at[moment]
            while done < count and by_end[done][0] <= now:
                # Only what came before it in order can be its reason, also where all took no time.
                ended = by_end[done][1]
                if moment != end and ended > moment:
                    break
                latest = max(latest, at[ended - 1])
                done += 1
            low = bisect_left(by_end, (latest, -1), 0, done)
            if known != (low, done):
                known = (low, done)
                shared = tuple([each for _, each in by_end[low:done]]) or (start,)
                if groups:
                    shared = _with_group(shared, [each for _, each in by_end[:done]], groups)
                since = max([at[each] for each in shared])
                self.size += len(shared)
            before[moment], owner[moment] = shared, caller
            delay[moment] = now - since if now > since else 0
            if groups and moment in groups and moment != end:
                head = begun.setdefault(groups[moment], moment)
                if head != moment:
                    before[moment] = before[head]
                    self.heads[moment] = head

    def _groups(self, starts: Sequence[int], calls: Sequence[Span]) -> dict[int, int]:
        """By the start of a call: with which others it runs together."""
        together = self.together
        return {
            moment: together[call.id]
            for moment, call in zip(starts, calls, strict=True)
            if call.id in together
        }


def _with_group(
    shared: Sequence[int], ended: Sequence[int], groups: Mapping[int, int]
) -> Sequence[int]:
    """Who waits for one of several calls that run together waits for all of them."""
    wanted = {groups[moment - 1] for moment in shared if moment - 1 in groups}
    if not wanted:
        return shared
    more = [each for each in ended if groups.get(each - 1) in wanted and each not in shared]
    return (*shared, *more)


def _resources(tree: Tree, index: Mapping[int, int]) -> tuple[dict[str, Resource], dict[int, str]]:
    resources: dict[str, Resource] = {}
    of: dict[int, str] = {}
    captured: dict[str, int] = {}
    waits = [
        span
        for span in tree.spans
        if span.site.role == WAIT_ROLE
        and span.status == "success"
        and span.id in tree.parents
        # Who had a slot without waiting is not known, so neither is how many there are.
        and span.metadata.get(PARTIAL_KEY) is not True
    ]
    for span in sorted(waits, key=lambda each: (tree.end_ns(each), each.id)):
        name = f"{span.operation} {span.metadata.get(RESOURCE_KEY, '')}".strip()
        of[index[span.id]] = name
        resources.setdefault(name, Resource(name, 0)).waits.append(index[span.id])
    for name, resource in resources.items():
        held = sorted(_holdings(tree, resource))
        now = most = 0
        for _, change in held:
            now += change
            most = max(most, now)
        frees = [
            value
            for number in resource.waits
            if type(value := tree.spans[number].metadata.get(FREE_KEY)) is int
        ]
        if frees and max(frees) > 0:
            captured[name] = max(frees)
        resource.capacity = max(most, captured.get(name, 0), 1)
        resource.waits.sort(key=lambda number: tree.spans[number].start_ns)
        resource.contended = (
            any(value == 0 for value in frees)
            if frees
            else any(tree.seconds(tree.spans[n]) > 0.001 for n in resource.waits)
        )
    return resources, of


def _holdings(tree: Tree, resource: Resource) -> Iterator[tuple[int, int]]:
    for number in resource.waits:
        wait = tree.spans[number]
        holder = tree.parents[wait.id]
        yield tree.end_ns(wait), 1
        yield max(tree.end_ns(holder), tree.end_ns(wait)), -1
