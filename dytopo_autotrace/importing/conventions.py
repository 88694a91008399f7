"""What foreign attributes mean: role, agent, tokens, model and error, by the names that are in use.

Names of OpenTelemetry's conventions for generative AI, of OpenInference, OpenLLMetry, MLflow,
Langfuse, LangSmith and Vercel's AI SDK. What is not understood stays in the metadata under its own name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from dytopo_autotrace.collect.span import ErrorInfo, Status
from dytopo_autotrace.export import genai
from dytopo_autotrace.importing.foreign import ForeignEvent, ForeignSpan, is_true, text

ROLES: Final[Mapping[str, Mapping[str, str]]] = {
    "gen_ai.operation.name": {
        "invoke_workflow": "orchestrator",
        "invoke_agent": "worker",
        "execute_tool": "tool",
        **dict.fromkeys(("chat", "text_completion", "generate_content"), "llm"),
        "embeddings": "embedding",
        "retrieval": "retrieval",
        "plan": "planner",
    },
    "openinference.span.kind": {
        "llm": "llm",
        "agent": "worker",
        "tool": "tool",
        "retriever": "retrieval",
        "embedding": "embedding",
        "reranker": "reranker",
        "guardrail": "guardrail",
        "evaluator": "evaluator",
    },
    "traceloop.span.kind": {"workflow": "orchestrator", "agent": "worker", "tool": "tool"},
    "langsmith.span.kind": {
        "llm": "llm",
        "tool": "tool",
        "retriever": "retrieval",
        "embedding": "embedding",
    },
    "ai.operationId": {
        **dict.fromkeys(
            (
                *("ai.generatetext.dogenerate", "ai.streamtext.dostream"),
                *("ai.generateobject.dogenerate", "ai.streamobject.dostream"),
            ),
            "llm",
        ),
        "ai.toolcall": "tool",
        **dict.fromkeys(("ai.embed.doembed", "ai.embedmany.doembed"), "embedding"),
    },
    "mlflow.spanType": {
        "llm": "llm",
        "chat_model": "llm",
        "agent": "worker",
        "tool": "tool",
        "retriever": "retrieval",
        "embedding": "embedding",
    },
    "langfuse.observation.type": {
        "generation": "llm",
        "agent": "worker",
        "tool": "tool",
        "retriever": "retrieval",
        "embedding": "embedding",
        "evaluator": "evaluator",
        "guardrail": "guardrail",
    },
    "llm.request.type": dict.fromkeys(("chat", "completion"), "llm"),
}
"""Attribute to its values, in lower case, to roles; the first attribute that is there counts."""

AGENTS: Final = (
    *("gen_ai.agent.name", "agent.name", "graph.node.name", "graph.node.id"),
    *("gen_ai.agent.id", "agent.id", "langgraph_node", "langgraph.node"),
)
"""Attributes that name the agent, the best first."""

RENAMED: Final[Mapping[str, tuple[str, ...]]] = {
    "model": (
        *("gen_ai.request.model", "llm.model_name", "llm.request.model"),
        *("langfuse.observation.model.name", "mlflow.llm.model", "ai.model.id"),
    ),
    "provider": (
        *("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
        *("mlflow.llm.provider", "ai.model.provider"),
    ),
    "tokens_in": (
        *("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        *("llm.token_count.prompt", "llm.usage.prompt_tokens"),
        *("ai.usage.inputTokens", "ai.usage.promptTokens"),
    ),
    "tokens_out": (
        *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        *("llm.token_count.completion", "llm.usage.completion_tokens"),
        *("ai.usage.outputTokens", "ai.usage.completionTokens"),
    ),
    "cache_read_tokens": (
        *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        "llm.token_count.prompt_details.cache_read",
    ),
    "cache_creation_tokens": (
        *("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_write.input_tokens"),
        *("gen_ai.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write"),
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
    "max_tokens": ("gen_ai.request.max_tokens",),
    "temperature": ("gen_ai.request.temperature",),
    "top_p": ("gen_ai.request.top_p",),
    "response_model": ("gen_ai.response.model",),
    "response_id": ("gen_ai.response.id",),
    "finish_reasons": ("gen_ai.response.finish_reasons",),
    "conversation_id": ("gen_ai.conversation.id", "session.id"),
    "tool": ("gen_ai.tool.name", "tool.name", "ai.toolCall.name"),
    "tool_call_id": ("gen_ai.tool.call.id", "ai.toolCall.id"),
    "tool_type": ("gen_ai.tool.type",),
}
"""Metadata key to the attributes that mean it, the best first."""

USAGES: Final = ("mlflow.chat.tokenUsage", "langfuse.observation.usage_details")
"""Attributes that hold all tokens of a call as one JSON object."""

_USAGE: Final[Mapping[str, tuple[str, ...]]] = {
    "tokens_in": ("input_tokens", "prompt_tokens", "input"),
    "tokens_out": ("output_tokens", "completion_tokens", "output"),
    "cache_read_tokens": ("cache_read_input_tokens", "input_cached_tokens"),
    "cache_creation_tokens": ("cache_creation_input_tokens",),
    "reasoning_tokens": ("output_reasoning_tokens", "reasoning_tokens"),
}

_NUMBERS: Final = frozenset(
    (
        *("tokens_in", "tokens_out", "cache_read_tokens", "cache_creation_tokens"),
        *("reasoning_tokens", "max_tokens", "temperature", "top_p"),
    )
)
_COMPUTED: Final = ("gen_ai.agent.name", "gen_ai.workflow.name")
"""What our own exports say again in the words of the conventions."""

_FRAME = re.compile(r'^  File "(.*)", line (\d{1,9}), in (.*)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a foreign span says, in our words."""

    operation: str
    role: str
    rule: str
    agent: str
    status: Status
    is_open: bool
    error: ErrorInfo | None
    metadata: dict[str, Any]


