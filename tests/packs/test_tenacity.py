"""The tenacity pack: each attempt of a retry is a span."""

import asyncio

import pytest

from dytopo_autotrace import TraceContext, testing
from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.tree import build

tenacity = pytest.importorskip("tenacity", reason="tenacity is not installed")

RULES = '[agent]\npacks = ["tenacity"]\n'
OPTIONS = {"stop": tenacity.stop_after_attempt(3), "wait": tenacity.wait_none()}


class Flaky:
    """Fails as often as it is told to, then answers."""

    def __init__(self, failures):
        self.failures = failures

    def once(self):
        with TraceContext("work"):
            if self.failures:
                self.failures -= 1
                raise ConnectionError("not now")
            return 42


def decorated(flaky):
    @tenacity.retry(**OPTIONS)
    def work():
        return flaky.once()

    return work()


def iterated(flaky):
    for attempt in tenacity.Retrying(**OPTIONS):
        with attempt:
            return flaky.once()
    return None


def decorated_async(flaky):
    @tenacity.retry(**OPTIONS)
    async def work():
        await asyncio.sleep(0)
        return flaky.once()

    return asyncio.run(work())


def iterated_async(flaky):
    async def work():
        async for attempt in tenacity.AsyncRetrying(**OPTIONS):
            with attempt:
                await asyncio.sleep(0)
                return flaky.once()
        return None

    return asyncio.run(work())


STYLES = [decorated, iterated, decorated_async, iterated_async]


@pytest.mark.parametrize("style", STYLES)
def test_each_attempt_is_a_span_with_its_outcome(style):
    """Two attempts that fail and one that does not are three calls of one caller, one after another."""
    with testing.capture(RULES) as seen:
        with TraceContext("swarm"):
            assert style(Flaky(2)) == 42
            with TraceContext("after"):
                pass
    attempts = [span for span in seen.spans if span.operation == "attempt"]
    assert [span.status for span in attempts] == ["error", "error", "success"]
    assert [span.metadata["attempt"] for span in attempts] == [1, 2, 3]
    assert attempts[0].error.type_name == "ConnectionError"
    below = [("work", [])]
    assert seen.tree() == [("swarm", [*[("attempt", below)] * 3, ("after", [])])]


@pytest.mark.parametrize("style", STYLES)
def test_giving_up_is_as_ever(style):
    """When all attempts have failed the library raises its own error, and each one is told of."""
    with testing.capture(RULES) as seen:
        with pytest.raises(tenacity.RetryError):
            style(Flaky(9))
    attempts = [span for span in seen.spans if span.operation == "attempt"]
    assert [span.status for span in attempts] == ["error"] * 3


def test_attempts_side_by_side_keep_to_their_own():
    """A hundred retries at once: each attempt has its own work below it, and none of another's."""

    @tenacity.retry(**OPTIONS)
    async def work(flaky):
        await asyncio.sleep(0)
        return flaky.once()

    async def swarm():
        with TraceContext("swarm"):
            return await asyncio.gather(*(work(Flaky(1)) for _ in range(100)))

    with testing.capture(RULES) as seen:
        assert asyncio.run(swarm()) == [42] * 100
    ((_, attempts),) = seen.tree()
    assert attempts == [("attempt", [("work", [])])] * 200


def test_the_report_tells_of_the_retry():
    """What failed and was made again with success is one failure, with a retry for its fate."""
    with testing.capture(RULES) as seen:
        with TraceContext("swarm"):
            decorated(Flaky(1))
    (failure,) = outcomes(build(seen.spans)).failures
    assert (failure.fate, failure.attempts, failure.rescued) == ("retry", 2, True)
    assert failure.origin.operation == "work"


def test_an_attempt_that_nobody_ends_is_not_current_for_ever():
    """Who leaves the loop before the attempt began leaves nothing behind once it is collected."""
    with testing.capture(RULES) as seen:
        with TraceContext("swarm"):
            retrying = iter(tenacity.Retrying(**OPTIONS))
            next(retrying)
            retrying.close()
            del retrying
            with TraceContext("after"):
                pass
    assert seen.one("attempt").status == "cancelled"
    assert seen.one("after").parent == seen.one("swarm").id
