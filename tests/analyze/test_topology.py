"""The graphs of a run: what routers said, what was read of it, and what changed."""

import pytest
from builders import Spans, any_spans
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.topology import topology
from dytopo_autotrace.analyze.tree import build

NAMES = "abcde"
EDGES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.floats(0, 1)).filter(
        lambda edge: edge[0] != edge[1]
    ),
    max_size=12,
)


def found_in(spans):
    tree = build(spans)
    return topology(tree, owners(tree))


def routed(*rounds, isolated=()):
    spans = Spans()
    run = spans.add("run", 0, len(rounds) + 1, role="orchestrator")
    for number, edges in enumerate(rounds):
        metadata = {"edges": [list(each) for each in edges], "isolated": list(isolated)}
        spans.add("route", number, number + 0.5, run, role="router", round=number, **metadata)
    return spans


@given(EDGES)
def test_tiers_put_everyone_after_whom_they_read(edges):
    """Without the edges that were cut each source is in an earlier tier than its reader."""
    (graph,) = found_in(routed(edges)).graphs
    tier = {agent: number for number, each in enumerate(graph.tiers) for agent in each}
    assert sorted(tier) == sorted(graph.agents)
    for edge in graph.edges:
        if (edge.source, edge.target) not in graph.cut:
            assert tier[edge.source] < tier[edge.target]
    assert 0 <= graph.density <= 1


@given(EDGES, EDGES)
def test_changes_between_rounds_are_those_of_sets(before, after):
    """Kept, new and gone edges are the intersection and the differences."""
    first, second = ({(source, target) for source, target, _ in edges} for edges in (before, after))
    churn = found_in(routed(before, after)).graphs[1].churn
    assert churn.kept == len(first & second)
    assert set(churn.new) == second - first
    assert set(churn.gone) == first - second
    either = first | second
    assert churn.jaccard == pytest.approx(len(first & second) / len(either) if either else 1.0)


@given(EDGES)
def test_degrees_count_edges(edges):
    """What goes in and out over all agents is the number of edges, each way."""
    found = found_in(routed(edges))
    count = len(found.graphs[0].edges)
    assert sum(each.in_degree for each in found.agents) == count
    assert sum(each.out_degree for each in found.agents) == count
    assert all(0 <= each.betweenness <= 1 for each in found.agents)


def test_who_stands_between_all_others_is_central():
    """In a star whose ways all lead through one agent, that agent has all of the betweenness."""
    star = [(name, "hub", 1.0) for name in "abc"] + [("hub", name, 1.0) for name in "abc"]
    found = found_in(routed(star)).agents
    assert found[0].agent == "hub"
    assert found[0].betweenness == 1.0
    assert {each.betweenness for each in found[1:]} == {0.0}


def test_a_recorded_cut_is_believed_and_a_missing_one_is_worked_out():
    """Cycle cuts are those that a rule captured, else the weakest edge, and it is said which."""
    edges = [("a", "b", 0.9), ("b", "a", 0.2)]
    graph = found_in(routed(edges)).graphs[0]
    assert (graph.cut, graph.cut_recorded) == ((("b", "a"),), False)
    spans = routed(edges)
    spans.add("break", 0.6, 0.7, spans.all[0], round=0, cut=[["a", "b"]])
    graph = found_in(spans).graphs[0]
    assert (graph.cut, graph.cut_recorded) == ((("a", "b"),), True)
    assert graph.tiers == (("b",), ("a",))


def test_edges_that_nobody_read_are_told():
    """Where links tell of reading, an edge without a message is routed and never read."""
    spans = routed([("a", "b", 1.0), ("a", "c", 1.0)])
    run = spans.all[0]
    source = spans.add("act", 0.5, 0.6, run, role="worker", agent="a", round=0, receives=[])
    reader = spans.add("act", 0.6, 0.7, run, role="worker", agent="b", round=0, receives=["a"])
    reader.links = (source.id,)
    found = found_in(spans)
    assert found.graphs[0].unread == (("a", "c"),)
    assert {each.agent: each.messages_sent for each in found.agents}["a"] == 1
    assert found.unresolved_messages == 0


def test_messages_without_a_sender_in_the_records_are_counted():
    """A name that no earlier call has is no message, and is not kept quiet about."""
    spans = Spans()
    spans.add("act", 0, 1, role="worker", agent="b", receives=["ghost"])
    assert found_in(spans).unresolved_messages == 1


@given(any_spans())
def test_any_records_have_a_topology(spans):
    """Whatever state the records are in, the answer is one."""
    for span in spans:
        span.links = (1, 2)
    found = found_in(spans)
    assert found.source in ("router", "messages", "none")
