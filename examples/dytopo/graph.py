"""In which order the agents of a round can work, given who reads whom."""

# ruff: noqa: N803, N806 - the letters of the paper: S, A, G, K_in

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from .models import Edge

Graph = dict[str, dict[str, float]]
"""For each reader the agents that it reads, with the weight of the edge."""


def build_execution_graph(edges: Sequence[Edge], agent_ids: Sequence[str]) -> Graph:
    """The graph of all agents, also of those without an edge."""
    G: Graph = {agent_id: {} for agent_id in agent_ids}
    for source, target, weight in edges:
        G[target][source] = weight
    return G


def break_cycles(G: Graph) -> Graph:
    """A copy without cycles: the weakest edge of each cycle is cut."""
    acyclic = {reader: dict(sources) for reader, sources in G.items()}
    while cycle := find_cycle(acyclic):
        source, reader = min(cycle, key=lambda edge: (acyclic[edge[1]][edge[0]], edge))
        del acyclic[reader][source]
    return acyclic


def find_cycle(G: Graph) -> list[tuple[str, str]]:
    """The edges of one cycle as (source, reader); empty if there is none."""
    try:
        TopologicalSorter(G).prepare()
    except CycleError as error:
        return list(pairwise(error.args[1]))
    return []


def get_execution_tiers(G: Graph, agent_ids: Sequence[str]) -> list[list[str]]:
    """Groups of agents that can work side by side, each after all that its members read.

    Raises:
        graphlib.CycleError: G has a cycle.
    """
    sorter = TopologicalSorter(G)
    sorter.prepare()
    tiers = []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        tiers.append(sorted(ready, key=agent_ids.index))
    return tiers
