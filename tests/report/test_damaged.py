"""Records in a bad state get a report and a remark that says so, never a traceback."""

import io
import json
import random

import pytest
from builders import SECOND, Spans, any_spans, run, soft, swarm
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.report import json_report
from dytopo_autotrace.report.terminal import View, render

FAULTS = ("", "retry", "swallowed", "unreadable", "timeout", "slow-agent")
DAMAGES = (
    "lost",
    "repeated",
    "no time",
    "backwards",
    "clock step",
    "circle",
    "still open",
    "shuffled",
)


def reports(records):
    """Every report of a run: its page, and its JSON read back."""
    summary = summarize(records)
    for view in (None, View(failures=True), View(critical_path=True, what_if=True, verbose=True)):
        page = io.StringIO()
        render(summary, page, 80, view)
        assert page.getvalue().strip()
    return page.getvalue(), json.loads(json_report.render(summary))


def damage(spans, kind, chance):
    """The same spans as a bad disk, a bad clock or a bad exporter leaves them."""
    spans = list(spans)
    some = chance.sample(spans, max(1, len(spans) // 5))
    if kind == "lost":
        return [span for span in spans if span not in some]
    if kind == "repeated":
        again = [Spans().add(span.operation, 0, 1) for span in some]
        for copy, span in zip(again, some, strict=True):
            copy.id, copy.parent, copy.trace = span.id, span.parent, span.trace
        return spans + again
    for span in some:
        if kind == "no time":
            span.end_ns = span.start_ns
        elif kind == "backwards":
            span.end_ns = span.start_ns - SECOND
        elif kind == "clock step":
            span.start_ns -= 3600 * SECOND
            span.end_ns -= 3600 * SECOND
        elif kind == "circle":
            span.parent = chance.choice(spans).id
        elif kind == "still open":
            span.end_ns, span.status = 0, "in_progress"
    if kind == "shuffled":
        chance.shuffle(spans)
    return spans


@settings(max_examples=60)
@given(
    st.sampled_from(FAULTS),
    st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=4),
    st.integers(0, 10**6),
)
def test_a_damaged_swarm_gets_a_report(fault, kinds, seed):
    """However a real run's records are damaged, and however often."""
    chance = random.Random(seed)
    spans = list(swarm(fault))
    for kind in kinds:
        spans = damage(spans, kind, chance)
    _, told = reports(run(spans, now_ns=10 * SECOND))
    assert told["span_count"] == len({span.id for span in spans})


@given(any_spans(most=14))
def test_any_records_get_a_report(spans):
    """Loops, repeated ids, missing parents, ends before starts, in any number."""
    reports(run(spans, now_ns=45))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("lost", "with a parent that was not recorded"),
        ("repeated", "with an id seen before, left out"),
        ("backwards", "with an end before the start"),
        ("clock step", "began before"),
        ("still open", "still running when measured"),
    ],
)
def test_what_is_wrong_with_the_records_is_said(kind, words):
    """A remark names the damage and counts it."""
    spans = damage(swarm("swallowed"), kind, random.Random(2))
    _, told = reports(run(spans))
    assert any(words in remark for remark in told["remarks"]), told["remarks"]


def test_a_circle_of_parents_is_cut_and_said():
    """Two calls that name each other as caller: both are told, once."""
    spans = Spans()
    first = spans.add("a", 0, 2, agent="x")
    second = spans.add("b", 0.5, 1, first)
    first.parent = second.id
    _, told = reports(run(spans))
    assert told["span_count"] == 2
    assert told["remarks"] == ["1 circle of parents, each cut at its earliest span."]


def test_calls_that_took_no_time_are_calls():
    """A run all of whose calls have no length has rows and no shares of nothing."""
    spans = Spans()
    root = spans.add("run", 1, 1, role="orchestrator")
    for name in ("x", "y"):
        worker = spans.add("work", 1, 1, root, role="worker", agent=name)
        spans.add("llm_call", 1, 1, worker, role="llm", error=soft())
    _, told = reports(run(spans))
    assert told["span_count"] == 5
    assert told["failure_count"] == 2


@pytest.mark.slow
def test_a_million_siblings_get_a_report_and_a_remark():
    """Breadth is told like depth: every call below one caller, one in a thousand failed."""
    spans = Spans()
    root = spans.add("run", 0, 1_000_000, role="orchestrator")
    for number in range(1_000_000):
        error = spans.error() if number % 1000 == 0 else None
        spans.add(
            "work", number, number + 1, root, role="worker", agent=f"a{number % 7}", error=error
        )
    summary = summarize(run(spans))
    page = io.StringIO()
    render(summary, page, 80)
    assert summary.span_count == 1_000_001
    assert summary.remarks
    assert "ValueError" in page.getvalue()
