"""A run replayed: without a change it is the run, with one it is what the program would have done."""

import pytest
from builders import SECOND, Spans, any_spans, swarm, trees
from hypothesis import given
from hypothesis import strategies as st
from strategies import programs

from dytopo_autotrace.analyze.critical_path import critical_path
from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.replay import Change, replay
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.analyze.what_if import what_if


def predicted(spans, now_ns=None):
    tree = build(spans, now_ns)
    graph, owned = dependencies(tree), owners(tree)
    return what_if(graph, critical_path(graph, owned), owned)


@given(st.one_of(trees(), programs()))
def test_nothing_changed_gives_the_measured_time(spans):
    """The replay without a change takes exactly as long as the run did."""
    graph = dependencies(build(spans))
    assert replay(graph) == graph.wall_ns


@given(programs())
def test_faster_is_never_slower_and_all_of_it_scales(spans):
    """Halving all own time halves the run; halving some of it saves no more than that."""
    graph = dependencies(build(spans))
    everything = dict.fromkeys(range(len(graph.tree.spans)), 0.5)
    whole = replay(graph, Change(scale={-1: 0.5, **everything}))
    assert whole == pytest.approx(graph.wall_ns / 2, abs=len(everything) * 2 + 2)
    some = dict.fromkeys(range(0, len(graph.tree.spans), 2), 0.5)
    part = replay(graph, Change(scale=some))
    assert whole - len(everything) - 2 <= part <= graph.wall_ns


@given(any_spans())
def test_any_records_have_an_answer(spans):
    """Whatever state the records are in, predictions lie between nothing and the wall time."""
    found = predicted(spans, 60)
    for each in found.predictions:
        assert 0 <= each.seconds <= found.wall_seconds
        assert each.seconds + each.saved_seconds == pytest.approx(found.wall_seconds)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 9))
def test_slots_are_queued_for_in_order(lengths, slots, others):
    """With any number of slots the replay is what a queue of so many servers would do."""

    def served(count):
        free, ends = [1] * count, []
        for length in lengths:
            server = min(range(count), key=free.__getitem__)
            ends.append((free[server], free[server] + length))
            free[server] += length
        return ends

    spans = Spans()
    run = spans.add("run", 1, max(end for _, end in served(slots)))
    for start, end in served(slots):
        call = spans.add("act", 1, end, run)
        spans.add("slot", 1, start, call, role="wait", free=0 if start > 1 else 1)
        spans.add("http", start, end, call)
    graph = dependencies(build(spans))
    assert replay(graph) == graph.wall_ns
    if graph.resources["slot"].contended:
        assert graph.resources["slot"].capacity == slots
        changed = replay(graph, Change(capacity={"slot": others}))
        assert changed == (max(end for _, end in served(others)) - 1) * SECOND


def test_calls_one_after_another_could_run_together():
    """Side by side they take as long as the slowest; what follows waits for all of them."""
    spans = Spans()
    run = spans.add("run", 0, 8)
    for index, agent in enumerate(("a", "b", "c")):
        spans.add("ask", index * 2, index * 2 + 2, run, agent=agent)
    spans.add("sum", 6, 8, run, agent="m")
    found = {each.kind: each for each in predicted(spans).predictions}
    assert found["side_by_side"].seconds == pytest.approx(4.0)
    assert found["side_by_side"].sureness == "low"


def test_what_one_reads_of_the_other_cannot_run_beside_it():
    """Calls that read each other's output are not offered to run together."""
    spans = Spans()
    run = spans.add("run", 0, 4)
    first = spans.add("ask", 0, 2, run, agent="a")
    spans.add("ask", 2, 4, run, agent="b").links = (first.id,)
    assert "side_by_side" not in {each.kind for each in predicted(spans).predictions}


def test_without_retries_attempts_and_pauses_are_gone():
    """The failed attempt and the pause after it are what retrying cost."""
    found = {each.kind: each for each in predicted(swarm("retry")).predictions}
    attempts = found["no_retries"]
    assert attempts.subject == "chat_attempt"
    slower = 0.2 * 1.09 - 0.2 * 1.03  # the tester's call, which the round then waits for
    assert attempts.saved_seconds == pytest.approx(3 * (0.25 - slower))


def test_a_faster_agent_saves_only_until_another_is_the_slowest():
    """Twice as fast, the slow agent is still waited for; others save nothing."""
    spans = Spans()
    run = spans.add("run", 0, 6)
    spans.add("act", 0, 6, run, agent="slow")
    spans.add("act", 0, 5, run, agent="next")
    found = [each for each in predicted(spans).predictions if each.kind == "faster_agent"]
    assert [(each.subject, each.seconds) for each in found] == [("slow", 5.0)]
    assert found[0].evidence == (spans.all[1].span_id,)
