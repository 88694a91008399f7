"""Who read whom is what a router or the calls captured, and nothing is said that nobody captured."""

import pytest

from dytopo_autotrace.documentation.model import Recorded, Source
from dytopo_autotrace.documentation.recorded import read
from tests.export.sample_runs import records, span


def told(*spans):
    """The run as documents tell it."""
    given = Recorded(Source("r"), records((span(1, "run", 0, 900, role="orchestrator"), *spans)))
    return read(given, "/nowhere", content=True).run


def worker(number, agent, **others):
    return span(
        number,
        "act",
        number * 10,
        number * 10 + 5,
        parent=1,
        role="worker",
        agent=agent,
        round=1,
        **others,
    )


def test_without_a_router_edges_are_the_messages_that_were_read():
    """Links of calls to what they read are the edges of their round, and arrows of its sequence."""
    run = told(worker(2, "ada", receives=[]), worker(3, "bob", receives=["ada"], links=(2,)))
    (one,) = run.rounds

    assert [(edge.source, edge.target, edge.weight) for edge in one.edges] == [("ada", "bob", None)]
    assert not one.is_routed
    assert one.unsaid == ()
    assert [call.reads for step in run.steps for call in step.calls] == [(), (("ada", None),)]


@pytest.mark.parametrize(
    ("received", "edges", "unsaid"),
    [({"receives": []}, (), ()), ({}, None, ("ada",)), ({"receives": ["gone"]}, (), ("ada",))],
)
def test_what_was_not_captured_is_not_known(received, edges, unsaid):
    """An empty list says that nothing was read; no list, or one that leads nowhere, says nothing."""
    (one,) = told(worker(2, "ada", **received)).rounds

    assert one.edges == edges
    assert one.unsaid == unsaid


def test_tools_are_called_by_their_agents():
    """A tool's calls below an agent are told with the agent's own, those in a row as one."""
    run = told(
        worker(2, "ada"),
        span(4, "search", 21, 22, parent=2, role="tool"),
        span(5, "search", 22, 23, parent=2, role="tool"),
        span(6, "fetch", 23, 24, parent=2, role="tool", status="error"),
        span(7, "inner", 23.1, 23.2, parent=6, role="tool"),
    )
    (call,) = [call for step in run.steps for call in step.calls]

    assert [(use.tool, use.times, bool(use.failed)) for use in call.uses] == [
        ("search", 2, False),
        ("fetch", 1, True),
    ]
