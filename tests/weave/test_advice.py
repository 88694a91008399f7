"""A watched call is the call that it would have been."""

import asyncio
import gc
import inspect
import pickle
import sys
import threading
import traceback
import types
import typing
import warnings
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace import TraceContext, traced
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.advice import given_to
from dytopo_autotrace.weave.decorators import _weaver


def bare(function):
    return function


def outcome(call, *args, **kwargs):
    """What a call came to: its result, or the type and the text of what it raised."""
    try:
        return "returned", call(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)


# --- Any signature, called in any way --------------------------------------------------------------

NAMES = ("a", "b", "result", "error", "type", "len", "self", "_x", "__value", "dytopo")


@st.composite
def signatures(draw):
    """The parameters of a function, as source."""
    names = draw(st.permutations(NAMES))
    counts = [draw(st.integers(0, 2)) for _ in range(3)]
    groups = []
    for count in counts:
        groups.append([names.pop() for _ in range(count)])
    positional_only, either, keyword_only = groups
    first_default = draw(st.integers(0, len(positional_only) + len(either)))
    source = []
    for index, name in enumerate([*positional_only, *either]):
        source.append(f"{name}={index}" if index >= first_default else name)
        if index + 1 == len(positional_only):
            source.append("/")
    if draw(st.booleans()):
        source.append("*rest")
    elif keyword_only:
        source.append("*")
    source += [f"{n}='kw'" if draw(st.booleans()) else n for n in keyword_only]
    if draw(st.booleans()):
        source.append("**others")
    return ", ".join(source)


calls = st.tuples(
    st.lists(st.integers(), max_size=5),
    st.dictionaries(st.sampled_from([*NAMES, "unknown"]), st.text(max_size=3), max_size=4),
)


@settings(max_examples=300, deadline=None)
@given(signatures(), st.lists(calls, min_size=1, max_size=5), st.booleans())
def test_any_call_of_any_signature_gives_what_it_gave(signature, every, is_async):
    """Woven and bare, sync and async: the same result, or the same exception with the same text."""
    scope = {}
    source = f"def f({signature}):\n    return [*locals().items()]"
    exec(f"async {source}" if is_async else source, scope)
    function = scope["f"]
    named = [
        name for name in ("a", "type", "rest", "others") if name in scope["f"].__code__.co_varnames
    ]
    woven = traced(attributes={"result": "result", **{name: name for name in named}})(function)

    def run(callee, args, kwargs):
        return outcome(
            lambda: asyncio_free(callee(*args, **kwargs)) if is_async else callee(*args, **kwargs)
        )

    with capture() as seen:
        outcomes = [(run(function, *each), run(woven, *each)) for each in every]
        assert [one for one, _ in outcomes] == [other for _, other in outcomes]
        assert len(seen.spans) == sum(one[0] == "returned" for one, _ in outcomes)
        for span in seen.spans:
            assert set(span.metadata) == {"result", *named}
    assert str(inspect.signature(woven)) == str(inspect.signature(function))
    assert inspect.iscoroutinefunction(woven) is is_async


def asyncio_free(coroutine):
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


def test_defaults_that_change_later_count():
    """Defaults are the function's own, also when the host replaces them after weaving."""

    @traced
    def f(a=1, *, b=2):
        return a, b

    assert f() == (1, 2)
    f.__defaults__, f.__kwdefaults__ = (10,), {"b": 20}
    assert f() == (10, 20)


# --- Exceptions ------------------------------------------------------------------------------------


def raising(error, cause=None):
    def middle():
        raise error from cause

    middle()


async def raising_later(error):
    await asyncio.sleep(0)
    raise error


