"""Records of a run travel as JSON and arrive as they were."""

import json
import math

import pytest
from builders import Spans, any_spans, run, swarm
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import (
    Cost,
    ModelPrice,
    RunRecords,
    records_from_json,
    records_to_json,
)


def shape(span):
    return (
        *(span.id, span.parent, span.trace, span.operation, span.role, span.agent, span.rule),
        *(span.start_ns, span.end_ns, span.status, span.metadata, span.error, span.links),
        span.measurements,
    )


@given(any_spans())
def test_spans_arrive_as_they_were(spans):
    """Ids, times, errors and metadata survive the way there."""
    records = RunRecords(spans=tuple(spans), now_ns=45)
    there = records_from_json(records_to_json(records))
    assert [shape(span) for span in there.spans] == [shape(span) for span in spans]
    assert there.now_ns == 45


def test_the_rest_arrives_as_it_was():
    """Rules, tokens, losses, cost and the way it ended survive, too."""
    records = run(
        swarm("retry"),
        drops={"buffer": 3},
        cost=Cost(7, 1e-6, 0.25),
        prices=(ModelPrice("m-1", 3.0, 15.0), ModelPrice("*", 1.0, 2.0, 0.5)),
        faults=("f",),
    )
    there = records_from_json(records_to_json(records))
    assert there.spans is not records.spans
    for name in ("service", "argv", "prices", "rules", "drops", "cost", "faults", "exit_status"):
        assert getattr(there, name) == getattr(records, name)
    assert to_json(summarize(there)) == to_json(summarize(records))


def test_measurements_survive():
    """What a span measured is a value of its own."""
    spans = swarm()
    measured = (("swarm_tokens_total", "counter", 12.0, (("agent", "x"),)),)
    spans.all[0].measurements = measured
    there = records_from_json(records_to_json(run(spans)))
    assert there.spans[0].measurements == measured


ODD = {
    "infinite": math.inf,
    "no number": math.nan,
    "too long a number": 10**5000,
    "a set": {1: {2}},
    "an object": object(),
    "bytes": b"bytes",
    "half a pair": "\ud800",
    "deep": [[[[[[[[[[1]]]]]]]]]],
    "unprintable": type("Bad", (), {"__str__": lambda _: 1 / 0})(),
}


@pytest.mark.parametrize("name", ODD)
def test_any_captured_value_can_travel(name):
    """What JSON cannot carry becomes text; nothing raises."""
    spans = swarm()
    spans.all[0].metadata = {"value": ODD[name]}
    text = records_to_json(run(spans))
    assert text.isascii()
    assert "value" in records_from_json(text).spans[0].metadata


@given(st.recursive(st.none() | st.text() | st.integers() | st.floats(), st.lists, max_leaves=5))
def test_any_other_json_is_refused_with_a_reason(document):
    """Text that is no run is a ValueError that says what was expected."""
    with pytest.raises(ValueError, match="Run records"):
        records_from_json(json.dumps(document))


@pytest.mark.parametrize("text", ['{"spans": [{}]}', '{"rules": [{"no": 1}]}', '{"spans": 3}', "{"])
def test_damaged_records_are_a_value_error(text):
    """A document of the wrong shape is refused, not half read."""
    with pytest.raises(ValueError):
        records_from_json(text)


def test_missing_keys_take_their_defaults():
    """Records of an older version can be read."""
    assert records_from_json("{}").spans == ()


def test_what_was_asked_is_told_from_what_was_answered():
    """The same is found in the records that arrived as in those that were sent."""
    spans = Spans()
    root = spans.add("loop", 0, 9)
    for start in (1, 3):
        spans.add("ask", start, start + 1, root, asked={"item": start}, answer={"seen": start})
    spans.add("ask", 5, 6, root, asked={"item": 5}, answer={"seen": 1}, error=spans.error())
    spans.add("ask", 7, 8, root, asked={"item": 5}, answer={"seen": 2})
    spans.add("job", 1, 2, root, asked={"item": 1}, error=spans.error())
    spans.add("job", 3, 4, root, asked={"item": 3})
    records = run(spans)
    there = records_from_json(records_to_json(records))
    assert [each.first.fate for each in summarize(records).failures] == ["swallowed", "retry"]
    assert to_json(summarize(there)) == to_json(summarize(records))
