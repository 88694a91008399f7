"""What of a span is content: words that people, agents and models said to each other.

Content is left out of what goes to other tools unless it is asked for. A rule had to name a value
for it to be captured at all; that it was wanted here does not mean that it is wanted there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

WORDS: Final = frozenset(
    (
        *("answer", "answers", "argument", "arguments", "args", "body", "chunk", "chunks"),
        *("completion", "completions", "content", "contents", "context", "conversation"),
        *("definition", "definitions", "description", "descriptor", "document", "documents"),
        *("draft", "explanation", "feedback", "goal", "goals", "hint", "hints", "history"),
        *("input", "inputs", "instruction", "instructions", "key", "keys", "kwargs"),
        *("memory", "memories", "message", "messages", "note", "notes", "observation"),
        *(
            "observations",
            "offer",
            "offers",
            "output",
            "outputs",
            "parameters",
            "params",
            "parsed",
            "payload",
        ),
        *("plan", "template", "templates", "variables"),
        *("prompt", "prompts", "queries", "query", "question", "questions", "reasoning"),
        *("reflection", "reply", "report", "request", "response", "responses", "result"),
        *("results", "solution", "subtask", "subtasks", "summary", "task", "tasks", "text"),
        *("texts", "thinking", "thought", "thoughts", "transcript", "utterance", "work"),
    )
)
"""A key with one of these words in it looks like content..."""

HARMLESS_ENDINGS: Final = frozenset(
    (
        *("bytes", "characters", "class", "count", "format", "hash", "id", "ids", "index"),
        *("kind", "language", "len", "length", "limit", "model", "ms", "name", "names"),
        *("number", "reason", "role", "score", "seconds", "size", "status", "time", "tokens"),
        *("type", "types", "url", "version"),
    )
)
"""...unless it ends in one of these: `task_id` names a task, it does not tell it..."""

NEVER: Final = frozenset(("error", "errors", "exception"))
"""...or has one of these in it: what an error says is told with the error anyway."""

ALWAYS: Final = frozenset(("input.value", "output.value", "entity.input", "entity.output"))
"""Endings of keys that are content, whatever their words."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def looks_like_content(key: str) -> bool:
    """Whether text under this key is likely to be what somebody said."""
    if key.lower().endswith(tuple(ALWAYS)):
        return True
    words = [word.lower() for word in _WORD.findall(key)]
    if not words or words[-1] in HARMLESS_ENDINGS or not NEVER.isdisjoint(words):
        return False
    return not WORDS.isdisjoint(words)


def without_content(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The values that are no content, and how many were left out.

    A number is never content, whatever it is called: how many messages there were is no message.
    """
    kept: dict[str, Any] = {}
    withheld = 0
    for key, value in values.items():
        if _is_wordless(value) or not looks_like_content(key):
            kept[key], inside = _inside(value)
            withheld += inside
        else:
            withheld += 1
    return kept, withheld


def _is_wordless(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float))


def _inside(value: Any) -> tuple[Any, int]:
    if isinstance(value, dict):
        return without_content(value)
    if isinstance(value, list) and any(isinstance(each, (dict, list)) for each in value):
        parts = [_inside(each) for each in value]
        return [part for part, _ in parts], sum(withheld for _, withheld in parts)
    return value, 0
