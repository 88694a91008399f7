"""What is known of a held event loop counts wherever time is given to somebody."""

import pytest
from builders import SECOND, Spans, run

from dytopo_autotrace.analyze.activity import activities
from dytopo_autotrace.analyze.critical_path import critical_path
from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.analyze.timing import busy_ns
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.analyze.what_if import what_if


def swarm(*, tail=0.0):
    """A tool that parses for 4 s on the loop, while a model call of 1 s cannot end before that does."""
    spans = Spans()
    root = spans.add("swarm", 0, 6 + tail, role="orchestrator")
    mine = spans.add("agent", 0, 6, root, role="worker", agent="p")
    spans.add("chat", 0, 1, mine, role="llm")
    parse = spans.add("parse", 1, 5, mine, role="tool")
    spans.add("chat", 5, 6, mine, role="llm")
    theirs = spans.add("agent", 0, 6 + tail, root, role="worker", agent="q")
    chat = spans.add("chat", 0, 5.001, theirs, role="llm")
    spans.add("chat", 5.001, 6 + tail, theirs, role="llm")
    return spans, parse, (root, mine, theirs, chat)


def on_path(spans):
    tree = build(spans)
    path = critical_path(dependencies(tree), owners(tree))
    return {(each.operation, each.agent): round(each.seconds, 2) for each in path.by_operation}


def predicted(spans):
    tree = build(spans)
    owned, graph = owners(tree), dependencies(tree)
    found = what_if(graph, critical_path(graph, owned), owned).predictions
    return {(each.kind, each.subject): each for each in found}


def test_who_cannot_go_on_is_not_busy():
    """Own time in which another held the loop is none; the holder was busy all the while."""
    spans, parse, others = swarm()
    spans.held(1, 5, parse, *others)
    busy = busy_ns(build(spans))
    assert busy[parse.id] == 4 * SECOND
    assert busy[others[-1].id] == round(1.001 * SECOND)


def test_a_call_that_is_not_known_to_be_on_that_loop_keeps_its_time():
    """It may have worked in a thread all the while."""
    spans, parse, others = swarm()
    spans.held(1, 5, parse)
    assert busy_ns(build(spans))[others[-1].id] == round(5.001 * SECOND)


def test_agents_wait_for_the_loop_that_another_holds():
    """Of the agent's time, what the other one held the loop for is waiting."""
    spans, parse, others = swarm()
    spans.held(1, 5, parse, *others)
    tree = build(spans)
    found = {each.agent: each for each in activities(tree, owners(tree), busy_ns(tree)).agents}
    assert found["q"].waiting_seconds == pytest.approx(4.0)
    assert found["q"].busy_seconds == pytest.approx(2.0)
    assert found["p"].waiting_seconds == 0.0


def test_a_coroutine_that_held_the_loop_was_busy_between_its_calls():
    """What it did there is known, so it is not left open whether it waited."""
    spans = Spans()
    agent = spans.add("agent", 0, 6, role="worker", agent="p")
    spans.add("chat", 5, 6, agent, role="llm")
    spans.held(1, 5, agent, agent, exact=False)
    tree = build(spans)
    (found,) = activities(tree, owners(tree), busy_ns(tree)).agents
    assert (found.busy_seconds, found.unattributed_seconds) == (5.0, 1.0)


def test_the_critical_path_leads_through_the_holder():
    """The model call ended as soon as the loop was let go: so long did the parser take, not the model."""
    spans, parse, others = swarm(tail=0.5)
    spans.held(1, 5, parse, *others)
    path = on_path(spans)
    assert path["parse", "p"] == 4.0
    assert path["chat", "q"] == 1.5


def test_a_call_that_went_on_for_long_after_the_hold_was_not_held_up_by_it():
    """Whatever it waited for came later."""
    spans = Spans()
    root = spans.add("swarm", 0, 9, role="orchestrator")
    parse = spans.add("parse", 1, 2, root, agent="p")
    chat = spans.add("chat", 0, 9, root, agent="q")
    spans.held(1, 2, parse, root, chat)
    assert on_path(spans)["chat", "q"] == 9.0


