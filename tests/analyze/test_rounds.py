"""A round is told with what it spent, what it decided, and what its edges would have allowed."""

import pytest
from builders import Spans, any_spans, run, swarm
from hypothesis import given

from dytopo_autotrace.analyze.summary import summarize


def told(spans):
    return summarize(run(spans)).told_rounds


def routed(edges, *, cut=(), work=(1, 1, 1)):
    """A round in which three agents work, one after another, whatever the edges say."""
    spans = Spans()
    call = spans.add("swarm", 0, 10, role="orchestrator")
    spans.add("route", 0, 1, call, role="router", round=1, edges=edges, isolated=[], cut=list(cut))
    now = 1
    for agent, seconds in zip("abc", work, strict=True):
        spans.add("act", now, now + seconds, call, role="worker", agent=agent, round=1)
        now += seconds
    return spans


@pytest.mark.parametrize(
    ("edges", "cut", "work", "allowed"),
    [
        ([["a", "b"], ["b", "c"]], (), (1, 1, 1), 1.0),
        ([["a", "b"], ["a", "c"]], (), (1, 1, 1), 1.5),
        ([["a", "b"], ["a", "c"]], (), (1, 1, 2), 4 / 3),
        ([["a", "b"], ["b", "c"]], [["b", "c"]], (1, 1, 1), 1.5),
        ([["a", "b", 0.9], ["b", "a", 0.1], ["a", "c", 0.9]], (), (1, 1, 1), 1.5),
        ([], (), (1, 1, 1), None),
    ],
)
def test_edges_allow_what_their_longest_chain_leaves(edges, cut, work, allowed):
    """The work of a round's agents over the longest chain of it along the edges that were not cut."""
    (found,) = told(routed(edges, cut=cut, work=work))
    assert found.allowed == (None if allowed is None else pytest.approx(allowed))


def test_edges_along_which_nobody_waits_allow_what_they_like():
    """Where a reader began before its source had ended, edges are no order of work: nothing is said."""
    spans = Spans()
    call = spans.add("swarm", 0, 10, role="orchestrator")
    spans.add("route", 0, 1, call, role="router", round=1, edges=[["a", "b"]])
    spans.add("act", 1, 4, call, role="worker", agent="a", round=1)
    spans.add("act", 3, 6, call, role="worker", agent="b", round=1)
    assert [each.allowed for each in told(spans)] == [None]


def test_without_a_router_nothing_is_said_of_what_was_allowed():
    """Messages that were read are no plan: what else could have been is not in them."""
    assert all(each.allowed is None for each in told(swarm()))


def test_rounds_of_several_swarms_are_told_swarm_by_swarm():
    """Rounds of one number are told apart, with their own graph, tokens and share of the path."""
    spans = Spans()
    for trace, (label, start) in enumerate((("one", 1), ("two", 2)), 1):
        call = spans.add("team", start, start + 20, role="orchestrator", trace=trace, label=label)
        for number in (1, 2):
            at = start + 5 * number
            spans.add("act", at, at + 2, call, role="llm", agent="a", round=number, tokens_in=trace)
            spans.add("route", at, at + 1, call, role="router", round=number, edges=[[label, "b"]])
    found = told(spans)
    names = [(each.swarm, each.time.round, each.spent.tokens) for each in found]
    assert names == [("one", "1", 1), ("one", "2", 1), ("two", "1", 2), ("two", "2", 2)]
    assert {each.graph.edges[0].source for each in found if each.swarm == "one"} == {"one"}
    path = summarize(run(spans)).critical_path
    of_rounds = sum(each.path_seconds for each in found)
    assert of_rounds == pytest.approx(sum(each.seconds for each in path.by_round))


def test_rounds_that_ran_into_each_other_are_remarked_on():
    """Calls that still run as the next round begins may be another team's: that is said."""

    def remarks(end):
        spans = Spans()
        call = spans.add("swarm", 0, 10, role="orchestrator")
        spans.add("plan", 0, 1, call, role="manager", agent="lead", round=1)
        spans.add("act", 1, end, call, role="worker", agent="b")
        spans.add("plan", 3, 4, call, role="manager", agent="lead", round=2)
        spans.add("act", 4, 8, call, role="worker", agent="b")
        return [each for each in summarize(run(spans)).remarks if "side by side" in each]

    assert remarks(3) == []
    assert len(remarks(5)) == 1


@given(any_spans())
def test_any_records_have_rounds(spans):
    """Whatever the records, each round is told once, and shares are shares."""
    found = told(spans)
    assert len(found) == len({(each.time.trace_id, each.time.round) for each in found})
    for each in found:
        assert 0 <= each.path_share <= 1.0001
