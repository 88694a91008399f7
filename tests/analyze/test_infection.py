"""A failed result that others read is followed to its readers."""

from builders import Spans, any_spans, soft
from hypothesis import given

from dytopo_autotrace.analyze.infection import infections
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.topology import topology
from dytopo_autotrace.analyze.tree import build


def found_in(spans):
    tree = build(spans)
    owned = owners(tree)
    return infections(tree, owned, topology(tree, owned))


def test_readers_and_edges_of_a_stub_are_told():
    """Who read the stub, in which round, and the edges that its offer drew."""
    spans = Spans()
    run = spans.add("run", 0, 9, role="orchestrator")
    shared = {"role": "worker", "round": 2}
    spans.add("describe", 0, 1, run, agent="dead", error=soft(), status="success", **shared)
    edges = [["dead", "reader", 0.9], ["well", "reader", 0.5]]
    spans.add("route", 1, 2, run, role="router", round=2, edges=edges)
    stub = spans.add("act", 2, 3, run, agent="dead", error=soft(), status="success", **shared)
    reader = spans.add("act", 3, 4, run, agent="reader", **shared)
    reader.links = (stub.id,)
    (found,) = found_in(spans)
    assert (found.agent, found.readers, found.messages, found.edges) == ("dead", ("reader",), 1, 1)
    assert (found.rounds, found.results, found.spans) == (("2",), 2, (reader.span_id,))


def test_a_failure_that_nobody_read_spread_nowhere():
    """Without a reader or an edge there is nothing to tell."""
    spans = Spans()
    spans.add("act", 0, 1, role="worker", agent="dead", error=soft(), status="success")
    assert found_in(spans) == ()


@given(any_spans())
def test_any_records_have_an_answer(spans):
    """Whatever state the records are in, results that were read did fail."""
    for span in spans:
        span.links = (1, 2)
    for found in found_in(spans):
        assert found.messages or found.edges
