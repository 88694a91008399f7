"""The dytopo pack covers the program it is for."""

import ast
import pathlib
import tomllib

import pytest

from dytopo_autotrace.rules.load import PACKS, load
from dytopo_autotrace.rules.match import compile_rules

RULESET = load(None, cwd="/", environ={})
MATCHER = compile_rules(RULESET)

# Each function of the program, its parameters as far as they are known, and its role for us.
TABLE = [
    ("dytopo.orchestrator", "run_swarm", "swarm on_progress", "orchestrator"),
    (
        "dytopo.orchestrator",
        "_call_manager",
        "task round_history round_num domain agent_map config pre_context",
        "manager",
    ),
    (
        "dytopo.orchestrator",
        "_call_worker",
        "agent round_goal task incoming_messages domain config descriptor_only",
        "worker",
    ),
    ("dytopo.orchestrator", "_llm_call", "messages agent_id", "step"),
    ("dytopo.orchestrator", "run_swarm.<locals>._broadcast_agent", "", "step"),
    ("dytopo.orchestrator", "run_swarm.<locals>._gen_descriptor", "", "step"),
    ("dytopo.orchestrator", "run_swarm.<locals>._exec_agent", "", "step"),
    ("dytopo.orchestrator", "run_swarm.<locals>.progress", "", "io"),
    ("dytopo.router", "build_routing_result", "agent_ids descriptors tau K_in", "router"),
    ("dytopo.router", "build_routing_result_with_hyde", "", "router"),
    ("dytopo.router", "embed_descriptors", "agent_ids descriptors", "step"),
    ("dytopo.router", "compute_similarity_matrix", "q k", "step"),
    ("dytopo.router", "apply_threshold", "S tau", "step"),
    ("dytopo.router", "enforce_max_indegree", "A S K_in", "step"),
    (
        "dytopo.stigmergic_router",
        "StigmergicRouter.build_topology",
        "self agent_ids descriptors task_summary threshold max_in_degree",
        "router",
    ),
    (
        "dytopo.routing.async_engine",
        "AsyncRoutingEngine.build_routing_graph",
        "self agent_ids descriptors",
        "router",
    ),
    ("dytopo.graph", "build_execution_graph", "edges agent_ids", "step"),
    ("dytopo.graph", "get_execution_tiers", "G agent_ids", "step"),
    ("dytopo.graph", "break_cycles", "G", "step"),
    (
        "dytopo.governance",
        "execute_agent_safe",
        "agent_id agent_call_coro timeout_sec max_retries backend",
        "governance",
    ),
    ("dytopo.governance", "detect_convergence", "round_history", "governance"),
    ("dytopo.governance", "recommend_redelegation", "", "governance"),
    ("dytopo.governance", "StalemateDetector.detect", "self", "governance"),
    ("dytopo.governance", "check_aegean_termination", "", "governance"),
    ("dytopo.governance", "update_agent_metrics", "", "governance"),
    ("dytopo.checkpoint", "CheckpointManager.save", "self task step_label", "io"),
    ("dytopo.verifier", "OutputVerifier.verify", "self agent_role output", "verifier"),
    ("dytopo.memory.writer", "SwarmMemoryWriter.write", "self", "memory"),
    ("dytopo.memory.writer", "SwarmMemoryWriter.query_similar", "self", "memory"),
    ("dytopo.memory.writer", "query_similar", "", "memory"),
    ("dytopo.health.checker", "preflight_check", "llm_url", "health"),
    (
        "dytopo.delegation",
        "DelegationManager.delegate",
        "self parent_agent_id subtask context swarm_runner depth",
        "delegation",
    ),
    ("dytopo.safeguards", "RateLimiter.acquire", "self", "safeguard"),
    ("dytopo.safeguards", "CircuitBreaker.check", "self", "safeguard"),
    ("dytopo.safeguards", "TokenBudget.check", "self", "safeguard"),
    ("inference.llm_client", "InferenceClient.chat_completion", "self messages agent_id", "llm"),
    (
        "inference.llm_client",
        "InferenceClient.chat_completion.__wrapped__",
        "self messages agent_id",
        "attempt",
    ),
]


def test_the_pack_has_no_faults_and_only_rules():
    """The pack loads clean; settings are the user's, so it has none."""
    text = (pathlib.Path(PACKS) / "dytopo.toml").read_text(encoding="utf-8")
    assert RULESET.faults == ()
    assert tomllib.loads(text).keys() == {"rule"}


@pytest.mark.parametrize(("module", "qualname", "parameters", "role"), TABLE)
def test_every_function_of_the_program_has_one_rule(module, qualname, parameters, role):
    """Each function is matched by exactly one rule, which reads no parameter it does not have."""
    (rule,) = MATCHER.matches(module, qualname)
    assert rule.role == role
    known = {"result", "error", *parameters.split()}
    assert {name for expression in expressions(rule) for name in expression.names} <= known


def test_no_rule_is_for_nothing():
    """Each rule of the pack is for a function of the program."""
    used = {MATCHER.rule_for(module, qualname).name for module, qualname, *_ in TABLE}
    assert used == {rule.name for rule in RULESET.rules}


def expressions(rule):
    """All expressions of a rule."""
    yield from filter(None, (rule.agent, rule.failed_if))
    yield from rule.attributes.values()
    for metric in rule.metrics:
        yield metric.value
        yield from metric.labels.values()


def test_tokens_are_counted_at_one_level_only():
    """Of the calls that repeat each other's usage one has the role llm, and it alone counts tokens."""
    counting = {
        rule.name
        for rule in RULESET.rules
        for metric in rule.metrics
        if "token" in metric.name or "token" in metric.value.text
    }
    assert counting == {"llm"}
    assert [rule.name for rule in RULESET.rules if rule.role == "llm"] == ["llm"]


class Thing:
    """Something with attributes."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def soft_failure(name, **values):
    """What a rule's `failed_if` says of these values."""
    (rule,) = (rule for rule in RULESET.rules if rule.name == name)
    return eval(compile(ast.Expression(rule.failed_if.tree), name, "eval"), values)


STUB = "[Agent tester failed: TimeoutError]"


@pytest.mark.parametrize(
    ("rule", "result", "failed"),
    [
        ("worker", (Thing(key="tests", work="done"), 120), False),
        ("worker", (Thing(key="tests", work="[1] done"), 120), False),
        ("worker", (Thing(key="cached", work="done"), 0), False),
        ("worker", (Thing(key="[Agent tester failed]", work=""), 0), True),
        ("worker", (Thing(key="tests", work=STUB), 0), True),
        ("worker", (Thing(key=None, work=None), 0), False),
        ("llm-step", {"parsed": {"goal": "g"}}, False),
        ("llm-step", {"parsed": None}, False),
        ("llm-step", {"parsed": {"_parse_failed": True}}, True),
        ("verifier", Thing(passed=True), False),
        ("verifier", Thing(passed=False), True),
    ],
)
def test_failures_that_raise_nothing_are_seen(rule, result, failed):
    """Stubs, unreadable answers and refused outputs count as failed, good results do not."""
    assert soft_failure(rule, result=result) is failed
