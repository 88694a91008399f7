"""Routing and ordering, as properties of arbitrary similarities and graphs."""

# ruff: noqa: N803, N806 - the letters of the paper: S, A, G, K_in

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

AGENTS = ["ada", "bert", "cleo", "dan", "eve"]

weights = st.floats(min_value=-1, max_value=1, allow_nan=False)
similarities = st.lists(st.lists(weights, min_size=5, max_size=5), min_size=5, max_size=5)
pairs = st.tuples(st.sampled_from(AGENTS), st.sampled_from(AGENTS)).filter(lambda p: p[0] != p[1])
edge_lists = st.dictionaries(pairs, weights, max_size=20).map(
    lambda weight_of: [(source, target, weight) for (source, target), weight in weight_of.items()]
)
words = st.lists(st.sampled_from(["code", "tests", "design", "facts", "clock"]), max_size=4)
texts = words.map(" ".join)


@pytest.fixture(scope="module")
def router(load):
    return load("dytopo.router")


@pytest.fixture(scope="module")
def graph(load):
    return load("dytopo.graph")


@given(S=similarities, tau=weights, K_in=st.integers(1, 5))
def test_indegree_is_bounded_and_the_closest_are_kept(router, S, tau, K_in):
    """No agent reads more than K_in others, and none that it drops is closer than one it keeps."""
    close_enough = router.apply_threshold(S, tau)
    kept = router.enforce_max_indegree(close_enough, S, K_in)

    for i in range(5):
        chosen = [S[i][j] for j in range(5) if kept[i][j]]
        dropped = [S[i][j] for j in range(5) if close_enough[i][j] and not kept[i][j]]
        assert len(chosen) == min(K_in, sum(close_enough[i]))
        assert min(chosen, default=1) >= max(dropped, default=-1)


@given(S=similarities, tau=weights)
def test_threshold_keeps_what_is_close_and_nobody_itself(router, S, tau):
    """An entry survives exactly if it is at least tau and not on the diagonal."""
    adjacency = router.apply_threshold(S, tau)

    assert [[int(S[i][j] >= tau and i != j) for j in range(5)] for i in range(5)] == adjacency


@given(
    queries=st.lists(texts, min_size=5, max_size=5), keys=st.lists(texts, min_size=5, max_size=5)
)
def test_routing_result_keeps_its_promises(router, load, queries, keys):
    """Every edge is at least tau, in-degrees are bounded, and the isolated have no edge."""
    describe = load("dytopo.models").AgentDescriptor
    descriptors = {
        agent_id: describe(key=key, query=query)
        for agent_id, query, key in zip(AGENTS, queries, keys, strict=True)
    }

    result = router.build_routing_result(AGENTS, descriptors, 0.3, 2)

    targets = [target for _, target, _ in result["edges"]]
    connected = {agent_id for edge in result["edges"] for agent_id in edge[:2]}
    assert all(weight >= 0.3 for _, _, weight in result["edges"] + result["removed_edges"])
    assert all(targets.count(agent_id) <= 2 for agent_id in AGENTS)
    assert [agent_id for agent_id in AGENTS if agent_id not in connected] == result["isolated"]
    assert len(targets) == result["stats"]["edge_count"]


@given(edges=edge_lists)
def test_broken_graphs_are_acyclic_subgraphs(graph, edges):
    """Breaking cycles leaves no cycle, invents no edge, and spares a graph that has none."""
    G = graph.build_execution_graph(edges, AGENTS)
    acyclic = graph.break_cycles(G)

    assert graph.find_cycle(acyclic) == []
    assert all(acyclic[reader].items() <= G[reader].items() for reader in AGENTS)
    assert graph.find_cycle(G) or acyclic == G


@given(weight_of=st.lists(weights, min_size=3, max_size=3, unique=True))
def test_the_weakest_edge_of_a_cycle_is_cut(graph, weight_of):
    """A single cycle loses its weakest edge and no other."""
    ring = pairwise([*AGENTS[:3], AGENTS[0]])
    edges = [(*pair, weight) for pair, weight in zip(ring, weight_of, strict=True)]
    acyclic = graph.break_cycles(graph.build_execution_graph(edges, AGENTS))

    kept = {weight for sources in acyclic.values() for weight in sources.values()}
    assert set(weight_of) - {min(weight_of)} == kept


@given(edges=edge_lists)
def test_tiers_respect_edges_and_hold_everyone_once(graph, edges):
    """Each agent is in exactly one tier, and every source is in an earlier one than its reader."""
    acyclic = graph.break_cycles(graph.build_execution_graph(edges, AGENTS))
    tiers = graph.get_execution_tiers(acyclic, AGENTS)
    tier_of = {agent_id: number for number, tier in enumerate(tiers) for agent_id in tier}

    assert sorted(AGENTS) == sorted(agent_id for tier in tiers for agent_id in tier)
    for reader, sources in acyclic.items():
        assert all(tier_of[source] < tier_of[reader] for source in sources)
