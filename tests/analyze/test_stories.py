"""What is advised against a failure fits what happened."""

import pytest
from builders import Spans, run, soft

from dytopo_autotrace.analyze.summary import summarize


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
def root(spans):
    return spans.add("swarm", 0, 90, role="orchestrator")


def story(spans):
    (group,) = summarize(run(spans)).failures
    return group


def test_a_failed_result_is_not_looked_for_in_tracebacks(spans, root):
    """Nothing was raised: the rule that could capture the result is named, and who read it."""
    tool = spans.add("act", 1, 2, root, role="step", rule="actor", error=soft("failed_if held: x"))
    reader = spans.add("act", 3, 4, root, role="step")
    reader.links = (tool.id,)
    group = story(spans)
    assert group.first.fate == "retry"
    assert "traceback" not in group.remedy
    assert 'add attributes = { result = "result" } to rule actor' in group.remedy
    assert "1 later call read it." in group.remedy


def test_a_failed_result_that_was_captured_is_shown(spans, root):
    """What it said is the best that there is in place of an exception."""
    spans.add("act", 1, 2, root, role="tool", error=soft(), answer={"result": "no such city"})
    group = story(spans)
    assert group.cause.endswith("It returned: no such city")
    assert "attributes" not in group.remedy


@pytest.mark.parametrize(("answered", "told"), [(True, True), (False, False)])
def test_only_a_models_answer_is_asked_for_in_another_form(spans, root, answered, told):
    """`cannot parse job` in plain code is cured by no JSON mode."""
    error = spans.error("ValueError", "cannot parse job 5")
    work = spans.add("work", 1, 5, root, role="worker", agent="x", error=error)
    if answered:
        spans.add("llm", 2, 3, work, role="llm")
    remedy = story(spans).remedy
    assert ("structured output" in remedy) is told
    assert ("Look at line 88" in remedy) is not told