def frames_of(error):
    return [
        (frame.filename, frame.lineno, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
    ]


@pytest.mark.parametrize("cause", [None, KeyError("why")])
def test_the_exception_is_the_same_object_with_the_same_story(cause):
    """Identity, cause, context and every frame of the traceback are those of the bare call."""
    errors = []
    with capture():
        for weave in (bare, traced):
            error = ValueError("told")
            inner = weave(raising)

            def outer(*args, inner=inner):
                return inner(*args)

            function = weave(outer)
            try:
                try:
                    raise LookupError("before")
                except LookupError:
                    function(error, cause)
            except ValueError as caught:
                assert caught is error
                errors.append(caught)
    one, other = errors
    assert [frame[2] for frame in frames_of(one)][1:] == ["outer", "raising", "middle"]
    assert frames_of(other) == frames_of(one)
    assert other.__cause__ is one.__cause__
    assert type(other.__context__) is type(one.__context__) is LookupError
    assert other.__suppress_context__ == one.__suppress_context__


async def test_the_exception_of_a_coroutine_is_the_same_too():
    """A traceback that went through an awaited coroutine has none of our frames."""
    errors = []
    with capture():
        for weave in (bare, traced):
            error = ValueError("told")
            function = weave(raising_later)
            try:
                await function(error)
            except ValueError as caught:
                assert caught is error
                errors.append(frames_of(caught))
    assert errors[0] == errors[1]


def test_tracebacks_stay_clean_when_the_switch_is_off(load):
    """A reference that outlived the agent shows no frame of ours either."""
    with capture('[[rule]]\ntarget = "patient.plain:fail"'):
        fail = load("patient.plain").fail
    with pytest.raises(ValueError, match="as asked") as raised:
        fail()
    assert [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)][1:] == [
        "fail"
    ]


def test_a_wrong_call_is_refused_in_the_same_words_from_the_same_place():
    """The `TypeError` of a wrong call names the function and comes from the caller's own line."""

    def f(a, b):
        return a, b

    class C:
        def m(self, a):
            return a

    shown = []
    for weave in (bare, traced):
        function, C.w = weave(f), weave(C.m)
        for call in (lambda: function(1), lambda: function(1, 2, 3), lambda: function(c=1), C().w):
            with pytest.raises(TypeError) as raised:
                call()
            shown.append((str(raised.value), len(frames_of(raised.value))))
    assert shown[:4] == shown[4:]


def test_an_exception_that_fails_to_show_itself_comes_through():
    """`__str__` of an exception may raise, and may be of any length."""

    class Shy(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    with capture() as seen:
        for error in (Shy(), ValueError("x" * 100_000)):
            with pytest.raises(type(error)) as raised:
                traced(raising)(error)
            assert raised.value is error
    messages = [failure.error_message for failure in seen.failures]
    assert messages[0] == "<str() raised RuntimeError>"
    assert len(messages[1]) < 1100


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "error"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(0), "success"),
        (SystemExit(None), "success"),
        (SystemExit(1), "error"),
        (SystemExit("message"), "error"),
        (GeneratorExit(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (StopIteration(17), "success"),
        (ExceptionGroup("several", [ValueError("a"), KeyError("b")]), "error"),
        (MemoryError(), "error"),
    ],
    ids=repr,
)
def test_every_kind_of_exception_has_its_outcome_and_comes_through(error, status):
    """What ends a call decides its status; the very object reaches the caller."""
    with capture() as seen:
        try:
            traced(operation="f")(raising)(error)
        except BaseException as caught:
            assert caught is error
    assert seen.one("f").status == status
    assert len(seen.failures) == (status == "error")


def test_recursion_has_the_room_that_it_had_less_one_frame_a_call(load):
    """A woven recursion comes half as deep, and its `RecursionError` is caught as ever."""
    plain = load("patient.plain")
    deep = plain.dive(0)
    with capture('[[rule]]\ntarget = "patient.plain:dive"') as seen:
        assert plain.dive(0) >= deep // 2 - 10
        assert plain.factorial(10) == 3628800
    assert len(seen.spans) >= deep // 2 - 10


