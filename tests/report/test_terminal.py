"""What a person sees: what matters first, everything fits, nothing of the host is obeyed."""

import io
import re
from dataclasses import replace
from typing import get_args

import pytest
from builders import any_spans, run, soft, swarm
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import Cost, RuleCondition, RuleState
from dytopo_autotrace.report.terminal import View, render

FAULTS = ["", "retry", "swallowed", "unreadable", "timeout", "slow-agent"]


def shown(records, width=80, file=None):
    page = file or io.StringIO()
    render(summarize(records), page, width)
    return page.getvalue()


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(fault, width):
    """Whatever failed, at any width."""
    page = shown(run(swarm(fault)), width)
    assert all(cell_len(line) <= width for line in page.splitlines())


@settings(max_examples=60)
@given(any_spans(), st.text(max_size=30), st.integers(30, 100))
def test_any_records_fit_and_carry_no_escapes(spans, text, width):
    """Odd records and hostile names neither overflow nor reach the terminal as commands."""
    for span in spans:
        span.agent = span.agent and text + "\x1b[2J" + span.agent
        span.metadata["task"] = text
    page = shown(run(spans, now_ns=45, service=text, argv=(text,), faults=(text,)), width)
    assert all(cell_len(line) <= width for line in page.splitlines())
    assert "\x1b" not in page


@pytest.mark.parametrize("fault", ["swallowed", "unreadable", "timeout"])
def test_what_failed_comes_before_the_tables(fault):
    """Verdict first, then cause and remedy, then who did what."""
    page = shown(run(swarm(fault)))
    order = ["DEGRADED", "developer is dead", "cause", "became", "do ", "RUN", "WHO DID WHAT"]
    places = [page.index(word) for word in order]
    assert places == sorted(places)


def test_a_dead_agent_is_explained_on_one_screen():
    """Who, how often, why, where, what became of it, what to do."""
    text = one_line(shown(run(swarm("swallowed"))))
    for words in (
        "developer was dead (all 3 calls failed)",
        "developer is dead: all 3 worker calls failed in rounds 1, 2 and 3",
        "APIStatusError: 503 Service Unavailable (/app/client.py:88 in post)",
        "3 attempts failed over 0.25 s.",
        "agent_call turned it into a failed result and went on.",
        "The server behind developer failed",
    ):
        assert words in text


def test_a_timeout_says_what_ran_and_no_more_than_is_known():
    """The culprit, how long, that it looks like a limit, and that none is recorded."""
    text = one_line(shown(run(swarm("timeout"))))
    assert "chat_attempt had run 2.00 s; those that succeeded took 0.22 s at most." in text
    assert "exec_agent was cancelled 2.00 s after its start each time" in text
    assert "as by a time limit: by which, no record says." in text


def test_a_rescued_failure_says_how():
    """Attempts, and how much later."""
    text = one_line(shown(run(swarm("retry"))))
    assert "Attempt 2 succeeded, 0.41 s after the first had failed." in text


def test_a_healthy_run_has_no_failures_section():
    """Nothing failed, so nothing is said of failing."""
    page = shown(run(swarm()))
    assert page.strip().startswith("OK  ")
    assert "WHAT FAILED" not in page


def test_markup_of_the_host_is_text():
    """Square brackets mean nothing to us."""
    spans = swarm()
    spans.all[0].metadata["task"] = "[red]do[/red] \x1b[31mit\n😀日本 [/]"
    assert "[red]do[/red] it 😀日本 [/]" in shown(run(spans))


def test_numbers_are_never_cut():
    """Long names give way, the numbers beside them do not."""
    spans = swarm(agents=("an_agent_with_a_very_long_name_indeed_" * 3, "b"), victim="b")
    lines = shown(run(spans)).splitlines()
    row = next(line for line in lines if line.strip().startswith("worker") and ".." in line)
    assert "0.600" in row


def test_without_a_terminal_there_is_no_colour():
    """A file gets plain text in 80 columns."""
    page = io.StringIO()
    render(summarize(run(swarm("swallowed"))), page)
    assert "\x1b" not in page.getvalue()
    assert max(map(cell_len, page.getvalue().splitlines())) <= 80


