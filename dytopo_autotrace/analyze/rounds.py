"""Rounds in the words of a report: whose they are, what they spent, and what their topology allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.activity import Activities, RoundTime
from dytopo_autotrace.analyze.convergence import Convergence
from dytopo_autotrace.analyze.critical_path import CriticalPath
from dytopo_autotrace.analyze.ownership import ROUND_KEYS, Owners
from dytopo_autotrace.analyze.spending import Spending, Spent
from dytopo_autotrace.analyze.swarms import Swarm, names_by_trace
from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.topology import RoundGraph, Topology
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

_STILL_NS: Final = 1_000_000
"""A call that ends this soon after the next round began did not run on."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one swarm, with all that is known of it."""

    swarm: str
    """Its swarm's name; `""` where the run has but one."""
    time: RoundTime
    allowed: float | None
    """How many agents could have worked at once after routing, in the mean, as far as the edges allow.

    None where no router names edges, or where readers did not wait for those that they read.
    """
    graph: RoundGraph | None
    similarity: float | None
    path_seconds: float
    path_share: float
    """Of the critical path: the time of calls of this round."""
    spent: Spent | None


def rounds(
    tree: Tree,
    owned: Owners,
    found: Sequence[Swarm],
    times: Activities,
    topology: Topology,
    said: Convergence,
    path: CriticalPath,
    spending: Spending,
) -> tuple[Round, ...]:
    """The rounds swarm by swarm, in order of time."""
    names = names_by_trace(found)
    order = {trace: number for number, trace in enumerate(names)} if names else {}
    graphs = {(each.trace_id, each.round): each for each in topology.graphs}
    similar = {(each.trace_id, each.round): each.similarity for each in said.rounds}
    shares = {(each.trace_id, each.round): each for each in path.by_round}
    spent = {(each.trace_id, each.name): each for each in spending.by_round}
    calls: dict[tuple[str, str], list[Span]] = {}
    for span in tree.spans:
        calls.setdefault((span.trace_id, owned.rounds[span.id]), []).append(span)
    made = []
    for time in times.rounds:
        key = time.trace_id, time.round
        graph, share = graphs.get(key), shares.get(key)
        allowed = None
        if graph is not None and graph.router is not None:
            parts = _parts(tree, owned, calls.get(key, ()), graph.router.span_id)
            allowed = _allowed(graph, parts)
        made.append(
            Round(
                names.get(time.trace_id, ""),
                time,
                allowed,
                graph,
                similar.get(key),
                share.seconds if share is not None else 0.0,
                share.share if share is not None else 0.0,
                spent.get(key),
            )
        )
    # The sort is stable: within a swarm they stay in order of time.
    return tuple(sorted(made, key=lambda each: order.get(each.time.trace_id, len(order))))


@dataclass(slots=True)
class _Part:
    """What one agent did in a round once the edges were known."""

    began: int = 0
    ended: int = 0
    """Of its last worker's call."""
    took: int = 0
    """Time in its worker's calls without waits: its work."""


def _parts(tree: Tree, owned: Owners, spans: Sequence[Span], router: str) -> dict[str, _Part]:
    """By agent: its part of a round, in calls that began after the router's."""
    known = next((tree.end_ns(span) for span in spans if span.span_id == router), None)
    parts: dict[str, _Part] = {}
    for span in spans:
        agent = owned.agents[span.id]
        if known is None or not agent or span.start_ns < known:
            continue
        part = parts.setdefault(agent, _Part())
        length = tree.end_ns(span) - span.start_ns
        above = tree.parent_of(span)
        if span.role == WAIT_ROLE:
            part.took -= length
        if span.role == "worker" and not (
            above is not None and above.role == "worker" and owned.agents[above.id] == agent
        ):
            part.took += length
            part.began, part.ended = max(
                (part.began, part.ended), (span.start_ns, tree.end_ns(span))
            )
    return {agent: part for agent, part in parts.items() if part.ended}


def _allowed(graph: RoundGraph, parts: Mapping[str, _Part]) -> float | None:
    """The work of the round's agents over the longest chain of it along the edges.

    Each agent so waits for those that it reads, without the edges that were cut, and for nobody else.
    """
    cut = set(graph.cut)
    sources: dict[str, list[str]] = {}
    for edge in graph.edges:
        if (edge.source, edge.target) not in cut:
            read, reader = parts.get(edge.source), parts.get(edge.target)
            if read is not None and reader is not None and reader.began < read.ended:
                return None  # They work side by side; the edges are about something else.
            sources.setdefault(edge.target, []).append(edge.source)
    chains: dict[str, int] = {}
    for tier in graph.tiers:
        for agent in tier:
            before = max((chains.get(each, 0) for each in sources.get(agent, ())), default=0)
            chains[agent] = before + max(parts[agent].took if agent in parts else 0, 0)
    longest = max(chains.values(), default=0)
    work = sum(max(parts[agent].took, 0) for agent in graph.agents if agent in parts)
    return work / longest if longest > 0 else None


def merged(tree: Tree, owned: Owners) -> tuple[str, ...]:
    """A remark where calls of a round still ran as the next began, which nobody else tells apart."""
    running: list[Span] = []
    for parent in tree.spans:
        calls = tree.children_of(parent)
        begins: dict[str, int] = {}
        for call in calls:
            begins.setdefault(owned.rounds[call.id], call.start_ns)
        begins.pop("", None)
        if len(begins) > 1:
            running += _running_on(tree, owned.rounds, begins, calls)
    if not running:
        return ()
    names = wording.listing(list(dict.fromkeys(span.operation for span in running)), 3)
    remark = (
        f"{wording.count(len(running), 'call')} ({names}) still ran as the next round began: where "
        "teams run side by side under one caller, their rounds are told as one. Give the function "
        "that runs a team the role orchestrator."
    )
    return (remark,)


def _running_on(
    tree: Tree, numbers: Mapping[int, str], begins: Mapping[str, int], calls: Sequence[Span]
) -> list[Span]:
    starts = sorted(begins.values())
    following = dict(pairwise(starts))
    return [
        call
        for call in calls
        if (then := following.get(begins.get(numbers[call.id], -1))) is not None
        and call.start_ns < then < tree.end_ns(call) - _STILL_NS
        and not any(key in call.metadata for key in ROUND_KEYS)
    ]
