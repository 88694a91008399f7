"""Who sent to whom: the graph of every round, what changed between rounds, and each agent's place in it.

Edges are those that a router's rule names; where there are none, the messages that links between spans
tell of. Nothing is inferred from who ran after whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

from dytopo_autotrace.analyze.findings import Place
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import RECEIVES, Span

EDGES_KEY: Final = "edges"
ISOLATED_KEY: Final = "isolated"
STATS_KEY: Final = "stats"
CUT_KEY: Final = "cut"
"""Metadata key under which a rule captures the edges that were cut to break cycles."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Edge:
    """What one agent sends to another; `weight` is None where none was recorded."""

    source: str
    target: str
    weight: float | None


@dataclass(frozen=True, slots=True)
class Churn:
    """What changed since the graph before: edges by source and target, whatever their weight."""

    kept: int
    new: tuple[Pair, ...]
    gone: tuple[Pair, ...]
    jaccard: float
    """Edges in both over edges in either; 1.0 when neither has any."""


@dataclass(frozen=True, slots=True)
class RoundGraph:
    """The graph that one call of a router gave, or the messages of one round."""

    round: str
    trace_id: str
    router: Place | None
    agents: tuple[str, ...]
    edges: tuple[Edge, ...]
    isolated: tuple[str, ...]
    density: float
    """Edges over ordered pairs of agents."""
    tiers: tuple[tuple[str, ...], ...]
    """Agents in the order in which the edges let them work, after cycles were cut."""
    cut: tuple[Pair, ...]
    """Edges that were cut to break cycles."""
    cut_recorded: bool
    """Whether a rule captured the cut; otherwise the weakest edge of each cycle was taken for it."""
    unread: tuple[Pair, ...]
    """Edges along which no message was read, where links tell of reading."""
    stats: Mapping[str, Any]
    """The router's own figures."""
    churn: Churn | None
    """Since the graph before; None for the first."""
    damaged: int
    """Entries of the captured list that are no edge."""


@dataclass(frozen=True, slots=True)
class AgentPosition:
    """An agent's place in the graphs of the run: how much goes in and out, and through it."""

    agent: str
    in_degree: int
    out_degree: int
    isolated_rounds: int
    degree_centrality: float
    """Edges of the agent over those it could have had."""
    betweenness: float
    """Of all shortest ways between two others in all edges of the run, the share through it."""
    messages_sent: int
    messages_received: int


@dataclass(frozen=True, slots=True)
class Topology:
    source: Literal["router", "messages", "none"]
    graphs: tuple[RoundGraph, ...]
    agents: tuple[AgentPosition, ...]
    unresolved_messages: int
    """Agents that a call is said to have read and of whom no earlier call was recorded."""


def topology(tree: Tree, owned: Owners) -> Topology:
    """The graphs of a run, by the best that was recorded."""
    read, unresolved = _messages(tree, owned)
    routers = sorted(
        (
            span
            for span in tree.spans
            if span.role == "router" and isinstance(span.metadata.get(EDGES_KEY), (list, tuple))
        ),
        key=lambda span: (span.start_ns, span.id),
    )
    graphs: list[RoundGraph] = []
    before: dict[int, set[Pair]] = {}
    if routers:
        cuts = _captured_cuts(tree, owned)
        for router in routers:
            graph = _routed(owned, router, cuts, read)
            pairs = {(edge.source, edge.target) for edge in graph.edges}
            graphs.append(_with_churn(graph, before.get(router.trace), pairs))
            before[router.trace] = pairs
    else:
        for (trace, number), messages in read.items():
            graph = replace(_from_messages(number, messages), trace_id=f"{trace:032x}")
            pairs = set(messages)
            graphs.append(_with_churn(graph, before.get(trace), pairs))
            before[trace] = pairs
    source: Literal["router", "messages", "none"] = "router" if routers else "messages"
    return Topology(
        source if graphs else "none", tuple(graphs), _positions(graphs, read), unresolved
    )


