"""Spans in the words of OpenTelemetry's conventions for generative AI, as of version 1.41.1.

The conventions have no words for rounds, routing, soft failures and the roles of a swarm; those stay
under `dytopo.`. Nothing is filled in that was not captured: `gen_ai.provider.name`, which they
require of a model call, is there only if a rule captures the provider.

https://github.com/open-telemetry/semantic-conventions/tree/v1.41.1/docs/gen-ai
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export.values import text

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.1"

OPERATIONS: Final[Mapping[str, str]] = {
    "orchestrator": "invoke_workflow",
    "manager": "invoke_agent",
    "worker": "invoke_agent",
    "llm": "chat",
    "tool": "execute_tool",
}
"""Role to `gen_ai.operation.name`; spans of other roles keep their own name."""

MODEL_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.provider.name": ("provider", "provider_name"),
    "gen_ai.request.model": ("model", "model_name", "request_model"),
    "gen_ai.response.model": ("response_model",),
    "gen_ai.response.id": ("response_id",),
    "gen_ai.conversation.id": ("conversation_id",),
}
TOKEN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.usage.input_tokens": ("tokens_in", "input_tokens", "prompt_tokens"),
    "gen_ai.usage.output_tokens": ("tokens_out", "output_tokens", "completion_tokens"),
    "gen_ai.usage.cache_read.input_tokens": (
        *("cache_read_tokens", "cached_tokens", "cache_read_input_tokens"),
    ),
    "gen_ai.usage.cache_creation.input_tokens": (
        *("cache_creation_tokens", "cache_write_tokens", "cache_creation_input_tokens"),
    ),
    "gen_ai.usage.reasoning.output_tokens": ("reasoning_tokens",),
    "gen_ai.request.max_tokens": ("max_tokens",),
}
NUMBER_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("top_p",),
}
LIST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.response.finish_reasons": ("finish_reasons", "finish_reason"),
}
TOOL_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.tool.name": ("tool", "tool_name"),
    "gen_ai.tool.call.id": ("tool_call_id",),
    "gen_ai.tool.type": ("tool_type",),
}
KEYS_BY_ROLE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    # Tokens belong to the model call that spent them: on its callers too, they would be counted twice.
    "llm": {**MODEL_KEYS, **TOKEN_KEYS, **NUMBER_KEYS, **LIST_KEYS},
    "tool": TOOL_KEYS,
    "manager": MODEL_KEYS,
    "worker": MODEL_KEYS,
}
"""By role: conventional name to the metadata keys that mean it; the first one that is there counts."""

_DIRECTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("in", "input", "prompt"), "gen_ai.usage.input_tokens"),
    **dict.fromkeys(("out", "output", "completion"), "gen_ai.usage.output_tokens"),
}
_DIRECTION_LABELS: Final = ("direction", "gen_ai.token.type", "token_type", "type")

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - no password
DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))

Observation = tuple[str, float, tuple[tuple[str, str], ...]]
"""One value of one of the two histograms: metric, value, labels."""


def attributes(
    span: Span, metadata: Mapping[str, Any], service: str, agent: str
) -> tuple[dict[str, Any], frozenset[str]]:
    """The span's attributes under conventional names, and the metadata keys they were taken from.

    `agent` is the agent that the span belongs to, by its own word or its callers'.
    """
    found: dict[str, Any] = {}
    taken: set[str] = set()
    operation = OPERATIONS.get(span.role)
    if operation:
        found["gen_ai.operation.name"] = operation
    if agent:
        found["gen_ai.agent.name"] = agent
    if span.role == "orchestrator" and service:
        found["gen_ai.workflow.name"] = service
    for name, keys in KEYS_BY_ROLE.get(span.role, {}).items():
        for key in keys:
            value = _fitting(name, metadata.get(key))
            if value is not None:
                found[name] = value
                taken.add(key)
                break
    if span.role == "tool":
        found.setdefault("gen_ai.tool.name", text(span.operation))
    if span.role == "llm":
        for name, measured in _measured_tokens(span).items():
            found.setdefault(name, measured)
    return found, frozenset(taken)


def name(span: Span, conventional: Mapping[str, Any]) -> str:
    """The span's name: the operation and what it is done to, or the span's own name."""
    operation = OPERATIONS.get(span.role)
    if operation is None:
        return span.operation
    subject = {
        "invoke_workflow": "gen_ai.workflow.name",
        "invoke_agent": "gen_ai.agent.name",
        "chat": "gen_ai.request.model",
        "execute_tool": "gen_ai.tool.name",
    }[operation]
    # Another tool's word for the same, such as text_completion, came with the span.
    said = text(conventional.get("gen_ai.operation.name")) or operation
    return f"{said} {conventional[subject]}" if subject in conventional else said


def is_client(span: Span) -> bool:
    """Whether the span is a call to something outside of the program."""
    return span.role == "llm"


def observations(span: Span, conventional: Mapping[str, Any]) -> Iterator[Observation]:
    """What a finished model call adds to the two histograms of a client."""
    if span.role != "llm" or not span.end_ns:
        return
    labels = [("gen_ai.operation.name", text(conventional.get("gen_ai.operation.name")) or "chat")]
    labels += [
        (key, str(conventional[key]))
        for key in ("gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model")
        if key in conventional
    ]
    failed = (
        [("error.type", str(conventional["error.type"]))] if "error.type" in conventional else []
    )
    yield OPERATION_DURATION, (span.end_ns - span.start_ns) / 1e9, (*labels, *failed)
    for kind in ("input", "output"):
        count = conventional.get(f"gen_ai.usage.{kind}_tokens")
        if isinstance(count, (int, float)):
            yield TOKEN_USAGE, float(count), (*labels, ("gen_ai.token.type", kind))


def _fitting(conventional: str, value: Any) -> Any:
    """The value if it is of the kind that the name stands for, else None."""
    if conventional in TOKEN_KEYS:
        return _whole(value)
    if conventional in NUMBER_KEYS:
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if conventional in LIST_KEYS:
        if isinstance(value, str):
            return [value]
        is_texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return value if is_texts else None
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value >= 0 and value == value // 1 and value < 2**63 else None


def _measured_tokens(span: Span) -> dict[str, int]:
    """Tokens that the rule measured: a metric `*tokens` or `*tokens_total` with a direction."""
    found: dict[str, int] = {}
    for metric, _, value, labels in span.measurements:
        count = _whole(value)
        if count is None or not metric.removesuffix("_total").endswith("tokens"):
            continue
        for label, direction in labels:
            if label in _DIRECTION_LABELS and direction in _DIRECTIONS:
                key = _DIRECTIONS[direction]
                found[key] = found.get(key, 0) + count
    return found
