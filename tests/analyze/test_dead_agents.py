"""Whose calls failed without exception, and when that is too little to be called dead."""

import pytest
from builders import Spans, run, soft

from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.analyze.tree import build


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
def root(spans):
    return spans.add("swarm", 0, 90, role="orchestrator")


def test_a_swarm_within_a_call_has_agents_of_its_own(spans, root):
    """The outer agent's calls count although a swarm inside calls somebody of the same name."""
    work = spans.add("work", 1, 9, root, role="worker", agent="dev")
    inner = spans.add("swarm", 1, 9, work, role="orchestrator", agent="dev")
    for start in (2, 4):
        shared = {"role": "worker", "agent": "dev", "error": soft()}
        spans.add("work", start, start + 1, inner, **shared)
    assert outcomes(build(spans)).dead_agents == ()


def test_model_calls_of_a_swarm_within_are_not_the_callers(spans, root):
    """A worker whose inner swarm had no luck with its model did not fail itself."""
    for start in (1, 11):
        work = spans.add("work", start, start + 8, root, role="worker", agent="dev")
        inner = spans.add("swarm", start, start + 8, work, role="orchestrator")
        spans.add("llm", start, start + 1, inner, role="llm", error=spans.error())
    assert outcomes(build(spans)).dead_agents == ()


def test_one_call_is_not_called_dead(spans, root):
    """That its only call failed is all that is known of it."""
    spans.add("work", 1, 2, root, role="worker", agent="x", error=spans.error())
    found = summarize(run(spans))
    assert "but x failed in its only call." in found.verdict.text
    assert [each.calls for each in found.failures[0].dead_agents] == [1]


def test_calls_that_say_nothing_are_told_apart(spans, root):
    """A call that was cancelled for no fault of its own is not said to have failed."""
    error = spans.error()
    root.status, root.error = "error", error
    shared = {"role": "worker", "agent": "x"}
    spans.add("work", 1, 2, root, error=spans.error("KeyError"), round=1, **shared)
    spans.add("work", 5, 9, root, status="cancelled", round=2, **shared)
    spans.add("other", 5, 9, root, error=error)
    found = summarize(run(spans))
    assert "x failed in its only call that came to an end" in found.verdict.text


def test_what_ended_the_program_is_told_first(spans, root):
    """Before any agent that was dead meanwhile."""
    error = spans.error("ZeroDivisionError")
    root.status, root.error = "error", error
    for start in (1, 3):
        shared = {"role": "worker", "agent": "x", "round": start}
        spans.add("work", start, start + 1, root, error=spans.error("KeyError"), **shared)
    spans.add("score", 7, 9, root, error=error)
    first, second = summarize(run(spans, ended="ZeroDivisionError")).failures
    assert first.first.error_type == "ZeroDivisionError"
    assert [each.agent for each in second.dead_agents] == ["x"]
