"""Who held the event loop, and who stood still."""

from builders import Spans

from dytopo_autotrace.analyze.blocked import blocked_loops
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.tree import build


def test_who_stood_still_had_a_call_open_all_the_while():
    """Not the holder's own agent, nor its callers."""
    spans = Spans()
    run = spans.add("run", 0, 9, agent="boss")
    spans.add("hold_on", 1, 5, run, agent="culprit")
    spans.add("act", 0, 9, run, agent="waiter")
    spans.add("act", 2, 9, run, agent="late")
    held = spans.add("event_loop_blocked", 1.5, 4.5, role="blocked")
    held.metadata = {"operation": "hold_on", "looks": 31, "where": "app.py:3 in load"}
    tree = build(spans)
    (one,) = blocked_loops(tree, owners(tree))
    assert (one.holder.agent, one.standing_still, one.seconds) == ("culprit", ("waiter",), 3.0)
