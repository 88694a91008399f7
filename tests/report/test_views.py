"""Parts of the report, asked for on their own, and the sections that answer one question each."""

import io

import pytest
from builders import Spans, any_spans, run, swarm
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.report.terminal import View, render


def shown(records, view=None, width=80):
    page = io.StringIO()
    render(summarize(records), page, width, view)
    return page.getvalue()


def routed():
    spans = swarm("slow-agent")
    root = spans.all[0]
    for number, edges in ((1, [["analyst", "tester", 0.5]]), (2, [["analyst", "tester", 0.7]])):
        spans.add(
            "route",
            number,
            number + 0.01,
            root,
            role="router",
            round=number,
            edges=edges,
            isolated=["designer"],
        )
    for span in spans:
        if span.role == "llm" and span.operation == "llm_call":
            span.metadata |= {"tokens_in": 100, "tokens_out": 20, "model": "m-1"}
    return spans


def test_each_question_has_its_section():
    """Rounds, messages, time, path, what-if and tokens are told, in 80 columns."""
    page = shown(run(routed()))
    for words in (
        "CRITICAL PATH",
        "WHAT WOULD HELP",
        "developer twice as fast",
        "ROUNDS",
        "WHO READ WHOM",
        "tester < analyst 0.50",
        "isolated",
        "WHAT AGENTS DID WITH THEIR TIME",
        "TOKENS",
        "models",
    ):
        assert words in page
    assert all(cell_len(line) <= 80 for line in page.splitlines())


@pytest.mark.parametrize(
    ("view", "there", "absent"),
    [
        (View(failures=True), "WHAT FAILED", "CRITICAL PATH"),
        (View(critical_path=True), "STEP BY STEP", "WHO DID WHAT"),
        (View(what_if=True), "spans 0", "WHO DID WHAT"),
        (View(round="2"), "ROUND 2", "ROUND 1"),
        (View(agent="developer"), "AGENT developer", "analyst"),
        (View(agent="develper"), "Did you mean 'developer'?", "AGENT"),
        (View(round="9"), "no round 9", "ROUND"),
    ],
)
def test_a_view_shows_its_part_and_no_other(view, there, absent):
    """What is asked for is shown, what is not there is said with the nearest that is."""
    page = shown(run(swarm("timeout" if view.failures else "slow-agent")), view)
    assert there in page
    assert absent not in page


@given(any_spans(), st.integers(30, 120))
def test_any_records_fit_any_width_in_every_view(spans, width):
    """No view fails or overflows, whatever state the records are in."""
    for view in (
        View(round="1"),
        View(agent="x"),
        View("0", "y", failures=True, critical_path=True, what_if=True),
    ):
        page = shown(run(spans, now_ns=45), view, width)
        assert all(cell_len(line) <= width for line in page.splitlines())


def test_what_is_not_known_has_no_section():
    """A run without routers, rounds and tokens has no empty tables for them."""
    spans = Spans()
    spans.add("main", 0, 1)
    page = shown(run(spans))
    for words in ("WHO READ WHOM", "ROUNDS", "TOKENS", "WHAT AGENTS DID"):
        assert words not in page
