"""A watched generator is the generator that it would have been, and one span."""

# ruff: noqa: B904, PLR1708, UP028 - the samples raise and yield in every way there is

import asyncio
import contextlib
import functools
import gc
import inspect
import sys
import traceback
import types
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace import TraceContext, traced
from dytopo_autotrace.collect.span import END_NS, OUTCOME, Site
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.iterating import follow


class Thrown(Exception):
    pass


@traced
def inside():
    """A call that shows below which span it runs."""


def stubborn(log, steps):
    """A generator that does what its steps say with all that comes in."""
    for step in steps:
        try:
            log.append(("sent", (yield step)))
        except BaseException as error:
            log.append(("caught", type(error), error.__context__, error.__cause__))
            if step == "reraise" or (step == "go on" and type(error) is GeneratorExit):
                raise
            if step == "other":
                raise ValueError("other") from None
            if step == "chain":
                raise ValueError("chained")
            if step == "return":
                return "returned early"
            if step == "stop":
                raise StopIteration("in the body")
            log.append(("handled", sys.exc_info()[0]))
        finally:
            log.append("finally")
    if steps and steps[-1] == "other":
        raise KeyError("at the end")
    return len(steps)


async def stubborn_later(log, steps):
    for step in steps:
        try:
            await asyncio.sleep(0)
            log.append(("sent", (yield step)))
        except BaseException as error:
            log.append(("caught", type(error), error.__context__, error.__cause__))
            await asyncio.sleep(0)
            if step == "reraise" or (step == "go on" and type(error) is GeneratorExit):
                raise
            if step == "other":
                raise ValueError("other") from None
            if step == "chain":
                raise ValueError("chained")
            if step == "return":
                return
            if step == "stop":
                raise StopAsyncIteration("in the body")
        finally:
            log.append("finally")
    if steps and steps[-1] == "other":
        raise KeyError("at the end")


def shown(error):
    """All that can be seen of an exception, by value."""
    # What is thrown into a generator that has not begun is raised at the `def`, which is ours.
    frames = [each.name for each in traceback.extract_tb(error.__traceback__)]
    related = [each and (type(each), str(each)) for each in (error.__context__, error.__cause__)]
    return type(error), str(error), related, error.__suppress_context__, frames


def drive(generator, operations):
    """Do something to a generator, step by step, and write down what comes of it."""
    came = []
    for name, argument in operations:
        try:
            came.append(("yielded", getattr(generator, name)(*argument)))
        except BaseException as error:
            came.append(("raised", shown(error), [error is each for each in argument]))
        came.append((inspect.getgeneratorstate(generator), sys.exc_info()))
    for _ in range(10):
        with contextlib.suppress(BaseException):
            generator.close()  # A stubborn one takes as long as it likes.
    return came


async def drive_later(make, operations):
    came, generator = [], make()
    for name, argument in operations:
        try:
            came.append(("yielded", await getattr(generator, name)(*argument)))
        except BaseException as error:
            came.append(("raised", shown(error), [error is each for each in argument]))
        came.append(generator.ag_frame is None)
    for _ in range(10):
        with contextlib.suppress(BaseException):
            await generator.aclose()
    return came


steps = st.lists(
    st.sampled_from(["go on", "reraise", "other", "chain", "return", "stop"]), max_size=5
)
kinds = st.sampled_from([Thrown, GeneratorExit, StopIteration, StopAsyncIteration])


def operations(prefix):
    return st.lists(
        st.one_of(
            st.tuples(st.just("__anext__" if prefix else "__next__"), st.just(())),
            st.tuples(st.just(f"{prefix}send"), st.tuples(st.sampled_from([None, "value"]))),
            st.tuples(st.just(f"{prefix}throw"), st.tuples(kinds.map(lambda kind: kind("x")))),
            st.tuples(st.just(f"{prefix}throw"), st.tuples(kinds)),
            st.tuples(st.just(f"{prefix}close"), st.just(())),
        ),
        max_size=7,
    )


