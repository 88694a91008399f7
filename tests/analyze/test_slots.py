"""Slots are what waits tell of: how many there are, who holds one and until when; all else is a plain wait."""

import pytest
from builders import SECOND, Spans, any_spans
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.replay import Change, replay
from dytopo_autotrace.analyze.tree import build


def loops(agents, turns, slots, held, pause):
    """Agents that take a slot again and again in one call, and how long all of them take."""
    spans = Spans()
    run = spans.add("run", 1, 1)
    calls = [spans.add("act", 1, 1, run, agent=f"a{number}") for number in range(agents)]
    asks, free, taken, end = [(1, number, 0) for number in range(agents)], [1] * slots, [], 1
    while asks:
        asks.sort()
        at, number, turn = asks.pop(0)
        slot = min(range(slots), key=free.__getitem__)
        granted = max(at, free[slot])
        left = 0 if granted > at else slots - sum(until > at for until in taken)
        spans.add("slot", at, granted, calls[number], role="wait", free=left)
        spans.add("model", granted, granted + held, calls[number])
        free[slot] = granted + held
        taken.append(granted + held)
        end = max(end, granted + held + pause)
        if turn + 1 < turns:
            asks.append((granted + held + pause, number, turn + 1))
        else:
            calls[number].end_ns = round((granted + held + pause) * SECOND)
    run.end_ns = round(end * SECOND)
    return spans, end - 1


@given(
    st.integers(2, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9)
)
def test_a_slot_taken_again_and_again_is_given_back_each_time(agents, turns, slots, others, pause):
    """However often one call takes a slot, more of them do what they do in a queue of servers."""
    spans, end = loops(agents, turns, slots, 10, pause)
    graph = dependencies(build(spans))
    assert replay(graph) == graph.wall_ns == end * SECOND
    if graph.resources["slot"].contended:
        assert graph.resources["slot"].capacity == slots
        changed = replay(graph, Change(capacity={"slot": others}))
        assert changed == loops(agents, turns, others, 10, pause)[1] * SECOND


def test_what_is_free_says_how_many_there_are():
    """Slots that were never seen free, or asked for repeatedly by one who does not say, are no slots."""

    def capacity(frees):
        spans = Spans()
        call = spans.add("act", 0, 10)
        for start, free in enumerate(frees):
            said = {} if free is None else {"free": free}
            spans.add("slot", start, start + 0.5, call, role="wait", **said)
        found = dependencies(build(spans)).resources
        return found["slot"].capacity if found else None

    assert capacity([2, 1, 0, 2]) == 2
    assert capacity([0, 0]) is None
    assert capacity([None, None]) is None
    assert capacity([None]) is None, "it waited, and nobody gave anything back"


def test_a_lock_that_says_nothing_is_one_where_waits_end_as_others_leave():
    """Without `free` it takes that each wait ended when another caller of such a wait ended."""
    spans = Spans()
    run = spans.add("run", 1, 7)
    for start in (1, 3, 5):
        call = spans.add("post", 1, start + 2, run)
        spans.add("lock", 1, start, call, role="wait")
    graph = dependencies(build(spans))
    assert graph.resources["lock"].capacity == 1
    assert replay(graph, Change(scale=dict.fromkeys(range(7), 0.5))) == 3 * SECOND


def test_a_mailbox_is_no_slot():
    """Who waits for a message goes on after the call that sent it: the same, if that is faster."""
    spans = Spans()
    run = spans.add("run", 0, 7)
    producer = spans.add("actor", 0, 6, run, agent="p")
    consumer = spans.add("actor", 0, 7, run, agent="c")
    for start in (0, 2, 4):
        spans.add("make", start, start + 1.9999, producer, agent="p")
        spans.add("mailbox", max(start - 1, 0) + (start > 0), start + 2, consumer, role="wait")
    spans.add("use", 6, 7, consumer, agent="c")
    graph = dependencies(build(spans))
    assert not graph.resources
    makes = [n for n, span in enumerate(graph.tree.spans) if span.operation == "make"]
    assert replay(graph) == graph.wall_ns
    assert replay(graph, Change(scale=dict.fromkeys(makes, 0.5))) == pytest.approx(
        4 * SECOND, rel=0.01
    )


@given(any_spans(), st.randoms())
def test_any_waits_have_an_answer(spans, random):
    """Whatever state the records of waits are in, a replay ends or says that it does not."""
    for span in spans:
        if random.random() < 0.5:
            span.site = type(span.site)(span.operation, role="wait")
            span.metadata = {"free": random.randint(-1, 2)} if random.random() < 0.5 else {}
    graph = dependencies(build(spans, 60))
    for change in (Change(), Change(capacity=dict.fromkeys(graph.resources, 1))):
        took = replay(graph, change)
        assert took is None or took >= 0
