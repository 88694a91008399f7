"""The run once more, with something changed: how long it would have taken, by its dependencies.

Every moment happens as soon as all that it came after has happened and the time between has passed. Who
waits for a slot gets it when one is free, in the order of asking. All else stays as it was: the program
makes the same calls, in the same structure, and the machine and the model have room for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heappop, heappush, heappushpop

from dytopo_autotrace.analyze.dependencies import Dependencies


@dataclass(frozen=True, slots=True)
class Change:
    """What is different. Calls are indices into `tree.spans`."""

    scale: Mapping[int, float] = field(default_factory=dict)
    """By call: what its own time is multiplied with."""
    left_out: AbstractSet[int] = frozenset()
    """Calls that take no time."""
    pauses: AbstractSet[int] = frozenset()
    """Calls after which their caller goes on at once."""
    capacity: Mapping[str, int] = field(default_factory=dict)
    """By resource: how many slots it has."""


def replay(graph: Dependencies, change: Change = Change()) -> int | None:
    """Nanoseconds from the first to the last moment; None if that is never reached."""
    return Replays(graph).run(change)


class Replays:
    """Replays of one graph, which is prepared once: one change after another is tried on it."""

    def __init__(self, graph: Dependencies) -> None:
        self._graph = graph
        self._joins = _joins(graph)
        self._missing = [len(reasons) for reasons, _ in self._joins]
        after: list[list[int]] = [[] for _ in graph.at]
        for number, (reasons, _) in enumerate(self._joins):
            for reason in reasons:
                after[reason].append(number)
        self._after = after
        self._only = self._only_followers()
        self._order: list[tuple[Sequence[int], Sequence[int]]] | None = None
        self._arrives = False

    def run(self, change: Change = Change()) -> int | None:
        """Nanoseconds from the first to the last moment; None if that is never reached.

        So it is where all wait for slots of each other, or where the records contradict themselves.
        """
        delays = _delays(self._graph, change)
        slots = _Slots(self._graph, change)
        for wait in slots.at_once:
            delays[wait] = 0
        # Slots are asked for in order of time; nothing else minds.
        return self._in_order_of_time(delays, slots) if slots.grants else self._in_any_order(delays)

    def _only_followers(self) -> list[int]:
        """By moment: the one that follows it, and it alone, and asks for no slot; else -1."""
        only = [-1] * len(self._after)
        waits = {2 * call + 1 for call in self._graph.resource_of}
        for moment, joins in enumerate(self._after):
            if len(joins) == 1 and self._missing[joins[0]] == 1:
                followers = self._joins[joins[0]][1]
                if len(followers) == 1 and followers[0] not in waits:
                    only[moment] = followers[0]
        return only

    def _in_any_order(self, delays: Sequence[int]) -> int | None:
        if self._order is None:
            self._order = self._ordered()
            self._arrives = any(self._graph.last in followers for _, followers in self._order)
        if not self._arrives:
            return None
        times = [0] * len(delays)
        for reasons, followers in self._order:
            since = times[reasons[0]]
            if len(reasons) > 1:
                since = max([times[reason] for reason in reasons])
            for follower in followers:
                times[follower] = since + delays[follower]
        return times[self._graph.last]

    def _ordered(self) -> list[tuple[Sequence[int], Sequence[int]]]:
        """The joins, each after those that its reasons follow."""
        order = []
        missing = self._missing.copy()
        ready = [self._graph.first]
        while ready:
            for join in self._after[ready.pop()]:
                missing[join] -= 1
                if not missing[join]:
                    order.append(self._joins[join])
                    ready += self._joins[join][1]
        return order

    def _in_order_of_time(self, delays: Sequence[int], slots: _Slots) -> int | None:
        after, joins, only, missing = self._after, self._joins, self._only, self._missing.copy()
        grants, holds, last = slots.grants, slots.holds, self._graph.last
        end: int | None = None
        # Time and moment in one number, which orders as the pair does and is cheaper to compare.
        bits = len(after).bit_length()
        mask = (1 << bits) - 1
        steps = [(delay << bits) + moment for moment, delay in enumerate(delays)]
        ready = [self._graph.first]
        following = -1  # The last that became ready: most often what happens next.
        while ready or following >= 0:
            at = heappop(ready) if following < 0 else heappushpop(ready, following)
            moment = at & mask
            now = at - moment
            if moment in holds:
                for granted in slots.release(moment):
                    heappush(ready, now + granted)
            if only[moment] >= 0:
                following = now + steps[only[moment]]
                continue
            following = -1
            if moment == last:
                end = at >> bits
            for join in after[moment]:
                missing[join] -= 1
                if missing[join]:
                    continue
                # Moments happen in order of time: the last reason is the latest.
                for follower in joins[join][1]:
                    if follower in grants:
                        if not slots.acquire(follower):
                            continue
                        then = now + follower
                    else:
                        then = now + steps[follower]
                    if following >= 0:
                        heappush(ready, following)
                    following = then
        return end


def _joins(graph: Dependencies) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Moments that have the same reasons: the reasons, and who follows all of them.

    So a tier costs its members once, not each of them for each that follows.
    """
    followers: dict[int, list[int]] = {}
    for moment, reasons in enumerate(graph.before):
        if moment != graph.first:
            followers.setdefault(id(reasons), []).append(moment)
    return [(graph.before[each[0]], each) for each in followers.values()]


