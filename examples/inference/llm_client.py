"""A client for OpenAI-compatible chat endpoints that bounds its load and tries again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import http
from .errors import ConnectionFailed, MalformedAnswer, ModelUnavailable, RequestRejected
from .retry import retry

ATTEMPTS = 3
FIRST_RETRY_DELAY_S = 0.15
BODY_EXCERPT_CHARS = 200

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """One answer of the model.

    Attributes:
        latency_ms: duration of the successful request, without waiting for a free slot.
    """

    content: str
    tokens_in: int
    tokens_out: int
    latency_ms: float
    model: str


class InferenceClient:
    """Sends chat requests to one endpoint, at most `concurrency` at a time.

    Args:
        base_url: where the API begins, such as `http://localhost:8000/v1`.
        model: the model that each request names.
        api_key: sent as a bearer token; None sends none.
        concurrency: requests under way at the same time.
        timeout_s: seconds for one request.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 2,
        timeout_s: float = 60.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(concurrency)

    def __repr__(self) -> str:
        return f"InferenceClient({self.model!r} at {self.base_url})"

    @retry(
        attempts=ATTEMPTS,
        first_delay_s=FIRST_RETRY_DELAY_S,
        retry_on=(ModelUnavailable, ConnectionFailed),
    )
    async def chat_completion(
        self,
        messages: Sequence[Message],
        *,
        agent_id: str = "",
        temperature: float = 0.3,
        max_tokens: int = 1024,
    ) -> CompletionResult:
        """Ask the model for the next message of a conversation.

        Args:
            agent_id: who asks; sent as the request's `user`.

        Raises:
            InferenceError: there is no answer; see `inference.errors` for the kinds.
        """
        payload = {
            "model": self.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if agent_id:
            payload["user"] = agent_id
        async with self._slots:
            started = time.perf_counter()
            response = await http.request(
                "POST",
                f"{self.base_url}/chat/completions",
                headers={"Content-Type": "application/json", **authorization(self._api_key)},
                body=json.dumps(payload).encode(),
                timeout_s=self._timeout_s,
            )
            latency_ms = (time.perf_counter() - started) * 1000
        _raise_for_status(response)
        return _read_completion(response.body, latency_ms, self.model)


def authorization(api_key: str | None) -> dict[str, str]:
    """The header that carries the key; empty if there is no key."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def _raise_for_status(response: http.HttpResponse) -> None:
    if response.status < 400:
        return
    excerpt = response.body.decode(errors="replace")[:BODY_EXCERPT_CHARS].strip()
    may_pass = response.status == 429 or response.status >= 500
    raise (ModelUnavailable if may_pass else RequestRejected)(response.status, excerpt)


def _read_completion(body: bytes, latency_ms: float, requested_model: str) -> CompletionResult:
    try:
        answer: dict[str, Any] = json.loads(body)
        # `usage` and `model` are often missing in home-grown servers, the message never is.
        usage = answer.get("usage") or {}
        return CompletionResult(
            content=answer["choices"][0]["message"]["content"] or "",
            tokens_in=int(usage.get("prompt_tokens", 0)),
            tokens_out=int(usage.get("completion_tokens", 0)),
            latency_ms=latency_ms,
            model=answer.get("model") or requested_model,
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise MalformedAnswer(f"not a chat completion: {body[:BODY_EXCERPT_CHARS]!r}") from error
