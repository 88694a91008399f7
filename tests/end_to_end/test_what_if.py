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
