"""What everything else waits for: single long calls, and agents slower than their peers."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Final

from dytopo_autotrace.analyze.findings import LongPole, SlowAgent
from dytopo_autotrace.analyze.holds import holds, stood_still_ns
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.timing import SWARM_ROLES, covered_ns, outermost, percentile
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

LONG_SECONDS: Final = 10.0
SLOW_RATIO: Final = 3.0
HELD_SHARE: Final = 0.05
_NEVER: Final = -(2**63)


def long_poles(tree: Tree, owned: Owners, busy: Mapping[int, int]) -> tuple[LongPole, ...]:
    """Calls longer than 10 s that called nothing longer than 10 s and spent at least half in themselves.

    The last condition leaves out orchestrators, whose length is that of the many things they await.
    """
    long_ns = int(LONG_SECONDS * 1e9)
    found = []
    for span in tree.spans:
        duration = tree.end_ns(span) - span.start_ns
        if duration <= long_ns or busy[span.id] * 2 < duration:
            continue
        if any(tree.end_ns(each) - each.start_ns > long_ns for each in tree.children_of(span)):
            continue
        found.append(
            LongPole(owned.place(span), duration / 1e9, busy[span.id] / 1e9, not span.end_ns)
        )
    return tuple(sorted(found, key=lambda pole: -pole.seconds))


def slow_agents(tree: Tree, owned: Owners, busy: Mapping[int, int]) -> tuple[SlowAgent, ...]:
    """Agents whose median call takes three times their peers' or more, and that hold the others up.

    - Peers are the other agents of the same role; the median over them of their median calls.
    - Only calls in which nothing failed count, two at least: a dead agent's quick failures are no
      yardstick, and a call made long by retries is told as a failure.
    - What another call held the event loop for meanwhile is none of a call's time.
    - It holds the others up when in at least half of its calls it finished last of those that ran
      beside it (or ran alone), and the time in which it alone of its role ran is 5 % or more of
      the time watched.
    - An agent slow in several roles is told once, as the worker before its model calls.
    """
    troubled = _troubled(tree)
    by_role: dict[str, dict[str, list[Span]]] = {}
    for (role, agent), calls in outermost(tree, owned).items():
        good = [span for span in calls if span.status == "success" and span.id not in troubled]
        if agent and good and role in SWARM_ROLES and role != "orchestrator":
            by_role.setdefault(role, {})[agent] = good
    wall = covered_ns((root.start_ns, tree.end_ns(root)) for root in tree.roots)

    lengths = _Lengths(tree)
    spent: dict[str, Counter[str]] = {}
    found: dict[str, SlowAgent] = {}
    for role in sorted(by_role, key=lambda role: (role != "worker", role != "llm", role)):
        agents = by_role[role]
        if len(agents) < 2:
            continue
        medians = {name: lengths.median(calls) for name, calls in agents.items()}
        ordered = sorted(medians.values())
        reach = _Reach(tree, agents)
        for name, calls in agents.items():
            peers = _median_without(ordered, medians[name])
            if name in found or len(calls) < 2 or not 0 < peers * SLOW_RATIO <= medians[name]:
                continue
            waited, alone = reach.waited_for(name, calls)
            if (len(waited) + len(alone)) * 2 < len(calls):
                continue
            if sum(waited) + sum(alone) < HELD_SHARE * wall:
                continue
            spent = spent or _spent(tree, owned, busy)
            spent_in, own = spent[name].most_common(1)[0]
            found[name] = SlowAgent(
                agent=name,
                role=role,
                calls=len(calls),
                p50_seconds=medians[name],
                peers_p50_seconds=peers,
                peers=len(agents) - 1,
                ratio=medians[name] / peers,
                last_calls=len(waited),
                alone_calls=len(alone),
                waited_seconds=sum(waited) / 1e9,
                alone_seconds=sum(alone) / 1e9,
                rounds=_slow_rounds(lengths, owned, calls, peers),
                spent_in=spent_in,
                spent_share=own / (spent[name].total() or 1),
            )
    return tuple(
        sorted(found.values(), key=lambda each: -(each.waited_seconds + each.alone_seconds))
    )


def _slow_rounds(
    lengths: _Lengths, owned: Owners, calls: list[Span], peers_seconds: float
) -> tuple[str, ...]:
    slow = (span for span in calls if lengths.seconds(span) >= peers_seconds * SLOW_RATIO)
    return tuple(dict.fromkeys(owned.rounds[span.id] for span in slow if owned.rounds[span.id]))


def _spent(tree: Tree, owned: Owners, busy: Mapping[int, int]) -> dict[str, Counter[str]]:
    """Own time by agent and operation."""
    spent: dict[str, Counter[str]] = {}
    for span in tree.spans:
        spent.setdefault(owned.agents[span.id], Counter())[span.operation] += busy[span.id]
    return spent


def _troubled(tree: Tree) -> set[int]:
    """Ids of spans that failed or were cancelled, or in which something did."""
    troubled: set[int] = set()
    for span in reversed(tree.spans):
        if is_failed(span) or span.status == "cancelled" or span.id in troubled:
            troubled.add(span.id)
            if (parent := tree.parent_of(span)) is not None:
                troubled.add(parent.id)
    return troubled


class _Lengths:
    """How long calls took, without what another one held their event loop for."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._stood = stood_still_ns(holds(tree))

    def seconds(self, span: Span) -> float:
        return self._tree.seconds(span) - self._stood.get(span.id, 0) / 1e9

    def median(self, calls: list[Span]) -> float:
        return percentile(sorted(self.seconds(span) for span in calls), 50)


def _median_without(ordered: list[float], mine: float) -> float:
    """The median of ordered values with one of them left out."""
    count = len(ordered) - 1
    index = max((count + 1) // 2 - 1, 0)
    return ordered[index if index < bisect_left(ordered, mine) else index + 1]


class _Reach:
    """How far the calls of one role reach, for each agent without its own."""

    def __init__(self, tree: Tree, agents: dict[str, list[Span]]) -> None:
        self._tree = tree
        calls = sorted((s.start_ns, tree.end_ns(s), name) for name in agents for s in agents[name])
        self._starts = [start for start, _, _ in calls]
        # The latest end among the first n calls, and the latest of any other agent than that one's.
        self._latest: list[tuple[int, str, int]] = [(_NEVER, "", _NEVER)]
        end, who, other_end = _NEVER, "", _NEVER
        for _, ends, name in calls:
            if name == who:
                end = max(end, ends)
            elif ends > end:
                end, who, other_end = ends, name, end
            else:
                other_end = max(other_end, ends)
            self._latest.append((end, who, other_end))

    def waited_for(self, name: str, calls: list[Span]) -> tuple[list[int], list[int]]:
        """Nanoseconds that it outlasted those beside it, per call; nanoseconds of calls alone."""
        waited: list[int] = []
        alone: list[int] = []
        for span in calls:
            end = self._tree.end_ns(span)
            latest, who, other = self._latest[bisect_left(self._starts, end)]
            peers_end = other if who == name else latest
            if peers_end <= span.start_ns:
                alone.append(end - span.start_ns)
            elif peers_end <= end:
                waited.append(end - peers_end)
        return waited, alone
