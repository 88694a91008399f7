"""What we find in a run, against what the example swarm's own model and client wrote down of it."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.store.location import choose, open_reader

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("swarm_with_truth.py")
TEAM = ("researcher", "designer", "developer", "tester", "reviewer")
FAULTS = ("none", "retry", "swallowed", "unreadable", "timeout", "slow-agent")
OPERATIONS = {
    "_call_manager": "manager_call",
    "_call_worker": "agent_call",
    "_llm_call": "llm_step",
    "chat_completion": "llm_call",
    "request": "http_request",
    "build_routing_result": "route",
    "build_execution_graph": "build_execution_graph",
    "break_cycles": "break_cycles",
    "get_execution_tiers": "get_execution_tiers",
    "detect_convergence": "detect_convergence",
    "update_agent_metrics": "update_agent_metrics",
    "embed_descriptors": "embed_descriptors",
    "compute_similarity_matrix": "compute_similarity_matrix",
    "apply_threshold": "apply_threshold",
    "enforce_max_indegree": "enforce_max_indegree",
}
"""Operations by the functions whose calls the program counts."""
NOTICED_SECONDS = 0.03
"""How far two clocks beside each other may be apart in a busy process, for one agent and round."""


class Truth:
    """The program's own file, counted by agent and round; no round is `""`, as we say it."""

    def __init__(self, path):
        self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def of(self, what):
        return [line for line in self.lines if line["what"] == what]

    def by_agent_and_round(self, what, when=lambda line: True):
        return Counter(
            (line["agent"], str(line.get("began_in", line["round"]) or ""))
            for line in self.of(what)
            if when(line)
        )

    def total(self, what, key, *by):
        sums = Counter()
        for line in self.of(what):
            facts = {**line, "round": str(line.get("began_in", line["round"]) or "")}
            sums[tuple(facts[each] for each in by)] += line[key]
        return sums

    @property
    def stubs(self):
        return self.by_agent_and_round("worker", lambda line: line["stub"])

    @property
    def stub_readers(self):
        """Readers of each agent whose worker answered with a stub, once for each message."""
        dead_work = {(line["agent"], line["round"]) for line in self.of("worker") if line["stub"]}
        return Counter(
            source
            for line in self.of("worker")
            for source in line["read"]
            if (source, line["round"]) in dead_work
        )


def chances(fault, seed):
    """Options of a run that only the seed decides; the first is the example as it is."""
    if seed == 0:
        return ("--fault", fault) if fault != "none" else ()
    chance = random.Random(f"{fault} {seed}")
    whom = ("--fault", fault, "--agent", chance.choice(TEAM)) if fault != "none" else ()
    return (
        *whom,
        *("--task", f"Write a thread-safe cache, variant {chance.randrange(1000)}."),
        *("--rounds", str(chance.randint(2, 5))),
        *("--tau", str(chance.choice((0.2, 0.3, 0.45)))),
        *("--k-in", str(chance.randint(1, 3))),
        *("--concurrency", str(chance.randint(1, 5))),
    )