def test_at_the_end_of_the_stack_the_hosts_exception_is_still_its_own():
    """Where there is no room left for our own work, the exception is the host's, without context."""

    def f(a):
        raise KeyError(a)

    def at(depth, function):
        return at(depth - 1, function) if depth else function("x")

    attributes = {"a": "[a]", "e": "error", "bad": "a.nothing"}
    woven = traced(operation="f", attributes=attributes)(f)
    room = sys.getrecursionlimit() - len(inspect.stack())
    ended = set()
    missed = _weaver().switch.missed
    with capture() as seen:
        for depth in range(room - 60, room):
            try:
                at(depth, woven)
            except (KeyError, RecursionError) as error:
                ended.add(type(error))
                assert type(error) is RecursionError or error.__context__ is None
        assert pipeline.open_spans() == []
        assert {span.status for span in seen.spans} == {"error"}
    assert ended == {KeyError, RecursionError}
    assert _weaver().switch.missed > missed


# --- Coroutines ------------------------------------------------------------------------------------


def test_a_coroutine_that_nobody_awaits_is_warned_of_as_ever():
    """Python's warning has the same text, and there is no span of a call that never ran."""

    async def forgotten():
        pass

    texts = []
    with capture() as seen:
        for weave in (bare, traced):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                weave(forgotten)()
                gc.collect()
            texts.append([str(each.message) for each in caught])
        assert seen.spans == pipeline.open_spans() == []
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1


def test_a_closed_coroutine_is_cancelled():
    """`close()` on a waiting coroutine runs its `finally` and ends its span."""
    steps = []

    @types.coroutine
    def pause():
        yield

    @traced(operation="f")
    async def f():
        try:
            await pause()
        finally:
            steps.append("finally")

    with capture() as seen:
        coroutine = f()
        coroutine.send(None)
        coroutine.close()
    assert steps == ["finally"]
    assert seen.one("f").status == "cancelled"
    assert seen.failures == []


async def test_a_coroutine_closed_in_another_context_leaves_that_one_alone():
    """A coroutine begun in one task and closed in another puts nothing back where it was not."""

    @traced(operation="f")
    async def f():
        await asyncio.sleep(60)

    with capture() as seen:
        coroutine = f()

        async def begin():
            coroutine.send(None)

        await asyncio.create_task(begin())
        with TraceContext("here"):
            here = current.get()
            coroutine.close()
            assert current.get() is here
    assert seen.one("f").status == "cancelled"


def test_the_task_keeps_the_names_of_the_coroutine():
    """Task and coroutine show the host's qualname."""

    async def f():
        task = asyncio.current_task()
        return task.get_coro().__qualname__, task.get_coro().__name__

    with capture():
        assert asyncio.run(traced(f)()) == (f.__qualname__, "f")


async def test_a_cancelled_task_is_cancelled():
    """`task.cancel()` gives a cancelled span, no failure, and the task ends cancelled."""

    @traced(operation="f")
    async def f():
        await asyncio.sleep(60)

    with capture() as seen:
        task = asyncio.create_task(f())
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
    assert raised.value.args == ("enough",)
    assert seen.one("f").status == "cancelled"
    assert seen.failures == []


@pytest.mark.parametrize("kind", ["wait_for", "timeout"])
async def test_a_timeout_is_one_failure_of_the_call_that_raised_it(kind):
    """The call that was cut off is cancelled, the one that raised `TimeoutError` has failed."""

    @traced(operation="slow")
    async def slow():
        await asyncio.sleep(60)

    @traced(operation="impatient")
    async def impatient():
        if kind == "wait_for":
            await asyncio.wait_for(slow(), 0.001)
        async with asyncio.timeout(0.001):
            await slow()

    with capture() as seen:
        with pytest.raises(TimeoutError):
            await impatient()
    assert seen.one("slow").status == "cancelled"
    assert seen.one("impatient").status == "error"
    assert [failure.operation for failure in seen.failures] == ["impatient"]


