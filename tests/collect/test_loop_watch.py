"""What holds the event loop's thread is found from outside, with the watched call in it."""

import asyncio
import sys
import threading

from dytopo_autotrace import traced
from dytopo_autotrace.collect.loop_watch import FEWEST_LOOKS, LoopWatch
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.testing import FakeClock, capture


def looked_at(main, looks, *, once_idle=False):
    """The holds found by so many looks while `main(hold)` runs a loop in a thread of its own."""
    clock = FakeClock()
    watch = LoopWatch(pipeline, clock)
    held, go_on = threading.Event(), threading.Event()

    def hold():
        held.set()
        go_on.wait(30)

    thread = threading.Thread(target=lambda: asyncio.run(main(hold)))
    thread.start()
    assert held.wait(30)
    while once_idle and sys._current_frames()[thread.ident].f_code.co_name != "select":
        pass
    for _ in range(looks):
        watch.look(pipeline.open_spans())
        clock.advance(0.1)
    go_on.set()
    thread.join()
    watch.look(())
    watch.finish()
    pipeline.drain()


@traced(role="step", operation="hold_on", agent="'culprit'")
def blocking(hold):
    hold()


@traced(role="worker", agent="'waiter'")
async def waiter(event):
    await event.wait()


@traced(role="orchestrator")
async def swarm(hold):
    event = asyncio.Event()
    waiting = asyncio.create_task(waiter(event))
    await asyncio.sleep(0)
    blocking(hold)
    event.set()
    await waiting


def test_a_held_loop_names_the_call_and_who_stood_still():
    """As long as from the first look to the last, with the holder's place and the other agents."""
    with capture() as seen:
        looked_at(swarm, 5)
    (span,) = (each for each in seen.spans if each.role == "blocked")
    assert span.metadata["looks"] == 5
    assert "in hold" in span.metadata["where"]
    assert span.metadata["operation"] == "hold_on"
    assert span.end_ns - span.start_ns == 400_000_000


def test_a_short_hold_is_none():
    """Fewer looks than three in a row may be chance."""
    with capture() as seen:
        looked_at(swarm, FEWEST_LOOKS - 1)
    assert not [each for each in seen.spans if each.role == "blocked"]


def test_an_idle_loop_is_not_held():
    """A loop in its selector waits for work: that is what it is for."""

    @traced(role="orchestrator")
    async def idle(hold):
        await asyncio.to_thread(hold)

    with capture() as seen:
        looked_at(idle, 6, once_idle=True)
    assert not [each for each in seen.spans if each.role == "blocked"]
