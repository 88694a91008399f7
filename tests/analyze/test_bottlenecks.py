"""The classic analysis: score, long poles, slow agents, recommendations."""

import json

import pytest
from builders import Spans, any_spans, swarm
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.bottlenecks import analyze, format_report, score

CLASSIC = {
    "trace_id",
    "total_duration",
    "total_spans",
    "parallelization_factor",
    "slowest_operations",
    "long_poles",
    "error_count",
    "recommendations",
    "performance_score",
}


def messages(analysis, category):
    return [e["message"] for e in analysis["recommendations"] if e["category"] == category]


@pytest.mark.parametrize(
    ("factor", "poles", "failures", "points"),
    [
        (2.0, 0, 0, 100),
        (9.0, 0, 0, 100),
        (1.0, 0, 0, 80),
        (1.5, 1, 2, 75),
        (2.0, 6, 0, 70),
        (2.0, 60, 60, 40),
    ],
)
def test_the_score_is_the_classic_one(factor, poles, failures, points):
    """40 for parallelization, 30 each for no long poles and no errors, 5 off for each."""
    assert score(factor, poles, failures) == pytest.approx(points)


@given(st.floats(0, 100), st.integers(0, 99), st.integers(0, 99))
def test_the_score_stays_within_its_bounds(factor, poles, failures):
    """Whatever happened, 0 to 100."""
    assert 0 <= score(factor, poles, failures) <= 100


@given(any_spans())
def test_any_spans_are_analyzed_and_reported(spans):
    """The classic keys are there for any records, and all of it is plain JSON."""
    analysis = analyze(spans, 45)
    assert set(analysis) == CLASSIC | {"critical_path"}
    json.dumps(analysis, allow_nan=False)
    assert format_report(analysis)


def test_errors_are_counted_by_origin():
    """An exception that crossed four calls in each of three rounds is three errors."""
    analysis = analyze(swarm("swallowed"))
    assert analysis["error_count"] == 3
    assert analysis["performance_score"] == 85


def test_the_slowest_operations_come_first():
    """By duration, with the agent and the time of their own."""
    slowest = analyze(swarm())["slowest_operations"]
    assert slowest[0]["operation"] == "swarm_run"
    assert [e["duration"] for e in slowest] == sorted(
        (e["duration"] for e in slowest), reverse=True
    )


def test_a_slow_agent_is_named_with_its_numbers():
    """How much slower than its peers, and that every tier waits."""
    analysis = analyze(swarm("slow-agent"))
    (message,) = messages(analysis, "long_poles")
    assert message.startswith(
        "developer is 5.8x slower than its peers (p50 1.24 s against 0.21 s) and every tier waits "
        "for it, 3.05 s in all."
    )
    assert [pole["agent"] for pole in analysis["long_poles"]] == ["developer"]


@pytest.mark.parametrize("fault", ["", "retry", "swallowed", "timeout", "unreadable"])
def test_failures_do_not_make_an_agent_slow(fault):
    """A call made long by retries or a time limit is told as a failure, not as a slow agent."""
    assert analyze(swarm(fault))["long_poles"] == []


def test_an_agent_nobody_waits_for_is_not_a_long_pole():
    """Three times slower does not matter while a peer beside it runs longer still."""
    spans = Spans()
    root = spans.add("swarm", 0, 27)
    for start in (0, 9, 18):
        for agent, seconds in (("quick", 1), ("brisk", 1), ("slow", 4)):
            spans.add("call", start, start + seconds, root, role="worker", agent=agent)
    for start in (0, 9, 18):
        spans.add("call", start, start + 9, root, role="worker", agent="slowest")
    assert {pole["agent"] for pole in analyze(spans)["long_poles"]} == {"slowest"}


def test_a_single_long_call_is_a_long_pole():
    """Over ten seconds in itself; its callers only waited for it."""
    spans = Spans()
    spans.chain(["swarm", "agent_call", "llm_call"], 0, 12)
    assert [pole["operation"] for pole in analyze(spans)["long_poles"]] == ["llm_call"]


def test_a_long_run_of_short_calls_is_no_long_pole():
    """An orchestrator is as long as what it awaits."""
    spans = Spans()
    root = spans.add("swarm", 0, 30)
    for start in range(30):
        spans.add("call", start, start + 1, root)
    assert analyze(spans)["long_poles"] == []


def test_calls_of_several_agents_one_after_another_could_run_side_by_side():
    """The saving is told with its numbers."""
    spans = Spans()
    root = spans.add("swarm", 0, 6)
    for start, agent in ((0, "x"), (2, "y"), (4, "z")):
        spans.add("agent_call", start, start + 2, root, role="worker", agent=agent)
    (message,) = messages(analyze(spans), "parallelization")
    assert message.startswith(
        "3 calls of agent_call (x, y and z) took 6.00 s one after another; side by side they would "
        "take as long as the slowest, 2.00 s."
    )


def test_calls_that_do_run_side_by_side_are_left_alone():
    """Tiers wait for each other for a reason; no advice to start everything at once."""
    spans = Spans()
    root = spans.add("swarm", 0, 6)
    for start, agent in ((0, "x"), (0.5, "y"), (4, "z")):
        spans.add("agent_call", start, start + 2, root, role="worker", agent=agent)
    assert not any("side by side" in m for m in messages(analyze(spans), "parallelization"))


def test_repeated_work_is_a_case_for_a_cache():
    """An operation that took a tenth of the time in five calls or more, with what the replay saves."""
    spans = Spans()
    root = spans.add("swarm", 0, 10)
    for start in range(5):
        spans.add("embed", start, start + 1, root, role="step")
    (message,) = messages(analyze(spans), "caching")
    assert "4 of 5 calls of embed answered from a cache" in message
    assert "4.00 s" in message


def test_model_calls_are_no_case_for_a_cache():
    """Their answers are new each time, and so is what lies below them."""
    assert messages(analyze(swarm()), "caching") == []


def test_a_report_of_nothing_says_so():
    """An unknown or empty trace is not a good one."""
    analysis = analyze([])
    assert analysis["performance_score"] == 0
    assert "No spans were recorded" in format_report(analysis)


def test_the_report_shows_score_poles_and_advice():
    """What the analysis found stands in its text."""
    text = format_report(analyze(swarm("slow-agent")))
    assert "of 100 (target above 70)" in text
    assert "developer is 5.8x slower" in text
