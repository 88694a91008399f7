"""A chat endpoint on 127.0.0.1 with canned answers, believable latency and faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from .faults import Fault
from .http import read_body, read_head
from .offline_answers import (
    asks_for_work,
    break_answer,
    compose_answer,
    prompt_text,
    stage_number,
)

MODEL = "offline-1"
CHARS_PER_TOKEN = 4
CRASH_DELAY_S = 0.04
SLOW_FACTOR = 6
REFUSING_STAGES = (1, 3)

Reply = tuple[HTTPStatus, Mapping[str, Any]]


class OfflineModel:
    """Serves `POST /v1/chat/completions` and `GET /v1/models` while its `async with` block lasts.

    Args:
        latency_scale: multiplies every answer's latency; 0 answers at once.
        fault: what goes wrong; None for a healthy model.
    """

    def __init__(self, *, latency_scale: float = 1.0, fault: Fault | None = None) -> None:
        self._latency_scale = latency_scale
        self._fault = fault
        self._refused: set[str] = set()
        self._conversations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        """Where the API begins; the port is a new one for each model."""
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}/v1"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def end(conversation: asyncio.Task[None]) -> None:
            self._conversations.discard(conversation)
            writer.close()

        conversation = asyncio.create_task(self._converse(reader, writer))
        self._conversations.add(conversation)
        # A conversation that is cancelled before its first step would run no `finally` of its own.
        conversation.add_done_callback(end)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, EOFError):  # the client has hung up
            start_line, headers = await read_head(reader)
            body = await read_body(reader, headers) or b""
            reply = await self._reply(start_line, body, reader)
            writer.write(_encode(*reply))
            await writer.drain()

    async def _reply(self, start_line: str, body: bytes, reader: asyncio.StreamReader) -> Reply:
        match start_line.split()[:2]:
            case ["POST", "/v1/chat/completions"]:
                try:
                    request = json.loads(body)
                    agent_id, messages = request.get("user", ""), list(request["messages"])
                except (ValueError, KeyError, TypeError, AttributeError):
                    return _refusal(HTTPStatus.BAD_REQUEST, "not a chat completion request")
                return await self._complete(agent_id, messages, reader)
            case ["GET", "/v1/models"]:
                return HTTPStatus.OK, {"object": "list", "data": [{"id": MODEL}]}
            case _:
                return _refusal(HTTPStatus.NOT_FOUND, "no such resource")

    async def _complete(
        self, agent_id: str, messages: Sequence[dict[str, str]], reader: asyncio.StreamReader
    ) -> Reply:
        fault = self._fault.kind if self._fault and self._fault.agent_id == agent_id else None
        prompt = prompt_text(messages)
        answer = compose_answer(agent_id, messages)
        digest = hashlib.sha256(json.dumps([agent_id, messages]).encode()).hexdigest()
        delay_s = latency_s(digest, answer) * self._latency_scale

        if fault == "swallowed":
            await asyncio.sleep(CRASH_DELAY_S)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the model has crashed")
        is_refused = stage_number(prompt) in REFUSING_STAGES and digest not in self._refused
        if fault == "retry" and is_refused:
            self._refused.add(digest)
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the model is overloaded")
        if fault == "timeout" and stage_number(prompt) > 1 and asks_for_work(prompt):
            await _until_hung_up(reader)
        if fault == "unreadable":
            answer = break_answer(answer)
        if fault == "slow-agent":
            delay_s *= SLOW_FACTOR
        await asyncio.sleep(delay_s)
        return HTTPStatus.OK, _completion(digest, prompt, answer)


def latency_s(digest: str, answer: str) -> float:
    """How long this answer takes: 60 to 220 ms, more for a longer answer, a little by chance.

    Args:
        digest: hexadecimal; decides the chance, so that the same request takes the same time.
    """
    return 0.06 + 0.13 * min(len(answer) / 600, 1) + 0.03 * int(digest[:2], 16) / 255


def _completion(digest: str, prompt: str, answer: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer}
    tokens_in, tokens_out = _count_tokens(prompt), _count_tokens(answer)
    return {
        "id": f"chatcmpl-{digest[:12]}",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _count_tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


def _refusal(status: HTTPStatus, message: str) -> Reply:
    return status, {"error": {"message": message}}


def _encode(status: HTTPStatus, content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


async def _until_hung_up(reader: asyncio.StreamReader) -> None:
    """Wait until the client closes the connection.

    Raises:
        EOFError: always, when it has.
    """
    await reader.readexactly(1)
