"""The offline model: the same request gets the same answer, in the same time."""

import asyncio
import json

import pytest

MESSAGES = [
    {"role": "system", "content": 'Answer with the keys "query", "key" and "work".'},
    {"role": "user", "content": "Write something."},
]


@pytest.fixture(scope="module")
def offline(load):
    return load("inference.offline_model")


def complete(load, offline, body, path="/chat/completions", **options):
    async def run():
        async with offline.OfflineModel(latency_scale=0, **options) as model:
            request = load("inference.http").request
            return await request("POST", model.base_url + path, body=body)

    return asyncio.run(run())


def test_same_request_same_answer(load, offline):
    """Two models give byte for byte the same answer to the same request."""
    body = json.dumps({"messages": MESSAGES, "user": "tester"}).encode()
    first, second = complete(load, offline, body), complete(load, offline, body)

    assert first.status == 200
    assert first.body == second.body


def test_usage_grows_with_the_texts(load, offline):
    """A longer conversation costs more tokens, and the total is the sum of both directions."""
    short = json.dumps({"messages": MESSAGES}).encode()
    long = json.dumps({"messages": MESSAGES * 2}).encode()
    usages = [json.loads(complete(load, offline, body).body)["usage"] for body in (short, long)]

    assert usages[0]["prompt_tokens"] < usages[1]["prompt_tokens"]
    assert usages[0]["total_tokens"] == (
        usages[0]["prompt_tokens"] + usages[0]["completion_tokens"]
    )


def test_latency_is_decided_by_the_request(offline):
    """Latency is between 60 and 220 ms, the same for the same request, more for more text."""
    assert pytest.approx(0.06) == offline.latency_s("00", "")
    assert pytest.approx(0.22) == offline.latency_s("ff", "x" * 5000)
    assert offline.latency_s("80", "short") < offline.latency_s("80", "short" * 50)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embeddings", b"{}", 404),
        ("/chat/completions", b"no JSON", 400),
        ("/chat/completions", b"{}", 400),
    ],
)
def test_nonsense_is_refused(load, offline, path, body, status):
    """A request that the model does not understand gets a 4xx status, not a dropped line."""
    assert status == complete(load, offline, body, path).status


def test_it_hangs_up_on_a_client_that_waits(load, offline, monkeypatch):
    """Leaving the model's block ends a conversation that would never have ended."""
    wait_for_the_client, reached = offline._until_hung_up, asyncio.Event()

    async def watched(reader):
        reached.set()
        await wait_for_the_client(reader)

    monkeypatch.setattr(offline, "_until_hung_up", watched)

    assert isinstance(leave(load, offline, reached), load("inference.errors").ConnectionFailed)


def test_it_hangs_up_on_a_client_that_just_came(load, offline, monkeypatch):
    """Leaving the model's block closes a connection whose conversation has not begun."""
    accept, reached = offline.OfflineModel._accept, asyncio.Event()

    def watched(model, reader, writer):
        accept(model, reader, writer)
        reached.set()

    monkeypatch.setattr(offline.OfflineModel, "_accept", watched)

    assert isinstance(leave(load, offline, reached), load("inference.errors").ConnectionFailed)


def leave(load, offline, reached):
    """Send a request that is never answered, leave once `reached` is set, return the outcome."""
    fault = load("inference.faults").Fault("timeout", "tester")
    goal = load("inference.offline_answers")._script()["stage"][1]["goal"]
    messages = [*MESSAGES, {"role": "user", "content": goal}]
    body = json.dumps({"messages": messages, "user": "tester"}).encode()

    async def run():
        async with offline.OfflineModel(latency_scale=0, fault=fault) as model:
            url = f"{model.base_url}/chat/completions"
            request = load("inference.http").request("POST", url, body=body, timeout_s=5)
            waiting = asyncio.create_task(request)
            await reached.wait()
        return await asyncio.gather(waiting, return_exceptions=True)

    (outcome,) = asyncio.run(run())
    return outcome
