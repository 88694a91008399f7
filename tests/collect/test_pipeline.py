"""From the call path to the collectors: everything once, in order, and what is lost is counted."""

import itertools
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dytopo_autotrace import TraceContext, traced
from dytopo_autotrace.collect.pipeline import INTERVAL_SECONDS, Pipeline, pause_after, pipeline
from dytopo_autotrace.collect.span import (
    END_NS,
    OUTCOME,
    SITE,
    UNWATCHED,
    VOID,
    Site,
    from_record,
    trace_anchor,
)
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.testing import capture

SITE_OF_ALL = Site("operation")


def started(pipe, parent=0):
    """A record as the call path makes one."""
    record = [pipe.next_id(), parent, 1, SITE_OF_ALL, time.perf_counter_ns(), 0, None, None, None]
    pipe.buffer.append(record)
    return record


def ended(record):
    record[END_NS] = time.perf_counter_ns()


class Bounded(RuleBasedStateMachine):
    """Calls begin, end and are drained in any order, through a buffer of five."""

    def __init__(self):
        super().__init__()
        self.pipe = Pipeline(5, itertools.count().__next__)
        self.seen = []
        self.pipe.consumers.append(self.seen.extend)
        self.records = []
        self.calls = 0

    @rule(count=st.integers(1, 9))
    def begin(self, count):
        self.records += [started(self.pipe) for _ in range(count)]
        self.calls += count

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def end(self, data):
        index = data.draw(st.integers(0, len(self.records) - 1))
        ended(self.records.pop(index))

    @rule()
    def drain(self):
        self.pipe.drain()

    @rule()
    def forget(self):
        self.pipe.clear()
        self.records, self.calls = [], 0
        del self.seen[:]

    @invariant()
    def every_call_is_accounted_for(self):
        self.pipe.drain()
        assert self.pipe.started == self.calls
        assert len(self.seen) == self.pipe.finished
        assert self.calls == len(self.seen) + len(self.pipe.open_spans()) + self.pipe.dropped
        assert len({span.id for span in self.seen}) == len(self.seen)


class Undrained(Bounded):
    """The same, drained only when a rule says so."""

    @rule(count=st.integers(6, 20))
    def flood(self, count):
        self.begin(count)

    @invariant()
    def every_call_is_accounted_for(self):
        if not self.pipe.buffer:
            super().every_call_is_accounted_for()


TestBounded = Bounded.TestCase
TestUndrained = Undrained.TestCase
for case in (TestBounded, TestUndrained):
    case.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_what_the_full_buffer_lets_go_is_counted_exactly():
    """Woven calls into a small buffer: those seen and those counted as dropped are all of them."""
    with capture() as seen:
        small, pipeline.buffer = pipeline.buffer, type(pipeline.buffer)(maxlen=10)
        try:
            pipeline.stop()
            woven = traced(operation="f")(lambda: None)
            for _ in range(25):
                woven()
            pipeline.drain()
            woven()
            assert len(seen.spans) == 11
            assert (pipeline.started, pipeline.dropped) == (26, 15)
        finally:
            pipeline.buffer = small


def test_drops_are_counted_under_threads_too():
    """Many threads fill a small buffer while it is drained: nothing is lost without being counted."""
    pipe = Pipeline(50, itertools.count().__next__)
    seen = []
    pipe.consumers.append(seen.extend)

    def work():
        for _ in range(2000):
            ended(started(pipe))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        pipe.drain()
    pipe.drain()
    assert len(seen) + pipe.dropped == 8000
    assert pipe.started == 8000