async def test_the_members_of_a_group_fail_once_each():
    """In a TaskGroup each failing task is a failure, the group above is none of its own."""

    @traced(operation="fails")
    async def fails(error):
        raise error

    @traced(operation="waits")
    async def waits():
        await asyncio.sleep(60)

    @traced(operation="group")
    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(waits())
            tasks.create_task(fails(ValueError("a")))
            tasks.create_task(fails(KeyError("b")))

    with capture() as seen:
        with pytest.raises(ExceptionGroup) as raised:
            await group()
    assert {type(error) for error in raised.value.exceptions} == {ValueError, KeyError}
    assert seen.one("waits").status == "cancelled"
    assert sorted(failure.error_type for failure in seen.failures) == ["KeyError", "ValueError"]


def test_an_exception_through_many_frames_is_one_failure(load):
    """Five woven calls and one exception are five failed spans and one failure record."""

    def level(below):
        return traced(lambda: below())

    def fail():
        raise ValueError("deep down")

    function = traced(operation="origin")(fail)
    for _ in range(4):
        function = level(function)
    with capture() as seen:
        with pytest.raises(ValueError, match="deep down"):
            function()
    assert [span.status for span in seen.spans] == ["error"] * 5
    (failure,) = seen.failures
    assert failure.operation == "origin"


# --- What stays of a function ----------------------------------------------------------------------


def annotated(first: "int", *, second: typing.Optional["str"] = None) -> list["int"]:
    """Does nothing.

    With two lines.
    """


@pytest.mark.parametrize("function", [annotated, raising_later], ids=["function", "coroutine"])
def test_a_woven_function_answers_as_the_original(function):
    """Name, doc, module, annotations, hints, signature and kind are the original's."""
    woven = traced(function)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(woven, attribute) == getattr(function, attribute)
    assert inspect.signature(woven) == inspect.signature(function)
    assert typing.get_type_hints(woven) == typing.get_type_hints(function)
    assert inspect.getsource(woven) == inspect.getsource(function)
    assert inspect.iscoroutinefunction(woven) == inspect.iscoroutinefunction(function)
    assert type(woven) is types.FunctionType
    assert woven.__wrapped__ is function


def test_a_function_of_no_module_is_woven_as_well():
    """A function made by `exec`, without a module or a name of its own, works and is recorded."""
    scope = {"__builtins__": {}}
    exec("def f(a): return a", scope)
    scope["f"].__module__ = None
    function = types.FunctionType(scope["f"].__code__, {}, "renamed", (5, 6, 7)[:1])
    with capture() as seen:
        assert traced(scope["f"])(1) == 1
        assert traced(attributes={"a": "a"})(function)() == 5
    assert [span.metadata for span in seen.spans] == [{}, {"a": 5}]


def test_closures_keep_their_own_cells():
    """Functions that share their code share the advice's code, not their variables."""

    def make(number):
        @traced(operation="inner")
        def inner(a=number):
            return a, number

        return inner

    with capture() as seen:
        assert [make(n)() for n in range(3)] == [(0, 0), (1, 1), (2, 2)]
        assert make(7).__code__ is make(8).__code__
    assert len(seen.spans) == 3


def test_marked_coroutine_functions_stay_what_they_are():
    """A plain function that says it is a coroutine function is still called like a plain one."""
    if not hasattr(inspect, "markcoroutinefunction"):
        pytest.skip("since Python 3.12")
    future = object()

    def f():
        return future

    woven = traced(inspect.markcoroutinefunction(f))
    assert woven() is future
    assert inspect.iscoroutinefunction(woven)


# --- Calls that hand back a coroutine --------------------------------------------------------------


