"""What fails in every run is told apart from what is new."""

import io

from builders import run, swarm
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.report.terminal import render


def with_refused_write(fault="", number=1):
    """A swarm in which a call beside the agents fails as well, with another number each time."""
    spans = swarm(fault)
    error = spans.error("OSError", f"no space left on disk {number}")
    spans.add("save", 0.9, 0.95, spans.all[0], role="step", error=error)
    return run(spans)


def page_of(summary):
    page = io.StringIO()
    render(summary, page, 80)
    return page.getvalue()


def test_what_every_run_before_had_is_told_after_what_is_new():
    """The known failure has a heading of its own and one line; the new one has all its lines."""
    before = [with_refused_write(number=n) for n in (2, 3, 4)]
    summary = summarize(with_refused_write("unreadable"), before)
    new, known = summary.failures
    assert (new.recurring, known.recurring) == (0, 3)
    assert summary.verdict.text.endswith("but developer was dead (all 3 calls failed).")
    page = page_of(summary)
    heading = page.index("THE SAME IN EVERY ONE OF THE 3 RUNS BEFORE")
    assert page.index("developer is dead") < heading < page.rindex("OSError in save")
    assert "no space left" not in page


def test_where_nothing_is_new_the_known_is_told_in_full():
    """It is all there is to say, so cause and remedy are said."""
    summary = summarize(with_refused_write(), [with_refused_write(), with_refused_write()])
    page = page_of(summary)
    assert "THE SAME IN EVERY ONE OF THE 2 RUNS BEFORE" in page
    assert "no space left" in page
    assert "1 failure was not made good, as in every one of the 2 runs before: OSError in save" in (
        summary.verdict.text
    )


def test_a_run_that_did_without_makes_it_news():
    """One earlier run without the failure, or only one earlier run, and it is no habit."""
    bad, good = with_refused_write(), run(swarm())
    for before in ([], [bad], [bad, good], [good, bad, bad]):
        (group,) = summarize(with_refused_write(), before).failures
        assert group.recurring == 0


def test_another_agent_is_another_failure():
    """That the developer always died says nothing of the tester."""
    before = [run(swarm("swallowed")), run(swarm("swallowed"))]
    summary = summarize(run(swarm("swallowed", victim="tester")), before)
    assert [group.recurring for group in summary.failures] == [0]


def test_a_dead_agent_stays_first_however_long_it_is_dead():
    """It is said that it was dead before, and it is not put aside."""
    before = [run(swarm("swallowed")), run(swarm("swallowed"))]
    page = page_of(summarize(run(swarm("swallowed")), before))
    assert "THE SAME IN EVERY" not in page
    assert "developer is dead" in page
    assert "as in every one of the 2 runs before" in " ".join(page.split())


@given(st.sampled_from(["", "retry", "swallowed", "unreadable", "timeout"]), st.integers(0, 4))
def test_looking_back_neither_loses_nor_invents_failures(fault, runs):
    """The groups are the same with and without earlier runs, but for their order and the mark."""
    records = with_refused_write(fault)
    alone = summarize(records).failures
    beside = summarize(records, [with_refused_write(number=n) for n in range(runs)]).failures
    assert sorted(each.headline for each in alone) == sorted(each.headline for each in beside)
