"""Patterns in failure records, and what usually helps against an error of a given type."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

CLUSTER_GAP_SECONDS: Final = 60.0
CLUSTER_SIZE: Final = 3


class FailureLike(Protocol):
    """What is read of a failure record; `timestamp` is Unix seconds or a datetime."""

    @property
    def component(self) -> str: ...
    @property
    def operation(self) -> str: ...
    @property
    def error_type(self) -> str: ...
    @property
    def timestamp(self) -> Any: ...
    @property
    def recovered(self) -> bool: ...


def patterns(records: Iterable[FailureLike]) -> dict[str, Any]:
    """Counts by type and component, recovery, and clusters in time; `{"total_failures": 0}` of none.

    A cluster is a run of three or more failures, each within 60 s of the one before.
    """
    failures = list(records)
    if not failures:
        return {"total_failures": 0}
    by_type = Counter(failure.error_type for failure in failures)
    by_component = Counter(failure.component for failure in failures)
    recovered = sum(bool(failure.recovered) for failure in failures)
    return {
        "total_failures": len(failures),
        "by_type": dict(by_type),
        "by_component": dict(by_component),
        "recovery_rate": recovered / len(failures),
        "recovered_count": recovered,
        "most_common_error": by_type.most_common(1)[0][0],
        "most_problematic_component": by_component.most_common(1)[0][0],
        "temporal_clusters": _clusters([_seconds(failure.timestamp) for failure in failures]),
    }


def suggestions(
    component: str, error_type: str, message: str = "", *, of_answers: bool = True
) -> list[str]:
    """What to do about an error of this type in this component, the most likely remedy first.

    `of_answers` tells whether what cannot be parsed there can be the answer of a model.
    """
    found = _remedies(error_type, message, of_answers) or _UNKNOWN
    name = component or "the component"
    texts = (text.replace("{component}", name) for text in found)
    return list(dict.fromkeys(text.replace("{error_type}", error_type) for text in texts))


def is_known(error_type: str, message: str = "", *, of_answers: bool = True) -> bool:
    """Whether anything in particular helps against errors of this type."""
    return bool(_remedies(error_type, message, of_answers))


@functools.lru_cache(maxsize=1024)
def _remedies(error_type: str, message: str, of_answers: bool) -> tuple[str, ...]:
    text = f"{error_type}: {message}"
    return tuple(
        remedy
        for words, status, remedies in _REMEDIES
        if (words.search(text) or (status is not None and status.search(message)))
        and (of_answers or remedies is not _UNREADABLE)
        for remedy in remedies
    )


def _clusters(moments: Sequence[float]) -> int:
    clusters = 0
    size = 0
    before: float | None = None
    for moment in sorted(moments):
        near = before is not None and moment - before <= CLUSTER_GAP_SECONDS
        size = size + 1 if near else 1
        clusters += size == CLUSTER_SIZE
        before = moment
    return clusters


def _seconds(timestamp: Any) -> float:
    if isinstance(timestamp, datetime):
        return timestamp.timestamp()
    try:
        return float(timestamp)
    except (TypeError, ValueError):
        return 0.0


_UNKNOWN: Final = (
    "Read the traceback of its first occurrence in {component}: what raised {error_type} stands there.",
    "If {component} can do without, catch {error_type} where it is called and say so in the result.",
)

_UNREADABLE: Final = (
    "Look at the raw answer: was it cut by the token limit, or wrapped in prose?",
    (
        "Ask {component} for structured output (JSON mode or a schema), "
        "and repeat the request once with the parser's complaint."
    ),
)

# Type or message, HTTP statuses, what helps. A number is a status only where something says so:
# `503 Service ...` at the start of a message, or `HTTP 503`.
_REMEDIES: Final = tuple(
    (
        re.compile(pattern, re.IGNORECASE),
        re.compile(
            rf"^\W*(?:{codes})\b|(?:http|status|code)\D{{0,12}}\b(?:{codes})\b", re.IGNORECASE
        )
        if codes
        else None,
        texts,
    )
    for pattern, codes, texts in (
        (
            r"ratelimit|toomanyrequests",
            r"429",
            (
                "Send fewer requests at a time: lower the semaphore or worker count of {component}.",
                "Wait as long as the Retry-After header says, with jitter, before trying again.",
            ),
        ),
        (
            r"serviceunavailable|badgateway|internalserver|overloaded",
            r"50[0-4]|529",
            (
                "The server behind {component} failed: look at its health and its logs at that time.",
                "If it recovers within seconds, retry with longer pauses; if not, name a fallback.",
            ),
        ),
        (
            r"timeout|timedout|deadline",
            r"",
            (
                "Find what {component} waited for when its time limit was reached.",
                (
                    "Raise the limit above the slowest healthy call, or make the call shorter "
                    "(less context, fewer output tokens, a faster model)."
                ),
            ),
        ),
        (
            r"authentication|unauthorized|permissiondenied|forbidden|api.?key",
            r"40[13]",
            ("Check the API key and its permissions for {component}; trying again will not help.",),
        ),
        (
            r"context.?length|maximum context|too many tokens|token limit",
            r"",
            ("Send {component} less: summarise or cut the messages routed to it.",),
        ),
        (
            r"badrequest|unprocessable",
            r"400|422",
            ("The request itself is wrong: check model name and parameters. Do not retry it.",),
        ),
        (
            r"(?<!file)(?<!module)notfound",
            r"404",
            ("Check the URL and the model or resource name that {component} asks for.",),
        ),
        (
            r"connect(ion)?(refused|reset|aborted|error)|apiconnection|gaierror|name or service",
            r"",
            (
                "Is the service that {component} talks to running, and reachable at that address?",
                "If it comes and goes, retry with a pause.",
            ),
        ),
        (
            r"jsondecode|(?<!s)pars(?:e|ing)|unreadable|validationerror|invalid json|schema",
            r"",
            _UNREADABLE,
        ),
        (
            r"circuit|breaker",
            r"",
            ("The circuit was open: find the failures of {component} before this one.",),
        ),
        (
            r"budget",
            r"",
            ("The token budget ran out: see which agent spent it, or raise it for {component}.",),
        ),
        (
            r"memoryerror|out of memory|\boom\b",
            r"",
            ("Process less at a time in {component}, or give it more memory.",),
        ),
        (
            r"modulenotfound|importerror|no module named",
            r"",
            ("Install the missing package in the environment that {component} runs in.",),
        ),
        (
            r"keyerror|indexerror|attributeerror|typeerror|nameerror|zerodivision|unboundlocal",
            r"",
            (
                (
                    "This is a fault in the code of {component}, or an input it did not expect: "
                    "the innermost frame says where. Trying again will not help."
                ),
            ),
        ),
        (
            r"filenotfound|isadirectory|notadirectory|permissionerror|oserror",
            r"",
            (
                "Check path and permissions; a relative path fails once the program changes directory.",
            ),
        ),
        (
            r"recursionerror",
            r"",
            ("{component} calls itself without end for this input: find what should stop it.",),
        ),
    )
)
