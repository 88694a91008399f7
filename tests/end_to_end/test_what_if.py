"""Predictions against reality: the example swarm is changed for real and run again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.replay import Change, replay
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.analyze.what_if import faster
from dytopo_autotrace.store.location import choose, open_reader

ROOT = Path(__file__).parents[2]
SLOW_FACTOR = 6
"""What the fault `slow-agent` multiplies the latency of the tester's answers with."""


def recorded(tmp_path, name, *options):
    """The records of a run of the example with these options."""
    store = tmp_path / f"{name}.db"
    rules = ROOT / "instrumentation.toml"
    subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "dytopo_autotrace",
                "--rules",
                rules,
                "--store",
                store,
                "--quiet",
            ),
            *(ROOT / "examples" / "run_swarm.py", *options),
        ],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    reader = open_reader(str(store))
    try:
        return reader.load(choose(reader.runs(), None).start.run_id)
    finally:
        reader.close()


def graph_of(records):
    return dependencies(build(records.spans, records.now_ns))


@pytest.mark.slow
def test_predictions_are_within_a_tenth_of_reality(tmp_path):
    """More slots, fewer slots, a faster agent: the replay of one run foretells the others."""
    base = recorded(tmp_path, "base")
    graph = graph_of(base)
    assert replay(graph) == pytest.approx(graph.wall_ns, rel=0.02)
    for slots in (1, 3, 4):
        foretold = replay(graph, Change(capacity=dict.fromkeys(graph.resources, slots)))
        really = graph_of(recorded(tmp_path, f"slots{slots}", "--concurrency", str(slots)))
        assert foretold == pytest.approx(really.wall_ns, rel=0.1), slots

    slow = graph_of(recorded(tmp_path, "slow", "--fault", "slow-agent"))
    owned = owners(slow.tree)
    requests = [
        number
        for number, span in enumerate(slow.tree.spans)
        if span.operation == "http_request" and owned.agents[span.id] == "tester"
    ]
    foretold = replay(slow, faster(slow, requests, 1 / SLOW_FACTOR))
    assert foretold == pytest.approx(graph.wall_ns, rel=0.1)


@pytest.mark.slow
def test_without_retries_the_run_is_as_long_as_a_healthy_one(tmp_path):
    """What the replay saves without failed attempts is what a run without the fault saves."""
    healthy = graph_of(recorded(tmp_path, "healthy"))
    found = summarize(recorded(tmp_path, "retry", "--fault", "retry")).what_if
    predicted = {each.kind: each for each in found.predictions}["no_retries"]
    assert predicted.seconds == pytest.approx(healthy.wall_ns / 1e9, rel=0.1)


LOOPS = """
import asyncio, sys

async def model():
    await asyncio.sleep(0.3)

async def act(agent, slots):
    for _ in range(3):
        async with slots:
            await model()
        await asyncio.sleep(0.06)

async def swarm(count):
    slots = asyncio.Semaphore(count)
    await asyncio.gather(*(act(agent, slots) for agent in "abcde"))

asyncio.run(swarm(int(sys.argv[1])))
"""
LOOPS_RULES = """
[[rule]]
target = "*:swarm"
role = "orchestrator"
[[rule]]
target = "*:act"
role = "worker"
agent = "agent"
[[rule]]
target = "*:model"
role = "llm"
[[rule]]
target = "asyncio.locks:Semaphore.acquire"
role = "wait"
operation = "semaphore"
attributes = { free = "self._value" }
"""
MAILBOXES = """
import asyncio, sys

async def handle(agent, seconds):
    await asyncio.sleep(seconds)

async def actor(agent, seconds, inbox, out):
    while await inbox.get() is not None:
        await handle(agent, seconds)
        out.put_nowait(1)
    out.put_nowait(None)

async def swarm(seconds):
    first, second, third = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    for item in (1, 1, 1, 1, 1, 1, None):
        first.put_nowait(item)
    await asyncio.gather(
        actor("a", 0.1, first, second), actor("b", seconds, second, third),
        actor("c", 0.01, third, asyncio.Queue()),
    )

asyncio.run(swarm(float(sys.argv[1])))
"""
MAILBOXES_RULES = """
[[rule]]
target = "*:swarm"
role = "orchestrator"
[[rule]]
target = "*:actor"
agent = "agent"
[[rule]]
target = "*:handle"
role = "worker"
agent = "agent"
[[rule]]
target = "asyncio.queues:Queue.get"
role = "wait"
operation = "mailbox"
"""


def ran(tmp_path, script, rules, argument):
    """The graph of a run of this program, watched by these rules."""
    (tmp_path / "app.py").write_text(script)
    (tmp_path / "rules.toml").write_text(f"[agent]\npacks = []\n{rules}")
    store = tmp_path / f"{argument}.db"
    command = [sys.executable, "-m", "dytopo_autotrace", "--rules", "rules.toml", "--store", store]
    subprocess.run(
        [*command, "--quiet", "app.py", str(argument)],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    reader = open_reader(str(store))
    try:
        return graph_of(reader.load(choose(reader.runs(), None).start.run_id))
    finally:
        reader.close()


@pytest.mark.slow
def test_slots_taken_again_and_again_in_one_call_are_foretold(tmp_path):
    """An agent's own loop of `async with slots`: more slots save what they really save."""
    graph = ran(tmp_path, LOOPS, LOOPS_RULES, 2)
    assert graph.resources["semaphore"].capacity == 2
    assert replay(graph) == pytest.approx(graph.wall_ns, rel=0.02)
    for slots in (1, 3, 4):
        foretold = replay(graph, Change(capacity={"semaphore": slots}))
        assert foretold == pytest.approx(ran(tmp_path, LOOPS, LOOPS_RULES, slots).wall_ns, rel=0.1)


@pytest.mark.slow
def test_a_faster_actor_with_a_mailbox_is_foretold(tmp_path):
    """Who waits for messages follows who sends them: half the time of one is really saved."""
    graph = ran(tmp_path, MAILBOXES, MAILBOXES_RULES, 0.3)
    assert not graph.resources
    owned = owners(graph.tree)
    calls = [n for n, span in enumerate(graph.tree.spans) if owned.agents[span.id] == "b"]
    foretold = replay(graph, faster(graph, calls))
    really = ran(tmp_path, MAILBOXES, MAILBOXES_RULES, 0.15)
    assert foretold == pytest.approx(really.wall_ns, rel=0.1)