@pytest.mark.parametrize("goes_on", [True, False])
def test_the_path_leads_through_a_coroutine_that_held_the_loop(goes_on):
    """Whether or not a call of its own begins as it lets go."""
    spans = Spans()
    root = spans.add("swarm", 0, 7, role="orchestrator")
    holder = spans.add("agent", 0, 6, root, role="worker", agent="p")
    if goes_on:
        spans.add("chat", 5, 6, holder, role="llm")
    chat = spans.add("chat", 0.5, 5.001, root, role="llm", agent="q")
    spans.add("chat", 5.001, 7, root, role="llm", agent="q")
    spans.held(1, 5, holder, root, holder, chat, exact=False)
    path = on_path(spans)
    assert path["agent", "p"] in (4.0, 5.0)
    assert path["chat", "q"] in (2.0, 2.5)


def test_a_holder_twice_as_fast_lets_the_others_go_on_sooner():
    """Their time was its time; the model twice as fast cannot save what the parser took."""
    spans, parse, others = swarm(tail=3)
    spans.held(1, 5, parse, *others)
    found = predicted(spans)
    assert found["faster_operation", "parse"].saved_seconds == pytest.approx(2.0)
    assert found["faster_agent", "q"].saved_seconds == pytest.approx(2.0, abs=0.01)


def test_off_the_loop_others_go_on_at_once_at_best():
    """The holder takes as long as before, so only what nobody waited for it is saved."""
    spans, parse, others = swarm(tail=3)
    spans.held(1, 5, parse, *others)
    found = predicted(spans)["off_loop", "parse"]
    assert found.saved_seconds == pytest.approx(3.0, abs=0.01)  # p still takes 6 s of the 9.
    assert found.sureness == "low"
    assert "at best" in found.text


def test_where_nothing_would_end_sooner_nothing_is_said_of_the_loop():
    """All wait for the holder anyway."""
    spans, parse, others = swarm()
    spans.held(1, 5, parse, *others)
    assert ("off_loop", "parse") not in predicted(spans)


def test_a_failure_did_not_cost_what_another_held_the_loop_for():
    """From the first failed try to what made it good, without the hold."""
    spans = Spans()
    root = spans.add("swarm", 0, 9, role="orchestrator")
    parse = spans.add("parse", 1, 5, root, agent="p")
    agent = spans.add("agent", 0, 9, root, role="worker", agent="q")
    failed = spans.add("call", 0.5, 5, agent, error=spans.error())
    spans.add("call", 5.5, 9, agent)
    spans.held(1, 5, parse, root, agent, failed)
    (failure,) = outcomes(build(spans)).failures
    assert failure.recovery_seconds == pytest.approx(1.0)


def test_an_agent_that_stood_still_is_not_slow():
    """Its calls took as long as its peers' but for what another held the loop for."""
    spans = Spans()
    root = spans.add("swarm", 0, 40, role="orchestrator")
    for start in (0, 10, 20):
        for name in ("a", "b"):
            spans.add("agent", start, start + 1, root, role="worker", agent=name)
        slow = spans.add("agent", start, start + 6, root, role="worker", agent="late")
        parse = spans.add("parse", start + 0.5, start + 5.5, root, role="tool")
        if start != 20:
            spans.held(start + 0.5, start + 5.5, parse, root, slow)
    assert summarize(run(spans)).slow_agents == ()


def test_a_loop_held_for_a_good_share_is_part_of_the_verdict():
    """With who held it and who stood still; where nobody did, the run is as it was."""
    spans, parse, others = swarm()
    assert "event loop" not in summarize(run(spans)).verdict.text
    spans.held(1, 5, parse, *others)
    text = summarize(run(spans)).verdict.text
    assert text.endswith("The event loop was held for 4.00 s by parse of p, while q stood still.")