def _messages(tree: Tree, owned: Owners) -> tuple[dict[tuple[int, str], dict[Pair, int]], int]:
    """Messages read in each round of each trace, and how many had no sender in the records."""
    by_id = {span.id: span for span in tree.spans}
    found: dict[tuple[int, str], dict[Pair, int]] = {}
    unresolved = 0
    for span in sorted(tree.spans, key=lambda each: (each.start_ns, each.id)):
        said = span.metadata.get(RECEIVES)
        # An orchestrator's link leads to the call around it, which it read nothing of.
        links = span.links if span.parent or span.role != "orchestrator" else ()
        linked = [by_id[link] for link in links if link in by_id]
        if isinstance(said, (list, tuple)):
            unresolved += max(len(set(map(str, said))) - len(linked), 0)
        reader = owned.agents[span.id]
        for sender in (owned.agents[each.id] for each in linked):
            if sender and reader and sender != reader:
                key = (span.trace, owned.rounds[span.id])
                pairs = found.setdefault(key, {})
                pairs[sender, reader] = pairs.get((sender, reader), 0) + 1
    return found, unresolved


def _captured_cuts(tree: Tree, owned: Owners) -> dict[tuple[int, str], list[Pair]]:
    found: dict[tuple[int, str], list[Pair]] = {}
    for span in tree.spans:
        cut = span.metadata.get(CUT_KEY)
        if isinstance(cut, (list, tuple)):
            key = (span.trace, owned.rounds[span.id])
            pairs = (edge for edge in map(edge_from, cut) if edge is not None)
            found.setdefault(key, []).extend((edge.source, edge.target) for edge in pairs)
    return found


def _routed(
    owned: Owners,
    router: Span,
    cuts: Mapping[tuple[int, str], Sequence[Pair]],
    read: Mapping[tuple[int, str], Mapping[Pair, int]],
) -> RoundGraph:
    entries = list(router.metadata[EDGES_KEY])
    parsed = [edge_from(entry) for entry in entries]
    edges = tuple({(e.source, e.target): e for e in parsed if e is not None}.values())
    isolated = _names(router.metadata.get(ISOLATED_KEY))
    number = owned.rounds[router.id]
    key = (router.trace, number)
    messages = read.get(key)
    stats = router.metadata.get(STATS_KEY)
    graph = _graph(number, edges, isolated, cuts.get(key))
    unread: tuple[Pair, ...] = ()
    if messages is not None:
        left = {(e.source, e.target) for e in edges} - set(graph.cut) - set(messages)
        unread = tuple(sorted(left))
    return replace(
        graph,
        trace_id=router.trace_id,
        router=owned.place(router),
        unread=unread,
        stats=stats if isinstance(stats, dict) else {},
        damaged=parsed.count(None),
    )


def _from_messages(number: str, messages: Mapping[Pair, int]) -> RoundGraph:
    edges = tuple(Edge(source, target, count) for (source, target), count in messages.items())
    return _graph(number, edges, (), None)


def _graph(
    number: str, edges: Sequence[Edge], isolated: Sequence[str], cut: Sequence[Pair] | None
) -> RoundGraph:
    agents = tuple(
        dict.fromkeys((*(name for e in edges for name in (e.source, e.target)), *isolated))
    )
    weights = {(edge.source, edge.target): edge.weight for edge in edges}
    pairs = len(agents) * (len(agents) - 1)
    known = [pair for pair in cut or () if pair in weights]
    tiers, derived = _tiers(agents, weights, known)
    return RoundGraph(
        round=number,
        trace_id="",
        router=None,
        agents=agents,
        edges=tuple(edges),
        isolated=tuple(isolated),
        density=len(weights) / pairs if pairs else 0.0,
        tiers=tiers,
        cut=(*known, *derived),
        cut_recorded=cut is not None and not derived,
        unread=(),
        stats={},
        churn=None,
        damaged=0,
    )


def _with_churn(graph: RoundGraph, before: set[Pair] | None, now: set[Pair]) -> RoundGraph:
    if before is None:
        return graph
    either = before | now
    churn = Churn(
        kept=len(before & now),
        new=tuple(sorted(now - before)),
        gone=tuple(sorted(before - now)),
        jaccard=len(before & now) / len(either) if either else 1.0,
    )
    return replace(graph, churn=churn)


