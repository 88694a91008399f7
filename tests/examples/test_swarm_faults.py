"""Each fault of the offline model, and the trace that it leaves in the swarm."""

from collections import Counter


def test_retry_costs_requests_and_nothing_else(play, record_statuses):
    """Under `retry` the agent is refused three times, and each time the next attempt succeeds."""
    play("--fault", "retry", "--agent", "developer")

    assert Counter({200: 5, 503: 3}) == Counter(
        status for agent_id, status in record_statuses if agent_id == "developer"
    )
    assert {200} == {status for agent_id, status in record_statuses if agent_id != "developer"}


def test_swallowed_leaves_a_stub_after_three_attempts(play, record_statuses, record_worker_calls):
    """Under `swallowed` each call ends, after three attempts, in a stub at 0 tokens."""
    play("--fault", "swallowed", "--rounds", "2")

    results = [call["result"] for call in record_worker_calls if call["agent_id"] == "tester"]
    assert len(results) == 3
    assert [status for agent_id, status in record_statuses if agent_id == "tester"] == [500] * 9
    for descriptor, tokens in results:
        assert tokens == 0
        assert descriptor.key.startswith("[Agent tester failed]")
        assert descriptor.work.startswith("[Agent tester failed: ModelUnavailable: HTTP 500")


def test_a_stub_travels(play, record_worker_calls):
    """Under `swallowed` the stub's text is routed to another agent as if it were work."""
    swarm = play("--fault", "swallowed", "--rounds", "2")

    readers = [call for call in record_worker_calls if "tester" in call["received"]]
    assert [call["agent_id"] for call in readers] == ["reviewer"]
    assert readers[0]["received"]["tester"].startswith("[Agent tester failed: ")
    assert swarm.status == "completed"


def test_unreadable_answers_cost_tokens_and_become_poor_work(play, load, monkeypatch):
    """Under `unreadable` parsing fails, the agent is paid, and its prose is taken for work."""
    orchestrator = load("dytopo.orchestrator")
    llm_call, answers = orchestrator._llm_call, []

    async def recorded(messages, *, config, agent_id=""):
        answers.append((agent_id, await llm_call(messages, config=config, agent_id=agent_id)))
        return answers[-1][1]

    monkeypatch.setattr(orchestrator, "_llm_call", recorded)
    swarm = play("--fault", "unreadable")

    assert {"tester"} == {
        agent_id for agent_id, answer in answers if answer["parsed"].get("_parse_failed")
    }
    assert swarm.agent_metrics["tester"].tokens > 0
    assert swarm.rounds[0].outputs["tester"].work.startswith("Of course!")


def test_timeout_costs_the_agent_its_contribution(play, record_worker_calls):
    """Under `timeout` the execution is cancelled, and the round goes on without the agent."""
    swarm = play("--fault", "timeout", "--worker-timeout", "0.5", "--rounds", "2")

    unfinished = [call for call in record_worker_calls if call["result"] is None]
    assert [(call["agent_id"], call["descriptor_only"]) for call in unfinished] == [
        ("tester", False)
    ]
    assert {"researcher", "designer", "developer", "reviewer"} == set(swarm.rounds[1].outputs)
    assert swarm.status == "completed"


def test_timeout_comes_with_a_short_patience(load):
    """Under `timeout` a worker gets one second, and two minutes otherwise, unless told."""
    program = load("run_swarm")

    def patience_s(*argv):
        args = program.parse_args(["--embedding", "hashing", *argv])
        return program.build_swarm(args, "http://localhost/v1", "any").config.worker_timeout_s

    assert (
        patience_s("--fault", "timeout"),
        patience_s(),
        patience_s("--fault", "timeout", "--worker-timeout", "7"),
    ) == (1.0, 120.0, 7.0)
