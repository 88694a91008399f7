"""To which agent and which round a span belongs: by its own word, or by that of its neighbours.

An llm client knows nothing of agents, but what it does below an agent's call is that agent's doing;
so is a closure that calls one agent and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.findings import Culprit, Place
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

ROUND_KEYS: Final = ("round", "round_num", "round_number")
"""Metadata keys under which the number of a round is captured."""
_FOR_ALL: Final = frozenset({"orchestrator", "scope", "round"})
"""Roles of spans that belong to no one agent, even when only one was called in them."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Agent and round by span id, `""` where nobody says."""

    agents: dict[int, str]
    rounds: dict[int, str]

    def place(self, span: Span) -> Place:
        """The span by the names a person knows it by."""
        return Place(
            span.operation,
            span.role,
            self.agents[span.id],
            self.rounds[span.id],
            span.span_id,
            span.trace_id,
        )

    def culprit(self, tree: Tree, span: Span) -> Culprit:
        """The span as something that was running when time was up."""
        return Culprit(self.place(span), tree.seconds(span))


def owners(tree: Tree) -> Owners:
    """Agent and round of every span.

    The agent is the span's own, else the one that a caller of its names, else that of all the calls
    below it if they have but one; what else such a caller calls is nobody's. The round is the span's own, else that of the scope around it, else the last that a
    manager named beside it before it began, else its caller's.
    """
    below = _below(tree)
    named: dict[int, str] = {}
    agents: dict[int, str] = {}
    rounds: dict[int, str] = {}
    announced: dict[int, str] = {}
    for span in tree.spans:
        parent = tree.parent_of(span)
        named[span.id] = span.agent or (named[parent.id] if parent is not None else "")
        agents[span.id] = named[span.id] or below.get(span.id) or ""
        rounds[span.id] = _round(span) or _round_around(tree, span)
        if parent is None:
            continue
        if span.role == "manager" and rounds[span.id]:
            announced[parent.id] = rounds[span.id]
        elif not rounds[span.id]:
            rounds[span.id] = announced.get(parent.id) or rounds[parent.id]
    return Owners(agents, rounds)


def _round_around(tree: Tree, span: Span) -> str:
    """The round of the scopes that the span was recorded directly below."""
    scope = tree.within.get(span.id)
    seen: set[int] = set()
    while scope is not None and scope.id not in seen:
        if number := _round(scope):
            return number
        seen.add(scope.id)
        scope = tree.within.get(scope.id)
    return ""


def _below(tree: Tree) -> dict[int, str]:
    """The one agent that all calls below a span belong to; `""` where there are several."""
    below: dict[int, str] = {}
    for span in reversed(tree.spans):
        agent = span.agent or below.get(span.id)
        parent = tree.parent_of(span)
        if agent is None or parent is None or parent.role in _FOR_ALL:
            continue
        known = below.setdefault(parent.id, agent)
        if known != agent:
            below[parent.id] = ""
    return below


def _round(span: Span) -> str:
    metadata = span.metadata
    for key in ROUND_KEYS:
        value = metadata.get(key)
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return str(value)[:16]
    return ""
