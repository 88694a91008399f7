"""Who held the event loop, and who stood still."""

from builders import Spans

from dytopo_autotrace.analyze.blocked import blocked_loops
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.tree import build


def found(spans):
    tree = build(spans)
    return blocked_loops(tree, owners(tree))


def test_who_stood_still_had_a_call_open_on_that_loop():
    """Not the holder's own agent, nor its callers, nor calls that are not known to be on the loop."""
    spans = Spans()
    run = spans.add("run", 0, 9, agent="boss")
    holder = spans.add("hold_on", 1, 5, run, agent="culprit")
    other = spans.add("act", 0, 9, run, agent="waiter")
    spans.add("act", 0, 9, run, agent="in a thread")
    spans.held(1, 5, holder, run, other)
    (one,) = found(spans)
    assert (one.holder.agent, one.standing_still, one.seconds) == ("culprit", ("waiter",), 4.0)


def test_where_the_loop_of_a_call_is_not_known_nobody_is_said_to_stand_still():
    """That nobody stood still is not said either."""
    spans = Spans()
    run = spans.add("run", 0, 9)
    spans.add("act", 0, 9, run, agent="waiter")
    spans.held(1, 5, run)
    assert found(spans)[0].standing_still is None


def test_a_call_that_held_the_loop_within_another_is_the_same_hold():
    """The outermost is told of: the loop was held for so long, and once."""
    spans = Spans()
    run = spans.add("run", 0, 9)
    outer = spans.add("outer", 1, 5, run)
    inner = spans.add("inner", 1, 4, outer)
    spans.held(1, 4, inner)
    spans.held(1, 5, outer)
    assert [each.holder.operation for each in found(spans)] == ["outer"]


def test_a_hold_that_nobody_felt_comes_last():
    """However long it was."""
    spans = Spans()
    run = spans.add("run", 0, 9, agent="boss")
    other = spans.add("act", 0, 9, run, agent="waiter")
    long, short = spans.add("long", 1, 5, run), spans.add("short", 5, 6, run)
    spans.held(1, 5, long, run)
    spans.held(5, 6, short, run, other)
    assert [each.standing_still for each in found(spans)] == [("waiter",), ()]


def test_loops_of_two_threads_are_two_holds():
    """One within the time of the other is held by something else."""
    spans = Spans()
    one, other = spans.add("one", 1, 5), spans.add("other", 2, 4)
    spans.held(1, 5, one)
    spans.held(2, 4, other, thread=2)
    assert [each.holder.operation for each in found(spans)] == ["one", "other"]
