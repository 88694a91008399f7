"""The asgi pack, with the real frameworks and servers on this machine."""

import asyncio
import contextlib

import pytest

from dytopo_autotrace import TraceContext, testing

starlette = pytest.importorskip("starlette.applications", reason="starlette is not installed")
fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.responses import JSONResponse, StreamingResponse  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402

RULES = '[agent]\npacks = ["asgi"]\n'
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def hello(request):
    with TraceContext("inside"):
        return JSONResponse({"hello": request.path_params["name"]}, status_code=201)


async def stream(request):
    async def parts():
        yield b"a"
        yield b"b"

    return StreamingResponse(parts())


async def broken(request):
    raise LookupError("no such luck")


ROUTES = [Route("/hello/{name}", hello), Route("/stream", stream), Route("/broken", broken)]


def star(**options):
    return starlette.Starlette(routes=ROUTES, **options)


def fast():
    app = fastapi.FastAPI()

    @app.get("/hello/{name}", status_code=201)
    async def hello(name: str):
        with TraceContext("inside"):
            return {"hello": name}

    @app.get("/broken")
    def broken():
        raise LookupError("no such luck")

    return app


async def ask(app, path, **headers):
    """One request to an application in this process."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("make", [star, fast])
def test_a_request_is_a_span_below_its_caller(make):
    """The span of a request has route, method and status, and for a parent the caller's span."""
    with testing.capture(RULES) as seen:
        given = asyncio.run(ask(make(), "/hello/ann?token=secret", traceparent=CALLER))
    assert given.json() == {"hello": "ann"}
    span = seen.one("http_request")
    assert f"00-{span.trace_id}-{span.parent_id}-01" == CALLER
    assert seen.one("inside").parent == span.id
    assert span.role == "server"
    assert span.metadata == {
        "method": "GET",
        "path": "/hello/ann",
        "route": "/hello/{name}",
        "status": 201,
    }


@pytest.mark.parametrize("make", [star, fast])
def test_a_request_from_nowhere_begins_a_trace(make):
    """Without a caller's header, or with one that is none, a request is a trace of its own."""

    async def two():
        await asyncio.create_task(ask(app, "/hello/ann"))
        await asyncio.create_task(ask(app, "/hello/bob", traceparent="nonsense"))

    app = make()
    with testing.capture(RULES) as seen:
        asyncio.run(two())
    requests = [span for span in seen.spans if span.operation == "http_request"]
    assert [span.parent for span in requests] == [0, 0]
    assert len({span.trace for span in requests}) == 2


@pytest.mark.parametrize("make", [star, fast])
def test_a_request_that_breaks_has_failed(make):
    """An error that nobody handles is the request's, with the status that the client is given."""
    with testing.capture(RULES) as seen:
        assert asyncio.run(ask(make(), "/broken")).status_code == 500
    span = seen.one("http_request")
    assert span.error.type_name == "LookupError"
    assert (span.metadata["status"], span.metadata["route"]) == (500, "/broken")


def test_a_path_without_a_route_has_a_status_all_the_same():
    """What is not there has no route, and is answered."""
    with testing.capture(RULES) as seen:
        asyncio.run(ask(star(), "/nothing"))
    metadata = seen.one("http_request").metadata
    assert (metadata["route"], metadata["status"]) == (None, 404)


def test_streams_and_middleware_change_nothing():
    """A streamed answer passes through middleware that copies it, and its status is seen."""

    async def through(request, call_next):
        return await call_next(request)

    app = star(middleware=[Middleware(BaseHTTPMiddleware, dispatch=through)])
    with testing.capture(RULES) as seen:
        assert asyncio.run(ask(app, "/stream", traceparent=CALLER)).text == "ab"
    assert seen.one("http_request").metadata["status"] == 200


def test_a_mounted_application_is_below_the_one_it_is_mounted_in():
    """The inner application's span is a child of the outer one's, not of the caller's."""
    app = starlette.Starlette(routes=[Mount("/inner", app=star())])
    with testing.capture(RULES) as seen:
        asyncio.run(ask(app, "/inner/hello/ann", traceparent=CALLER))
    assert seen.tree() == [("http_request", [("http_request", [("inside", [])])])]


@contextlib.asynccontextmanager
async def serving(app):
    """A real server in this process."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.001)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def test_client_and_server_are_one_trace():
    """With both packs a request of the client is the parent of the server's; no header by hand."""

    async def both():
        async with serving(fast()) as url, httpx.AsyncClient() as client:
            return (await client.get(f"{url}/hello/ann")).status_code

    with testing.capture('[agent]\npacks = ["httpx", "asgi"]\n') as seen:
        assert asyncio.run(both()) == 201
    sent, served = (
        next(span for span in seen.spans if span.role == role) for role in ("io", "server")
    )
    assert (served.trace, served.parent) == (sent.trace, sent.id)
    assert served.metadata["route"] == "/hello/{name}"
