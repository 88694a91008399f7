"""Rounds and phases are spans with the calls in them below, although no function is one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace import traced
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.testing import capture

ROUND = {"opens": "round", "key": "number"}


@traced(role="manager", scope=ROUND)
def plan(number):
    return number


@traced(role="worker")
def work():
    return None


@traced(role="step", scope={"opens": "phase", "key": "name"})
def phase(name):
    return name


@traced(role="orchestrator")
def swarm(steps):
    for step in steps:
        work() if step is None else phase(step) if isinstance(step, str) else plan(step)


def scopes(seen):
    """Each scope's number, in the order of their start."""
    found = sorted((s for s in seen.spans if s.role == "scope"), key=lambda s: (s.start_ns, s.id))
    return [next(iter(span.metadata.values())) for span in found]


def above(seen, span):
    """The span's parent."""
    return next((each for each in seen.spans if each.id == span.parent), None)


@given(st.lists(st.none() | st.integers(1, 3), max_size=12), st.integers(0, 12))
def test_a_call_is_in_the_round_that_was_open_when_it_began(steps, drained_after):
    """Whenever records are drained, each call lies below its own round, or the last that opened."""
    with capture() as seen:
        swarm(steps[:drained_after])
        pipeline.drain()
        swarm(steps)
    runs = [steps[:drained_after], steps]
    roots = [span for span in seen.spans if span.role == "orchestrator"]
    for root, given_steps in zip(roots, runs, strict=True):
        expected, opened = [], []
        for step in given_steps:
            if step is not None and step not in opened:
                opened.append(step)
            expected.append(step if step is not None else opened[-1] if opened else None)
        calls = sorted(
            (s for s in seen.spans if s.trace == root.trace and s.role in ("manager", "worker")),
            key=lambda span: span.start_ns,
        )
        found = [above(seen, call).metadata.get("round") for call in calls]
        assert found == expected
        rounds = [s for s in seen.spans if s.trace == root.trace and s.role == "scope"]
        rounds.sort(key=lambda span: span.start_ns)
        assert [span.metadata["round"] for span in rounds] == opened
        ends = [*(span.start_ns for span in rounds[1:]), root.end_ns]
        assert [span.end_ns for span in rounds] == ends[: len(rounds)]
        assert all(span.parent == root.id for span in rounds)


def test_a_phase_is_inside_the_round_it_began_in():
    """A scope of another name lies in the one that is open, and ends with it."""
    with capture() as seen:
        swarm([1, "ask", None, "route", 2, "ask", None])
    assert scopes(seen) == [1, "ask", "route", 2, "ask"]
    by_start = sorted((s for s in seen.spans if s.role == "scope"), key=lambda s: s.start_ns)
    first, ask, route, second, again = by_start
    assert (ask.parent, route.parent, again.parent) == (first.id, first.id, second.id)
    assert ask.end_ns == route.start_ns
    assert route.end_ns == first.end_ns == second.start_ns


def test_swarms_side_by_side_and_nested_have_rounds_of_their_own():
    """Rounds are those of one caller: neither a nested swarm's nor a neighbour's close them."""

    @traced(role="orchestrator")
    async def run(numbers, inner):
        for number in numbers:
            await manager(number)
            await asyncio.sleep(0)
            if inner:
                await run(inner, ())

    @traced(role="manager", scope=ROUND)
    async def manager(number):
        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(run([1, 2], [7, 8]), run([1, 2, 3], ()))

    with capture() as seen:
        asyncio.run(main())
    per_root = {}
    for span in seen.spans:
        if span.role == "scope":
            per_root.setdefault(span.parent, []).append(span)
    found = sorted([s.metadata["round"] for s in spans] for spans in per_root.values())
    assert found == [[1, 2], [1, 2, 3], [7, 8], [7, 8]]
    for span in seen.spans:
        if span.operation.endswith("manager"):
            around = above(seen, span)
            assert around.role == "scope"
            assert around.start_ns <= span.start_ns


def test_a_call_without_a_readable_key_belongs_to_the_open_round():
    """What cannot be said is not made up: no round opens for a key that could not be read."""

    @traced(role="manager", scope={"opens": "round", "key": "number.value"})
    def manager(number):
        return number

    @traced(role="orchestrator")
    def run():
        plan(1)
        manager(object())

    with capture() as seen:
        run()
    assert scopes(seen) == [1]
    assert above(seen, next(s for s in seen.spans if "manager" in s.operation)).role == "scope"


@pytest.mark.parametrize("fails", [False, True])
def test_the_last_round_ends_as_its_caller_does(fails):
    """A run that raised did not complete its last round."""

    @traced(role="orchestrator")
    def run():
        plan(1)
        plan(2)
        if fails:
            raise ValueError("broken")

    with capture() as seen:
        try:
            run()
        except ValueError:
            pass
    ended = [span.status for span in seen.spans if span.role == "scope"]
    assert ended == ["success", "error" if fails else "success"]
    assert len(seen.failures) == fails


def test_an_open_round_is_told_while_it_runs():
    """Who asks what is running hears of the round, with the call in it below."""
    with capture() as seen:

        @traced(role="orchestrator")
        def run():
            plan(4)
            (root, scope) = pipeline.open_spans()
            assert (scope.metadata, scope.parent, scope.end_ns) == ({"round": 4}, root.id, 0)

        run()
    assert scopes(seen) == [4]


def test_rounds_without_a_watched_caller_end_with_the_program():
    """Where no rule names the orchestrator, the last round ends with the last call in it."""
    with capture() as seen:
        plan(1)
        work()
        plan(2)
        work()
        pipeline.stop()
        first, second = (span for span in seen.spans if span.role == "scope")
        last = max(span.end_ns for span in seen.spans if span.role != "scope")
        assert first.end_ns == second.start_ns
        assert second.end_ns == last