def meaning(span: ForeignSpan) -> Meaning:
    """What a span means."""
    return _ours(span) if span.is_ours else _theirs(span)


def _ours(span: ForeignSpan) -> Meaning:
    attributes = dict(span.attributes)
    operation = text(attributes.pop("dytopo.operation"))
    role, agent = text(attributes.pop("dytopo.role", "")), text(attributes.pop("dytopo.agent", ""))
    rule = text(attributes.pop("dytopo.rule", ""))
    status = _status(attributes.pop("dytopo.status", None)) or (
        "error" if span.failed else "success"
    )
    is_open = is_true(attributes.pop("dytopo.open", False))
    soft = is_true(attributes.pop("dytopo.error.soft", False))
    if attributes.get("gen_ai.operation.name") == genai.OPERATIONS.get(role):
        attributes.pop("gen_ai.operation.name", None)
    for key in (*_COMPUTED, "dytopo.round", "dytopo.withheld", "dytopo.lost_links"):
        attributes.pop(key, None)
    if role == "tool" and attributes.get("gen_ai.tool.name") == operation:
        del attributes["gen_ai.tool.name"]
    event = next((each for each in span.events if each.name == "exception"), None)
    error_type = text(attributes.pop("error.type", ""))
    error = None
    if soft:
        error = ErrorInfo(error_type, span.message, soft=True)
    elif event is not None or span.failed:
        error = _error_of(event.attributes if event else {}, error_type, span.message)
    metadata = _renamed(attributes)
    for key in [key for key in metadata if key.startswith("dytopo.")]:
        name = key.removeprefix("dytopo.").removeprefix("metadata.")
        metadata[name] = metadata.pop(key)
    return Meaning(operation, role, rule, agent, status, is_open, error, metadata)