def again(todo):
    """The same operations with exceptions of their own: one that has flown is not what it was."""
    return [
        (name, tuple(type(a)(*a.args) if isinstance(a, BaseException) else a for a in argument))
        for name, argument in todo
    ]


@given(steps, operations(""))
def test_whatever_is_done_to_a_generator_gives_what_it_gave(todo, done):
    """Items, sent values, thrown exceptions, `close` and return values pass through exactly."""
    bare, woven = [], []
    with capture() as seen:
        expected = drive(stubborn(bare, todo), again(done))
        came = drive(traced(stubborn)(woven, todo), again(done))
        gc.collect()
    assert came == expected
    assert woven == bare
    assert len(seen.spans) <= 1


@given(steps, operations("a"))
def test_whatever_is_done_to_an_async_generator_gives_what_it_gave(todo, done):
    """`asend`, `athrow`, `aclose` and everything that is raised pass through exactly."""
    bare, woven = [], []

    async def both():
        return (
            await drive_later(lambda: stubborn_later(bare, todo), again(done)),
            await drive_later(lambda: traced(stubborn_later)(woven, todo), again(done)),
        )

    with capture():
        expected, came = asyncio.run(both())
    assert came == expected
    assert woven == bare


def test_a_generator_that_ignores_its_closing_is_told_so():
    """`close` on a generator that goes on all the same raises the error that it always raised."""

    def deaf():
        for number in range(3):
            with contextlib.suppress(GeneratorExit):
                yield number

    for function in (deaf, traced(deaf)):
        generator = function()
        next(generator)
        with pytest.raises(RuntimeError, match="^generator ignored GeneratorExit$"):
            generator.close()
        assert [*generator] == [2]


def test_generators_are_of_the_kind_that_they_were():
    """`inspect`, the types, the names and the states of functions and generators are the same."""

    @traced
    def numbers():
        yield 1

    @traced
    async def numbers_later():
        yield 1

    @traced
    @types.coroutine
    def awaited():
        return (yield from asyncio.sleep(0, "result"))

    assert inspect.isgeneratorfunction(numbers)
    assert not inspect.isasyncgenfunction(numbers)
    assert inspect.isasyncgenfunction(numbers_later)
    assert not inspect.iscoroutinefunction(numbers_later)
    first, second = numbers(), numbers_later()
    assert type(first) is types.GeneratorType
    assert type(second) is types.AsyncGeneratorType
    assert first.__qualname__.endswith("<locals>.numbers")
    assert first.gi_code.co_name == "numbers"
    assert inspect.isawaitable(awaited())
    with capture() as seen:
        assert asyncio.run(_await(awaited())) == "result"
    assert len(seen.spans) == 1


async def _await(awaitable):
    return await awaitable


def test_a_generator_span_covers_the_iteration_and_counts():
    """It begins with the first item that is asked for, ends with the last, and knows both."""

    @traced(attributes={"given": "limit", "returned": "result"})
    def numbers(limit):
        inside()
        for number in range(limit):
            yield number
        return "done"

    with capture() as seen:
        assert [*numbers(3)] == [0, 1, 2]
        numbers(3)
    span = seen.one(numbers.__qualname__)
    assert seen.tree() == [(numbers.__qualname__, [("inside", [])])]
    assert 0 < span.metadata["first_item_seconds"] <= span.duration
    assert span.metadata.items() >= {"given": 3, "returned": "done", "items": 3}.items()


def test_the_consumer_does_not_see_the_span_between_items():
    """What the loop's body calls is beside the generator, what the generator calls is below it."""

    @traced
    def numbers():
        for number in range(2):
            inside()
            yield number

    @traced
    async def numbers_later():
        for number in range(2):
            inside()
            await asyncio.sleep(0)
            yield number

    @traced
    def consume():
        before = current.get()
        for _ in numbers():
            assert current.get() is before
            inside()
        assert current.get() is before

    @traced
    async def consume_later():
        before = current.get()
        async for _ in numbers_later():
            assert current.get() is before
            inside()
        assert current.get() is before

    with capture() as seen:
        consume()
        asyncio.run(consume_later())
    for _, ((_, below), *beside) in seen.tree():
        assert below == [("inside", [])] * 2
        assert beside == [("inside", [])] * 2


