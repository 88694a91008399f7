"""The conventions' names: by role, as they are published, and only for what was captured."""

import importlib

import pytest

from dytopo_autotrace.export import genai
from dytopo_autotrace.export.run import Run
from tests.export.sample_runs import records, span


def exported(role, *, measurements=None, agent="", service="poets", **metadata):
    made = span(1, "op", 0, 1, role=role, agent=agent, measurements=measurements, **metadata)
    return Run(records([made], service=service)).exported(made)


@pytest.mark.parametrize(
    ("role", "given", "name"),
    [
        ("orchestrator", {}, "invoke_workflow poets"),
        ("orchestrator", {"service": ""}, "invoke_workflow"),
        ("manager", {"agent": "boss"}, "invoke_agent boss"),
        ("worker", {"agent": "ann"}, "invoke_agent ann"),
        ("worker", {}, "invoke_agent"),
        ("llm", {"model": "m-1"}, "chat m-1"),
        ("llm", {}, "chat"),
        ("tool", {"tool": "search"}, "execute_tool search"),
        ("tool", {}, "execute_tool op"),
        ("router", {}, "op"),
        ("", {}, "op"),
    ],
)
def test_names_by_role(role, given, name):
    """A span is named after its operation and what it is done to; other roles keep their name."""
    found = exported(role, **given)
    assert found.name == name
    assert found.attributes.get("gen_ai.operation.name") == genai.OPERATIONS.get(role)
    assert found.attributes["dytopo.operation"] == "op"
    assert found.is_client == (role == "llm")


def test_every_name_is_one_of_the_conventions():
    """OpenTelemetry's own package has each attribute, operation and metric that is used here."""
    package = "opentelemetry.semconv._incubating"
    names = pytest.importorskip(f"{package}.attributes.gen_ai_attributes")
    metrics = importlib.import_module(f"{package}.metrics.gen_ai_metrics")
    published = {value for value in vars(names).values() if isinstance(value, str)}
    used = {key for keys in genai.KEYS_BY_ROLE.values() for key in keys}
    assert used <= published
    operations = {each.value for each in names.GenAiOperationNameValues}
    assert set(genai.OPERATIONS.values()) <= operations
    assert {genai.OPERATION_DURATION, genai.TOKEN_USAGE} <= {
        each for each in vars(metrics).values() if isinstance(each, str)
    }
    schemas = importlib.import_module("opentelemetry.semconv.schemas").Schemas
    assert schemas.V1_41_1.value == genai.SCHEMA_URL


def test_bounds_are_the_conventions():
    """From 10 ms in doubles, from one token in powers of four."""
    assert genai.DURATION_BUCKETS[:4] == (0.01, 0.02, 0.04, 0.08)
    assert genai.DURATION_BUCKETS[-1] == 81.92
    assert genai.TOKEN_BUCKETS[:3] == (1, 4, 16)
    assert genai.TOKEN_BUCKETS[-1] == 67108864
    assert len(genai.DURATION_BUCKETS) == len(genai.TOKEN_BUCKETS) == 14


def test_every_spelling_of_tokens_is_understood():
    """The first metadata key that is there counts, and is not written a second time."""
    for name, keys in genai.TOKEN_KEYS.items():
        for key in keys:
            attributes = exported("llm", **{key: 7}).attributes
            assert attributes[name] == 7
            assert f"dytopo.{key}" not in attributes


def test_what_does_not_fit_stays_ours():
    """A text where a number belongs is no token count; it is kept under its own name."""
    for value in ("many", True, -1, 1.5):
        attributes = exported("llm", tokens_in=value).attributes
        assert "gen_ai.usage.input_tokens" not in attributes
        assert attributes["dytopo.tokens_in"] == value
    assert exported("llm", tokens_in=12.0).attributes["gen_ai.usage.input_tokens"] == 12
    assert exported("llm", finish_reason="stop").attributes["gen_ai.response.finish_reasons"] == [
        "stop"
    ]


def test_tokens_belong_to_the_call_that_spent_them():
    """A caller that repeats its leaf's usage keeps it as its own: a sum must not count it twice."""
    for role in ("worker", "manager", "orchestrator", "attempt"):
        attributes = exported(role, tokens_in=7).attributes
        assert "gen_ai.usage.input_tokens" not in attributes
        assert attributes["dytopo.tokens_in"] == 7


def test_tokens_that_a_rule_measured_count_too():
    """A token metric with a direction is usage, unless the span has captured it already."""
    measured = (
        ("swarm_tokens_total", "counter", 5, (("direction", "in"), ("agent", "a"))),
        ("swarm_tokens_total", "counter", 3, (("direction", "out"),)),
        ("llm_tokens", "histogram", 2, (("token_type", "output"),)),
        ("other_total", "counter", 9, (("direction", "in"),)),
        ("swarm_tokens_total", "counter", 9, ()),
    )
    attributes = exported("llm", measurements=measured).attributes
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert attributes["gen_ai.usage.output_tokens"] == 5
    attributes = exported("llm", measurements=measured, tokens_in=1).attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1


def test_nothing_is_filled_in():
    """What nobody captured is not there, required by the conventions or not."""
    attributes = exported("llm").attributes
    assert {key for key in attributes if key.startswith("gen_ai.")} == {"gen_ai.operation.name"}


def test_a_name_with_a_dot_is_the_authors_own():
    """A rule that captures a conventional name says what it means, and wins over what we work out."""
    attributes = exported("llm", **{"gen_ai.operation.name": "embeddings", "x.y": 1}).attributes
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["x.y"] == 1


def test_metadata_never_overwrites_what_is_said_of_the_span():
    """A captured value called `role` or `dytopo.role` goes elsewhere."""
    attributes = exported(
        "worker", round={"x": 1}, **{"dytopo.role": "x", "error.type": "y"}
    ).attributes
    assert attributes["dytopo.role"] == "worker"
    assert attributes["dytopo.metadata.round"] == {"x": 1}
    assert "dytopo.round" not in attributes
    assert attributes["dytopo.metadata.dytopo.role"] == "x"


def test_an_agent_and_a_round_are_inherited():
    """A model call below an agent's is that agent's; `dytopo.agent` says only what the call said."""
    agent = span(1, "call", 0, 2, role="worker", agent="ann", round=3)
    below = span(2, "llm", 0, 1, parent=1, role="llm")
    attributes = Run(records([agent, below])).exported(below).attributes
    assert attributes["gen_ai.agent.name"] == "ann"
    assert attributes["dytopo.round"] == "3"
    assert "dytopo.agent" not in attributes
