"""What agents did with their time adds up, and how much ran at once is what ran."""

import pytest
from builders import Spans, any_spans, swarm, trees
from hypothesis import given
from hypothesis import strategies as st
from strategies import programs

from dytopo_autotrace.analyze.activity import activities
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.timing import busy_ns, parallelization
from dytopo_autotrace.analyze.tree import build


def found_in(spans, now_ns=None):
    tree = build(spans, now_ns)
    return activities(tree, owners(tree), busy_ns(tree)), tree


def added(activity):
    return (
        activity.busy_seconds
        + activity.waiting_seconds
        + activity.unattributed_seconds
        + activity.idle_seconds
    )


@given(st.one_of(any_spans(), trees(), programs()))
def test_busy_waiting_and_idle_add_up(spans):
    """Of every agent, over the run and in each round, the kinds of time are the whole window."""
    found, tree = found_in(spans, 60)
    window = (tree.last_ns - tree.first_ns) / 1e9
    for each in found.agents:
        assert added(each) == pytest.approx(window)
        assert min(each.busy_seconds, each.waiting_seconds, each.idle_seconds) >= 0
    for number in found.rounds:
        for each in number.agents:
            assert added(each) == pytest.approx(number.seconds)


@given(trees())
def test_levels_of_concurrency_cover_the_run(spans):
    """Time at each level adds up to the run, and the mean is that of its parts."""
    found, tree = found_in(spans)
    levels = found.concurrency.levels
    assert sum(time for _, time in levels) == pytest.approx((tree.last_ns - tree.first_ns) / 1e9)
    parts = found.concurrency.over_time
    assert sum(parts) / len(parts) == pytest.approx(found.concurrency.mean, abs=0.001)


@given(st.integers(1, 9), st.integers(1, 9))
def test_equal_leaves_side_by_side_are_so_many_at_once(count, rounds):
    """n equal calls side by side are n at a time, and one after another 1, however nested."""
    wide, deep = Spans(), Spans()
    parent = wide.add("run", 0, rounds)
    for _ in range(count):
        wide.add("act", 0, rounds, parent)
    deep.chain(["a"] * count, 0, rounds)
    for spans, expected in ((wide, count), (deep, 1)):
        tree = build(spans)
        assert parallelization(tree, busy_ns(tree)) == pytest.approx(expected)
        assert found_in(spans)[0].concurrency.most == expected


def test_waiting_is_not_work():
    """The wait for a slot is waiting time, and no part of what ran at once."""
    spans = Spans()
    call = spans.add("act", 0, 3, role="worker", agent="a")
    spans.add("slot", 0, 2, call, role="wait")
    spans.add("http", 2, 3, call)
    found, tree = found_in(spans)
    (agent,) = found.agents
    assert (agent.waiting_seconds, agent.busy_seconds, agent.idle_seconds) == (2.0, 1.0, 0.0)
    assert parallelization(tree, busy_ns(tree)) == pytest.approx(1 / 3)


def test_what_nobody_watched_is_unattributed():
    """Between the calls below it a call may have worked or waited: it is not said to be either."""
    spans = Spans()
    call = spans.add("act", 0, 5, role="worker", agent="a")
    spans.add("http", 1, 3, call)
    (agent,) = found_in(spans)[0].agents
    assert (agent.busy_seconds, agent.unattributed_seconds) == (2.0, 3.0)


def test_rounds_are_in_order_with_their_own_agents():
    """Each round has its window and its agents' time in it."""
    found, _ = found_in(swarm())
    assert [each.round for each in found.rounds] == ["1", "2", "3"]
    assert {each.agent for each in found.rounds[0].agents} >= {"analyst", "developer", "manager"}
