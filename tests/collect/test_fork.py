"""Forking a watched program: no hang, nothing twice, and no warning that was not there before."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PREAMBLE = """
import os, sys, threading, asyncio
from dytopo_autotrace import TraceContext, traced
from dytopo_autotrace.collect.failures import failures
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import traces

@traced(operation="work")
def work(fail=False):
    if fail:
        raise ValueError("asked to")

def spans():
    pipeline.drain()
    return [span for trace in traces.all().values() for span in trace]

def in_child(function):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(program):
    """Run a program, warnings being errors, and insist that it ends well and in silence."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PREAMBLE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_child_begins_with_empty_collectors_and_records_its_own():
    """What the parent recorded is not in the child, and what the child records is not in the parent."""
    out = run("""
        work()
        try:
            work(fail=True)
        except ValueError:
            pass
        assert len(spans()) == 2

        def child():
            assert spans() == [] and failures.all() == []
            assert (pipeline.started, pipeline.finished, pipeline.dropped) == (0, 0, 0)
            work()
            assert len(spans()) == 1

        assert in_child(child) == 0
        work()
        assert len(spans()) == 3 and len(failures.all()) == 1
        print("well")
    """)
    assert out == "well\n"


def test_a_childs_spans_belong_below_the_call_that_forked_and_have_ids_of_their_own():
    """The child goes on in the trace of its parent, and the two never give out the same id."""
    out = run("""
        with TraceContext("forking") as parent:
            def child():
                for _ in range(3):
                    work()
                for span in spans():
                    print(span.parent == parent.id, span.trace == parent.trace, span.id, flush=True)
            assert in_child(child) == 0
            for _ in range(3):
                work()
        for span in spans():
            if span.operation == "work":
                print(span.parent == parent.id, span.trace == parent.trace, span.id)
    """)
    lines = out.splitlines()
    assert len(lines) == len(set(lines)) == 6
    assert all(line.startswith("True True ") for line in lines)


def test_forking_while_others_record_and_drain_neither_hangs_nor_loses():
    """Threads record, fail and query while the program forks again and again."""
    out = run("""
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                try:
                    work(fail=True)
                except ValueError:
                    pass
                spans()

        before = []
        threads = []

        def child():
            work()
            assert len(spans()) == 1
            import asyncio
            async def go():
                work()
            asyncio.run(go())
            assert len(spans()) == 2

        import warnings
        warnings.filterwarnings("ignore", message=".*multi-threaded.*")
        for _ in range(2):
            threads.append(threading.Thread(target=busy))
            threads[-1].start()
        statuses = [in_child(child) for _ in range(10)]
        stop.set()
        for thread in threads:
            thread.join()
        assert statuses == [0] * 10, statuses
        total = len(spans())
        assert total == pipeline.finished == pipeline.started
        print("well")
    """)
    assert out == "well\n"


def test_the_thread_goes_on_on_both_sides():
    """After a fork the background thread runs in the child, and soon in the parent, one each."""
    out = run("""
        import gc, time
        work()
        names = lambda: [thread.name for thread in threading.enumerate()]
        assert names() == ["MainThread", "dytopo-autotrace"]

        def child():
            assert names() == ["MainThread", "dytopo-autotrace"]

        assert in_child(child) == 0
        gc.collect()
        deadline = time.monotonic() + 10
        while names() != ["MainThread", "dytopo-autotrace"] and time.monotonic() < deadline:
            pass
        assert names() == ["MainThread", "dytopo-autotrace"]
        pipeline.stop()
        assert in_child(lambda: None) == 0
        gc.collect()
        while names() != ["MainThread"] and time.monotonic() < deadline:
            pass
        assert names() == ["MainThread"] and not gc.callbacks
        print("well")
    """)
    assert out == "well\n"


def test_children_of_multiprocessing_work():
    """Pools that fork run woven functions, which pickle by name, and end."""
    out = run("""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        @traced(operation="square")
        def square(number):
            return number * number

        if __name__ == "__main__":
            work()
            context = multiprocessing.get_context("fork")
            import warnings
            warnings.filterwarnings("ignore", message=".*multi-threaded.*")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                assert list(pool.map(square, range(10))) == [n * n for n in range(10)]
            assert [span.operation for span in spans()] == ["work"]
            print("well")
    """)
    assert out == "well\n"


def test_the_thread_survives_forks_in_a_row():
    """Forked again before the thread was resumed, parent and children still have one each."""
    out = run("""
        import gc, time
        gc.disable()
        work()
        names = lambda: [thread.name for thread in threading.enumerate()]

        def child():
            assert names() == ["MainThread", "dytopo-autotrace"]

        assert [in_child(child) for _ in range(3)] == [0, 0, 0]
        gc.collect()
        deadline = time.monotonic() + 10
        while names() != ["MainThread", "dytopo-autotrace"] and time.monotonic() < deadline:
            pass
        assert names() == ["MainThread", "dytopo-autotrace"]
        print("well")
    """)
    assert out == "well\n"


def test_a_flush_hands_over_what_has_ended():
    """Who asks for it has what ended written at once, by the background thread."""
    out = run("""
        seen = []
        pipeline.watchers.append(lambda opened: seen.append(threading.current_thread().name))
        for _ in range(100):
            work()
            assert pipeline.has_news
            pipeline.flush(30)
            assert not pipeline.has_news and pipeline.finished == pipeline.started
        assert set(seen) == {"dytopo-autotrace"}
        pipeline.stop()
        print("well")
    """)
    assert out == "well\n"
