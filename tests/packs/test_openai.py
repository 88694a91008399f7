"""The openai pack, with the real client and a model on this machine."""

import asyncio
import gc

import pytest

from dytopo_autotrace import testing
from tests.packs.conftest import Answer

openai = pytest.importorskip("openai", reason="the openai client is not installed")

RULES = '[agent]\npacks = ["openai"]\n'
QUESTION = [{"role": "user", "content": "What is the answer?"}]
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def completion():
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "42"},
    }
    return Answer(
        body={
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1,
            "model": "tiny-0425",
            "choices": [choice],
            "usage": USAGE,
        }
    )


def chunks(*texts, usage=USAGE):
    base = {"id": "chat-2", "object": "chat.completion.chunk", "created": 1, "model": "tiny-0425"}
    events = [
        {**base, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in texts
    ]
    events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        events.append({**base, "choices": [], "usage": usage})
    return Answer(events=events)


def response():
    return {
        "id": "resp-1",
        "object": "response",
        "created_at": 1,
        "model": "tiny-0425",
        "status": "completed",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 9,
            "output_tokens": 3,
            "total_tokens": 12,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
    }


def response_events():
    return Answer(
        events=[
            {"type": "response.created", "sequence_number": 0, "response": response()},
            {
                "type": "response.output_text.delta",
                "sequence_number": 1,
                "item_id": "i",
                "output_index": 0,
                "content_index": 0,
                "delta": "42",
                "logprobs": [],
            },
            {"type": "response.completed", "sequence_number": 2, "response": response()},
        ]
    )


async def ask(server, is_async, what, **arguments):
    """One call as a program makes it; what a stream gives is read to its end."""
    retries = arguments.pop("max_retries", 0)
    options = {"base_url": f"{server.url}/v1", "api_key": "none", "max_retries": retries}
    if not is_async:
        with openai.OpenAI(**options) as client:
            target = client.chat.completions if what == "chat" else client.responses
            given = target.create(model="tiny", **arguments)
            return list(given) if arguments.get("stream") else given
    async with openai.AsyncOpenAI(**options) as client:
        target = client.chat.completions if what == "chat" else client.responses
        given = await target.create(model="tiny", **arguments)
        return [item async for item in given] if arguments.get("stream") else given


EXPECTED = {
    "provider": "openai",
    "model": "tiny",
    "response_model": "tiny-0425",
    "tokens_in": 9,
    "tokens_out": 3,
    "cached_tokens": 4,
    "reasoning_tokens": 1,
}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_chat_completion_tells_its_model_and_tokens(server, is_async):
    """A call is one model call, with what was asked for, what answered, and what it took."""
    server.answers = [completion()]
    with testing.capture(RULES) as seen:
        given = asyncio.run(ask(server, is_async, "chat", messages=QUESTION))
        forms = seen.installation.weaver.shapes.values()
        assert not any(form.unreadable for form in forms)
    assert given.choices[0].message.content == "42"
    assert seen.tree() == [("openai_chat", [("openai_attempt", [])])]
    span = seen.one("openai_chat")
    assert span.role == "llm"
    assert span.metadata.items() >= EXPECTED.items()
    assert span.metadata["finish_reasons"] == ["stop"]
    assert span.metadata["response_id"] == "chat-1"
    assert [each[2:] for each in span.measurements] == [
        (9, (("direction", "in"), ("model", "tiny"))),
        (3, (("direction", "out"), ("model", "tiny"))),
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_streamed_chat_completion_is_one_call_to_its_last_event(server, is_async):
    """The stream and the call that began it are one span, whose tokens came with the last event."""
    server.answers = [chunks("4", "2")]
    with testing.capture(RULES) as seen:
        given = asyncio.run(
            ask(
                server,
                is_async,
                "chat",
                messages=QUESTION,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert len(given) == 4
    assert seen.tree() == [("openai_chat", [("openai_attempt", [])])]
    span = seen.one("openai_chat")
    assert span.metadata.items() >= {**EXPECTED, "items": 4, "response_id": "chat-2"}.items()
    assert 0 < span.metadata["first_item_seconds"] <= span.duration
    assert span.measurements[0][2:] == (9, (("direction", "in"), ("model", "tiny")))


def test_a_stream_without_usage_says_that_its_tokens_are_not_known(server):
    """Tokens that nobody told of are no tokens of zero: they are missing, and that is counted."""
    server.answers = [chunks("4", usage=None)]
    with testing.capture(RULES) as seen:
        asyncio.run(ask(server, False, "chat", messages=QUESTION, stream=True))
        unread = [f.unreadable for f in seen.installation.weaver.shapes.values() if f.unreadable]
    span = seen.one("openai_chat")
    assert "tokens_in" not in span.metadata
    assert span.metadata["finish_reasons"] == ["stop"]
    assert [each["tokens_in"] for each in unread] == [1]


def test_a_stream_that_nobody_wants_more_of_was_closed_early(server):
    """Leaving a stream after its first event ends the call there, and is no failure."""
    server.answers = [chunks("4", "2")]
    with testing.capture(RULES) as seen:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            stream = client.chat.completions.create(model="tiny", messages=QUESTION, stream=True)
            with stream:
                for _ in stream:
                    break
            del stream
            gc.collect()  # the client's stream is held by its own generator
    span = seen.one("openai_chat")
    assert span.status == "success"
    assert (span.metadata["items"], span.metadata["closed_early"]) == (1, True)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_tells_its_model_and_tokens(server, is_async, stream):
    """The responses API is watched as chat completions are, streamed or not."""
    server.answers = [response_events() if stream else Answer(body=response())]
    with testing.capture(RULES) as seen:
        asyncio.run(ask(server, is_async, "responses", input="What?", stream=stream))
    assert seen.tree() == [("openai_response", [("openai_attempt", [])])]
    span = seen.one("openai_response")
    assert span.metadata.items() >= EXPECTED.items()
    assert span.metadata["finish_reasons"] == ["completed"]
    assert span.metadata.get("items") == (3 if stream else None)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_the_client_tries_again_by_itself_is_seen(server, is_async):
    """Each request that the client sends for a call is an attempt, and a failed one has failed."""
    server.answers = [
        Answer(status=503, body={}, headers={"retry-after-ms": "1"}),
        completion(),
    ]
    with testing.capture(RULES) as seen:
        asyncio.run(ask(server, is_async, "chat", messages=QUESTION, max_retries=2))
    attempts = [span for span in seen.spans if span.operation == "openai_attempt"]
    assert [(span.status, span.metadata["status"]) for span in attempts] == [
        ("error", 503),
        ("success", 200),
    ]
    assert {span.parent for span in attempts} == {seen.one("openai_chat").id}
    assert seen.one("openai_chat").status == "success"


def test_a_failed_call_has_failed_with_the_clients_own_error(server):
    """The error of the client reaches the program as it is, and is in the span."""
    server.answers = [Answer(status=400, body={"error": {"message": "no such model"}})]
    with testing.capture(RULES) as seen:
        with pytest.raises(openai.BadRequestError):
            asyncio.run(ask(server, False, "chat", messages=QUESTION))
    assert seen.one("openai_chat").error.type_name == "BadRequestError"