def test_an_id_taken_for_something_else_is_no_loss_while_there_was_room():
    """Gaps count as drops only when the buffer has been full."""
    pipe = Pipeline(5, itertools.count().__next__)
    ended(started(pipe))
    pipe.next_id()
    ended(started(pipe))
    pipe.drain()
    assert (pipe.started, pipe.finished, pipe.dropped) == (2, 2, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_children_come_before_their_parents(depths):
    """Of spans that end in one tick of the clock, the inner one is handed over first."""
    pipe = Pipeline(100, itertools.count(1).__next__)
    seen = []
    pipe.consumers.append(seen.extend)
    for depth in depths:
        chain = []
        for _ in range(depth + 1):
            chain.append(started(pipe, chain[-1][0] if chain else 0))
        if depth == 2:
            pipe.drain()
        for record in reversed(chain):
            record[END_NS] = 5
    pipe.drain()
    position = {span.id: index for index, span in enumerate(seen)}
    for span in seen:
        if span.parent:
            assert position[span.id] < position[span.parent]


def test_a_span_is_never_handed_over_before_its_children():
    """While threads call and another drains, each parent comes after all that it called."""
    pipe = Pipeline(20_000, itertools.count(1).__next__)
    seen = []
    pipe.consumers.append(seen.extend)

    def work():
        for _ in range(3000):
            parent = started(pipe)
            child = started(pipe, parent[0])
            ended(child)
            ended(parent)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        pipe.drain()
    pipe.drain()
    known = set()
    for span in seen:
        assert span.id not in known
        known.add(span.id)
        assert span.parent not in known
    assert len(seen) == 12_000


def test_a_consumer_that_raises_is_counted_and_stops_nobody():
    """The others get the batch, the faulty one is asked again, and its faults have a number."""
    pipe = Pipeline(10, itertools.count().__next__)
    before, after = [], []

    def faulty(spans):
        raise RuntimeError("as consumers can")

    pipe.consumers[:] = [before.extend, faulty, after.extend]
    for _ in range(3):
        ended(started(pipe))
        pipe.drain()
    assert len(before) == len(after) == 3
    ((where, count),) = pipe.faults.items()
    assert "faulty" in where
    assert "RuntimeError" in where
    assert count == 3


def test_a_consumer_may_ask_a_collector():
    """A drain inside a drain does nothing, so a consumer's question is answered and ends."""
    pipe = Pipeline(10, itertools.count().__next__)
    batches = []

    def asks(spans):
        ended(started(pipe)) if len(batches) < 3 else None
        pipe.drain()
        batches.append(len(spans))

    pipe.consumers.append(asks)
    ended(started(pipe))
    for _ in range(5):
        pipe.drain()
    assert batches == [1, 1, 1, 1]


def test_a_consumer_that_exits_does_not_stop_the_next_drain():
    """Even what no `except Exception` catches leaves the pipeline usable."""
    pipe = Pipeline(10, itertools.count().__next__)
    seen = []

    def leaves(spans):
        raise KeyboardInterrupt

    pipe.consumers[:] = [leaves]
    ended(started(pipe))
    with pytest.raises(KeyboardInterrupt):
        pipe.drain()
    pipe.consumers[:] = [seen.extend]
    ended(started(pipe))
    pipe.drain()
    assert len(seen) == 1


def test_open_spans_are_known_and_in_order_of_their_start():
    """What is running now can be asked for, and is in progress."""
    pipe = Pipeline(10, itertools.count(1).__next__)
    first, second, third = (started(pipe) for _ in range(3))
    ended(second)
    spans = pipe.open_spans()
    assert [span.id for span in spans] == [first[0], third[0]]
    assert {span.status for span in spans} == {"in_progress"}
    assert all(span.duration is None for span in spans)


def test_a_void_record_is_no_span():
    """What began to be recorded and never took place is counted as started, and is nowhere."""
    pipe = Pipeline(10, itertools.count().__next__)
    seen = []
    pipe.consumers.append(seen.extend)
    record = started(pipe)
    pipe.drain()
    record[OUTCOME], record[END_NS] = VOID, 1
    assert pipe.open_spans() == seen == []


def test_the_thread_drains_by_itself():
    """Without anybody asking, spans reach the consumers."""
    pipe = Pipeline(10, itertools.count().__next__)
    arrived = threading.Event()
    pipe.consumers.append(lambda spans: arrived.set())
    pipe.ensure_running()
    pipe.ensure_running()
    ended(started(pipe))
    assert arrived.wait(10)
    pipe.stop()
    assert pipe._running is None


def test_the_thread_can_be_stopped_and_started_again():
    """Starting and stopping from many threads leaves no thread behind."""
    pipe = Pipeline(10, itertools.count().__next__)
    before = threading.active_count()

    def toggle():
        for _ in range(20):
            pipe.ensure_running()
            pipe.stop()

    threads = [threading.Thread(target=toggle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.stop()
    assert pipe._running is None
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        pass
    assert threading.active_count() == before


def test_a_fault_in_the_thread_does_not_end_it():
    """A record that cannot be read is a fault that is counted; later spans arrive."""
    pipe = Pipeline(10, itertools.count().__next__)
    arrived = threading.Event()
    pipe.consumers.append(lambda spans: arrived.set())
    record = started(pipe)
    record[SITE] = "no site"
    ended(record)
    pipe.ensure_running()
    deadline = time.monotonic() + 10
    while not pipe.faults and time.monotonic() < deadline:
        pass
    ended(started(pipe))
    assert arrived.wait(10)
    pipe.stop()
    assert pipe.faults == {"drain: AttributeError": 1}


def test_stopping_hands_over_what_is_left():
    """Nothing that has ended waits in the buffer after `stop`."""
    with capture() as seen, TraceContext("last"):
        pass
    assert seen.tree() == [("last", [])]


def test_many_open_spans_cost_a_drain_little():
    """Draining beside a hundred thousand open spans takes well below a second."""
    pipe = Pipeline(1 << 18, itertools.count().__next__)
    records = [started(pipe) for _ in range(100_000)]
    pipe.drain()
    ended(records[50_000])
    spent = pipe.drain_seconds
    pipe.drain()
    assert pipe.drain_seconds - spent < 0.5
    assert pipe.finished == 1


def test_a_record_becomes_a_span_with_all_its_values():
    """Places in a record are those in the span, and short records have no values."""
    site = Site("op", role="tool", entry=("a", "b"), exit=("c",))
    span = from_record([7, 3, 9, site, 100, 250, None, (4,), None, 1, 2, 3])
    assert (span.id, span.parent, span.trace, span.links) == (7, 3, 9, (4,))
    assert (span.start_ns, span.end_ns, span.status) == (100, 250, "success")
    assert span.metadata == {"a": 1, "b": 2, "c": 3}
    assert from_record([7, 0, 9, site, 100, 250, None, None, None, 1]).metadata == {"a": 1}


@given(st.floats(0, 100), st.floats(0, 1))
def test_ticks_come_every_tenth_of_a_second_and_leave_the_host_its_half(took, filled):
    """Short ticks keep the beat; long ones rest as long as they took, unless much is waiting."""
    pause = pause_after(took, filled)
    assert took + pause >= INTERVAL_SECONDS - 1e-9
    if took <= INTERVAL_SECONDS / 2:
        assert took + pause == pytest.approx(INTERVAL_SECONDS)
    elif filled < 0.25:
        assert pause == took
    else:
        assert pause <= INTERVAL_SECONDS / 2


def test_the_last_thing_is_done_by_the_thread_after_its_last_tick():
    """Who stops the thread has it do one thing more, which no tick follows."""
    pipe = Pipeline(next_id=itertools.count().__next__)
    done, ticked = [], threading.Event()
    pipe.watchers.append(lambda opened: done.append("tick") or ticked.set())
    pipe.consumers.append(lambda spans: done.extend(span.id for span in spans))
    pipe.ensure_running()
    assert ticked.wait(30)
    pipe.buffer.append([7, 0, 1, Site("f"), 1, 2, None, None, None])
    assert pipe.stop(lambda: done.append(threading.current_thread().name))
    assert done[-2:] == [7, "dytopo-autotrace"]


def test_a_thread_that_is_only_being_started_is_waited_for(monkeypatch):
    """Who stops at that very moment goes on when the thread has done the last thing, not before."""
    ours, started, by = Pipeline(), threading.Thread.start, []

    def stop():
        ours.stop(lambda: by.append(threading.current_thread().name))
        by.append("stopped")

    stopper = threading.Thread(target=stop)

    def start(thread):
        started(stopper)
        stopper.join(0.2)  # Enough for one that does not wait.
        started(thread)

    with monkeypatch.context() as slow:
        slow.setattr(threading.Thread, "start", start)
        ours.ensure_running()
    stopper.join(10)
    assert by == ["dytopo-autotrace", "stopped"]


def test_without_a_thread_the_caller_does_the_last_thing():
    """Where no thread runs, what is to be done last is done all the same, once."""
    done = []
    pipe = Pipeline(next_id=itertools.count().__next__)
    assert pipe.stop(lambda: done.append(threading.current_thread()))
    assert pipe.stop()
    assert done == [threading.current_thread()]


def test_a_thread_that_hangs_is_not_waited_for(monkeypatch):
    """One that gets on is waited for, one that does not only so long; then nothing more is begun."""
    monkeypatch.setattr("dytopo_autotrace.collect.pipeline.PATIENCE_SECONDS", 0.05)
    pipe = Pipeline(next_id=itertools.count().__next__)
    hangs, go_on, steps = threading.Event(), threading.Event(), iter(range(5))
    pipe.watchers.append(lambda opened: hangs.set() or go_on.wait(30))
    pipe.ensure_running()
    (thread, *_) = pipe._running
    assert hangs.wait(30)
    done = []
    assert not pipe.stop(lambda: done.append("last"), lambda: next(steps, None))
    assert list(steps) == []
    go_on.set()
    thread.join()
    assert done == []


def test_a_fault_in_the_last_thing_is_counted():
    """What is done last may fail like any tick."""
    pipe = Pipeline(next_id=itertools.count().__next__)
    pipe.ensure_running()
    assert pipe.stop(lambda: 1 / 0)
    assert sum(pipe.faults.values()) == 1


@pytest.mark.parametrize("role", ["worker", "orchestrator"])
def test_what_we_call_ourselves_is_not_recorded(role):
    """Below the anchor of our own trace no call leaves anything: no span, no drop, no count."""

    @traced(role=role)
    def called():
        return [span.operation for span in pipeline.open_spans()]

    with capture() as captured:
        token = current.set(trace_anchor(UNWATCHED))
        assert called() == []
        with TraceContext("by hand"):
            called()
        current.reset(token)
        called()
        assert [span.operation.rpartition(".")[2] for span in captured.spans] == ["called"]
        assert (pipeline.started, pipeline.dropped) == (1, 0)
