"""Whether two calls of one operation were asked the same, as far as what was captured of them tells."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, Final

from dytopo_autotrace.analyze.propagation import is_soft
from dytopo_autotrace.collect.span import MISSING, RESERVED, Span

_WORD: Final = re.compile(r"[a-z0-9]+")
_MODEL: Final = frozenset({"model", "deployment", "engine", "provider", "vendor"})
_TOOL: Final = frozenset({"tool", "function"})
_CHANGES_WITH_EACH_TRY: Final = frozenset(
    {
        *("attempt", "attempts", "try", "tries", "retry", "retries"),
        *("messages", "history", "prompt", "prompts", "conversation", "transcript", "context"),
        *("timeout", "deadline", "delay", "backoff", "pause", "temperature", "seed", "nonce"),
        *("time", "timestamp", "now", "started", "elapsed", "remaining", "free", "uuid"),
    }
)
_OF_THE_ANSWER: Final = frozenset(
    {
        *("result", "results", "response", "output", "answer", "status", "code", "error"),
        *("exception", "duration", "latency", "tokens", "usage", "cost", "finish"),
    }
)
_ANSWERS: Final = ("result", "output", "answer", "response", "text", "content", "work")
_ONE_FOR_EACH_CALL: Final = frozenset({"request", "call", "span", "trace", "run", "message"})


def asked(span: Span) -> dict[str, Any]:
    """What was captured when the call began; of a span that no rule made, all that it says."""
    site = span.site
    if not site.entry and not site.exit:
        return span.metadata
    return {
        name: value
        for name, value in zip(site.entry, span.at_entry, strict=False)
        if value is not MISSING and not name.startswith(RESERVED)
    }


def telling(span: Span) -> frozenset[str]:
    """Names under which a failed call was given what tells its input from another's.

    After a failed result a caller may well ask for the same in other words, so that then only what
    names a thing counts: numbers and single words. Of a span that no rule made it is not known what
    was there when it began; where nothing was raised, that may all be the answer.
    """
    given = asked(span)
    by_rule = bool(span.site.entry or span.site.exit)
    soft = is_soft(span)
    return frozenset(
        name
        for name, value in given.items()
        if not _changes_anyway(words := _words(name), by_rule)
        and (not soft or (_names_a_thing(value) if by_rule else words & (_TOOL | _MODEL)))
    )


def differing(names: Iterable[str], one: Span, other: Span) -> frozenset[str]:
    """Those of the names under which the two calls were given different things."""
    mine, its = asked(one), asked(other)
    return frozenset(
        name for name in names if name in mine and name in its and not _alike(mine[name], its[name])
    )


def answer_of(span: Span) -> str:
    """The text that the call returned, if any was captured under a name that says so."""
    given = asked(span) if span.site.entry or span.site.exit else {}
    for name in _ANSWERS:
        value = span.metadata.get(name)
        if isinstance(value, str) and value and name not in given:
            return value
    return ""


def is_model(name: str) -> bool:
    """It is the name of a model, or of who serves it."""
    return bool(_words(name) & _MODEL)


def model_of(span: Span) -> str:
    """The model that the call was to ask, `""` if it was not captured when it began."""
    for name, value in asked(span).items():
        words = _words(name)
        if "model" in words and not words & _OF_THE_ANSWER and isinstance(value, str):
            return value
    return ""


def _changes_anyway(words: frozenset[str], by_rule: bool) -> bool:
    if words & _CHANGES_WITH_EACH_TRY or (not by_rule and words & _OF_THE_ANSWER):
        return True
    return "id" in words and bool(words & _ONE_FOR_EACH_CALL)


@functools.lru_cache(maxsize=1024)
def _words(name: str) -> frozenset[str]:
    return frozenset(_WORD.findall(name.lower()))


def _names_a_thing(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.split()) == 1
    return isinstance(value, int | float)


def _alike(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:
        return True  # what cannot be compared tells nothing