def test_a_span_that_is_open_across_items_is_current_for_the_generator_only():
    """A `with` block around a `yield` is the generator's own, and is found again when it goes on."""

    @traced
    def numbers():
        with TraceContext("block"):
            yield 1
            inside()
            yield 2

    with capture() as seen, TraceContext("outer"):
        for _ in numbers():
            inside()
    ((_, (generator, *beside)),) = seen.tree()
    assert generator == (numbers.__qualname__, [("block", [("inside", [])])])
    assert beside == [("inside", [])] * 2


def test_an_iteration_that_is_closed_early_is_no_failure():
    """Who breaks out of a loop has got what was wanted: the span says so and is a success."""

    @traced
    def numbers():
        yield from range(10)

    with capture() as seen:
        for number in numbers():
            if number == 3:
                break
    span = seen.one(numbers.__qualname__)
    assert span.status == "success"
    assert span.metadata["closed_early"] is True
    assert span.metadata["items"] == 4
    assert seen.failures == []


def test_a_generator_that_raises_has_failed():
    """The failure has the generator's operation, and the items that it gave before."""

    @traced
    def numbers():
        yield 1
        raise Thrown

    with capture() as seen, contextlib.suppress(Thrown):
        [*numbers()]
    assert seen.one(numbers.__qualname__).status == "error"
    assert seen.one(numbers.__qualname__).metadata["items"] == 1
    assert [failure.error_type for failure in seen.failures] == ["Thrown"]


def test_what_passes_through_a_generator_is_not_held():
    """Items, sent values and thrown exceptions go when the host lets go of them."""

    class Thing:
        pass

    @traced
    def echo():
        received = yield Thing()
        while True:
            try:
                del received
                received = yield
            except Thrown:
                received = None

    with capture():
        generator = echo()
        reference = weakref.ref(next(generator))
        assert reference() is None
        sent = Thing()
        reference = weakref.ref(sent)
        generator.send(sent)
        del sent
        assert reference() is None
        error = Thrown()
        reference = weakref.ref(error)
        generator.throw(error)
        del error
        assert reference() is None
        generator.close()


def test_async_generators_end_once_however_they_end(recwarn):
    """Broken off, closed from another task, by garbage collection or by the loop: nothing is logged."""
    problems, ended = [], []

    @traced
    async def numbers(name):
        try:
            for number in range(10):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def begin(name):
        generator = numbers(name)
        assert await anext(generator) == 0
        return generator

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, about: problems.append(about))
        async for _ in numbers("broken off"):
            break
        await asyncio.create_task((await begin("another task")).aclose())
        held = [await begin("collected")]
        cycle = [await begin("cycle")]
        cycle.append(cycle)
        held.clear()
        del cycle
        gc.collect()
        await asyncio.sleep(0.01)
        main.left = await begin("loop")

    with capture() as seen:
        asyncio.run(main())
        del main.left
    assert problems == []
    assert sorted(ended) == ["another task", "broken off", "collected", "cycle", "loop"]
    assert [span.metadata["items"] for span in seen.spans] == [1] * 5
    assert all(span.metadata["closed_early"] for span in seen.spans)


def test_a_generator_in_a_cycle_with_itself_is_closed_as_without_us():
    """Whichever of the two generators is finalized first, `finally` blocks that wait run to their end."""
    ended = []

    class Holder:
        def __init__(self):
            self.generator = self.numbers()

        @traced
        async def numbers(self):
            try:
                yield 1
                yield self
            finally:
                await asyncio.sleep(0)
                ended.append("closed")

    async def main():
        for _ in range(20):
            holder = Holder()
            assert await anext(holder.generator) == 1
            del holder
            gc.collect()
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    with capture() as seen:
        asyncio.run(main())
    assert ended == ["closed"] * 20
    assert len(seen.spans) == 20


