"""A run replayed: without a change it is the run, with one it is what the program would have done."""

import pytest
from builders import SECOND, Spans, any_spans, swarm, trees
from hypothesis import given
from hypothesis import strategies as st
from strategies import programs

from dytopo_autotrace.analyze.activity import own_pieces
from dytopo_autotrace.analyze.critical_path import critical_path
from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.replay import Change, Replays, replay
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.analyze.what_if import what_if

NO_CHANGE = Change()


def predicted(spans, now_ns=None):
    tree = build(spans, now_ns)
    graph, owned = dependencies(tree), owners(tree)
    return what_if(graph, critical_path(graph, owned), owned)


@given(st.one_of(trees(), programs()))
def test_nothing_changed_gives_the_measured_time(spans):
    """The replay without a change takes exactly as long as the run did."""
    graph = dependencies(build(spans))
    assert replay(graph) == graph.wall_ns


@given(programs())
def test_faster_is_never_slower_and_all_of_it_scales(spans):
    """Halving all own time halves the run; halving some of it saves no more than that."""
    graph = dependencies(build(spans))
    everything = dict.fromkeys(range(len(graph.tree.spans)), 0.5)
    whole = replay(graph, Change(scale={-1: 0.5, **everything}))
    assert whole == pytest.approx(graph.wall_ns / 2, abs=len(everything) * 2 + 2)
    some = dict.fromkeys(range(0, len(graph.tree.spans), 2), 0.5)
    part = replay(graph, Change(scale=some))
    assert whole - len(everything) - 2 <= part <= graph.wall_ns


@given(any_spans())
def test_any_records_have_an_answer(spans):
    """Whatever state the records are in, predictions lie between nothing and the wall time."""
    found = predicted(spans, 60)
    for each in found.predictions:
        assert 0 <= each.seconds <= found.wall_seconds
        assert each.seconds + each.saved_seconds == pytest.approx(found.wall_seconds)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 9))
def test_slots_are_queued_for_in_order(lengths, slots, others):
    """With any number of slots the replay is what a queue of so many servers would do."""

    def served(count):
        free, ends = [1] * count, []
        for length in lengths:
            server = min(range(count), key=free.__getitem__)
            ends.append((free[server], free[server] + length))
            free[server] += length
        return ends

    spans = Spans()
    run = spans.add("run", 1, max(end for _, end in served(slots)))
    for number, (start, end) in enumerate(served(slots)):
        call = spans.add("act", 1, end, run)
        spans.add("slot", 1, start, call, role="wait", free=max(slots - number, 0))
        spans.add("http", start, end, call)
    graph = dependencies(build(spans))
    assert replay(graph) == graph.wall_ns
    if graph.resources["slot"].contended:
        assert graph.resources["slot"].capacity == slots
        changed = replay(graph, Change(capacity={"slot": others}))
        assert changed == (max(end for _, end in served(others)) - 1) * SECOND


def test_calls_one_after_another_could_run_together():
    """Side by side they take as long as the slowest; what follows waits for all of them."""
    spans = Spans()
    run = spans.add("run", 0, 8)
    for index, agent in enumerate(("a", "b", "c")):
        spans.add("ask", index * 2, index * 2 + 2, run, agent=agent)
    spans.add("sum", 6, 8, run, agent="m")
    found = {each.kind: each for each in predicted(spans).predictions}
    assert found["side_by_side"].seconds == pytest.approx(4.0)
    assert found["side_by_side"].sureness == "low"


def test_what_one_reads_of_the_other_cannot_run_beside_it():
    """Calls that read each other's output are not offered to run together."""
    spans = Spans()
    run = spans.add("run", 0, 4)
    first = spans.add("ask", 0, 2, run, agent="a")
    spans.add("ask", 2, 4, run, agent="b").links = (first.id,)
    assert "side_by_side" not in {each.kind for each in predicted(spans).predictions}


def test_calls_of_nobody_known_are_taken_for_one_agents():
    """A loop of calls without agents is not offered to run together: each may need the one before."""
    spans = Spans()
    run = spans.add("run", 0, 6)
    for start in (0, 2, 4):
        spans.add("tool", start, start + 2, run)
    assert "side_by_side" not in {each.kind for each in predicted(spans).predictions}


@given(programs())
def test_no_more_is_saved_than_is_taken_away(spans):
    """Half of an agent's or an operation's own time is the most that its speed can save."""
    tree = build(spans)
    owned = owners(tree)
    own = {
        span.id: sum(end - start for start, end in own_pieces(tree, span)) for span in tree.spans
    }
    for each in predicted(spans).predictions:
        if each.kind in ("faster_agent", "faster_operation"):
            names = owned.agents if each.kind == "faster_agent" else None
            mine = [
                own[span.id]
                for span in tree.spans
                if (names[span.id] if names else span.operation) == each.subject
            ]
            assert each.saved_seconds <= sum(mine) / 2 / SECOND + 1e-6


