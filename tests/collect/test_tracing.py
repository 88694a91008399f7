"""Which span is whose parent, across tasks, threads and event loops."""

import asyncio
import contextvars
import gc
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace import TraceContext, traced
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.collect.tracing import Traces, current
from dytopo_autotrace.observability import trace_id_var
from dytopo_autotrace.testing import capture


@traced(operation="child")
async def child(wait=0.0):
    await asyncio.sleep(wait)


@traced(operation="sync child")
def sync_child():
    return threading.get_ident()


def parents(seen, operation):
    names = {span.id: span.operation for span in seen.spans}
    return [names.get(span.parent) for span in seen.spans if span.operation == operation]


async def by_create_task():
    await asyncio.create_task(child())


async def by_gather():
    await asyncio.gather(child(), child())


async def by_task_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        group.create_task(child())


async def by_wait_for():
    await asyncio.wait_for(child(), 10)


async def by_shield():
    await asyncio.shield(child())


async def by_to_thread():
    await asyncio.to_thread(sync_child)


async def by_call_soon():
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: (sync_child(), done.set_result(None)))
    await done


async def by_copied_context():
    contextvars.copy_context().run(sync_child)


@pytest.mark.parametrize(
    "way",
    [
        *(by_create_task, by_gather, by_task_group, by_wait_for, by_shield),
        *(by_to_thread, by_call_soon, by_copied_context),
    ],
    ids=lambda way: way.__name__,
)
async def test_the_caller_is_the_parent_however_the_call_is_made(way):
    """Tasks, groups, threads and callbacks carry the parent along."""
    with capture() as seen:
        await traced(operation="parent")(way)()
    expected = parents(seen, "child") + parents(seen, "sync child")
    assert expected
    assert set(expected) == {"parent"}
    assert len({span.trace for span in seen.spans}) == 1


async def test_a_thousand_workers_have_one_parent_and_keep_to_themselves():
    """Under one `gather`, every worker's calls are its own."""

    @traced(operation="worker", attributes={"number": "number"})
    async def worker(number):
        await asyncio.sleep(0)
        await step(number)

    @traced(operation="step", attributes={"number": "number"})
    async def step(number):
        await asyncio.sleep(0)

    @traced(operation="swarm")
    async def swarm():
        await asyncio.gather(*(worker(number) for number in range(1000)))

    with capture() as seen:
        await swarm()
    spans = {span.id: span for span in seen.spans}
    assert len(spans) == 2001
    assert set(parents(seen, "worker")) == {"swarm"}
    for span in spans.values():
        if span.operation == "step":
            above = spans[span.parent]
            assert above.operation == "worker"
            assert above.metadata == span.metadata


async def test_a_task_that_outlives_its_parent_keeps_it():
    """A task still running when its parent ends is that parent's child all the same."""

    @traced(operation="parent")
    async def parent():
        return asyncio.create_task(child(0.01))

    with capture() as seen:
        task = await parent()
        assert [span.operation for span in seen.spans] == ["parent"]
        await task
    assert parents(seen, "child") == ["parent"]


async def test_sequential_roots_of_a_task_share_a_trace():
    """A context keeps its trace, and still knows it when its spans have ended."""
    with capture() as seen:
        assert trace_id_var.get() is None
        await child()
        trace_id = trace_id_var.get()
        with TraceContext("second"):
            assert trace_id_var.get() == trace_id
        assert trace_id_var.get() == trace_id
    assert {span.trace_id for span in seen.spans} == {trace_id}
    assert {span.parent for span in seen.spans} == {0}


async def test_tasks_without_a_trace_begin_their_own():
    """Two tasks begun outside any span are two traces."""
    with capture() as seen:
        await asyncio.gather(asyncio.create_task(child()), asyncio.create_task(child()))
    assert len({span.trace for span in seen.spans}) == 2


async def test_an_orchestrator_begins_a_trace_and_is_linked_to_what_encloses_it():
    """Each run of a swarm is a trace of its own; the span around it is linked, and current again."""

    @traced(operation="run", role="orchestrator")
    async def run():
        await child()

    with capture() as seen:
        with TraceContext("session") as session:
            outer = trace_id_var.get()
            await run()
            assert trace_id_var.get() == outer
            await child()
        await run()
        last = trace_id_var.get()
    first, second = (span for span in seen.spans if span.operation == "run")
    assert first.links == (session.id,)
    assert second.links == ()
    assert len({outer, first.trace_id, second.trace_id}) == 3
    assert last == second.trace_id
    assert seen.tree() == [
        ("session", [("child", [])]),
        ("run", [("child", [])]),
        ("run", [("child", [])]),
    ]


