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
        self._when = [0] * len(graph.at)
        self._free: dict[str, int] = {}
        self._queues: dict[str, deque[tuple[int, int]]] = {}
        self._holds: dict[int, list[str]] = {}
        for name, resource in graph.resources.items():
            if name in change.capacity:
                self._free[name] = change.capacity[name]
            elif resource.contended:
                self._free[name] = resource.capacity
            if name in self._free:
                self._queues[name] = deque()
        self._index = {span.id: number for number, span in enumerate(graph.tree.spans)}

    def run(self) -> int:
        graph = self._graph
        after: list[list[int]] = [[] for _ in graph.at]
        groups: dict[int, list[int]] = {}
        sizes: dict[int, int] = {}
        # Moments with the same reasons share one count, so that a tier costs its members once.
        for moment, reasons in enumerate(graph.before):
            if moment == graph.first:
                continue
            key = id(reasons)
            if key not in groups:
                groups[key] = []
                sizes[key] = len(reasons)
                for reason in reasons:
                    after[reason].append(key)
            groups[key].append(moment)
        ready: list[tuple[int, int]] = [(0, graph.first)]
        latest: dict[int, int] = dict.fromkeys(groups, 0)
        timed = bool(self._free)
        while ready:
            now, moment = heapq.heappop(ready) if timed else ready.pop()
            self._when[moment] = now
            for freed in self._end_of_holder(moment, now):
                heapq.heappush(ready, freed)
            for key in after[moment]:
                latest[key] = max(latest[key], now)
                sizes[key] -= 1
                if sizes[key]:
                    continue
                for follower in groups[key]:
                    due = self._due(follower, latest[key])
                    if due is None:
                        continue
                    if timed:
                        heapq.heappush(ready, (due, follower))
                    else:
                        ready.append((due, follower))
        return self._when[graph.last]

    def _due(self, moment: int, since: int) -> int | None:
        """When a moment happens once all that it came after has; None while it waits for a slot."""
        graph = self._graph
        call = moment // 2
        if moment % 2 and moment < graph.first and call in graph.resource_of:
            name = graph.resource_of[call]
            if name in self._free:
                return self._acquire(name, call, since)
        return since + self._delay(moment)

    def _delay(self, moment: int) -> int:
        graph, change = self._graph, self._change
        lag = graph.delay[moment]
        if not lag:
            return 0
        owner = graph.owner[moment]
        left_out = change.left_out
        if left_out and (
            owner in left_out
            or any(each % 2 and each // 2 in left_out for each in graph.before[moment])
        ):
            return 0
        factor = change.scale.get(owner)
        return lag if factor is None else round(lag * factor)

    def _acquire(self, name: str, call: int, now: int) -> int | None:
        if call in self._change.left_out:
            return now
        if self._free[name] > 0:
            self._free[name] -= 1
            self._hold(name, call)
            return now
        self._queues[name].append((call, now))
        return None

    def _hold(self, name: str, call: int) -> None:
        holder = self._index[self._graph.tree.parents[self._graph.tree.spans[call].id].id]
        self._holds.setdefault(2 * holder + 1, []).append(name)

    def _end_of_holder(self, moment: int, now: int) -> list[tuple[int, int]]:
        granted = []
        for name in self._holds.pop(moment, ()):
            if self._queues[name]:
                call, _ = self._queues[name].popleft()
                self._hold(name, call)
                granted.append((now, 2 * call + 1))
            else:
                self._free[name] += 1
        return granted