def _theirs(span: ForeignSpan) -> Meaning:
    attributes = dict(span.attributes)
    failed, message = span.failed, span.message
    if text(attributes.get("langfuse.observation.level")) == "ERROR":
        failed = True
        message = message or text(attributes.get("langfuse.observation.status_message"))
    status: Status = "error" if failed else ("success" if span.end_ns else "in_progress")
    agent = next((found for key in AGENTS if (found := text(attributes.get(key)))), "")
    if agent and attributes.get("gen_ai.agent.name") == agent:
        del attributes["gen_ai.agent.name"]
    error_type = text(attributes.pop("error.type", "")) if failed else ""
    exceptions = [each for each in span.events if each.name == "exception"]
    error = None
    if failed:
        # The last one is what ended the span; those before it may have been handled.
        last = exceptions[-1].attributes if exceptions else {}
        error = _error_of(last, error_type, message)
        if error is not None and error.type_name.endswith("CancelledError"):
            status = "cancelled"
    role = _role(attributes)
    metadata = _renamed(attributes)
    if not role and not any(key in span.attributes for key in ROLES) and _is_model_call(metadata):
        role = "llm"
    if role == "worker" and not agent:
        entity = text(attributes.get("traceloop.entity.name"))
        agent = entity or span.name.removeprefix("invoke_agent").strip()
    if span.kind:
        metadata.setdefault("span.kind", span.kind)
    others = [
        each for each in span.events if not (failed and exceptions and each is exceptions[-1])
    ]
    if others:
        metadata.setdefault("events", [_plain_event(each) for each in others])
    operation = span.name or role or "unnamed"
    return Meaning(operation, role, "", agent, status, not span.end_ns, error, metadata)


def _role(attributes: Mapping[str, Any]) -> str:
    if role := text(attributes.get("dytopo.role")):
        return role
    for key, roles in ROLES.items():
        value = text(attributes.get(key)).strip('"').lower()
        if value in roles:
            return roles[value]
    return ""


def _is_model_call(metadata: Mapping[str, Any]) -> bool:
    """Whether what says nothing of its kind names a model and the tokens that it took."""
    return "model" in metadata and ("tokens_in" in metadata or "tokens_out" in metadata)


def _renamed(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes, those that are understood under the names that rules use for them."""
    found: dict[str, Any] = {}
    for usage in USAGES:
        counts = _table(attributes.get(usage))
        for name, keys in _USAGE.items():
            counted = (_number(counts[key]) for key in keys if key in counts)
            if (number := next((each for each in counted if each is not None), None)) is not None:
                found.setdefault(name, number)
    for name, keys in RENAMED.items():
        for key in keys:
            if key not in attributes:
                continue
            value = attributes[key]
            if key.startswith("mlflow.") and isinstance(value, str):
                value = value.strip('"')  # All that MLflow writes is JSON.
            fitting = _number(value) if name in _NUMBERS else value
            if fitting is not None:
                found[name] = fitting
                del attributes[key]
                break
    return {**attributes, **found}


def _table(written: Any) -> dict[str, Any]:
    """An object, which may be written as JSON text; an empty one for all else."""
    if isinstance(written, str):
        try:
            written = json.loads(written)
        except (ValueError, RecursionError):
            return {}
    return written if isinstance(written, dict) else {}


def _number(value: Any) -> int | float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) >= 2**63:
        return None
    return int(value) if value == value // 1 else value


def _status(written: Any) -> Status | None:
    return next((status for status in get_args(Status) if status == written), None)


def _error_of(event: Mapping[str, Any], error_type: str, message: str) -> ErrorInfo | None:
    """The error that an event tells of, or else the span's status; None if neither says anything."""
    full_name = text(event.get("exception.type")) or error_type.replace("_OTHER", "")
    message = text(event.get("exception.message")) or ("" if event else message)
    if not full_name and not message:
        return None
    module = text(event.get("dytopo.exception.module"))
    if "dytopo.exception.module" in event:
        type_name = full_name.removeprefix(f"{module}." if module else "")
    else:
        module, _, type_name = full_name.rpartition(".")
    stack = text(event.get("exception.stacktrace"))
    return ErrorInfo(
        type_name=type_name,
        message=message,
        module=module,
        frames=tuple((file, int(line), where) for file, line, where in _FRAME.findall(stack)),
        identity=_hex(event.get("dytopo.exception.identity")),
        related=tuple(map(_hex, text(event.get("dytopo.exception.related")).split())),
    )


def _hex(written: Any) -> int:
    try:
        return int(text(written) or "0", 16)
    except ValueError:
        return 0


def _plain_event(event: ForeignEvent) -> dict[str, Any]:
    return {"name": event.name, "unix_ns": event.unix_ns, **event.attributes}
