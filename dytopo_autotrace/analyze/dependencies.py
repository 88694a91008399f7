"""What had to happen before what: the graph of moments that critical path and replay are read from.

A moment is the start or the end of a call. Below one caller, a call begins after all that had ended by
then and that nothing else explains: the calls that ended after the latest start among them. A tier that
follows a tier so depends on all of its members. A caller ends after the calls below it that ended before
it did. The time between a moment and the latest that it had to wait for is the caller's own. Who could not
go on while a call held the event loop, and did as soon as that let go, came after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dytopo_autotrace.analyze.holds import Hold, holds
from dytopo_autotrace.analyze.slots import Resource, ended_by, plain_waits, slots
from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

TOGETHER_NS: Final = 5_000_000
"""Of calls that ended this close to each other, the one whose output was read is the reason."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """A moment that came as soon as a call had let go of the event loop."""

    moment: int
    """At which the loop was let go."""
    holder: int
    """Index of the call that held it."""
    own_ns: int
    """What the moment took without the hold, at best."""


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
    """By the index of a wait: the moment at which its caller gives the slot back."""
    plain_waits: Sequence[int]
    """Indices of waits that took time and were for no slots, as far as is known."""
    ended_by: Mapping[int, int]
    """By the index of such a wait: the end of the call that let it go on."""
    size: int
    """How many dependencies there are, shared ones once: what one replay costs."""
    let_go: Mapping[int, LetGo] = field(default_factory=dict)
    """By moment: which end of a hold on the event loop it waited for."""

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
    found = slots(tree, index)
    plain = plain_waits(tree, index, found)
    reasons = ended_by(tree, index, plain)
    moments.woken(reasons)
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
        moments.size = sum(map(len, {id(each): each for each in before}.values()))
    let_go = dict(_let_go(tree, moments))
    for moment, hold in let_go.items():
        before[moment] = (*before[moment], hold.moment)
        delay[moment] = at[moment] - at[hold.moment]
        moments.size += len(before[moment])
    return Dependencies(
        tree,
        at,
        before,
        delay,
        owner,
        found.resources,
        found.resource_of,
        found.given_back,
        plain,
        reasons,
        moments.size,
        let_go,
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

    def woken(self, reasons: Mapping[int, int]) -> None:
        """Fill in that waits ended after the end of another call, too."""
        for wait, reason in reasons.items():
            end = 2 * wait + 1
            self.before[end] = (*self.before[end], reason)
            self.delay[end] = max(self.at[end] - self.at[reason], 0)
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


def _let_go(tree: Tree, moments: _Moments) -> Iterator[tuple[int, LetGo]]:
    """The moments that ended the own time of a call that could not go on, once its loop was let go."""
    at, index = moments.at, moments.index
    for hold in holds(tree):
        latest = latest_ns(hold)
        end = None
        if hold.holder is not None and hold.held_up:
            end = next(_own_moments(tree, index, hold.holder, hold.end_ns), None)
        if hold.holder is None or end is None or at[end] > latest:
            continue
        began = hold.start_ns - hold.before_ns
        for call in sorted(index[each] for each in hold.held_up):
            if tree.spans[call].role == WAIT_ROLE:
                continue  # It waits for a slot as well.
            for moment in _own_moments(tree, index, tree.spans[call], at[end] + 1):
                if at[moment] > latest:
                    break
                since = at[moment] - moments.delay[moment]
                if moments.owner[moment] == call and since <= hold.start_ns:
                    own = max(began - since, 0) + at[moment] - at[end]
                    if moment not in moments.heads:
                        yield moment, LetGo(end, index[hold.holder.id], own)


def latest_ns(hold: Hold) -> int:
    """Until when what happened next may be due to the loop's being let go."""
    return hold.end_ns + hold.after_ns + TOGETHER_NS + (hold.end_ns - hold.start_ns) // 20


def _own_moments(tree: Tree, index: Mapping[int, int], span: Span, since: int) -> Iterator[int]:
    """The moments that end a stretch of a call's own time, from then on, in order of time."""
    calls = tree.children_of(span)
    for place in range(bisect_left(calls, since, key=_start), len(calls)):
        if calls[place].start_ns > tree.ends[span.id]:
            break
        yield 2 * index[calls[place].id]
    if tree.ends[span.id] >= since:
        yield 2 * index[span.id] + 1


def _start(span: Span) -> int:
    return span.start_ns
