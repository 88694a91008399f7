"""One run in one value, with the verdict first."""

import copy
import json

import pytest
from builders import Spans, any_spans, run, soft, swarm, trees
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import Cost

FAULTS = ["", "retry", "swallowed", "unreadable", "timeout", "slow-agent"]


def verdict(spans, **changes):
    found = summarize(run(spans, **changes)).verdict
    return found.level, found.text


@pytest.mark.parametrize(
    ("fault", "level", "words"),
    [
        ("", "healthy", "no agent's call failed."),
        ("retry", "recovered", "3 failures made good by retry"),
        ("swallowed", "degraded", "but developer was dead (all 3 calls failed)."),
        ("unreadable", "degraded", "developer was dead"),
        ("timeout", "degraded", "developer was dead"),
        ("slow-agent", "healthy", "But developer is 5.8x slower than its peers."),
    ],
)
def test_the_verdict_says_how_it_went(fault, level, words):
    """The first line names the level and what matters most."""
    found = verdict(swarm(fault))
    assert found[0] == level
    assert words in found[1]


def test_a_failure_that_left_its_agent_alive_is_told_with_its_agent():
    """Degraded, although nobody is dead."""
    spans = swarm()
    call = next(span for span in spans if span.operation == "llm_call" and span.parent != 2)
    call.status, call.error = "error", soft()
    level, text = verdict(spans)
    assert level == "degraded"
    assert "1 failure of " in text
    assert "llm_call returned a failed result" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ended": "ValueError", "ended_message": "no key"}, "ValueError ended the program"),
        ({"ended": "KeyboardInterrupt"}, "was interrupted"),
        ({"ended": "SystemExit", "exit_status": 3}, "exited with status 3"),
    ],
)
def test_a_program_that_did_not_end_well_failed(changes, words):
    """However healthy its calls were."""
    level, text = verdict(swarm(), **changes)
    assert level == "failed"
    assert words in text


def test_no_end_is_made_up():
    """A program that still runs has not failed, and of one whose end nobody recorded none is told."""
    level, text = verdict(swarm(), ended="running", exit_status=None, wall_seconds=2.5)
    assert (level, text.startswith("The program still ran after 2.50 s")) == ("healthy", True)
    level, text = verdict(swarm(), ended="", exit_status=None, wall_seconds=3.0)
    assert (level, text.startswith("The trace spans 3.00 s")) == ("healthy", True)


def test_an_exit_with_status_zero_is_a_normal_end():
    """`sys.exit(0)` is not a failure."""
    assert verdict(swarm(), ended="SystemExit", exit_status=0)[0] == "healthy"


def test_a_run_without_calls_is_not_called_healthy():
    """Nothing recorded is nothing known."""
    assert verdict([]) == (
        "empty",
        "The program ended normally after 0.10 s, but no call was recorded.",
    )


def test_failures_beside_the_work_do_not_drown_it():
    """A health check that nobody minded leaves the run healthy, and is counted."""
    spans = swarm()
    spans.add("health", 0.01, 0.02, spans.all[0], role="health", error=spans.error())
    level, text = verdict(spans)
    assert level == "healthy"
    assert "1 failure outside the agents' work" in text


def test_the_same_story_is_told_once():
    """Three rounds of the same failure are one group of three."""
    (group,) = summarize(run(swarm("retry"))).failures
    assert (group.count, group.agents, group.rounds) == (3, (("developer", 3),), ("1", "2", "3"))


def test_one_cause_of_several_deaths_is_told_once():
    """Two agents killed by the same error stand under one failure."""
    spans = swarm("swallowed")
    other = swarm("swallowed", victim="tester")
    for span in other:
        span.id += 1000
        span.parent += 1000 * bool(span.parent)
        span.trace = 2
    keep = [s for s in spans if s.agent != "tester"] + list(other)
    (group,) = summarize(run(keep)).failures
    assert {name for name, _ in group.agents} == {"developer", "tester"}