def played(directory, *options):
    """Run the program under the agent: its truth, and the records that we kept of it."""
    truth, store = directory / "truth.jsonl", directory / "traces.db"
    ours = ["--rules", ROOT / "instrumentation.toml", "--store", store, "--report", "none"]
    subprocess.run(
        [
            *(sys.executable, "-m", "dytopo_autotrace", *ours, PROGRAM, truth),
            *("--embedding", "hashing", "--latency-scale", "0.3", *options),
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    reader = open_reader(str(store))
    try:
        return Truth(truth), reader.load(choose(reader.runs(), None).start.run_id)
    finally:
        reader.close()


def the_same(directory, fault, seed):
    """Compare every finding of one run with the program's own truth."""
    options = chances(fault, seed)
    truth, records = played(directory, *options)
    tree = build(records.spans, records.now_ns)
    owned = owners(tree)
    summary = summarize(records)
    assert not summary.drops
    assert not summary.faults
    compare_calls(truth, tree, owned)
    compare_messages(truth, tree, summary)
    compare_failures(truth, tree, owned, summary)
    compare_waiting(truth, summary)
    compare_tokens(truth, summary)
    slow = [each.agent for each in summary.slow_agents]
    whom = options[options.index("--agent") + 1] if "--agent" in options else "tester"
    if fault == "slow-agent":
        assert slow == [whom]
    if fault in ("none", "unreadable"):
        assert slow == []


def compare_calls(truth, tree, owned):
    """Calls of each function in each round."""
    ours = Counter(
        (span.operation, owned.rounds[span.id])
        for span in tree.spans
        if span.operation in OPERATIONS.values()
    )
    theirs = Counter()
    for line in truth.of("calls"):
        theirs[OPERATIONS[line["function"]], str(line["round"] or "")] += line["n"]
    assert ours == theirs
    attempts = Counter(
        (owned.agents[span.id], owned.rounds[span.id])
        for span in tree.spans
        if span.operation == "llm_attempt"
    )
    assert attempts == truth.by_agent_and_round("waited")


def compare_messages(truth, tree, summary):
    """Edges, cut edges and messages that were read, in each round."""
    graphs = {graph.round: graph for graph in summary.topology.graphs}
    drawn = {str(line["round"]): line["edges"] for line in truth.of("edges")}
    cut = {str(line["round"]): line["edges"] for line in truth.of("cut")}
    assert graphs.keys() == drawn.keys()
    for number, graph in graphs.items():
        assert sorted([edge.source, edge.target] for edge in graph.edges) == sorted(drawn[number])
        assert sorted(list(pair) for pair in graph.cut) == sorted(cut[number])
    read = Counter(
        (source, line["agent"]) for line in truth.of("worker") for source in line["read"]
    )
    by_id = {span.id: span for span in tree.spans}
    links = Counter(
        (by_id[link].agent, span.agent)
        for span in tree.spans
        if span.role == "worker" and span.status != "cancelled"
        for link in span.links
    )
    assert links == read


def compare_failures(truth, tree, owned, summary):
    """Each failure with its agent, round, kind and fate; who was dead, and what that did."""
    found = outcomes(tree, owned)
    ours = Counter(
        (agent, failure.round, failure.kind, failure.fate)
        for failure in found.failures
        for agent in failure.agents
    )
    theirs = Counter()
    refused = truth.by_agent_and_round("answered", lambda line: line["status"] == 503)
    for (agent, number), count in refused.items():
        theirs[agent, number, "error", "retry"] = count
    for (agent, number), count in truth.stubs.items():
        theirs[agent, number, "error", "swallowed"] = count
    for (agent, number), count in truth.by_agent_and_round("unreadable").items():
        theirs[agent, number, "soft", "swallowed"] = count
    for (agent, number), count in truth.by_agent_and_round("given_up").items():
        theirs[agent, number, "timeout", "swallowed"] = count
    assert ours == theirs
    assert sum(group.count for group in summary.failures) == len(found.failures)

    attempts = sum(each.attempts for each in found.failures if each.kind == "error")
    crashed = sum(line["status"] == 500 for line in truth.of("answered"))
    assert attempts == crashed + 2 * sum(refused.values())

    failed = Counter(line["agent"] for line in truth.of("worker") if line["stub"])
    calls = Counter(line["agent"] for line in truth.of("worker"))
    dead = {agent for agent in failed if failed[agent] == calls[agent]}
    assert {each.agent for each in found.dead_agents} == dead
    readers = {each.agent: each.messages for each in summary.infections if each.messages}
    assert readers == dict(truth.stub_readers)


def compare_waiting(truth, summary):
    """Seconds that each agent waited for a slot, in each round."""
    theirs = truth.total("waited", "seconds", "agent", "round")
    ours = {
        (each.agent, found.round): each.waiting_seconds
        for found in summary.activities.rounds
        for each in found.agents
    }
    assert theirs.keys() <= ours.keys()
    for key, seconds in ours.items():
        assert seconds == pytest.approx(theirs[key], rel=0.1, abs=NOTICED_SECONDS), key


def compare_tokens(truth, summary):
    """Tokens of each agent and each round."""
    by_agent = truth.total("answered", "tokens", "agent")
    by_round = truth.total("answered", "tokens", "round")
    assert {(each.name,): each.tokens for each in summary.spending.by_agent} == +by_agent
    assert {(each.name,): each.tokens for each in summary.spending.by_round} == +by_round


@pytest.mark.parametrize(("fault", "seed"), [("swallowed", 1), ("timeout", 1)])
def test_findings_are_what_the_program_itself_wrote_down(tmp_path, fault, seed):
    """Calls, edges, messages, failures, waiting, tokens: as the model and the client counted them."""
    the_same(tmp_path, fault, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", FAULTS)
def test_findings_are_true_for_every_fault_and_chance(tmp_path, fault, seed):
    """The same for every fault, with agent, slots, threshold and rounds by chance."""
    the_same(tmp_path, fault, seed)
