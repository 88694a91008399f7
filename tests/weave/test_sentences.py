"""What else a tracing agent is held to: the sentences that no other file of tests is about."""

import asyncio
import concurrent.futures
import copy
import gc
import json
import multiprocessing
import pickle
import subprocess
import sys
import typing

import pytest

from dytopo_autotrace import traced
from dytopo_autotrace.testing import capture


def test_woven_functions_and_methods_run_in_a_process_pool(load):
    """A pool of new processes gets functions and bound methods by name, and their results come back."""
    load("patient.plain")
    text = '[[rule]]\ntarget = ["patient.plain:add", "patient.classes:Base.greet"]'
    with capture(text):
        plain, classes = load("patient.plain"), load("patient.classes")
        assert hasattr(plain.add, "__wrapped__")
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(plain.add, 1).result() == 3
            assert pool.submit(classes.Base().greet, "me").result() == "base greets me"


def test_bound_methods_and_generator_functions_copy_and_pickle(load):
    """`deepcopy` of what holds them gives what it gave: the function itself, the instance anew."""
    text = '[[rule]]\ntarget = ["patient.plain:count", "patient.classes:Base.greet"]'
    load("patient.plain")
    with capture(text):
        plain, classes = load("patient.plain"), load("patient.classes")
        base = classes.Base()
        held = copy.deepcopy({"function": plain.count, "method": base.greet})
        assert held["function"] is plain.count
        assert held["method"].__self__ is not base
        assert held["method"]() == base.greet()
        assert pickle.loads(pickle.dumps(plain.count)) is plain.count


def test_type_hints_are_resolved_where_the_function_was_written(program):
    """`get_type_hints` finds names of the function's own module, local generics and strings."""
    program(
        hinted="""
from __future__ import annotations
class Own: ...
def f(a: Own, b: list[Own] | None = None) -> dict[str, Own]: ...
class C:
    async def m(self, a: "Own") -> Own: ...
    def g(self, a: Own): yield a
"""
    )
    with capture('[[rule]]\ntarget = ["hinted:f", "hinted:C.*"]'):
        import hinted

        for woven in (hinted.f, hinted.C.m, hinted.C.g):
            assert hasattr(woven, "__wrapped__")
            assert typing.get_type_hints(woven) == typing.get_type_hints(woven.__wrapped__)
        assert typing.get_type_hints(hinted.f)["a"] is hinted.Own


def test_mutual_recursion_keeps_its_parents():
    """Two functions that call one another give a chain, in the order of the calls."""

    @traced(operation="even")
    def even(n):
        return n == 0 or odd(n - 1)

    @traced(operation="odd")
    def odd(n):
        return n != 0 and even(n - 1)

    with capture() as seen:
        assert even(3) is False
    assert seen.tree() == [("even", [("odd", [("even", [("odd", [])])])])]


def test_recursion_goes_at_least_half_as_deep():
    """Each call costs one frame of ours: the depth shrinks by half, and not by more."""

    def dive(depth):
        try:
            return again(depth + 1)
        except RecursionError:
            return depth

    again = dive
    bare = dive(0)
    again = traced(dive)
    with capture():
        woven = again(0)
    assert bare / 2 - 10 <= woven <= bare


def test_both_copies_of_a_module_that_runs_and_is_imported_are_woven_once(program):
    """`-m pkg.mod` that imports `pkg.mod` has two functions of that name: each call is one span."""
    folder = program()
    (folder / "twice").mkdir()
    (folder / "twice" / "__init__.py").write_text("")
    (folder / "twice" / "mod.py").write_text(
        "def f():\n    return __name__\n"
        "if __name__ == '__main__':\n    import twice.mod\n    print(f(), twice.mod.f())\n"
    )
    (folder / "rules.toml").write_text('[[rule]]\ntarget = "twice.mod:f"\n')
    options = ["--rules", "rules.toml", "--store", "none", "--report", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", *options, "-m", "twice.mod"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("__main__ twice.mod\n", 0)
    (rule,) = json.loads(done.stderr)["rules"]
    assert rule["calls"] == 2


def test_a_span_of_a_worker_that_fails_in_a_thread_is_its_callers_child():
    """An exception that crosses a pool is one object, one failure, with one origin."""

    @traced(operation="worker")
    def worker():
        raise ValueError("no")

    @traced(operation="caller")
    def caller():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(worker).result()

    with capture('[[rule]]\ntarget = "nowhere:f"') as seen, pytest.raises(ValueError, match="no"):
        caller()
    assert seen.tree() == [("caller", [("worker", [])])]
    assert [failure.operation for failure in seen.failures] == ["worker"]


def test_streams_that_clients_make_are_timed_to_their_last_item():
    """A coroutine that hands back an async generator of its class ends with the call; the stream's
    own generator method has the items."""

    class Stream:
        def __init__(self, parts):
            self._parts = parts
            self._iterator = self._stream()

        @traced(operation="stream")
        async def _stream(self):
            for part in self._parts:
                await asyncio.sleep(0)
                yield part

        def __aiter__(self):
            return self

        async def __anext__(self):
            return await self._iterator.__anext__()

    @traced(operation="create")
    async def create():
        return Stream("abc")

    async def main():
        stream = await create()
        assert type(stream) is Stream
        assert [part async for part in stream] == ["a", "b", "c"]

    with capture() as seen:
        asyncio.run(main())
        gc.collect()
    assert [span.operation for span in seen.spans] == ["create", "stream"]
    assert seen.one("stream").metadata["items"] == 3
