"""A fault of ours anywhere leaves the program as it is: its output and its exit code, byte for byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path(__file__).parent / "faulty_runs.py"
SWARM = [str(ROOT / "examples" / "run_swarm.py"), "--embedding", "hashing", "--latency-scale"]
SWARM += ["0.01"]
OPTIONS = ["--rules", str(ROOT / "instrumentation.toml"), "--store", "traces.db"]
OPTIONS += ["--report", "none", "--out", "out", "--export", "perfetto=run.json"]
SHARE = 4
"""Tests that the places are shared among, so that several can run at once."""
EVERYTHING = """
import asyncio, concurrent.futures, functools, os, subprocess, sys, threading

class Base:
    def speak(self):
        return "base"
    @property
    def size(self):
        return 3
    def __call__(self):
        return "called"
    @classmethod
    def made(cls):
        return cls()

class Heir(Base):
    def speak(self):
        return super().speak() + " heir"

def fails(text):
    raise ValueError(text)

def numbers(upto):
    yield from range(upto)
    if upto > 2:
        fails("too many")

async def later(upto):
    for each in range(upto):
        await asyncio.sleep(0)
        yield each

def handed_back(upto):
    return numbers(upto)

def promised(upto):
    return collected(upto)

def in_a_pool(pool):
    return pool.submit(fails, "pooled")

async def collected(upto):
    return [each async for each in later(upto)]

@functools.lru_cache
def remembered(number):
    return number and remembered(number - 1) + number

def outer(text):
    def inner():
        return text * 2
    return inner()

async def main():
    print(Heir().speak(), Heir().size, outer("ab"), list(numbers(2)), list(handed_back(2)))
    print(await asyncio.gather(promised(2), collected(1)))
    print(remembered(3), Heir.made()())
    for failing in (functools.partial(fails, "x"), lambda: list(numbers(4)), lambda: handed_back(1).throw(ValueError)):
        try:
            failing()
        except ValueError as error:
            print(error, error.__context__, error.__traceback__.tb_next.tb_frame.f_code.co_name)
    try:
        await promised("no number")
    except TypeError as error:
        print(error, error.__context__)
    asking = later(3)
    print(await anext(asking), await asking.aclose())
    task = asyncio.create_task(collected(9))
    asyncio.get_running_loop().call_soon(task.cancel)
    print((await asyncio.gather(task, return_exceptions=True))[0].__class__)
    async for each in later(3):
        print(each)
        break
    print(await asyncio.to_thread(outer, "c"))
    try:
        await asyncio.wait_for(asyncio.sleep(5), 0.01)
    except TimeoutError:
        print("timed out")

if __name__ == "__main__":
    asyncio.run(main())
    thread = threading.Thread(target=lambda: print(outer("t")))
    thread.start()
    thread.join()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        print(pool.submit(outer, "p").result(), in_a_pool(pool).exception())
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        print(outer("f"))
        sys.stdout.flush()
        os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.exit(7)
"""
RULES = (
    '[[rule]]\ntarget = ["everything:**", "everything:**.<locals>.**", "everything:Base+.speak"]\n'
)
RULES += 'exclude = ["main"]\n[[rule]]\ntarget = "everything:Base.size"\n'


def runs(directory, options, program, *, share=1, shift=0, only=""):
    """The program's own ending, and what became of it with one function of ours after another broken."""
    (directory / "runs").mkdir()
    plan = {"argv": [*options, *program], "directory": str(directory / "runs")}
    (directory / "plan.json").write_text(
        json.dumps({**plan, "share": share, "shift": shift, "only": only})
    )
    bare = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, cwd=directory, check=False
    )
    done = subprocess.run(
        [sys.executable, str(RUNS), str(directory / "plan.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return bare, json.loads(done.stdout)


def harmed(bare, results):
    """Where a fault reached the program, or a traceback of ours the person who runs it."""
    return [
        (run["place"], run["kind"], run["status"], run["stderr"][-500:])
        for run in results
        if (run["stdout"], run["status"]) != (bare.stdout, bare.returncode)
        or "Traceback" in run["stderr"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("shift", range(SHARE))
def test_any_function_of_ours_may_break_while_the_swarm_runs(tmp_path, shift):
    """Every function of ours that runs with the example swarm raises in turn: it prints the same."""
    bare, results = runs(tmp_path, OPTIONS, SWARM, share=SHARE, shift=shift)
    assert len(results) > 300 / SHARE
    assert sum(run["hits"] > 0 for run in results) > len(results) / 2
    assert harmed(bare, results) == []


@pytest.mark.slow
@pytest.mark.parametrize("shift", range(SHARE))
def test_any_function_of_ours_may_break_with_every_kind_of_callable(tmp_path, shift):
    """Generators, threads, pools, forks, child processes, heirs and exceptions are no different."""
    program = tmp_path / "everything.py"
    program.write_text(EVERYTHING)
    (tmp_path / "rules.toml").write_text(RULES)
    options = ["--rules", str(tmp_path / "rules.toml"), "--store", "traces.db", "--report", "none"]
    bare, results = runs(tmp_path, options, [str(program)], share=SHARE, shift=shift)
    assert len(results) > 300 / SHARE
    assert harmed(bare, results) == []