def test_two_consumers_at_once_are_told_what_they_were_told():
    """A second `anext` while the first one waits raises the same error with the same text."""

    async def numbers():
        await asyncio.sleep(0)
        yield 1

    async def twice(function):
        generator = function()
        outcomes = await asyncio.gather(anext(generator), anext(generator), return_exceptions=True)
        await generator.aclose()
        return [(type(each), str(each)) for each in outcomes]

    with capture():
        assert asyncio.run(twice(traced(numbers))) == asyncio.run(twice(numbers))


def test_a_cancelled_iteration_is_cancelled():
    """Cancelling the task that waits for an item ends the span as cancelled."""

    @traced
    async def numbers():
        yield 1
        await asyncio.Event().wait()

    async def main():
        async def consume():
            async for _ in numbers():
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture() as seen:
        asyncio.run(main())
    assert seen.one(numbers.__qualname__).status == "cancelled"


def test_an_iteration_goes_on_while_the_agent_is_taken_out(load):
    """A generator in flight is recorded to its end; one that starts afterwards is not."""
    plain = load("patient.plain")
    with capture('[[rule]]\ntarget = "patient.plain:count*"') as seen:
        generator = plain.count(3)
        count = plain.count
        assert next(generator) == 0
        seen.installation.uninstall()
        assert [*generator] == [1, 2]
        assert [*count(2)] == [0, 1]
        assert asyncio.run(_collect(plain.count_later(2))) == [0, 1]
    assert [span.metadata["items"] for span in seen.spans] == [3]


async def _collect(generator):
    return [each async for each in generator]


def test_an_async_generator_without_the_agent_passes_everything_through(load):
    """The advice that a reference keeps after the agent has gone does what the function does."""
    load("patient.plain")
    plain = load("patient.plain")
    with capture('[[rule]]\ntarget = "patient.plain:count_later"') as seen:
        kept = plain.count_later
    assert asyncio.run(_collect(kept(2))) == [0, 1]
    assert seen.spans == []


def test_the_recursion_of_generators_keeps_its_parents():
    """A generator that delegates to itself gives a chain of spans, innermost last."""

    @traced(operation="walk")
    def walk(depth):
        yield depth
        if depth:
            yield from walk(depth - 1)

    with capture() as seen:
        assert [*walk(2)] == [2, 1, 0]
    assert seen.tree() == [("walk", [("walk", [("walk", [])])])]


# --- Functions that hand back a generator or a future ----------------------------------------------


def test_a_function_that_hands_back_a_generator_is_timed_to_its_end():
    """The span of the call lasts until the last item, with what is counted of the iteration."""

    def numbers(limit):
        for number in range(limit):
            inside()
            yield number
        return "done"

    async def numbers_later(limit):
        for number in range(limit):
            inside()
            yield number

    @traced(operation="make", attributes={"limit": "limit"})
    def make(function, limit):
        return function(limit)

    with capture() as seen:
        generator = make(numbers, 2)
        assert type(generator) is types.GeneratorType
        assert generator.__name__ == "numbers"
        assert [*generator] == [0, 1]
        later = make(numbers_later, 3)
        assert type(later) is types.AsyncGeneratorType
        assert asyncio.run(_collect(later)) == [0, 1, 2]
    assert seen.tree() == [
        ("make", [("inside", [])] * 2),
        ("make", [("inside", [])] * 3),
    ]
    assert [span.metadata["items"] for span in seen.spans if span.operation == "make"] == [2, 3]


def test_a_generator_that_is_handed_back_and_never_asked_ends_with_the_call():
    """The function was called, so there is a span; nothing was iterated, so it ends there."""

    @traced(operation="make")
    def make():
        return (number for number in range(3))

    with capture() as seen:
        make()
        gc.collect()
        half = make()
        next(half)
        assert make_and_use(half) == [1, 2]
    assert [span.metadata["items"] for span in seen.spans] == [0, 3]