def _delays(graph: Dependencies, change: Change) -> list[int]:
    """How long each moment takes after the latest that it came after."""
    scale, left_out, pauses = change.scale, change.left_out, change.pauses
    found = list(graph.delay)
    if not scale and not left_out:
        return found
    for moment, (owner, delay) in enumerate(zip(graph.owner, graph.delay, strict=True)):
        if not delay:
            continue
        if owner in left_out or (
            pauses and any(each % 2 and each // 2 in pauses for each in graph.before[moment])
        ):
            found[moment] = 0
        elif owner in scale:
            found[moment] = round(delay * scale[owner])
    return found


class _Slots:
    """What calls wait for where there is not enough for all, and who has it."""

    def __init__(self, graph: Dependencies, change: Change) -> None:
        self._holder_of = graph.holder_of
        self._left_out = change.left_out
        self._free: dict[str, int] = {}
        enough: set[str] = set()
        for name, resource in graph.resources.items():
            if name not in change.capacity and not resource.contended:
                continue
            free = change.capacity.get(name, resource.capacity)
            if free < len(resource.waits):
                self._free[name] = free
            else:
                enough.add(name)
        self._queues: dict[str, deque[int]] = {name: deque() for name in self._free}
        self.holds: dict[int, list[str]] = {}
        """By the moment at which they are given back: the slots that are held."""
        self.grants = {
            2 * call + 1: name for call, name in graph.resource_of.items() if name in self._free
        }
        """Ends of waits, which are to be granted; empty where nobody has to wait."""
        self.at_once = [2 * call + 1 for call, name in graph.resource_of.items() if name in enough]
        """Ends of waits for what there is enough of for all."""

    def acquire(self, wait: int) -> bool:
        """Whether a slot is free now; otherwise the wait is queued."""
        name = self.grants[wait]
        if wait // 2 in self._left_out:
            return True
        if self._free[name] > 0:
            self._free[name] -= 1
            self._hold(name, wait)
            return True
        self._queues[name].append(wait)
        return False

    def _hold(self, name: str, wait: int) -> None:
        """A slot is held until the caller of the wait gives it back."""
        self.holds.setdefault(self._holder_of[wait // 2], []).append(name)

    def release(self, moment: int) -> list[int]:
        """What was held until this moment is given back: the ends of the waits that get it."""
        granted = []
        for name in self.holds.pop(moment):
            if self._queues[name]:
                wait = self._queues[name].popleft()
                self._hold(name, wait)
                granted.append(wait)
            else:
                self._free[name] += 1
        return granted