def test_the_task_comes_from_the_orchestrator():
    """What the run was asked to do is captured by its rule."""
    assert summarize(run(swarm())).task == "Write an LRU cache"


def test_tokens_are_taken_from_the_spans_where_none_are_given():
    """Counters that name tokens add up in the row of the span that measured them."""
    spans = swarm()
    model = next(span for span in spans if span.operation == "chat_completion")
    model.measurements = (
        ("swarm_tokens_total", "counter", 30, (("direction", "in"),)),
        ("swarm_tokens_total", "counter", 12, (("direction", "out"),)),
        ("latency", "histogram", 5, ()),
    )
    summary = summarize(run(spans))
    assert summary.tokens == 42
    assert {row.tokens for row in summary.agents if row.role == "llm"} == {None, 42}
    assert (summary.spending.total.read, summary.spending.total.written) == (30, 12)


def test_the_cost_of_watching_is_calls_times_seconds():
    """With its share of the wall time, if that is known."""
    cost = summarize(run(swarm(), cost=Cost(1000, 2e-6), wall_seconds=4.0)).cost
    assert cost.seconds == pytest.approx(2e-3)
    assert cost.share == pytest.approx(5e-4)
    assert summarize(run(swarm(), wall_seconds=0.0)).cost.share is None


def test_a_failure_below_another_span_is_not_told_twice():
    """The count of failures is that of origins, in every place where it stands."""
    spans = Spans()
    spans.chain(["a", "b", "c"], 0, 1, error=spans.error())
    summary = summarize(run(spans))
    assert summary.failure_count == sum(group.count for group in summary.failures) == 1


@given(any_spans())
def test_any_records_have_a_summary_in_plain_json(spans):
    """Whatever state the records are in, all of the summary can be written down."""
    summary = summarize(run(spans, now_ns=45))
    json.dumps(to_json(summary), allow_nan=False)
    assert summary.verdict.text
    assert sum(group.count for group in summary.failures) == summary.failure_count


def earlier(spans, ns):
    """The same spans, so many nanoseconds earlier."""
    moved = []
    for span in spans:
        other = copy.copy(span)
        other.start_ns = span.start_ns - ns
        other.end_ns = span.end_ns - ns if span.end_ns else 0
        moved.append(other)
    return moved


@given(
    st.one_of(any_spans(), trees(), st.sampled_from(FAULTS).map(swarm).map(list)),
    st.sampled_from([10**9 + 7, 10**18 + 7]),
)
def test_it_does_not_matter_where_the_clock_began(spans, ns):
    """A run of long before this machine was started, with times below zero, is told the same."""
    now = max((span.end_ns for span in spans), default=0) or 1
    here = summarize(run(spans, now_ns=now))
    there = summarize(run(earlier(spans, ns), now_ns=now - ns, wall_seconds=here.wall_seconds))
    assert to_json(there) == to_json(here)


def test_the_rounds_are_those_that_the_orchestrator_counted():
    """A last call of the manager that only ends the run is no further round."""
    spans = Spans()
    swarm_run = spans.add("run", 0, 4, role="orchestrator", rounds=3)
    for number in range(1, 5):
        spans.add("decide", number - 1, number, swarm_run, role="manager", round=number)
    assert summarize(run(spans)).rounds == 3


def test_tokens_are_summed_upwards_and_counted_once():
    """A worker's row has the tokens of the calls below it, the total has each of them once."""
    spans = Spans()
    swarm_run = spans.add("run", 0, 4, role="orchestrator")
    worker = spans.add("act", 0, 2, swarm_run, role="worker", agent="ann")
    call = spans.add("call", 0, 1, worker, role="llm", agent="ann")
    call.measurements = (("tokens_total", "counter", 7, ()),)
    summary = summarize(run(spans))
    shown = {row.role: row.tokens for row in summary.agents}
    assert shown == {"orchestrator": 7, "worker": 7, "llm": 7}
    assert summary.tokens == 7