async def test_a_plain_function_that_hands_back_a_coroutine_ends_with_it(load):
    """The span lasts until the coroutine is done, and calls inside are its children."""
    text = '[[rule]]\ntarget = "patient.plain:later"\nattributes = { out = "result", value = "value" }\n'
    with capture(text + '[[rule]]\ntarget = "patient.plain:double"\n') as seen:
        plain = load("patient.plain")
        coroutine = plain.later(4)
        assert type(coroutine) is types.CoroutineType
        assert coroutine.__qualname__ == "double"
        assert [span.operation for span in pipeline.open_spans()] == ["later"]
        assert await coroutine == 8
        assert await asyncio.create_task(plain.later(5)) == 10
    assert seen.tree() == [("later", [("double", [])])] * 2
    assert seen.spans[1].metadata == {"out": 8, "value": 4}


async def test_a_coroutine_handed_back_that_fails_has_failed():
    """An exception of the coroutine comes out the same, and the call has failed."""

    def hidden(error):
        return raising_later(error)

    shown = []
    with capture() as seen:
        for weave in (
            bare,
            traced(operation="hidden", attributes={"kind": "type(error).__name__"}),
        ):
            error = ValueError("late")
            try:
                await weave(hidden)(error)
            except ValueError as caught:
                assert caught is error
                shown.append(frames_of(caught))
    assert shown[0] == shown[1]
    assert seen.one("hidden").status == "error"
    assert seen.one("hidden").metadata == {"kind": "ValueError"}
    assert len(seen.failures) == 1


def test_a_coroutine_handed_back_and_dropped_leaves_nothing():
    """Nobody awaits it: one warning, as without us, and no span, open or finished."""

    async def inner():
        pass

    def hidden():
        return inner()

    texts = []
    with capture() as seen:
        for weave in (bare, traced):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                weave(hidden)()
                gc.collect()
            texts.append([str(each.message) for each in caught])
        weave(hidden)().close()
        assert seen.spans == pipeline.open_spans() == []
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1


async def test_a_coroutine_that_runs_already_is_handed_back_untouched():
    """A coroutine that somebody else has begun is returned as it is, and the call ends at once."""

    async def inner():
        return kept()

    coroutine = inner()

    @traced(operation="kept")
    def kept():
        return coroutine

    with capture() as seen:
        assert await coroutine is coroutine
    assert seen.one("kept").status == "success"


async def test_a_coroutine_handed_back_and_cancelled_is_cancelled():
    """Cancelling the task that awaits it ends the span as cancelled."""
    with capture() as seen:
        task = asyncio.create_task(traced(operation="f")(lambda: asyncio.sleep(60))())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen.one("f").status == "cancelled"


# --- Faults of ours --------------------------------------------------------------------------------


class Broken(Exception):
    """A fault that was put in."""


def broken(*_, **__):
    raise Broken


