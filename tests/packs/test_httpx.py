"""The httpx pack, with the real clients and a server on this machine."""

import asyncio
import importlib

import pytest

from dytopo_autotrace import TraceContext, testing
from tests.packs.conftest import Answer

RULES = '[agent]\npacks = ["httpx"]\n'


@pytest.fixture(params=["httpx", "httpx2"])
def library(request):
    """The client library in either generation."""
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


async def get(library, is_async, url, **arguments):
    """One request as a program makes it."""
    if is_async:
        async with library.AsyncClient(follow_redirects=True) as client:
            return await client.get(url, **arguments)
    with library.Client(follow_redirects=True) as client:
        return client.get(url, **arguments)


def traceparents(server):
    """What the server was sent."""
    return [
        next((value for name, value in headers.items() if name.lower() == "traceparent"), None)
        for _, _, headers, _ in server.asked
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_request_is_a_span_that_the_server_can_join(server, library, is_async):
    """The server is sent the span of the request, which has method, status and URL without query."""
    with testing.capture(RULES) as seen:
        url = server.url.replace("//", "//me:secret@") + "/ask?api_key=secret"
        given = asyncio.run(get(library, is_async, url))
    assert given.json() == {"fine": True}
    span = seen.one("http_request")
    assert (span.role, span.status) == ("io", "success")
    assert span.metadata == {"method": "GET", "url": f"{server.url}/ask", "status": 200}
    assert traceparents(server) == [f"00-{span.trace_id}-{span.span_id}-01"]


def test_a_header_of_the_programs_own_is_left_alone(server, library):
    """What the program sends for another trace is sent as it is; of this trace, the span is exact."""
    other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with testing.capture(RULES) as seen:
        asyncio.run(get(library, False, server.url, headers={"Traceparent": other}))
        with TraceContext("above") as above:
            ours = f"00-{above.trace_id}-{above.span_id}-01"
            with library.Client() as client:
                client.get(server.url, headers={"traceparent": ours})
    inner = next(span for span in seen.spans if span.parent == above.id)
    assert traceparents(server) == [other, f"00-{inner.trace_id}-{inner.span_id}-01"]


def test_redirects_are_one_call_of_one_trace(server, library):
    """A redirect belongs to the request, and carries its span to where it leads."""
    server.answers = [Answer(status=302, body=None, headers={"Location": "/there"}), Answer(body=1)]
    with testing.capture(RULES) as seen:
        asyncio.run(get(library, False, server.url))
    span = seen.one("http_request")
    assert span.metadata["status"] == 200
    assert traceparents(server) == [f"00-{span.trace_id}-{span.span_id}-01"] * 2


@pytest.mark.parametrize("is_async", [False, True])
def test_a_streamed_answer_is_the_programs_to_read(server, library, is_async):
    """A span ends when the headers are there; what is streamed then arrives as ever."""
    server.answers = [Answer(events=[{"a": 1}, {"b": 2}])]

    async def read():
        if not is_async:
            with library.Client() as client, client.stream("POST", server.url) as given:
                return list(given.iter_lines())
        async with library.AsyncClient() as client, client.stream("POST", server.url) as given:
            return [line async for line in given.aiter_lines()]

    with testing.capture(RULES) as seen:
        lines = asyncio.run(read())
    assert [line for line in lines if line] == ['data: {"a": 1}', 'data: {"b": 2}', "data: [DONE]"]
    assert seen.one("http_request").metadata["method"] == "POST"


def test_a_server_that_is_not_there_is_a_failure(library):
    """The library's own error reaches the program, and is in the span."""
    with testing.capture(RULES) as seen:
        with pytest.raises(library.ConnectError):
            asyncio.run(get(library, False, "http://127.0.0.1:1/"))
    assert seen.one("http_request").error.type_name == "ConnectError"


def test_nothing_is_sent_once_the_pack_is_out(server, library):
    """Taken out, the agent leaves requests as they were, and the methods are the library's own."""
    client = importlib.import_module(f"{library.__name__}._client")
    before = client.Client.send
    with testing.capture(RULES):
        assert client.Client.send is not before
    assert client.Client.send is before
    asyncio.run(get(library, False, server.url))
    assert traceparents(server) == [None]
