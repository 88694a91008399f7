"""The inference client and the HTTP exchange below it, against a server of literal bytes."""

import asyncio
import inspect
import json

import pytest

COMPLETION = json.dumps({"choices": [{"message": {"content": "hello"}}]}).encode()


def http_answer(status, body, head=""):
    fields = f"Content-Length: {len(body)}\r\n{head}"
    return f"HTTP/1.1 {status} Some reason\r\n{fields}\r\n".encode() + body


@pytest.fixture
def against(load):
    """Run a coroutine function with the URL of a server that sends the given answers in turn."""

    def run(answers, use):
        remaining = list(answers)

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(remaining.pop(0))
            await writer.drain()
            writer.close()

        async def scenario():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            async with server:
                host, port = server.sockets[0].getsockname()
                return await use(f"http://{host}:{port}/v1")

        return asyncio.run(scenario()), remaining

    return run


@pytest.fixture
def ask(load, against):
    """Ask a server that sends the given answers once; return the result and what was not sent."""
    client_class = load("inference.llm_client").InferenceClient

    def run(*answers):
        async def use(url):
            return await client_class(url, "small").chat_completion([], agent_id="ada")

        return against(answers, use)

    return run


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
        ),
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
    ids=["content-length", "chunked", "until-close"],
)
def test_bodies_of_all_three_framings_are_read(load, against, answer):
    """A body is read by its length, by its chunks, or until the server closes."""
    response, _ = against([answer], lambda url: load("inference.http").request("GET", url))

    assert (response.status, response.body) == (200, b"hello")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "ConnectionFailed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "ConnectionFailed"),
        (b"220 mail.example ESMTP\r\n\r\n", "MalformedAnswer"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "MalformedAnswer"),
    ],
)
def test_broken_answers_have_names(load, against, answer, error):
    """An answer that ends early or is not HTTP raises an error of that name."""
    with pytest.raises(getattr(load("inference.errors"), error)):
        against([answer], lambda url: load("inference.http").request("GET", url))


def test_silence_ends_in_a_timeout(load):
    """A server that takes the request and says nothing raises AnswerTimeout."""

    async def scenario():
        hung_up = asyncio.Event()

        async def listen(reader, writer):
            await reader.read()
            writer.close()
            hung_up.set()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            url = f"http://{host}:{port}/"
            with pytest.raises(load("inference.errors").AnswerTimeout, match=r"within 0\.05 s"):
                await load("inference.http").request("GET", url, timeout_s=0.05)
            await hung_up.wait()

    asyncio.run(scenario())


def test_missing_usage_is_no_error(ask):
    """An answer without `usage` and `model` counts 0 tokens for the model that was asked."""
    result, _ = ask(http_answer(200, COMPLETION))

    assert (
        result.content,
        result.tokens_in,
        result.tokens_out,
        result.model,
    ) == ("hello", 0, 0, "small")


@pytest.mark.parametrize("refusal", [http_answer(429, b""), http_answer(502, b"bad"), b""])
def test_what_may_pass_is_tried_again(ask, refusal):
    """429, 5xx and a broken connection are tried again, up to the third attempt."""
    result, unsent = ask(refusal, refusal, http_answer(200, COMPLETION))

    assert (result.content, unsent) == ("hello", [])


def test_the_third_failure_is_raised(load, ask):
    """After three attempts the last error is raised, with its status and the body's beginning."""
    with pytest.raises(load("inference.errors").ModelUnavailable, match="HTTP 503: busy") as caught:
        ask(*[http_answer(503, b"busy")] * 3)

    assert (caught.value.status, caught.value.body) == (503, "busy")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http_answer(401, b"no key"), "RequestRejected"),
        (http_answer(200, b"[]"), "MalformedAnswer"),
        (http_answer(200, b"no JSON"), "MalformedAnswer"),
    ],
)
def test_what_will_not_pass_is_raised_at_once(load, ask, answer, error):
    """A refusal of the request itself, or an answer of the wrong shape, is not tried again."""
    with pytest.raises(getattr(load("inference.errors"), error)):
        ask(answer)


def test_concurrency_is_bounded(load, monkeypatch):
    """However many callers there are, no more requests are under way than the client allows."""
    http = load("inference.http")
    under_way, most = set(), []

    async def count(*_, **__):
        under_way.add(asyncio.current_task())
        most.append(len(under_way))
        await asyncio.sleep(0)
        under_way.discard(asyncio.current_task())
        return http.HttpResponse(200, {}, COMPLETION)

    async def scenario():
        client = load("inference.llm_client").InferenceClient("http://x", "small", concurrency=3)
        await asyncio.gather(*(client.chat_completion([]) for _ in range(12)))

    monkeypatch.setattr(http, "request", count)
    asyncio.run(scenario())

    assert max(most) == 3


def test_the_retrying_method_keeps_its_name(load):
    """The retrying wrapper has the name of the method, and the attempts are what it wraps."""
    method = load("inference.llm_client").InferenceClient.chat_completion

    assert method.__qualname__ == "InferenceClient.chat_completion"
    assert inspect.unwrap(method).__qualname__ == "InferenceClient.chat_completion"
    assert inspect.iscoroutinefunction(method)