@pytest.mark.parametrize("part", ["now", "next_id", "append", "get", "begin", "close"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_fault_of_ours_leaves_the_call_as_it_is(part, is_async, monkeypatch):
    """With any part of the advice broken, results and exceptions are those of the bare call."""

    def work(error=None):
        if error:
            raise error
        return "done"

    async def work_later(error=None):
        return work(error)

    woven = traced(work_later if is_async else work)
    monkeypatch.setattr(given_to(woven, part), "cell_contents", broken)
    missed = _weaver().switch.missed

    async def call(*args):
        return await woven(*args) if is_async else woven(*args)

    with capture():
        error = ValueError("theirs")
        assert await call() == "done"
        with pytest.raises(ValueError, match="theirs") as raised:
            await call(error)
        assert raised.value is error
        assert error.__context__ is None
        assert [frame[2] for frame in frames_of(error)][-1] == "work"
    assert _weaver().switch.missed > missed


def test_a_clock_that_breaks_midway_leaves_the_call_as_it_is(monkeypatch):
    """A clock that fails when the call ends costs the record its end, not the host its result."""
    woven = traced(operation="f")(lambda: "done")
    real = given_to(woven, "now").cell_contents
    readings = iter([real])
    monkeypatch.setattr(given_to(woven, "now"), "cell_contents", lambda: next(readings, broken)())
    with capture() as seen:
        assert woven() == "done"
        assert seen.spans == []
        assert [span.operation for span in pipeline.open_spans()] == ["f"]
        assert current.get()[0] == 0


def test_expressions_that_fail_cost_the_call_nothing():
    """An expression that raises yields no value, is counted, and the others are read."""
    woven = traced(
        operation="f", attributes={"bad": "a.nothing", "good": "a", "late": "result[9]"}
    )(lambda a: [a])
    with capture() as seen:
        assert woven(3) == [3]
        assert woven(a=4) == [4]
    assert [span.metadata for span in seen.spans] == [{"good": 3}, {"good": 4}]
    form = next(f for f in _weaver().shapes.values() if f.site is seen.spans[0].site)
    assert form.unreadable == {"bad": 2, "late": 2}


def test_what_is_captured_of_arguments_is_what_they_were_at_entry():
    """A list that the call changes is kept as it was when the call began."""

    @traced(attributes={"given": "items", "returned": "result"})
    def append(items):
        items.append(2)
        return items

    with capture() as seen:
        append([1])
    assert seen.spans[0].metadata == {"given": [1], "returned": [1, 2]}


def test_a_generator_argument_is_not_used_up():
    """An iterator that is captured is shown, not consumed."""

    @traced(attributes={"given": "items"})
    def total(items):
        return sum(items)

    with capture() as seen:
        assert total(number for number in (1, 2, 3)) == 6
    assert "generator object" in seen.spans[0].metadata["given"]


def test_nothing_of_the_host_is_kept_alive():
    """Arguments, results, exceptions and the locals of failed frames go when the host lets go."""

    class Thing:
        pass

    references = []

    @traced(
        attributes={"thing": "thing", "things": "[thing]", "result": "result", "error": "error"}
    )
    def work(thing, fail):
        local = Thing()
        references.extend([weakref.ref(thing), weakref.ref(local)])
        if fail:
            raise ValueError(thing)
        return [thing]

    with capture() as seen:
        work(Thing(), fail=False)
        with pytest.raises(ValueError, match="Thing") as raised:
            work(Thing(), fail=True)
        del raised
        assert len(seen.spans) == 2
        gc.collect()
        assert [reference() for reference in references] == [None] * 4


def test_nothing_of_the_host_is_kept_alive_before_the_drain_either():
    """Records that wait in the buffer hold no argument and no exception."""

    class Thing:
        pass

    @traced(attributes={"thing": "thing", "error": "error"})
    def work(thing):
        raise ValueError(thing)

    with capture(), pipeline._lock:  # so that the background thread cannot drain
        thing = Thing()
        reference = weakref.ref(thing)
        with pytest.raises(ValueError, match="Thing"):
            work(thing)
        del thing
        gc.collect()
        sys.exc_info()
        assert len(pipeline.buffer) == 1
        assert reference() is None


# --- Threads ---------------------------------------------------------------------------------------


def test_threads_call_at_once_and_nothing_is_lost():
    """Every call of every thread is recorded once, below its own thread's caller."""

    @traced(operation="outer")
    def outer():
        return inner()

    @traced(operation="inner")
    def inner():
        return threading.get_ident()

    def many():
        for _ in range(500):
            outer()

    with capture() as seen:
        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spans = {span.id: span for span in seen.spans}
    assert len(spans) == 4 * 500 * 2
    inners = [span for span in spans.values() if span.operation == "inner"]
    assert len({span.parent for span in inners}) == 4 * 500
    assert all(spans[span.parent].operation == "outer" for span in inners)
    assert len({span.trace for span in spans.values()}) == 4


def module_level(a):
    """A function that can be found by its name."""
    return a


module_level = traced(operation="module_level")(module_level)


def test_a_woven_function_pickles_by_name():
    """The copy is the function itself, as with any function."""
    assert pickle.loads(pickle.dumps(module_level)) is module_level
