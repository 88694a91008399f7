"""What a finished call stands for: soft failures, and the numbers of its rule."""

import pytest

from dytopo_autotrace import agent, traced
from dytopo_autotrace.collect.settle import DURATION
from dytopo_autotrace.testing import FakeClock, capture


def test_a_soft_failure_is_a_failure_that_raised_nothing():
    """When `failed_if` holds, the call has failed, its record says by which condition."""
    woven = traced(operation="f", role="worker", failed_if="result == 'stub' or bad")(
        lambda bad, out: out
    )
    with capture() as seen:
        woven(False, "fine")
        woven(False, "stub")
        woven(True, "fine")
    assert [span.status for span in seen.spans] == ["success", "error", "error"]
    assert [failure.error_type for failure in seen.failures] == ["SoftFailure"] * 2
    assert seen.failures[0].error_message == "failed_if held: result == 'stub' or bad"
    assert "stack" not in seen.failures[0].context


def test_a_condition_on_arguments_is_judged_at_entry():
    """What the call does to its arguments does not change whether it failed."""

    @traced(operation="f", failed_if="len(items) == 0")
    def f(items):
        items.clear()

    with capture() as seen:
        f([1])
        f([])
    assert [span.status for span in seen.spans] == ["success", "error"]


def test_a_condition_that_cannot_be_read_does_not_hold():
    """A `failed_if` that raises leaves the call as it was."""
    woven = traced(operation="f", failed_if="result.nothing")(lambda: 1)
    with capture() as seen:
        woven()
    assert seen.one("f").status == "success"


def test_an_exception_wins_over_a_condition():
    """A call that raised has one failure, the exception."""

    @traced(operation="f", failed_if="True")
    def f():
        raise KeyError("x")

    with capture() as seen:
        with pytest.raises(KeyError):
            f()
    assert [failure.error_type for failure in seen.failures] == ["KeyError"]


def test_every_call_is_in_the_histogram_of_durations():
    """One observation a call, by operation, role, agent and status, of exactly its seconds."""
    clock = FakeClock()
    with capture(clock=clock) as seen:

        @traced(operation="f", role="worker", agent="who")
        def f(who, seconds):
            clock.advance(seconds)
            if seconds > 1:
                raise ValueError

        f("ann", 0.5)
        f("ann", 0.25)
        with pytest.raises(ValueError):
            f("bob", 2)
        labels = {"operation": "f", "role": "worker"}
        ann = seen.metrics.stats(DURATION, {**labels, "agent": "ann", "status": "success"})
        bob = seen.metrics.stats(DURATION, {**labels, "agent": "bob", "status": "error"})
    assert (ann["count"], ann["sum"], ann["max"]) == (2, 0.75, 0.5)
    assert (bob["count"], bob["sum"]) == (1, 2)


def test_metrics_of_a_rule_are_recorded_with_their_labels(load):
    """Counters, gauges and histograms by expression, the same name twice under other labels."""
    text = """
[[rule]]
target = "patient.plain:add"
  [[rule.metric]]
  name = "things_total"
  kind = "counter"
  value = "a"
  labels = { side = "'left'", kind = "type(a).__name__" }
  [[rule.metric]]
  name = "things_total"
  kind = "counter"
  value = "b"
  labels = { side = "'right'", kind = "type(b).__name__" }
  [[rule.metric]]
  name = "sum_last"
  kind = "gauge"
  value = "result"
  [[rule.metric]]
  name = "sum_all"
  kind = "histogram"
  value = "result"
  buckets = [1, 10, 100]
"""
    with capture(text) as seen:
        plain = load("patient.plain")
        plain.add(1, 2)
        plain.add(3, 40)
        metrics = seen.metrics
        left = metrics.stats("things_total", {"side": "left", "kind": "int"})
        right = metrics.stats("things_total", {"side": "right", "kind": "int"})
        families = {family.name: family for family in metrics.families()}
    assert (left["sum"], right["sum"]) == (4, 42)
    assert families["sum_last"].series[0].last == 43
    assert families["sum_all"].bounds == (1, 10, 100)
    assert families["sum_all"].series[0].bucket_counts == (0, 1, 1, 0)


def test_what_is_no_number_is_counted_and_not_recorded(load):
    """A metric whose value is a text, or is missing, has no observation and is counted by name."""
    text = """
[[rule]]
target = ["patient.plain:add", "patient.plain:fail"]
  [[rule.metric]]
  name = "odd_total"
  kind = "counter"
  value = "result"
"""
    with capture(text) as seen:
        plain = load("patient.plain")
        plain.add("a", "b")
        plain.add(1, 2)
        with pytest.raises(ValueError, match="as asked"):
            plain.fail()
        assert seen.metrics.stats("odd_total")["count"] == 1
        assert agent.measurer.unmeasured == {"odd_total": 1}


def test_calls_are_counted_by_rule(load):
    """How often a rule's functions were called is known at the end."""
    with capture('[[rule]]\nname = "adding"\ntarget = "patient.plain:add"\n') as seen:
        plain = load("patient.plain")
        for _ in range(3):
            plain.add(1)
        assert len(seen.spans) == 3
        assert agent.counter.calls == {"adding": 3}