def _tiers(
    agents: Sequence[str], weights: Mapping[Pair, float | None], cut: Iterable[Pair]
) -> tuple[tuple[tuple[str, ...], ...], tuple[Pair, ...]]:
    """Agents in tiers, and the edges that had to be cut for that beside those that were."""
    left = {pair: weights[pair] for pair in weights}
    for pair in cut:
        left.pop(pair, None)
    derived: list[Pair] = []
    while cycle := _cycle(agents, left):
        weakest = min(cycle, key=lambda pair: (left[pair] or 0.0, pair))
        del left[weakest]
        derived.append(weakest)
    sources: dict[str, set[str]] = {agent: set() for agent in agents}
    for source, target in left:
        sources[target].add(source)
    tiers: list[tuple[str, ...]] = []
    done: set[str] = set()
    while len(done) < len(agents):
        tier = tuple(each for each in agents if each not in done and sources[each] <= done)
        tiers.append(tier)
        done.update(tier)
    return tuple(tiers), tuple(derived)


def _cycle(agents: Sequence[str], edges: Iterable[Pair]) -> list[Pair]:
    """The edges of one cycle, none if there is no cycle."""
    targets: dict[str, list[str]] = {agent: [] for agent in agents}
    for source, target in edges:
        targets[source].append(target)
    done: set[str] = set()
    for agent in agents:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(agent, False)]
        while stack:
            at, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(at)
                continue
            if at in on_path:
                circle = [*path[path.index(at) :], at]
                return list(pairwise(circle))
            if at in done:
                continue
            path.append(at)
            on_path.add(at)
            stack.append((at, True))
            stack.extend((target, False) for target in targets[at])
    return []


def _positions(
    graphs: Sequence[RoundGraph], read: Mapping[tuple[int, str], Mapping[Pair, int]]
) -> tuple[AgentPosition, ...]:
    agents = list(dict.fromkeys(agent for graph in graphs for agent in graph.agents))
    pairs = {(edge.source, edge.target) for graph in graphs for edge in graph.edges}
    through = _betweenness(agents, pairs)
    sent: dict[str, int] = {}
    received: dict[str, int] = {}
    for messages in read.values():
        for (source, target), count in messages.items():
            sent[source] = sent.get(source, 0) + count
            received[target] = received.get(target, 0) + count
    found = []
    for agent in agents:
        incoming = sum(edge.target == agent for graph in graphs for edge in graph.edges)
        outgoing = sum(edge.source == agent for graph in graphs for edge in graph.edges)
        possible = sum(2 * (len(g.agents) - 1) for g in graphs if agent in g.agents)
        found.append(
            AgentPosition(
                agent,
                incoming,
                outgoing,
                sum(agent in graph.isolated for graph in graphs),
                (incoming + outgoing) / possible if possible else 0.0,
                through[agent],
                sent.get(agent, 0),
                received.get(agent, 0),
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.degree_centrality, each.agent)))


def _betweenness(agents: Sequence[str], pairs: Iterable[Pair]) -> dict[str, float]:
    """Brandes' algorithm for directed graphs without weights, as a share of all ordered pairs."""
    targets: dict[str, list[str]] = {agent: [] for agent in agents}
    for source, target in sorted(pairs):
        targets[source].append(target)
    found = dict.fromkeys(agents, 0.0)
    for start in agents:
        distance = {start: 0}
        ways = {start: 1.0}
        behind: dict[str, list[str]] = {}
        order = [start]
        for at in order:
            for target in targets[at]:
                if target not in distance:
                    distance[target] = distance[at] + 1
                    ways[target] = 0.0
                    order.append(target)
                if distance[target] == distance[at] + 1:
                    ways[target] += ways[at]
                    behind.setdefault(target, []).append(at)
        share = dict.fromkeys(order, 0.0)
        for at in reversed(order):
            for before in behind.get(at, ()):
                share[before] += ways[before] / ways[at] * (1 + share[at])
            if at != start:
                found[at] += share[at]
    possible = (len(agents) - 1) * (len(agents) - 2)
    return {agent: value / possible if possible > 0 else 0.0 for agent, value in found.items()}


def edge_from(entry: Any) -> Edge | None:
    """A captured entry as an edge: (source, target), (source, target, weight) or a dict of these."""
    if isinstance(entry, dict):
        entry = [entry.get("source"), entry.get("target"), entry.get("weight")]
    if not isinstance(entry, (list, tuple)) or len(entry) < 2:
        return None
    source, target, weight = (*entry, None)[:3]
    if not isinstance(source, (str, int)) or not isinstance(target, (str, int)):
        return None
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    return Edge(str(source), str(target), float(weight) if is_number else None)


def _names(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, (list, tuple, set)) else ()
    return tuple(each for each in listed if isinstance(each, str) and not each.startswith("… "))
