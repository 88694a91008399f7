"""A call's parent is the call that caused it, wherever the one hands over to the other."""

import asyncio
import concurrent.futures
import contextvars
import inspect
import pickle
import sys
import threading
import traceback

import pytest

from dytopo_autotrace import traced
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.testing import capture

RULE = '[[rule]]\ntarget = "patient.plain:nothing_of_that_name"\n'
theirs = contextvars.ContextVar("theirs", default="unset")


@traced(operation="child")
def child():
    return theirs.get()


@traced(operation="child")
async def child_later():
    await asyncio.sleep(0)
    return theirs.get()


def nested(seen):
    return seen.tree() == [("parent", [("child", [])])]


def in_a_thread():
    thread = threading.Thread(target=child)
    thread.start()
    thread.join()


def in_a_subclass_of_a_thread():
    class Own(threading.Thread):
        def run(self):
            child()

    thread = Own()
    thread.start()
    thread.join()


def in_a_pool():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(child).result()


def by_a_pools_map():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        [*pool.map(lambda _: child(), [1])]


@pytest.mark.parametrize("how", [in_a_thread, in_a_subclass_of_a_thread, in_a_pool, by_a_pools_map])
def test_the_current_span_crosses_threads(how):
    """What a thread or a pool's worker calls is below the call that handed it over."""
    with capture(RULE) as seen:
        traced(operation="parent")(how)()
    assert nested(seen)


async def task():
    await asyncio.create_task(child_later())


async def gathered():
    await asyncio.gather(child_later())


async def grouped():
    async with asyncio.TaskGroup() as group:
        group.create_task(child_later())


async def to_thread():
    await asyncio.to_thread(child)


async def run_in_executor():
    await asyncio.get_running_loop().run_in_executor(None, child)


async def called_soon():
    asyncio.get_running_loop().call_soon(child)
    await asyncio.sleep(0)


async def called_from_a_thread():
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def call():
        loop.call_soon_threadsafe(child)
        loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=call)
    thread.start()
    await done.wait()
    thread.join()


async def in_another_loop():
    await asyncio.to_thread(lambda: asyncio.run(child_later()))


async def eager():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    await asyncio.create_task(child_later())


WAYS = [
    *(task, gathered, grouped, to_thread, run_in_executor, called_soon, called_from_a_thread),
    in_another_loop,
    pytest.param(
        eager, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")
    ),
]


@pytest.mark.parametrize("how", WAYS)
def test_the_current_span_crosses_asyncio(how):
    """Tasks, groups, threads, executors, callbacks and loops keep the call that started them."""
    with capture(RULE) as seen:
        asyncio.run(traced(operation="parent")(how)())
    assert nested(seen)


def test_a_task_that_outlives_its_parent_is_still_its_child():
    """What goes on after its parent has ended ends on its own, below it."""

    async def main():
        @traced(operation="parent")
        async def parent():
            return asyncio.create_task(child_later())

        await (await parent())
        assert current.get()[0] == 0

    with capture(RULE) as seen:
        asyncio.run(main())
    assert nested(seen)
    parent, late = sorted(seen.spans, key=lambda span: span.start_ns)
    assert late.end_ns > parent.end_ns


def test_a_worker_that_a_pool_keeps_belongs_to_nobody():
    """The thread that a pool starts for one call runs the next one under that one's own caller."""
    with capture(RULE) as seen, concurrent.futures.ThreadPoolExecutor(1) as pool:

        @traced
        def first():
            pool.submit(child).result()

        first()
        assert contextvars.Context().run(pool.submit, current.get).result() is None
        contextvars.Context().run(lambda: pool.submit(child).result())
    assert [len(below) for _, below in seen.tree()] == [1, 0]


def test_the_hosts_own_variables_cross_only_where_they_did():
    """A context variable of the host's is unset in a thread and in a pool, as without us."""
    bare, woven = [], []

    @traced(operation="parent")
    def parent(found):
        theirs.set("set")
        thread = threading.Thread(target=lambda: found.append(child()))
        thread.start()
        thread.join()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            found.append(pool.submit(child).result())

    contextvars.copy_context().run(parent, bare)
    with capture(RULE):
        contextvars.copy_context().run(parent, woven)
    assert woven == bare
    assert sys.version_info >= (3, 14) or woven == ["unset", "unset"]


def test_a_thousand_workers_under_one_gather_have_one_parent():
    """Concurrent calls do not take one another's children."""

    @traced(operation="worker", attributes={"number": "number"})
    async def worker(number):
        await asyncio.sleep(number % 7 / 10_000)
        return await leaf(number)

    @traced(operation="leaf", attributes={"number": "number"})
    async def leaf(number):
        await asyncio.sleep(0)

    @traced(operation="all")
    async def everyone():
        await asyncio.gather(*map(worker, range(1000)))

    with capture(RULE) as seen:
        asyncio.run(everyone())
    by_id = {span.id: span for span in seen.spans}
    root = seen.one("all")
    assert len(by_id) == 2001
    for span in seen.spans:
        if span.operation == "worker":
            assert span.parent == root.id
        elif span.operation == "leaf":
            assert by_id[span.parent].metadata == span.metadata


def test_methods_of_threads_and_pools_are_what_they_were():
    """Signature, name, errors and pickles are the originals', and the originals come back."""
    start, submit = threading.Thread.start, concurrent.futures.ThreadPoolExecutor.submit
    begin = threading.Thread._bootstrap
    with capture(RULE):
        pool = concurrent.futures.ThreadPoolExecutor
        assert threading.Thread.start is not start
        assert inspect.signature(pool.submit) == inspect.signature(submit)
        assert pool.submit.__qualname__ == submit.__qualname__
        assert pickle.loads(pickle.dumps(pool.submit)) is pool.submit
        with pytest.raises(
            TypeError, match=r"^ThreadPoolExecutor\.submit\(\) missing 2 required p"
        ):
            pool.submit()
        thread = threading.Thread(target=len, args=("",))
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="^threads can only be started once$") as raised:
            thread.start()
        assert [frame.name for frame in raised.traceback].count("start") == 1
    assert threading.Thread.start is start
    assert threading.Thread._bootstrap is begin
    assert concurrent.futures.ThreadPoolExecutor.submit is submit


def test_what_is_raised_in_a_pool_shows_no_frame_of_ours():
    """The traceback of a future's exception is that of the bare program."""

    def fail():
        raise ValueError("no")

    def frames(function, *args):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            error = pool.submit(function, *args).exception()
        return [(frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]

    bare = frames(fail), frames(int, "x")
    with capture(RULE):
        assert (traced(frames)(fail), traced(frames)(int, "x")) == bare


def test_a_pool_that_is_imported_later_carries_as_well(program):
    """The thread pool is not imported for our sake, and is woven when somebody imports it."""
    import subprocess

    folder = program(
        late_pool="""
import sys
from dytopo_autotrace import agent, traced
from dytopo_autotrace.rules.model import Origin, RuleSet
from dytopo_autotrace.collect.tracing import current
with agent.install(RuleSet(Origin("none"))):
    assert "concurrent.futures.thread" not in sys.modules
    from concurrent.futures import ThreadPoolExecutor
    @traced
    def parent():
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(current.get).result() is current.get()
    parent()
print("carried")
"""
    )
    done = subprocess.run(
        [sys.executable, folder / "late_pool.py"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("carried\n", "")
