"""The asyncio pack: waiting is seen where there is any."""

import asyncio

import pytest

from dytopo_autotrace import TraceContext, testing
from dytopo_autotrace.account import rule_states

RULES = '[agent]\npacks = ["asyncio"]\n'


@pytest.mark.parametrize(
    ("make", "operation"),
    [
        (asyncio.Lock, "lock"),
        (lambda: asyncio.Semaphore(1), "semaphore"),
        (lambda: asyncio.BoundedSemaphore(1), "semaphore"),
    ],
)
def test_waiting_is_seen_and_passing_through_is_not(make, operation):
    """Who waits has a span of the role wait below its caller; who need not leaves none."""

    async def hold(guard, seconds):
        async with guard:
            await asyncio.sleep(seconds)

    async def swarm():
        guard = make()
        await hold(guard, 0)
        with TraceContext("both"):
            await asyncio.gather(hold(guard, 0.05), hold(guard, 0))

    with testing.capture(RULES) as seen:
        asyncio.run(swarm())
        span = seen.one(operation)
        state = next(
            each for each in rule_states(seen.installation) if each.name == f"asyncio-{operation}"
        )
    assert span.role == "wait"
    assert span.duration >= 0.04
    assert span.parent == seen.one("both").id
    assert span.metadata["partial"] is True
    assert span.metadata["resource"].startswith("0x")
    assert (state.state, state.calls) == ("woven", 1)
    assert state.left_out == "2 calls left out by `when`"


def test_a_short_wait_is_counted_and_not_kept():
    """A wait below the threshold is no loss and no span: the rule says how many there were."""

    async def hold(guard):
        async with guard:
            await asyncio.sleep(0)

    async def swarm():
        guard = asyncio.Lock()
        await asyncio.gather(*(hold(guard) for _ in range(3)))

    rules = '[[rule]]\ntarget = "asyncio.locks:Lock.acquire"\nrole = "wait"\nmin_seconds = 60\n'
    with testing.capture(rules) as seen:
        asyncio.run(swarm())
        assert seen.spans == []
        state = next(iter(rule_states(seen.installation)))
    assert (state.state, state.calls) == ("woven", 0)
    assert state.left_out == "3 calls left out by `min_seconds`"


def test_a_cancelled_wait_is_kept():
    """Giving up waiting is news however short the wait was, and the lock is as asyncio leaves it."""

    async def swarm():
        guard = asyncio.Lock()
        await guard.acquire()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(guard.acquire(), 0.001)
        guard.release()
        await guard.acquire()

    with testing.capture(RULES) as seen:
        asyncio.run(swarm())
    assert seen.one("lock").status == "cancelled"
