"""Programs under load, in processes of their own: no harm, no cross-talk, nothing lost uncounted."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

THREADS = """
import sys, threading, time, types
from dytopo_autotrace import install
from dytopo_autotrace.rules.load import load_text
module = sys.modules["busy"] = types.ModuleType("busy")
exec("def work(n):\\n    return n * 2", vars(module))
held, stop, wrong = [module.work], threading.Event(), []  # a global name would be rebound
def call():
    while not stop.is_set():
        if module.work(21) != 42:
            wrong.append(1)
threads = [threading.Thread(target=call, daemon=True) for _ in range(3)]
rules = load_text('[[rule]]\\ntarget = "busy:work"\\n', "rules.toml")
for thread in threads:
    thread.start()
for _ in range(20):
    with install(rules):
        assert module.work is not held[0]
    assert module.work is held[0]
stop.set()
for thread in threads:
    thread.join()
assert not wrong
print("fine")
"""
FORKS = """
import os, threading, time
from dytopo_autotrace import traced
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import traces
@traced
def work(n):
    return n
stop = threading.Event()
def call():
    while not stop.is_set():
        work(1)
        time.sleep(0.0005)
threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
statuses = []
for _ in range(8):
    child = os.fork()
    if not child:
        for n in range(100):
            work(n)
        pipeline.drain()
        spans = [span for spans in traces.all().values() for span in spans]
        os._exit(0 if len(spans) == 100 and not pipeline.dropped else 1)
    statuses.append(os.waitpid(child, 0)[1])
stop.set()
for thread in threads:
    thread.join()
pipeline.stop()
assert statuses == [0] * 8, statuses
print("fine")
"""
WORKERS = """
import asyncio
from dytopo_autotrace import traced
from dytopo_autotrace.testing import capture
with capture() as seen:
    @traced(operation="call", attributes={"who": "agent"})
    async def call(agent):
        await asyncio.sleep(0)
        return agent
    @traced(operation="worker", agent="agent")
    async def worker(agent):
        await asyncio.sleep(0)
        found = await asyncio.gather(*(call(agent) for _ in range(3)))
        await call(agent)
        return found
    @traced(operation="swarm", role="orchestrator")
    async def swarm():
        return await asyncio.gather(*(worker(f"a{n}") for n in range(1000)))
    assert asyncio.run(swarm()) == [[f"a{n}"] * 3 for n in range(1000)]
spans = {span.id: span for span in seen.spans}
assert len(spans) == 5001, len(spans)
root = next(span for span in spans.values() if span.operation == "swarm")
assert {span.trace for span in spans.values()} == {root.trace}
for span in spans.values():
    if span.operation == "worker":
        assert span.parent == root.id
    elif span.operation == "call":
        assert spans[span.parent].operation == "worker"
        assert spans[span.parent].agent == span.metadata["who"]
print("fine")
"""


@pytest.mark.parametrize("script", [THREADS, FORKS, WORKERS], ids=["threads", "forks", "workers"])
def test_a_program_under_load(script, tmp_path):
    """Threads while we come and go, forks while others emit, a thousand workers under one gather."""
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(file)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


FLAT = """
import sys, tracemalloc
import dytopo_autotrace
from dytopo_autotrace.collect.pipeline import pipeline
dytopo_autotrace.install("rules.toml")
import labelled
def many(begin, count):
    for index in range(begin, begin + count):
        labelled.work(f"label {index}")
        if not index % 1000:
            pipeline.drain()
    pipeline.drain()
tracemalloc.start()
many(0, 210_000)
before, _ = tracemalloc.get_traced_memory()
many(210_000, 50_000)
after, _ = tracemalloc.get_traced_memory()
print(after - before)
"""


def test_memory_stays_flat_over_many_calls_with_labels_that_never_come_again(tmp_path):
    """Once as many spans are kept as may be, fifty thousand calls more keep nothing more."""
    (tmp_path / "labelled.py").write_text("def work(label):\n    return label\n")
    (tmp_path / "start.py").write_text(FLAT)
    (tmp_path / "rules.toml").write_text(
        '[[rule]]\ntarget = "labelled:work"\nattributes = { l = "label" }\n'
        '[[rule.metric]]\nname = "n_total"\nkind = "counter"\nvalue = "1"\n'
        'labels = { l = "label" }\n'
    )
    done = subprocess.run(
        [sys.executable, "start.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1_000_000