def test_event_loops_one_after_another_and_in_threads():
    """Nothing is tied to a loop: loops in a row and at once record the same."""

    @traced(operation="run", role="orchestrator")
    async def run():
        await asyncio.gather(child(), child())

    with capture() as seen:
        for _ in range(3):
            asyncio.run(run())
        threads = [threading.Thread(target=asyncio.run, args=(run(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen.tree() == [("run", [("child", []), ("child", [])])] * 7


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=4), max_leaves=25))
def test_any_tree_of_calls_is_the_tree_of_spans(shape):
    """Whatever calls whatever, sync and async mixed, the spans say so."""

    @traced(operation="s")
    def sync(below):
        for each in below:
            sync(each)

    @traced(operation="a")
    async def run(below):
        for index, each in enumerate(below):
            if index % 2:
                await run(each)
            else:
                await asyncio.create_task(run(each))
        sync([])

    def expected(below):
        return ("a", [*map(expected, below), ("s", [])])

    with capture() as seen:
        asyncio.run(run(shape))
    assert seen.tree() == [expected(shape)]


# --- Spans by hand ---------------------------------------------------------------------------------


async def test_a_span_by_hand_is_like_any_other():
    """`with` and `async with` nest with each other and with watched calls, and take metadata."""
    with capture() as seen:
        async with TraceContext("outer", agent="ann", role="worker", round=1) as outer:
            with TraceContext("inner") as inner:
                inner.metadata["later"] = 2
                assert inner.status == "in_progress"
                assert inner.duration is None
            await child()
        assert outer.status == inner.status == "success"
    assert seen.tree() == [("outer", [("inner", []), ("child", [])])]
    assert (outer.agent, outer.role, outer.metadata["round"]) == ("ann", "worker", 1)
    assert inner.metadata == {"later": 2}
    assert outer in seen.spans


async def test_an_exception_in_a_block_ends_it_as_failed_and_comes_through():
    """The span has status and error, and the failure is recorded."""
    error = ValueError("inside")
    with capture() as seen:
        with pytest.raises(ValueError, match="inside") as raised:
            async with TraceContext("block", agent="ann"):
                raise error
        assert raised.value is error
    span = seen.one("block")
    assert span.status == "error"
    assert span.metadata["error_type"] == "ValueError"
    assert span.metadata["error_message"] == "inside"
    (failure,) = seen.failures
    assert (failure.operation, failure.context["agent"]) == ("block", "ann")


async def test_a_cancelled_block_is_cancelled():
    """A task cancelled inside a block has no failed span."""

    async def work():
        async with TraceContext("block"):
            await asyncio.sleep(60)

    with capture() as seen:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen.one("block").status == "cancelled"


def test_a_block_that_the_program_finishes_itself_keeps_its_verdict():
    """`span.finish("error", …)` inside the block is the last word."""
    with capture() as seen:
        with TraceContext("block") as span:
            span.finish("error", reason="because")
            ended = span.end_ns
    assert seen.one("block").status == "error"
    assert span.metadata == {"reason": "because"}
    assert span.end_ns == ended


def test_leaving_a_block_that_was_never_entered_does_nothing():
    """`__exit__` without `__enter__` is no error."""
    with capture() as seen:
        TraceContext("never").__exit__(None, None, None)
    assert seen.spans == []


async def test_a_block_left_in_another_task_puts_nothing_back_there():
    """A block entered in one task and left in another does not change the other's span."""
    with capture():
        block = TraceContext("block")
        await asyncio.create_task(_enter(block))
        with TraceContext("here"):
            here = current.get()
            block.__exit__(None, None, None)
            assert current.get() is here


async def _enter(block):
    block.__enter__()


def test_an_agent_that_is_no_text_is_named_by_its_text():
    """Agents by number or by object have a name; one that cannot be shown has none."""

    class Shy:
        def __str__(self):
            raise RuntimeError

    with capture() as seen:
        for agent in (7, Shy(), None):
            with TraceContext("block", agent=agent):
                pass
    assert [span.agent for span in seen.spans] == ["7", "", ""]


# --- Keeping them ----------------------------------------------------------------------------------


def spans(trace, count):
    return [Span(number + 1, 0, trace, Site("op"), 1) for number in range(count)]


def test_beyond_the_limit_the_oldest_trace_goes_whole():
    """Memory is bounded, what went is counted, and newer traces are complete."""
    traces = Traces(max_spans=10)
    for trace in (1, 2, 3):
        traces.add(spans(trace, 4))
    assert traces.get(1) == []
    assert [len(traces.get(trace)) for trace in (2, 3)] == [4, 4]
    assert traces.dropped == 4


def test_a_trace_beyond_the_limit_alone_loses_its_newest():
    """A single huge trace keeps its beginning."""
    traces = Traces(max_spans=10)
    traces.add(spans(1, 25))
    assert [span.id for span in traces.get(1)] == [*range(1, 11)]
    traces.add(spans(1, 5))
    assert len(traces.get(1)) == 10
    assert traces.dropped == 20


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 7)), max_size=20), st.integers(1, 12))
def test_kept_and_dropped_spans_are_all_of_them(batches, limit):
    """However spans arrive, what is there and what is counted as dropped add up."""
    traces = Traces(max_spans=limit)
    for trace, count in batches:
        traces.add(spans(trace, count))
    kept = sum(map(len, traces.all().values()))
    assert kept <= limit
    assert kept + traces.dropped == sum(count for _, count in batches)


def test_a_finalizer_that_asks_for_spans_does_not_hang():
    """Letting go of a span may run the host's code, which may ask for spans."""
    traces = Traces(max_spans=1)

    class Asks:
        def __del__(self):
            traces.all()

    span = Span(1, 0, 1, Site("op"), 1)
    span.metadata["thing"] = Asks()
    traces.add([span])
    del span
    traces.add(spans(2, 1))
    gc.collect()
    assert list(traces.all()) == [2]


def test_asking_for_open_spans_does_not_close_them():
    """Spans that run can be listed again and again."""
    with capture():
        with TraceContext("outer"), TraceContext("inner"):
            for _ in range(2):
                assert [span.operation for span in pipeline.open_spans()] == ["outer", "inner"]
        assert pipeline.open_spans() == []
