"""Later calls of the same caller that may have made a failed one good."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.asked import differing, is_model, model_of, telling
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

_LOOK_AHEAD: Final = 16
"""Candidates looked at; the first few decide, and a million siblings cost no more."""
_PLANNING: Final = frozenset({"manager", "orchestrator"})
_WORKING: Final = frozenset({"worker", "router"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """A later call that was asked the same."""

    span: Span
    other_model: bool
    """The same, but of another model."""
    sure: bool
    """False if such a call also follows where the operation succeeds, so that it proves little."""


class Siblings:
    """The children of each caller by operation, role and agent; built only where something failed."""

    def __init__(self, tree: Tree, owners: Owners) -> None:
        self._tree = tree
        self._owners = owners
        self._families: dict[tuple[int, int], _Family] = {}
        self._ordinary = _OrdinarySteps(tree)
        self._callers: dict[str, list[Span]] | None = None
        self._repeated: dict[tuple[object, ...], bool] = {}
        self._roots: dict[int, list[Span]] = {}
        for root in tree.roots:
            self._roots.setdefault(root.trace, []).append(root)

    def next_attempt(self, span: Span) -> Attempt | None:
        """The next call of the same operation for the same agent, begun after this one ended.

        Not one that was asked something else, nor one that is simply the next step: to ask another
        model is one where it also follows the success of the first.
        """
        family = self._family(span)
        calls = family.by_operation[span.operation][self._owners.agents[span.id]]
        names = telling(span)
        first = max(calls.first_after(self._tree.end_ns(span)), calls.positions[span.id] + 1)
        for later in calls.spans[first : first + _LOOK_AHEAD]:
            if not self._same_round(family, span, later):
                return None
            different = differing(names, span, later)
            if not different:
                return Attempt(later, False, not self._also_after_success(span, later, names))
            if all(is_model(name) for name in different) and not self._also_after_success(
                span, later, names
            ):
                return Attempt(later, True, True)
        return None

    def fallback(self, span: Span) -> Span | None:
        """Another operation of the same role and agent that succeeded after this one failed.

        Not one that also follows where this operation succeeds: that is simply the next step. Nor
        another tool: an agent calls one after the other, whatever became of the first.
        """
        parent = self._tree.parent_of(span)
        if parent is None or parent.status != "success" or is_failed(parent):
            return None
        if not span.role or span.role == "tool":
            return None
        family = self._family(span)
        calls = family.successes.get((span.role, self._owners.agents[span.id]))
        if calls is None:
            return None
        first = calls.first_after(self._tree.end_ns(span))
        for other in calls.spans[first : first + _LOOK_AHEAD]:
            if other.operation == span.operation or other.id == span.id:
                continue
            if not self._same_round(family, span, other):
                return None
            if not self._ordinary.follows(parent.operation, span.operation, other.operation):
                return other
        return None

    def by_another(self, span: Span) -> Span | None:
        """The first later call of the same operation by another agent, if it succeeded."""
        family = self._family(span)
        calls = family.by_any_agent[span.operation]
        first = calls.first_after(self._tree.end_ns(span))
        for later in calls.spans[first : first + _LOOK_AHEAD]:
            if self._owners.agents[later.id] != self._owners.agents[span.id]:
                good = _succeeded(later) and self._same_round(family, span, later)
                return later if good else None
        return None

    def _same_round(self, family: _Family, span: Span, later: Span) -> bool:
        """Neither a round's number nor a manager's decision lies between the two."""
        mine, its = self._owners.rounds[span.id], self._owners.rounds[later.id]
        if mine and its and mine != its:
            return False
        # For the manager itself it is the others' work that tells a new round from another attempt.
        barriers = family.working if span.role in _PLANNING else family.planning
        between = bisect_left(barriers, self._tree.end_ns(span))
        return between >= len(barriers) or barriers[between] >= later.start_ns

    def _also_after_success(self, span: Span, later: Span, names: frozenset[str]) -> bool:
        """Whether under this kind of caller such a call also follows one that succeeded."""
        parent = self._tree.parent_of(span)
        caller = "" if parent is None else parent.operation
        models = model_of(span), model_of(later)
        key = (caller, parent is None, span.operation, names, *models)
        if key not in self._repeated:
            self._repeated[key] = any(
                (model_of(one), model_of(other)) == models
                and all(is_model(name) for name in differing(names, one, other))
                for family in self._alike(span)
                for one, other in self._after_success(family, span.operation)
            )
        return self._repeated[key]

    def _alike(self, span: Span) -> Iterator[_Family]:
        """The families of all callers of one kind, but those in which nothing follows anything.

        There may be very many, each looked at once: they are not kept.
        """
        parent = self._tree.parent_of(span)
        if parent is None:
            yield from map(self._made, self._roots.values())
            return
        if self._callers is None:
            self._callers = {}
            for caller in self._tree.spans:
                self._callers.setdefault(caller.operation, []).append(caller)
        for caller in self._callers[parent.operation]:
            if len(children := self._tree.children_of(caller)) > 1:
                yield self._made(children)

    def _after_success(self, family: _Family, operation: str) -> Iterator[tuple[Span, Span]]:
        """Each call that succeeded, with the next one for the same agent in the same round."""
        for calls in family.by_operation.get(operation, {}).values():
            for position, span in enumerate(calls.spans):
                if _succeeded(span):
                    index = max(calls.first_after(self._tree.end_ns(span)), position + 1)
                    if index < len(calls.spans):
                        later = calls.spans[index]
                        if self._same_round(family, span, later):
                            yield span, later

    def _family(self, span: Span) -> _Family:
        parent = self._tree.parent_of(span)
        # Roots have a caller too, one that is not watched: those of one trace are siblings.
        key = (0, span.trace) if parent is None else (parent.id, 0)
        family = self._families.get(key)
        if family is None:
            members = self._roots[span.trace] if parent is None else self._tree.children_of(parent)
            family = self._families[key] = self._made(members)
        return family

    def _made(self, members: Iterable[Span]) -> _Family:
        family = _Family()
        for member in members:
            family.add(member, self._owners.agents[member.id])
        return family


def _succeeded(span: Span) -> bool:
    return span.status == "success" and not is_failed(span)


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

    def first_after(self, end_ns: int) -> int:
        """The place of the first that began no sooner."""
        return bisect_left(self.starts, end_ns)


class _Family:
    """The children of one caller."""

    __slots__ = ("by_any_agent", "by_operation", "planning", "successes", "working")

    def __init__(self) -> None:
        self.by_operation: dict[str, dict[str, _Calls]] = {}
        self.by_any_agent: dict[str, _Calls] = {}
        self.successes: dict[tuple[str, str], _Calls] = {}
        self.planning: list[int] = []
        self.working: list[int] = []

    def add(self, span: Span, agent: str) -> None:
        by_agent = self.by_operation.setdefault(span.operation, {})
        by_agent.setdefault(agent, _Calls()).add(span)
        self.by_any_agent.setdefault(span.operation, _Calls()).add(span)
        if _succeeded(span):
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
                    if _succeeded(span):
                        self._succeeded.setdefault(key, set()).add(parent.id)
        return self._ran
