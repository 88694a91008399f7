"""What the orchestrator does in each round of a healthy run."""

import asyncio
from collections import Counter

import pytest

WORKERS = ["researcher", "designer", "developer", "tester", "reviewer"]


def test_the_first_round_is_a_broadcast(play, record_worker_calls):
    """In round 1 each worker is called once, for work, without messages."""
    swarm = play("--rounds", "1")

    assert sorted(WORKERS) == sorted(call["agent_id"] for call in record_worker_calls)
    assert all(not call["descriptor_only"] for call in record_worker_calls)
    assert all(call["received"] == {} for call in record_worker_calls)
    assert swarm.rounds[0].edges == []


def test_later_rounds_ask_for_a_descriptor_and_then_for_work(play, record_worker_calls):
    """From round 2 on each worker is called twice: for its descriptor, then for its work."""
    swarm = play("--rounds", "3")

    for record in swarm.rounds[1:]:
        calls = [call for call in record_worker_calls if call["goal"] == record.goal]
        assert [call["descriptor_only"] for call in calls] == [True] * 5 + [False] * 5
        assert Counter(WORKERS * 2) == Counter(call["agent_id"] for call in calls)


def test_workers_read_what_was_routed_to_them_and_nothing_else(play, record_worker_calls):
    """An agent receives the work of this round's sources, along the recorded edges only."""
    swarm = play()

    for record in swarm.rounds[1:]:
        for call in record_worker_calls:
            if call["goal"] == record.goal and not call["descriptor_only"]:
                sources = {s for s, target, _ in record.edges if target == call["agent_id"]}
                assert {s: record.outputs[s].work for s in sources} == call["received"]


def test_one_round_had_a_cycle_to_break(play, load, monkeypatch):
    """At least one routed graph of a default run has a cycle, and too many edges into an agent."""
    orchestrator = load("dytopo.orchestrator")
    build, cycles, removed = orchestrator.build_routing_result, [], []

    def watched(agent_ids, *arguments):
        result = build(agent_ids, *arguments)
        graph = load("dytopo.graph").build_execution_graph(result["edges"], agent_ids)
        cycles.extend(load("dytopo.graph").find_cycle(graph))
        removed.extend(result["removed_edges"])
        return result

    monkeypatch.setattr(orchestrator, "build_routing_result", watched)
    play()

    assert {("tester", "developer"), ("developer", "tester")} == set(cycles)
    assert [edge[:2] for edge in removed] == [("designer", "reviewer")]


def test_calls_and_tokens_are_counted(play):
    """The swarm counts every call, and its tokens are those of its workers and the manager."""
    swarm = play()

    assert swarm.total_llm_calls == 29
    assert dict.fromkeys(WORKERS, 5) == {
        agent_id: metrics.calls for agent_id, metrics in swarm.agent_metrics.items()
    }
    assert swarm.total_tokens > sum(metrics.tokens for metrics in swarm.agent_metrics.values()) > 0


@pytest.mark.parametrize(
    ("argv", "reason", "rounds"),
    [
        ((), "manager_halt", 3),
        (("--rounds", "2"), "max_rounds", 2),
        (("--fault", "unreadable"), "converged", 4),
    ],
)
def test_a_run_ends_for_one_of_three_reasons(play, argv, reason, rounds):
    """A run ends by the manager's word, at T_max, or when a round repeats the one before."""
    swarm = play(*argv)

    assert ("completed", reason, rounds) == (
        swarm.status,
        swarm.termination_reason,
        len(swarm.rounds),
    )
    assert swarm.final_answer


def test_progress_is_told_in_order(load):
    """Progress names each round's beginning, its routing after the first, and its end."""
    program = load("run_swarm")
    events = []

    async def on_progress(event, details):
        events.append((event, details.get("number")))

    async def run():
        args = program.parse_args(["--latency-scale", "0", "--rounds", "2"])
        async with program.open_model(args) as base_url:
            swarm = program.build_swarm(args, base_url, "any")
            await program.run_swarm(swarm, on_progress)

    asyncio.run(run())

    assert events == [
        ("round_started", 1),
        ("round_finished", 1),
        ("round_started", 2),
        ("routed", 2),
        ("round_finished", 2),
        ("finished", None),
    ]
