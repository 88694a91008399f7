"""What happened next to a failed span: tried again, replaced, passed on, turned into a result, dropped.

Each failed span gets one step; following the steps from an origin leads to what became of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed, is_hard, is_soft
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

_LOOK_AHEAD: Final = 16
"""Candidates looked at for a fallback; the first few decide, and a million siblings cost no more."""
_PLANNING: Final = frozenset({"manager", "orchestrator"})
_WORKING: Final = frozenset({"worker", "router"})


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to `span`'s failure, and the other span that had to do with it.

    `again`: `other` is the next attempt and failed too. `carried`: `other` raised it on.
    `effect`: `other` turned it into a failed result. `retry`, `fallback`: `other` succeeded.
    `end`: nothing followed; `other` is None.
    """

    kind: Literal["again", "carried", "effect", "retry", "fallback", "end"]
    span: Span
    other: Span | None = None


def steps(
    tree: Tree, owners: Owners, carried: Mapping[int, Span], cut_off: Collection[int]
) -> dict[int, Step]:
    """The step of every failed span, and of every span that was cut off, by span id."""
    siblings = _Siblings(tree, owners)
    ordinary = _OrdinarySteps(tree)
    soft_above = _soft_above(tree, owners)
    result: dict[int, Step] = {}
    effects: dict[int, Span] = {}
    for span in tree.spans:
        if not is_failed(span) and span.id not in cut_off:
            continue
        carrier = carried.get(span.id)
        again = siblings.next_attempt(span)
        failed_again = again is not None and (is_failed(again) or again.id in cut_off)
        if again is not None and failed_again and carrier in (None, carried.get(again.id)):
            result[span.id] = Step("again", span, again)
        elif carrier is not None:
            result[span.id] = Step("carried", span, carrier)
        elif again is not None and again.status == "success" and not failed_again:
            result[span.id] = Step("retry", span, again)
        elif (other := siblings.fallback(span, ordinary)) is not None:
            result[span.id] = Step("fallback", span, other)
        else:
            result[span.id] = Step("end", span)
            if (soft := soft_above.get(span.id)) is not None:
                known = effects.get(soft.id)
                # A stub made of several failures shows the last: the others were got over before.
                if known is None or tree.end_ns(known) <= tree.end_ns(span):
                    effects[soft.id] = span
    for span in effects.values():
        result[span.id] = Step("effect", span, soft_above[span.id])
    return result


def _soft_above(tree: Tree, owners: Owners) -> dict[int, Span]:
    """The nearest caller with a failed result, of the same agent, with no exception in between."""
    nearest: dict[int, Span] = {}
    for span in tree.spans:
        parent = tree.parent_of(span)
        if parent is None or is_hard(parent):
            continue
        soft = parent if is_soft(parent) else nearest.get(parent.id)
        if soft is not None and owners.agents[soft.id] == owners.agents[span.id]:
            nearest[span.id] = soft
    return nearest


