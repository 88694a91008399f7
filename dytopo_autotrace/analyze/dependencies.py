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
    """How many dependencies there are: what one replay costs."""
    joins: Sequence[tuple[Sequence[int], Sequence[int]]]
    """Moments that have the same reasons: the reasons, and who follows all of them."""
    after: Sequence[Sequence[int]]
    """By moment: the joins that it is a reason of."""

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
    for number, span in enumerate(tree.spans):
        at[2 * number], at[2 * number + 1] = span.start_ns, tree.end_ns(span)
    moments = _Moments(at, before, owner, [0] * count, index, together or {})
    moments.below(tree.roots, first, last, -1)
    for number, span in enumerate(tree.spans):
        moments.below(tree.children_of(span), 2 * number, 2 * number + 1, number)
    outliving = tuple(
        2 * number + 1
        for number, span in enumerate(tree.spans)
        if (parent := tree.parent_of(span)) is not None and tree.end_ns(span) > tree.end_ns(parent)
    )
    if outliving:
        before[last] = (*before[last], *outliving)
    for moment, reasons in enumerate(before):
        if reasons and not moments.delay[moment]:
            moments.delay[moment] = max(at[moment] - max(at[reason] for reason in reasons), 0)
    resources, resource_of = _resources(tree, index)
    for moment, head in moments.heads.items():
        moments.delay[moment] = moments.delay[head]
    holder_of = {wait: 2 * index[tree.parents[tree.spans[wait].id].id] + 1 for wait in resource_of}
    joins = _joins(before, first)
    after: list[list[int]] = [[] for _ in range(count)]
    for number, (reasons, _) in enumerate(joins):
        for reason in reasons:
            after[reason].append(number)
    size = sum(len(reasons) for reasons, _ in joins)
    delay = moments.delay
    return Dependencies(
        tree, at, before, delay, owner, resources, resource_of, holder_of, size, joins, after
    )


def _joins(
    before: Sequence[Sequence[int]], first: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """So that a tier costs its members once, not each of them for each that follows."""
    followers: dict[int, list[int]] = {}
    for moment, reasons in enumerate(before):
        if moment != first:
            followers.setdefault(id(reasons), []).append(moment)
    return [(before[each[0]], each) for each in followers.values()]


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

    def below(self, calls: Sequence[Span], start: int, end: int, caller: int) -> None:
        """Fill in what the calls below one caller, and its end, came after."""
        at, index = self.at, self.index
        by_end = sorted((at[2 * index[call.id] + 1], 2 * index[call.id] + 1) for call in calls)
        groups = {2 * index[c.id]: self.together[c.id] for c in calls if c.id in self.together}
        begun: dict[int, int] = {}
        done, latest = 0, -1
        known: tuple[int, int] | None = None
        shared: Sequence[int] = (start,)
        for moment in (*(2 * index[call.id] for call in calls), end):
            while done < len(by_end) and by_end[done][0] <= at[moment]:
                # Only what came before it in order can be its reason, also where all took no time.
                if moment != end and by_end[done][1] > moment:
                    break
                latest = max(latest, at[by_end[done][1] - 1])
                done += 1
            low = bisect_left(by_end, (latest, -1), 0, done)
            if known != (low, done):
                known = (low, done)
                shared = tuple(each for _, each in by_end[low:done]) or (start,)
                if groups:
                    shared = _with_group(shared, [each for _, each in by_end[:done]], groups)
            self.before[moment], self.owner[moment] = shared, caller
            if moment in groups and moment != end:
                head = begun.setdefault(groups[moment], moment)
                if head != moment:
                    self.before[moment] = self.before[head]
                    self.heads[moment] = head


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
    for span in sorted(tree.spans, key=lambda each: (tree.end_ns(each), each.id)):
        if span.metadata.get(PARTIAL_KEY) is True:
            continue  # Who had a slot without waiting is not known, so neither is how many there are.
        if span.role != WAIT_ROLE or span.status != "success" or tree.parent_of(span) is None:
            continue
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
