"""Failures of several runs are one cluster only if they are one story, and its words say whose they are."""

from dataclasses import replace
from uuid import uuid4

import pytest

from dytopo_autotrace.analyze.summary import RunSummary, summarize
from dytopo_autotrace.documentation.model import Run, Source
from dytopo_autotrace.documentation.troubles import recovered, troubles
from tests.analyze.builders import Spans
from tests.analyze.builders import run as records


def recorded(name: str, summary: RunSummary) -> Run:
    return Run(name, Source(name), "2026-01-01", 0, "swarm.py", summary, (), (), "")


def failing(name, agents, *, succeed=(), message="it broke", rounds=("1",)):
    """A run in which a tool of these agents fails every time, and they with it."""
    spans = Spans()
    root = spans.add("run_swarm", 0, 100, role="orchestrator")
    at = 1.0
    for number in rounds:
        for agent in (*agents, *succeed):
            fails = agent in agents
            error = spans.error("KeyError", message) if fails else None
            shared = {"status": "error", "error": error} if fails else {}
            spans.add("act", at, at + 1, root, role="worker", agent=agent, round=number, **shared)
            at += 2
    return recorded(name, summarize(records(spans)))


def test_each_dead_agent_has_its_own_cluster():
    """Two runs in which another agent is dead of the same error are two clusters, each with its run."""
    first = failing("one", ["tester"], succeed=["designer"])
    second = failing("two", ["designer"], succeed=["tester"])
    found = troubles([second, first])

    assert {(each.agents, each.told.name) for each in found} == {
        (("tester",), "one"),
        (("designer",), "two"),
    }
    assert [each.title for each in found if "tester" in each.deaths[0]] == [
        "KeyError in act (tester)"
    ]


def test_a_cluster_of_several_runs_has_what_all_of_them_have():
    """Rounds, agents and counts are those of all runs; words that hold for one only name it."""
    first = failing("one", ["tester"], rounds=("1",), message="of line 1")
    second = failing("two", ["tester"], rounds=("2", "3"), message="of line 2")
    (found,) = troubles([first, second])

    assert found.count == 3
    assert found.rounds == ("1", "2", "3")
    assert found.told is second
    assert found.cause[1] == "two"
    assert [words.partition(",")[0] for words in found.deaths] == ["In one", "In two"]


def test_titles_tell_clusters_apart():
    """However much alike clusters are, no two have one title, and none is known by its place alone."""
    runs = [
        failing("one", ["tester"], message="no bread"),
        failing("two", ["tester"], message="no butter"),
    ]
    titles = {each.title for each in troubles(runs)}

    assert len(titles) == 2
    assert titles == {each.title for each in troubles(runs[::-1])}


@pytest.mark.parametrize(
    "message", ["order {uuid}", "no /tmp/tmp{short}q/file", "0x{short}", "at {short}9 of user7"]
)
def test_what_varies_makes_no_cluster(message):
    """Ids, temporary names and numbers in a message are no difference."""
    runs = [
        failing(name, ["tester"], message=message.format(uuid=uuid4(), short=uuid4().hex[:7]))
        for name in "abcdefgh"
    ]

    assert [each.count for each in troubles(runs)] == [8]


def test_what_rescued_is_counted_once_for_all():
    """The same recovery in several runs is one line, with its number added up."""
    spans = Spans()
    root = spans.add("run_swarm", 0, 100, role="orchestrator")
    error = spans.error("KeyError", "no")
    spans.add("llm_call", 1, 2, root, role="llm", agent="a", status="error", error=error)
    spans.add("llm_call", 3, 4, root, role="llm", agent="a")
    one = recorded("one", summarize(records(spans)))

    assert recovered([one, replace(one, name="two")]) == (
        "a retry of llm_call of a (attempt 2), 2 times",
    )
