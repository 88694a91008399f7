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
    """Calls that take no time, and after which their caller goes on at once."""
    capacity: Mapping[str, int] = field(default_factory=dict)
    """By resource: how many slots it has."""


def replay(graph: Dependencies, change: Change = Change()) -> int:
    """Nanoseconds from the first to the last moment."""
    return Replays(graph).run(change)


class Replays:
    """Replays of one graph, which is prepared once: one change after another is tried on it."""

    def __init__(self, graph: Dependencies) -> None:
        self._graph = graph
        joins = _joins(graph)
        self._missing = [len(reasons) for reasons, _ in joins]
        self._followers = [followers for _, followers in joins]
        after: list[list[int]] = [[] for _ in graph.at]
        for number, (reasons, _) in enumerate(joins):
            for reason in reasons:
                after[reason].append(number)
        self._after = after

    def run(self, change: Change = Change()) -> int:
        """Nanoseconds from the first to the last moment."""
        delays = _delays(self._graph, change)
        slots = _Slots(self._graph, change)
        # Slots are asked for in order of time; nothing else minds.
        return self._in_order_of_time(delays, slots) if slots.grants else self._in_any_order(delays)

    def _in_any_order(self, delays: Sequence[int]) -> int:
        after, all_followers, missing = self._after, self._followers, self._missing.copy()
        times = [0] * len(after)
        latest = [0] * len(missing)
        ready = [self._graph.first]
        while ready:
            moment = ready.pop()
            now = times[moment]
            for join in after[moment]:
                latest[join] = max(latest[join], now)
                missing[join] -= 1
                if not missing[join]:
                    since = latest[join]
                    for follower in all_followers[join]:
                        times[follower] = since + delays[follower]
                        ready.append(follower)
        return times[self._graph.last]

    def _in_order_of_time(self, delays: Sequence[int], slots: _Slots) -> int:
        after, all_followers, missing = self._after, self._followers, self._missing.copy()
        grants, holds, last, end = slots.grants, slots.holds, self._graph.last, 0
        # Time and moment in one number, which orders as the pair does and is cheaper to compare.
        bits = len(after).bit_length()
        mask = (1 << bits) - 1
        ready = [self._graph.first]
        following = -1  # The last that became ready: most often what happens next.
        while ready or following >= 0:
            moment = heappop(ready) if following < 0 else heappushpop(ready, following)
            following = -1
            now = moment >> bits
            moment &= mask
            if moment == last:
                end = now
            if moment in holds:
                for granted in slots.release(moment):
                    heappush(ready, now << bits | granted)
            for join in after[moment]:
                missing[join] -= 1
                if missing[join]:
                    continue
                # Moments happen in order of time: the last reason is the latest.
                for follower in all_followers[join]:
                    if follower not in grants:
                        when = now + delays[follower]
                    elif slots.acquire(follower):
                        when = now
                    else:
                        continue
                    if following >= 0:
                        heappush(ready, following)
                    following = when << bits | follower
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


def _delays(graph: Dependencies, change: Change) -> Sequence[int]:
    """How long each moment takes after the latest that it came after."""
    scale, left_out = change.scale, change.left_out
    if not scale and not left_out:
        return graph.delay
    found = list(graph.delay)
    for moment, (owner, delay) in enumerate(zip(graph.owner, graph.delay, strict=True)):
        if not delay:
            continue
        if left_out and (
            owner in left_out
            or any(each % 2 and each // 2 in left_out for each in graph.before[moment])
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
        for name, resource in graph.resources.items():
            if name in change.capacity:
                self._free[name] = change.capacity[name]
            elif resource.contended:
                self._free[name] = resource.capacity
        self._queues: dict[str, deque[int]] = {name: deque() for name in self._free}
        self.holds: dict[int, list[str]] = {}
        """By the moment at which they are given back: the slots that are held."""
        self.grants = {
            2 * call + 1: name for call, name in graph.resource_of.items() if name in self._free
        }
        """Ends of waits, which are to be granted; empty where nobody waited."""

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
        """A slot is held until the caller of the wait ends."""
        self.holds.setdefault(self._holder_of[wait // 2], []).append(name)

    def release(self, moment: int) -> list[int]:
        """The call that ends gives back what it held: the ends of the waits that get it."""
        granted = []
        for name in self.holds.pop(moment):
            if self._queues[name]:
                wait = self._queues[name].popleft()
                self._hold(name, wait)
                granted.append(wait)
            else:
                self._free[name] += 1
        return granted
