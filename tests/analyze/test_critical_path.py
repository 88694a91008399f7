"""The chain of calls that decided the wall time: it covers all of it, and names who it was."""

import pytest
from builders import Spans, any_spans, swarm, trees
from hypothesis import given
from hypothesis import strategies as st
from strategies import programs

from dytopo_autotrace.analyze.critical_path import critical_path, stretches
from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.tree import build


def path_of(spans, now_ns=None):
    tree = build(spans, now_ns)
    graph = dependencies(tree)
    return critical_path(graph, owners(tree)), graph


@given(st.one_of(any_spans(), trees(), programs()))
def test_the_pieces_add_up_to_the_wall_time(spans):
    """Whatever the records, the path's stretches touch, and cover the time from first to last."""
    graph = dependencies(build(spans, 60))
    found = stretches(graph)
    at = graph.at[graph.first]
    for _, start, end in found:
        assert start == at
        assert end > start
        at = end
    assert at == graph.at[graph.last]
    assert sum(end - start for _, start, end in found) == graph.wall_ns


@given(st.one_of(any_spans(), programs()))
def test_shares_add_up_to_one(spans):
    """By operation and by agent alike, the shares are those of the whole path."""
    path, graph = path_of(spans, 60)
    for shares in (path.by_operation, path.by_agent):
        assert sum(each.share for each in shares) == pytest.approx(1.0 if graph.wall_ns else 0.0)
        assert sum(each.seconds for each in shares) == pytest.approx(path.seconds)


@given(programs())
def test_a_stretch_is_own_time_of_its_call(spans):
    """No stretch lies outside of its call, nor where a call below it that it waited for ran."""
    tree = build(spans)
    for owner, start, end in stretches(dependencies(tree)):
        if owner >= 0:
            span = tree.spans[owner]
            assert span.start_ns <= start
            assert end <= tree.end_ns(span)


def test_a_tier_waits_for_its_slowest():
    """Of calls side by side the one that ended last is on the path, then what came before it."""
    spans = Spans()
    run = spans.add("run", 0, 10)
    spans.add("plan", 0, 1, run, agent="m")
    spans.add("act", 1, 3, run, agent="quick")
    spans.add("act", 1, 6, run, agent="slow")
    spans.add("act", 6, 9, run, agent="reader")
    path, _ = path_of(spans)
    assert [(step.place.agent, step.seconds) for step in path.steps] == [
        ("m", 1.0),
        ("slow", 5.0),
        ("reader", 3.0),
        ("", 1.0),
    ]


def test_what_was_read_is_the_reason():
    """Of two that ended almost together, the call whose output was read is on the path."""
    spans = Spans()
    run = spans.add("run", 0, 5)
    source = spans.add("act", 0, 2.0, run, agent="read")
    spans.add("act", 0, 2.001, run, agent="unread")
    reader = spans.add("act", 2.002, 5, run, agent="reader")
    assert path_of(spans)[0].by_agent[1].agent == "unread"
    reader.links = (source.id,)
    assert path_of(spans)[0].by_agent[1].agent == "read"


def test_who_waits_for_a_slot_waits_for_its_holder():
    """The path leads from a wait to the call that held the slot, not through the wait."""
    spans = Spans()
    run = spans.add("run", 0, 5)
    first = spans.add("act", 0, 3, run, agent="holder")
    spans.add("slot", 0, 0, first, role="wait", free=1)
    spans.add("http", 0, 3, first, role="io", agent="holder")
    second = spans.add("act", 0, 5, run, agent="waiter")
    spans.add("slot", 0, 3, second, role="wait", free=0)
    spans.add("http", 3, 5, second, role="io", agent="waiter")
    shares = {each.agent: each.seconds for each in path_of(spans)[0].by_agent}
    assert shares == {"holder": 3.0, "waiter": 2.0}


def test_the_slow_agent_of_a_swarm_dominates_the_path():
    """The agent for whom every tier waits has most of the path."""
    path, _ = path_of(swarm("slow-agent"))
    assert path.by_agent[0].agent == "developer"
    assert path.by_agent[0].share > 0.7


def test_who_raised_is_why_the_others_were_cut_off():
    """Siblings that a task group cancels end a little later than the one that raised, who is named."""
    spans = Spans()
    group = spans.add("group", 0, 3.003)
    spans.add("act", 0, 3, group, agent="raised", error=spans.error())
    spans.add("act", 0, 3.001, group, agent="cut", status="cancelled")
    assert path_of(spans)[0].by_agent[0].agent == "raised"


def test_a_wait_that_was_cut_off_leads_to_who_held_the_slot():
    """What starved decided nothing: the holder did, also where only those who waited are recorded."""
    spans = Spans()
    phase = spans.add("phase", 0, 3)
    hog = spans.add("act", 0, 2.999, phase, agent="hog")
    spans.add("slot", 0, 0.001, hog, role="wait", free=1)
    spans.add("db", 0, 2.999, hog, agent="hog")
    starved = spans.add("act", 0, 3, phase, agent="starved", status="cancelled")
    spans.add("slot", 0, 3, starved, role="wait", status="cancelled", free=0)
    assert path_of(spans)[0].by_agent[0].agent == "hog"
    for span in spans:
        if span.operation == "slot":
            span.metadata = {"partial": True}
    assert path_of(spans)[0].by_agent[0].agent == "hog"


def test_of_two_cut_off_together_the_one_that_worked_is_named():
    """Where nobody knows who held the slot, a call that only waited is the last to be the reason."""
    spans = Spans()
    phase = spans.add("phase", 0, 3)
    hog = spans.add("act", 0, 2.999, phase, agent="hog", status="cancelled")
    spans.add("db", 0, 2.999, hog, agent="hog", status="cancelled")
    starved = spans.add("act", 0, 3, phase, agent="starved", status="cancelled")
    spans.add("slot", 0, 3, starved, role="wait", status="cancelled", partial=True)
    assert path_of(spans)[0].by_agent[0].agent == "hog"