def make_and_use(generator):
    return [*generator]


def test_a_generator_that_was_begun_is_handed_back_as_it_is():
    """What somebody else iterates over stays the same object, and the call ends at once."""

    def numbers():
        yield 1
        yield 2

    @traced(operation="hand over")
    def hand_over(generator):
        return generator

    async def numbers_later():
        yield 1
        yield 2

    async def main():
        later = numbers_later()
        await anext(later)
        assert hand_over(later) is later
        await later.aclose()

    with capture() as seen:
        generator = numbers()
        next(generator)
        assert hand_over(generator) is generator
        asyncio.run(main())
    assert len(seen.spans) == 2
    assert "items" not in seen.spans[0].metadata


def test_what_the_host_keeps_is_handed_back_as_it_is():
    """A coroutine or generator that a cache holds as well is the one that callers get."""

    async def later():
        return 1

    for function in (lambda: (x for x in "ab"), later):
        woven = traced(functools.cache(function))
        with capture() as seen:
            kept = woven()
            assert woven() is kept
            assert len(seen.spans) == 2
        kept.close()


@pytest.mark.parametrize("end", ["returns", "raises", "is cancelled"])
def test_a_function_that_hands_back_a_future_is_timed_until_it_is_done(end):
    """The same future comes back, and the span ends as the future does, with its result."""

    @traced(operation="later", attributes={"came": "result"})
    def later(loop):
        future = loop.create_future()
        loop.call_soon(complete, future)
        return future

    def complete(future):
        inside()
        if end == "returns":
            future.set_result(42)
        elif end == "raises":
            future.set_exception(Thrown("no"))
        else:
            future.cancel()

    async def main():
        future = later(asyncio.get_running_loop())
        assert type(future) is asyncio.Future
        await asyncio.wait([future])
        await asyncio.sleep(0)
        with contextlib.suppress(Thrown, asyncio.CancelledError):
            assert future.result() == 42

    with capture() as seen:
        asyncio.run(main())
    assert seen.tree() == [("later", [("inside", [])])]
    statuses = {"returns": "success", "raises": "error", "is cancelled": "cancelled"}
    assert seen.one("later").status == statuses[end]
    assert seen.one("later").metadata == ({"came": 42} if end == "returns" else {})


def test_a_future_whose_exception_nobody_looks_at_is_still_complained_about():
    """asyncio says that an exception was never retrieved, although we have read it."""
    said = []

    @traced
    def later(loop):
        future = loop.create_future()
        loop.call_soon(future.set_exception, Thrown("nobody looks"))
        return future

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about))
        later(asyncio.get_running_loop())
        await asyncio.sleep(0.01)
        gc.collect()

    with capture():
        asyncio.run(main())
    assert [about["message"] for about in said] == ["Future exception was never retrieved"]


class Handed(list):
    """A record that remembers what was in it when its end was set: from then on others read it."""

    def __setitem__(self, place, value):
        super().__setitem__(place, value)
        if place == END_NS:
            self.at_the_end = list(self)


@pytest.mark.parametrize("leave", ["exhausted", "closed", "raised"])
def test_the_end_of_an_iteration_is_set_when_all_else_is_known(leave):
    """Whoever drains at that very moment sees how it ended and what was counted."""
    record = Handed([1, 0, 2, Site("numbers"), 3, 0, None, None, None])

    def numbers():
        yield 1
        if leave == "raised":
            raise KeyError
        yield 2

    def failed(error):
        record[OUTCOME] = ("error", None)

    ours = follow(record, numbers(), lambda result, last: None, failed)
    assert next(ours) == 1
    if leave == "closed":
        ours.close()
    elif leave == "raised":
        with pytest.raises(KeyError):
            next(ours)
    else:
        assert list(ours) == [2]
    assert record.at_the_end == list(record)
    assert (record[OUTCOME] is None) == (leave != "raised")
