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


def test_one_round_has_all_that_is_known_of_it():
    """Tokens, share of the critical path, what changed in edges, and what they would have allowed."""
    page = shown(run(routed()), View(round="2"))
    for words in ("of the critical path", "tokens", "no edge; 1 kept"):
        assert words in page
    spans = Spans()
    call = spans.add("swarm", 0, 5, role="orchestrator")
    spans.add("route", 0, 1, call, role="router", round=1, edges=[["a", "b"]])
    for agent, start in (("a", 1), ("b", 3)):
        spans.add("act", start, start + 2, call, role="worker", agent=agent, round=1)
    page = shown(run(spans), View(round="1"))
    assert "the edges would have allowed 1.00" in page


def test_swarms_are_told_apart_wherever_rounds_are():
    """Where a run has several swarms, each round stands with the name of its own."""
    spans = Spans()
    for trace, label in enumerate(("one", "two"), 1):
        call = spans.add("team", 1, 9, role="orchestrator", trace=trace, label=label)
        for number in (1, 2):
            at = 3 * number
            spans.add("route", at, at + 0.1, call, role="router", round=number, edges=[["a", "b"]])
            spans.add("act", at, at + 1, call, role="worker", agent="a", round=number)
    page = shown(run(spans))
    assert "2 runs of team, 2 rounds each" in page
    assert page.index("one    1") < page.index("one    2") < page.index("two    1")
    assert "the same edges as the graph before: round 2 of one and round 2 of two" in page
    assert "  two:" in page
    assert "ROUND 1 of two" in shown(run(spans), View(round="1"))
    assert "in two: busy" in shown(run(spans), View(agent="a"))


def test_what_would_help_is_told_in_full():
    """A change with a long name is told in several lines, never cut in its middle."""
    spans = Spans()
    call = spans.add("swarm", 0, 9, role="orchestrator")
    name = "gateway_that_asks_everybody_in_turn"
    for number, agent in enumerate(("analyst", "developer", "designer")):
        spans.add(name, 3 * number, 3 * number + 3, call, agent=agent)
    words = shown(run(spans), View(what_if=True)).split()
    assert ".." not in "".join(words).replace("...", "")
    assert name in words
