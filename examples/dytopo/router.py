"""Who reads whom: needs and offers are embedded, and close ones become edges."""

# ruff: noqa: N803 - the letters of the paper: S, A, G, K_in

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .embedding import embed_by_hashing
from .models import AgentDescriptor, Edge, Embedder, Matrix

Adjacency = list[list[int]]
"""Row i, column j: 1 if agent i reads agent j."""


def build_routing_result(
    agent_ids: Sequence[str],
    descriptors: Mapping[str, AgentDescriptor],
    tau: float,
    K_in: int,
    embed: Embedder = embed_by_hashing,
) -> dict[str, Any]:
    """Draw an edge j -> i wherever what j offers is close enough to what i needs.

    Args:
        tau: the least cosine of query i and key j.
        K_in: the most edges into one agent; the closest are kept.

    Returns:
        `edges` and `removed_edges` (close enough, but too many) as (source, target, weight),
        `isolated` (agents without any edge) and `stats`.
    """
    queries, keys = embed_descriptors(agent_ids, descriptors, embed)
    similarity = compute_similarity_matrix(queries, keys)
    close_enough = apply_threshold(similarity, tau)
    kept = enforce_max_indegree(close_enough, similarity, K_in)

    edges = _edges(kept, similarity, agent_ids)
    connected = {agent_id for source, target, _ in edges for agent_id in (source, target)}
    return {
        "edges": edges,
        "removed_edges": [
            edge for edge in _edges(close_enough, similarity, agent_ids) if edge not in edges
        ],
        "isolated": [agent_id for agent_id in agent_ids if agent_id not in connected],
        "stats": _stats(edges, similarity),
    }


def embed_descriptors(
    agent_ids: Sequence[str], descriptors: Mapping[str, AgentDescriptor], embed: Embedder
) -> tuple[Matrix, Matrix]:
    """The vectors of all queries and of all keys, in the order of the ids."""
    queries = [descriptors[agent_id].query for agent_id in agent_ids]
    keys = [descriptors[agent_id].key for agent_id in agent_ids]
    vectors = embed(queries + keys)
    return vectors[: len(queries)], vectors[len(queries) :]


def compute_similarity_matrix(q: Matrix, k: Matrix) -> Matrix:
    """Row i, column j: the cosine of query i and key j, both being normalised."""
    return [[sum(a * b for a, b in zip(query, key, strict=True)) for key in k] for query in q]


def apply_threshold(S: Matrix, tau: float) -> Adjacency:
    """Keep what is at least tau; nobody reads itself."""
    return [
        [int(value >= tau and i != j) for j, value in enumerate(row)] for i, row in enumerate(S)
    ]


def enforce_max_indegree(A: Adjacency, S: Matrix, K_in: int) -> Adjacency:
    """Keep the K_in closest of each agent's sources; of equally close ones, the first."""
    kept = []
    for adjacent, similarity in zip(A, S, strict=True):
        sources = [j for j, is_adjacent in enumerate(adjacent) if is_adjacent]
        closest = sorted(sources, key=lambda j: -similarity[j])[:K_in]
        kept.append([int(j in closest) for j in range(len(adjacent))])
    return kept


def _edges(A: Adjacency, S: Matrix, agent_ids: Sequence[str]) -> list[Edge]:
    return [
        (agent_ids[j], agent_ids[i], S[i][j])
        for i, row in enumerate(A)
        for j, is_adjacent in enumerate(row)
        if is_adjacent
    ]


def _stats(edges: Sequence[Edge], S: Matrix) -> dict[str, float]:
    pairs = [value for i, row in enumerate(S) for j, value in enumerate(row) if i != j]
    return {
        "edge_count": len(edges),
        "density": len(edges) / len(pairs) if pairs else 0.0,
        "mean_similarity": sum(pairs) / len(pairs) if pairs else 0.0,
    }