def test_a_terminal_gets_colour(monkeypatch):
    """The verdict stands out."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in shown(run(swarm("swallowed")), 80, Terminal())


def test_an_ascii_file_gets_ascii():
    """Where there is no µ it is u, and what has no form is a question mark; nothing raises."""
    spans = swarm()
    spans.all[0].metadata["task"] = "日本"
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as page:
        render(summarize(run(spans)), page, 80)
        page.flush()
        text = raw.getvalue().decode("ascii")
    assert "1.3 us" in text
    assert "task     ??" in text


def test_silent_rules_are_told_briefly():
    """One's own with the reason, those of packs by name, absent modules as a count."""
    rules = (
        RuleState(
            "own", "app:rum", "instrumentation.toml:4", "nothing_matched", reason="app: no rum"
        ),
        *(RuleState(f"p{n}", f"m{n}:f", "pack dytopo", "never_imported") for n in range(9)),
        RuleState("idle", "app:idle", "instrumentation.toml:9", "never_called", 1),
        RuleState("used", "app:used", "instrumentation.toml:12", "woven", 1, 3),
    )
    text = one_line(shown(run(swarm(), rules=rules)))
    assert "no such function. app: no rum" in text
    assert "9 rules of packs for modules never imported" in text
    assert "woven, never called: idle" in text
    assert "used" not in text


def test_a_rule_that_is_partly_woven_is_told():
    """What of a rule could not be woven is said although the rest of it was."""
    rule = RuleState("own", "app:*", "a.toml:4", "woven", 2, 3, "app:gen: it is written in C.")
    text = one_line(shown(run(swarm(), rules=(rule,))))

    assert "own: not all of it is woven. app:gen: it is written in C." in text


def test_verbose_tells_every_rule():
    """Each rule has a line with its state, how often it was woven and called, and where it is from."""
    states = get_args(RuleCondition)
    rules = tuple(
        RuleState(f"rule-{state}", "m:f", "a.toml:1", state, 7, 1234, f"why {state}")
        for state in states
    )
    page = io.StringIO()
    render(summarize(run(swarm(), rules=rules)), page, 80, View(verbose=True))
    table = page.getvalue()[page.getvalue().index("RULES") :]

    for state in states:
        words = "switched off" if state == "off" else state.replace("_", " ")
        assert re.search(rf"rule-{state} +{words} +7 +1,234 +a.toml:1", table)
        assert (f"rule-{state}: why" in table) == (state != "never_imported")
    assert max(map(cell_len, page.getvalue().splitlines())) <= 80


def test_losses_and_faults_are_said():
    """What was dropped is counted, and a faulty rule file is quoted."""
    text = one_line(shown(run(swarm(), drops={"spans: full": 1234}, faults=("a.toml:3: oops",))))
    assert "1,234 lost: spans: full" in text
    assert "a.toml:3: oops" in text


def test_our_own_cost_is_one_line():
    """Calls times seconds per call, and the share of the wall time."""
    records = run(swarm(), cost=Cost(412, 1.3e-6), wall_seconds=5.356)
    assert "autotrace itself: 412 calls x 1.3 µs = 535.6 µs, 0.01 % of wall time" in shown(records)


def test_many_failures_are_listed_shortly():
    """The gravest few in full, the others by name."""
    spans = swarm()
    for number in range(9):
        operation = f"step_{number}"
        spans.add(operation, 0.01, 0.02, spans.all[0], role="step", error=soft())
    page = shown(run(spans))
    assert "and 4 failures more" in one_line(page)
    assert page.count("\n  cause") == 5


def test_an_empty_run_says_so():
    """Nothing recorded is the verdict, and no table is drawn."""
    page = shown(run([], cost=None))
    assert "NOTHING RECORDED" in page
    assert "WHO DID WHAT" not in page


def test_a_long_verdict_wraps():
    """The message of the exception is cut, its end is not lost silently."""
    records = replace(run(swarm()), ended="ValueError", ended_message="word " * 60)
    text = one_line(shown(records, 50))
    assert text.startswith("FAILED ValueError ended the program after 1.36 s: word word")
    assert "word..." in text


def test_calls_that_a_rule_leaves_out_are_no_fault_of_its():
    """What `when` or `min_seconds` leave out is told as that, not as something that is not woven."""
    rule = RuleState(
        "own", "app:f", "a.toml:4", "woven", 1, 3, left_out="2 calls left out by `when`"
    )
    text = one_line(shown(run(swarm(), rules=(rule,))))

    assert "own: 2 calls left out by `when`" in text
    assert "not all of it" not in text
