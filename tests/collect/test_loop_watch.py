"""Who held the event loop's thread is known from the call itself, or found from outside."""

import asyncio
import sys
import threading
from types import SimpleNamespace

import pytest

from dytopo_autotrace import traced
from dytopo_autotrace.collect.loop_watch import LoopWatch
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.testing import FakeClock, capture


class Looked:
    """A loop in a thread of its own, looked at when a test says so; time is what the test says."""

    def __init__(self, clock):
        self.clock = clock
        self.watch = LoopWatch(pipeline, clock)
        self._held, self._go_on = threading.Semaphore(0), threading.Semaphore(0)

    def hold(self):
        """Called on the loop: waits until the test has looked."""
        self._held.release()
        assert self._go_on.acquire(timeout=30)

    def run(self, main, *looks, once_idle=False):
        """For each time that `main(hold)` holds: so many looks, a tenth of a second apart."""
        pipeline.consumers.append(self.watch.learn)
        thread = threading.Thread(target=lambda: asyncio.run(main(self.hold)))
        thread.start()
        for count in looks:
            assert self._held.acquire(timeout=30)
            while once_idle and sys._current_frames()[thread.ident].f_code.co_name != "select":
                pass
            for number in range(count):
                self.clock.advance(0.1 if number else 0)
                self.watch.look(pipeline.open_spans())
            self._go_on.release()
        thread.join()
        self.watch.look(pipeline.open_spans())
        self.watch.finish()
        pipeline.consumers.remove(self.watch.learn)
        pipeline.drain()


@pytest.fixture
def looked():
    """With what was recorded, and functions made in the test on the test's clock."""
    clock = FakeClock()
    with capture(clock=clock) as seen:
        yield Looked(clock), seen


def holds(seen):
    return [each for each in seen.spans if each.role == "blocked"]


def swarm_of(step):
    """An agent that waits, while the orchestrator takes a step on the loop."""

    @traced(role="worker", agent="'waiter'")
    async def waiter(event):
        await event.wait()

    @traced(role="orchestrator")
    async def swarm(hold):
        event = asyncio.Event()
        waiting = asyncio.create_task(waiter(event))
        await asyncio.sleep(0)
        await step(hold)
        event.set()
        await waiting

    return swarm


def test_a_watched_function_that_held_the_loop_is_told_of_exactly(looked):
    """From its start to its end, however seldom it was looked at, with who could not go on."""
    this, seen = looked

    @traced(role="step", operation="hold_on")
    def blocking(hold):
        hold()
        this.clock.advance(0.123)

    async def step(hold):
        blocking(hold)

    this.run(swarm_of(step), 1)
    (held,) = holds(seen)
    call = seen.one("hold_on")
    assert (held.parent, held.start_ns, held.end_ns) == (call.id, call.start_ns, call.end_ns)
    assert held.metadata["exact"] is True
    assert {seen.one("swarm_of.<locals>.waiter").id} <= set(held.links)


def test_one_that_raised_held_the_loop_all_the_same(looked):
    """The time until it raised is the time for which nothing else could go on."""
    this, seen = looked

    @traced(operation="hold_on")
    def blocking(hold):
        hold()
        this.clock.advance(0.2)
        raise ValueError

    async def step(hold):
        with pytest.raises(ValueError):
            blocking(hold)

    this.run(swarm_of(step), 1)
    assert [each.metadata["exact"] for each in holds(seen)] == [True]


def test_what_runs_in_a_thread_holds_no_loop(looked):
    """Though its caller is a coroutine, and it takes long."""
    this, seen = looked

    @traced(operation="work")
    def work(hold):
        hold()
        this.clock.advance(0.5)

    async def step(hold):
        await asyncio.to_thread(work, hold)

    this.run(swarm_of(step), 3, once_idle=True)
    assert seen.one("work").duration >= 0.5
    assert not holds(seen)


@pytest.mark.parametrize("sign", ["a loop within itself", "a greenlet"])
def test_a_call_that_may_have_let_the_loop_go_on_is_not_told_of(looked, sign, monkeypatch):
    """Loops that are run within themselves, and code in a greenlet, can go on below a plain call."""
    this, seen = looked
    if sign == "a greenlet":
        inner = SimpleNamespace(getcurrent=lambda: SimpleNamespace(parent=object()))
        monkeypatch.setitem(sys.modules, "greenlet", inner)

    @traced(operation="work")
    def work():
        this.clock.advance(0.5)

    async def step(hold):
        if sign == "a loop within itself":
            asyncio.get_running_loop()._nest_patched = True
        work()

    this.run(swarm_of(step))
    assert not holds(seen)


