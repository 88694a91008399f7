"""Which cancelled calls were cut off, and which were simply no longer needed."""

import pytest
from builders import Spans, run

from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.analyze.tree import build


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
def caller(spans):
    return spans.add("hedge", 0, 9, role="worker", agent="x")


def found(spans):
    return outcomes(build(spans))


def test_the_loser_of_a_race_did_not_fail(spans, caller):
    """Of two requests the first answer is taken, and the other is cancelled on purpose."""
    spans.add("ask", 1, 2, caller, role="llm")
    spans.add("ask", 1, 2.002, caller, role="llm", status="cancelled")
    (cancelled,) = found(spans).cancellations
    assert cancelled.reason == "another ask had just succeeded"
    assert found(spans).failures == ()
    assert found(spans).dead_agents == ()
    assert summarize(run(spans)).verdict.level == "healthy"


@pytest.mark.parametrize(
    ("operation", "ended", "failed"),
    [("ask", 1.9, False), ("other", 2, False), ("ask", 2, True), ("ask", 2.1, False)],
)
def test_only_a_success_right_before_decides_a_race(spans, caller, operation, ended, failed):
    """Not one of long before, of another operation, of after, nor a failure."""
    spans.add(operation, 1, ended, caller, error=spans.error() if failed else None)
    spans.add("ask", 1, 2.002, caller, status="cancelled")
    assert "timeout" in {each.kind for each in found(spans).failures}


def test_a_call_begun_after_the_success_was_not_in_the_race(spans, caller):
    """What began when the other had answered already was wanted for itself."""
    spans.add("ask", 1, 2, caller)
    spans.add("ask", 2.001, 2.003, caller, status="cancelled")
    (failure,) = found(spans).failures
    assert failure.kind == "timeout"


def test_a_monitor_that_is_stopped_at_the_end_did_not_fail(spans):
    """What has neither role nor agent and is cancelled as its caller ends is listed as cancelled."""
    root = spans.add("swarm", 0, 9, role="orchestrator")
    spans.add("monitor", 0, 9.001, root, status="cancelled")
    (cancelled,) = found(spans).cancellations
    assert (cancelled.reason, found(spans).failures) == ("swarm ended", ())


@pytest.mark.parametrize("kind", [{"role": "worker"}, {"agent": "x"}, {"role": "llm"}])
def test_an_agents_call_that_is_cut_off_at_the_end_is_a_failure(spans, kind):
    """A time limit whose caller goes on and ends at once looks the same, and work was lost."""
    root = spans.add("swarm", 0, 9, role="orchestrator")
    guard = spans.add("guarded", 0, 9, root, status="cancelled")
    spans.add("work", 0, 9, guard, status="cancelled", **kind)
    (failure,) = found(spans).failures
    assert (failure.kind, failure.certain) == ("timeout", False)


def test_a_call_cut_off_in_the_midst_is_a_failure(spans):
    """Its caller went on without it, and why is not in the records."""
    root = spans.add("swarm", 0, 9, role="orchestrator")
    spans.add("step", 0, 5, root, status="cancelled")
    assert len(found(spans).failures) == 1