def test_what_never_ended_is_not_made_faster():
    """How long a call would have taken that still ran, or was cut off, is in no record."""
    spans = Spans()
    run = spans.add("run", 0, None)
    spans.add("ask", 0, 1, run, agent="done")
    spans.add("ask", 1, 4, run, agent="late", status="cancelled")
    spans.add("ask", 4, None, run, agent="stuck")
    found = predicted(spans, 20 * SECOND).predictions
    assert [(each.text, each.saved_seconds) for each in found] == [
        ("agent done twice as fast, in calls of ask", 0.5)
    ]


def test_a_replay_in_which_none_can_go_on_has_no_end():
    """Calls that come to wait for slots of each other give no time, never a short one."""
    spans = Spans()
    run = spans.add("run", 1, 7)
    for agent, order in (("a", ("s", "t")), ("b", ("t", "s"))):
        call = spans.add("act", 1, 7, run, agent=agent)
        spans.add(order[0], 1, 1, call, role="wait", free=2)
        spans.add("think", 1, 3, call, agent=agent)
        spans.add(order[1], 3, 3, call, role="wait", free=1)
        spans.add("write", 3, 7, call, agent=agent)
    graph = dependencies(build(spans))
    assert replay(graph) == graph.wall_ns
    assert replay(graph, Change(capacity={"s": 1, "t": 1})) is None


@pytest.mark.parametrize("without_a_change", [None, 4 * SECOND])
def test_a_replay_that_comes_to_a_halt_foretells_nothing(without_a_change, monkeypatch):
    """What has no end is no saving: it is left out, and a remark says so."""
    spans = Spans()
    run = spans.add("run", 1, 5)
    spans.add("act", 1, 5, run, agent="a")

    def run_it(_, change=NO_CHANGE):
        return without_a_change if change is NO_CHANGE else None

    monkeypatch.setattr(Replays, "run", run_it)
    found = predicted(spans)
    assert found.predictions == ()
    assert len(found.remarks) == 1


def test_nothing_is_said_of_slots_that_the_replay_does_not_fit():
    """Where the replay without a change is more than a tenth off, slots were not understood."""
    spans = Spans()
    run = spans.add("run", 1, 10)
    for number in range(3):
        call = spans.add("act", 1, 3 * number + 4, run, agent=f"a{number}")
        # It says that two are free, and lets in one at a time.
        spans.add("slot", 1, 3 * number + 1, call, role="wait", free=2 if number == 0 else 0)
        spans.add("model", 3 * number + 1, 3 * number + 4, call, agent=f"a{number}")
    found = predicted(spans)
    assert abs(found.replayed_seconds / found.wall_seconds - 1) > 0.1
    assert "slots" not in {each.kind for each in found.predictions}
    assert found.least_seconds == pytest.approx(found.wall_seconds)


def test_one_change_under_two_names_is_told_once():
    """An agent and an operation with the same calls are one change, which names both."""
    spans = Spans()
    run = spans.add("run", 0, 6)
    spans.add("plan", 0, 2, run, agent="lead")
    spans.add("act", 2, 6, run, agent="lead")
    spans.add("act", 2, 5.9, run, agent="dev")
    texts = [each.text for each in predicted(spans).predictions]
    assert texts == [
        "calls of act twice as fast",
        "agent lead twice as fast",
        "calls of plan twice as fast",
    ]
    spans = Spans()
    run = spans.add("run", 0, 6)
    spans.add("plan", 0, 2, run, agent="lead")
    spans.add("act", 2, 6, run, agent="dev")
    texts = [each.text for each in predicted(spans).predictions]
    assert texts == [
        "agent dev twice as fast, in calls of act",
        "agent lead twice as fast, in calls of plan",
    ]


def test_a_cache_saves_what_the_replay_says():
    """Calls side by side are answered at once together: not the sum of them is saved."""
    spans = Spans()
    run = spans.add("run", 0, 8)
    spans.add("look", 0, 2, run, role="tool", agent="a")
    for agent in "abcd":
        spans.add("look", 2, 4, run, role="tool", agent=agent)
    spans.add("look", 4, 6, run, role="tool", agent="z", status="cancelled")
    spans.add("act", 6, 8, run, role="worker", agent="a")
    (cached,) = predicted(spans).cached
    assert cached.text == "4 of 5 calls of look answered from a cache"
    assert cached.saved_seconds == pytest.approx(2.0)
    assert cached.sureness == "low", "whether inputs repeat is not in the records"


def test_without_retries_attempts_and_pauses_are_gone():
    """The failed attempt and the pause after it are what retrying cost."""
    found = {each.kind: each for each in predicted(swarm("retry")).predictions}
    attempts = found["no_retries"]
    assert attempts.subject == "chat_attempt"
    slower = 0.2 * 1.09 - 0.2 * 1.03  # the tester's call, which the round then waits for
    assert attempts.saved_seconds == pytest.approx(3 * (0.25 - slower))


def test_a_faster_agent_saves_only_until_another_is_the_slowest():
    """Twice as fast, the slow agent is still waited for; others save nothing."""
    spans = Spans()
    run = spans.add("run", 0, 6)
    spans.add("act", 0, 6, run, agent="slow")
    spans.add("act", 0, 5, run, agent="next")
    found = [each for each in predicted(spans).predictions if each.kind == "faster_agent"]
    assert [(each.subject, each.seconds) for each in found] == [("slow", 5.0)]
    assert found[0].evidence == (spans.all[1].span_id,)