def test_a_coroutine_that_does_not_await_is_found_from_outside(looked):
    """At least from the first look to the last, with the call that all looks found."""
    this, seen = looked

    @traced(role="worker", operation="stubborn", agent="'culprit'")
    async def step(hold):
        await asyncio.sleep(0)
        hold()

    this.run(swarm_of(step), 5)
    (held,) = holds(seen)
    assert held.end_ns - held.start_ns == 400_000_000
    assert (held.metadata["exact"], held.metadata["looks"]) == (False, 5)
    assert held.parent == seen.one("stubborn").id
    assert "in step" in held.metadata["where"] or "in hold" in held.metadata["where"]


def test_the_place_is_what_all_looks_share(looked):
    """What a function calls for a moment did not hold the loop; the function did."""
    this, seen = looked

    @traced(operation="embed")
    def embed(hold):
        hold()
        this.clock.advance(0.09)

    @traced(operation="score")
    def score(hold):
        hold()
        this.clock.advance(0.09)

    @traced(operation="stubborn")
    async def step(hold):
        await asyncio.sleep(0)
        embed(hold)
        score(hold)
        embed(hold)

    this.run(swarm_of(step), 1, 1, 1)
    (held,) = holds(seen)
    assert held.parent == seen.one("stubborn").id
    assert held.metadata["where"].endswith("in step")


def test_equal_turns_are_not_joined(looked):
    """The same place in another turn is another hold: in between, others could go on."""
    this, seen = looked

    @traced(operation="stubborn")
    async def step(hold):
        for _ in range(3):
            await asyncio.sleep(0)
            hold()
            this.clock.advance(0.09)

    this.run(swarm_of(step), 1, 1, 1)
    assert not holds(seen)


def test_a_short_turn_is_none(looked):
    """What was found for less than a tenth of a second is not told of."""
    this, seen = looked

    @traced(operation="stubborn")
    async def step(hold):
        await asyncio.sleep(0)
        hold()

    this.run(swarm_of(step), 1)
    assert not holds(seen)


def test_an_idle_loop_is_not_held(looked):
    """A loop in its selector waits for work: that is what it is for."""
    this, seen = looked

    async def step(hold):
        await asyncio.to_thread(hold)

    this.run(swarm_of(step), 6, once_idle=True)
    assert not holds(seen)


def test_with_two_loops_nobody_is_said_to_be_held_up(looked):
    """Which calls are on the loop that was held is not known then."""
    this, seen = looked
    both, over = threading.Event(), threading.Event()

    async def elsewhere():
        both.set()
        over.wait(30)

    @traced(operation="hold_on")
    def blocking(hold):
        hold()
        this.clock.advance(0.3)

    async def step(hold):
        blocking(hold)

    other = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    other.start()
    assert both.wait(30)
    this.run(swarm_of(step), 1)
    over.set()
    other.join()
    assert [each.links for each in holds(seen) if each.metadata["exact"]] == [()]


def test_it_asks_to_look_sooner_while_a_loop_is_held(looked):
    """So that the end of what is only looked at is known within some hundredths of a second."""
    this, _ = looked
    wishes = []
    look = this.watch.look
    this.watch.look = lambda opened: wishes.append(look(opened))

    @traced(operation="stubborn")
    async def step(hold):
        await asyncio.sleep(0)
        hold()

    this.run(swarm_of(step), 2)
    assert wishes[0] is None
    assert wishes[1] < 0.1
    assert wishes[-1] is None


def test_a_forked_child_knows_nothing_of_the_calls_of_its_parent(looked):
    """They do not run there, so they are not held up by what runs there."""
    this, seen = looked

    @traced(operation="hold_on")
    def blocking():
        this.clock.advance(0.2)

    async def step(hold):
        hold()
        this.watch.start_over()
        blocking()

    this.run(swarm_of(step), 1)
    assert [each.links for each in holds(seen)] == [()]
