"""The run once more, with something changed: how long it would have taken, by its dependencies.

Every moment happens as soon as all that it came after has happened and the time between has passed. Who
waits for a slot gets it when one is free, in the order of asking. All else stays as it was: the program
makes the same calls, in the same structure, and the machine and the model have room for them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

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
    return _Replay(graph, change).run()


class _Replay:
    def __init__(self, graph: Dependencies, change: Change) -> None:
        self._graph = graph
        self._change = change
        self._free: dict[str, int] = {}
        self._queues: dict[str, deque[int]] = {}
        self._holds: dict[int, list[str]] = {}
        for name, resource in graph.resources.items():
            if name in change.capacity:
                self._free[name] = change.capacity[name]
            elif resource.contended:
                self._free[name] = resource.capacity
            if name in self._free:
                self._queues[name] = deque()
        # Ends of waits, which are to be granted; empty where nobody waited.
        self._grants = {
            2 * call + 1: name for call, name in graph.resource_of.items() if name in self._free
        }
        self._delays = self._changed_delays() if change.scale or change.left_out else graph.delay

    def run(self) -> int:
        graph, delays, grants, holds = self._graph, self._delays, self._grants, self._holds
        after, joins = graph.after, graph.joins
        missing = [len(reasons) for reasons, _ in joins]
        latest = [0] * len(joins)
        ready: list[tuple[int, int]] = [(0, graph.first)]
        timed = bool(grants)  # slots are asked for in order of time; nothing else minds
        push, pop = heapq.heappush, heapq.heappop
        now, last, end = 0, graph.last, 0
        while ready:
            now, moment = pop(ready) if timed else ready.pop()
            if moment == last:
                end = now
            if moment in holds:
                for granted in self._release(moment):
                    push(ready, (now, granted))
            for join in after[moment]:
                latest[join] = max(latest[join], now)
                missing[join] -= 1
                if missing[join]:
                    continue
                since = latest[join]
                for follower in joins[join][1]:
                    if follower in grants:
                        if self._acquire(follower):
                            push(ready, (since, follower))
                    elif timed:
                        push(ready, (since + delays[follower], follower))
                    else:
                        ready.append((since + delays[follower], follower))
        return end

    def _changed_delays(self) -> list[int]:
        graph, scale, left_out = self._graph, self._change.scale, self._change.left_out
        found = list(graph.delay)
        for moment, owner in enumerate(graph.owner):
            if not found[moment]:
                continue
            if left_out and (
                owner in left_out
                or any(each % 2 and each // 2 in left_out for each in graph.before[moment])
            ):
                found[moment] = 0
            elif owner in scale:
                found[moment] = round(found[moment] * scale[owner])
        return found

    def _acquire(self, wait: int) -> bool:
        """Whether a slot is free now; otherwise the wait is queued."""
        name = self._grants[wait]
        if wait // 2 in self._change.left_out:
            return True
        if self._free[name] > 0:
            self._free[name] -= 1
            self._hold(name, wait)
            return True
        self._queues[name].append(wait)
        return False

    def _hold(self, name: str, wait: int) -> None:
        """A slot is held until the caller of the wait ends."""
        self._holds.setdefault(self._graph.holder_of[wait // 2], []).append(name)

    def _release(self, moment: int) -> list[int]:
        """The call that ends gives back what it held: the ends of the waits that get it."""
        granted = []
        for name in self._holds.pop(moment):
            if self._queues[name]:
                wait = self._queues[name].popleft()
                self._hold(name, wait)
                granted.append(wait)
            else:
                self._free[name] += 1
        return granted
