"""What a failed result did after it was returned: who read it as a message, and what was routed by it.

A worker that fails and answers with a stub is not silent: the text of its error is sent to other agents
and embedded as what it offers.
"""

from __future__ import annotations

from dataclasses import dataclass

from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_soft
from dytopo_autotrace.analyze.topology import Topology
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span


@dataclass(frozen=True, slots=True)
class Infection:
    """Where the failed results of one agent went."""

    agent: str
    results: int
    """Failed results that its calls returned."""
    readers: tuple[str, ...]
    messages: int
    """How often a failed result was read as a message."""
    rounds: tuple[str, ...]
    """Rounds in which one was read, or in which edges lead from the agent."""
    edges: int
    """Edges from the agent, in rounds in which one of its results had failed before the routing."""
    spans: tuple[str, ...]
    """Ids of the first calls that read one."""


def infections(tree: Tree, owned: Owners, found: Topology) -> tuple[Infection, ...]:
    """Agents whose failed results were read or routed, those read most first."""
    failed = [
        span
        for span in tree.spans
        if span.role == "worker" and is_soft(span) and owned.agents[span.id]
    ]
    if not failed:
        return ()
    readers: dict[int, list[Span]] = {}
    for span in tree.spans:
        for link in span.links:
            readers.setdefault(link, []).append(span)
    by_agent: dict[str, list[Span]] = {}
    for span in failed:
        by_agent.setdefault(owned.agents[span.id], []).append(span)
    by_id = {span.span_id: span for span in tree.spans}
    infected = []
    for agent, spans in by_agent.items():
        read = [each for span in spans for each in readers.get(span.id, ())]
        rounds = [owned.rounds[each.id] for each in read]
        edges = 0
        for graph in found.graphs:
            router = by_id.get(graph.router.span_id) if graph.router else None
            if router is None or not any(
                owned.rounds[span.id] == graph.round
                and span.trace == router.trace
                and tree.end_ns(span) <= router.start_ns
                for span in spans
            ):
                continue
            out = sum(edge.source == agent for edge in graph.edges)
            edges += out
            if out:
                rounds.append(graph.round)
        if not read and not edges:
            continue
        names = dict.fromkeys(owned.agents[each.id] for each in read)
        infected.append(
            Infection(
                agent,
                len(spans),
                tuple(name for name in names if name),
                len(read),
                tuple(dict.fromkeys(rounds)),
                edges,
                tuple(each.span_id for each in read[:5]),
            )
        )
    return tuple(sorted(infected, key=lambda each: (-each.messages, -each.edges, each.agent)))