class _Siblings:
    """Later siblings of a span by operation, role and agent; built only where something failed."""

    def __init__(self, tree: Tree, owners: Owners) -> None:
        self._tree = tree
        self._owners = owners
        self._families: dict[tuple[int, int], _Family] = {}
        self._roots: dict[int, list[Span]] = {}
        for root in tree.roots:
            self._roots.setdefault(root.trace, []).append(root)

    def next_attempt(self, span: Span) -> Span | None:
        """The next call of the same operation for the same agent, begun after this one ended."""
        family = self._family(span)
        calls = family.by_operation[span.operation, self._owners.agents[span.id]]
        end = self._tree.end_ns(span)
        index = max(bisect_left(calls.starts, end), calls.positions[span.id] + 1)
        if index >= len(calls.spans) or not self._same_round(family, span, calls.spans[index]):
            return None
        return calls.spans[index]

    def _same_round(self, family: _Family, span: Span, later: Span) -> bool:
        """Neither a round's number nor a manager's decision lies between the two."""
        mine, its = self._owners.rounds[span.id], self._owners.rounds[later.id]
        if mine and its and mine != its:
            return False
        # For the manager itself it is the others' work that tells a new round from another attempt.
        barriers = family.working if span.role in _PLANNING else family.planning
        between = bisect_left(barriers, self._tree.end_ns(span))
        return between >= len(barriers) or barriers[between] >= later.start_ns

    def fallback(self, span: Span, ordinary: _OrdinarySteps) -> Span | None:
        """Another operation of the same role and agent that succeeded after this one failed.

        Not one that also follows where this operation succeeds: that is simply the next step.
        """
        parent = self._tree.parent_of(span)
        if parent is None or parent.status != "success" or is_failed(parent) or not span.role:
            return None
        family = self._family(span)
        calls = family.successes.get((span.role, self._owners.agents[span.id]))
        if calls is None:
            return None
        first = bisect_left(calls.starts, self._tree.end_ns(span))
        for other in calls.spans[first : first + _LOOK_AHEAD]:
            if other.operation == span.operation or other.id == span.id:
                continue
            if not self._same_round(family, span, other):
                return None
            if not ordinary.follows(parent.operation, span.operation, other.operation):
                return other
        return None

    def _family(self, span: Span) -> _Family:
        parent = self._tree.parent_of(span)
        # Roots have a caller too, one that is not watched: those of one trace are siblings.
        key = (0, span.trace) if parent is None else (parent.id, 0)
        family = self._families.get(key)
        if family is None:
            members = self._roots[span.trace] if parent is None else self._tree.children_of(parent)
            family = self._families[key] = _Family()
            for member in members:
                family.add(member, self._owners.agents[member.id])
        return family


class _Calls:
    """Spans in order of start."""

    __slots__ = ("positions", "spans", "starts")

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.starts: list[int] = []
        self.positions: dict[int, int] = {}

    def add(self, span: Span) -> None:
        self.positions[span.id] = len(self.spans)
        self.spans.append(span)
        self.starts.append(span.start_ns)


class _Family:
    """The children of one caller."""

    __slots__ = ("by_operation", "planning", "successes", "working")

    def __init__(self) -> None:
        self.by_operation: dict[tuple[str, str], _Calls] = {}
        self.successes: dict[tuple[str, str], _Calls] = {}
        self.planning: list[int] = []
        self.working: list[int] = []

    def add(self, span: Span, agent: str) -> None:
        self.by_operation.setdefault((span.operation, agent), _Calls()).add(span)
        if span.status == "success" and not is_failed(span):
            self.successes.setdefault((span.role, agent), _Calls()).add(span)
        if span.role in _PLANNING:
            self.planning.append(span.start_ns)
        elif span.role in _WORKING:
            self.working.append(span.start_ns)


class _OrdinarySteps:
    """Whether an operation also runs under callers where another one succeeded."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._ran: dict[tuple[str, str], set[int]] | None = None
        self._succeeded: dict[tuple[str, str], set[int]] = {}
        self._known: dict[tuple[str, str, str], bool] = {}

    def follows(self, caller: str, operation: str, other: str) -> bool:
        key = (caller, operation, other)
        if key not in self._known:
            ran = self._index()
            self._known[key] = not ran.get((caller, other), set()).isdisjoint(
                self._succeeded.get((caller, operation), ())
            )
        return self._known[key]

    def _index(self) -> dict[tuple[str, str], set[int]]:
        if self._ran is None:
            self._ran = {}
            for span in self._tree.spans:
                if (parent := self._tree.parent_of(span)) is not None:
                    key = (parent.operation, span.operation)
                    self._ran.setdefault(key, set()).add(parent.id)
                    if span.status == "success" and not is_failed(span):
                        self._succeeded.setdefault(key, set()).add(parent.id)
        return self._ran
