"""A span is what a call left behind, in the classic form outside and in plain numbers inside."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.collect import clock, ids
from dytopo_autotrace.collect.span import AGENT, FAILED, MISSING, Measurement, Site, Span
from dytopo_autotrace.testing import FakeClock


def test_ids_are_hex_outside():
    """Sixteen digits for spans, thirty-two for traces, `None` for no parent."""
    span = Span(255, 0, 4096, Site("op"), 1)
    assert (span.span_id, span.parent_id) == ("00000000000000ff", None)
    assert span.trace_id == "0" * 28 + "1000"
    assert Span(1, 16, 1, Site("op"), 1).parent_id == "0000000000000010"


@given(st.integers(1, 2**62), st.integers(1, 2**62))
def test_times_are_unix_seconds_and_durations_exact(start, length):
    """Wall-clock times are one anchor plus the counter; the duration never sees the wall clock."""
    span = Span(1, 0, 1, Site("op"), start)
    assert span.duration is span.end_time is None
    span.end_ns = start + length
    assert span.duration == length / 1e9
    assert span.start_time == clock.unix_seconds(start)
    assert span.end_time >= span.start_time
    assert clock.counter_ns(clock.unix_ns(start)) == start


def test_a_span_never_ends_when_it_starts(monkeypatch):
    """Even on a clock that stands still a finished span has an end after its start."""
    still = FakeClock()
    monkeypatch.setattr(clock, "now_ns", still)
    span = Span(1, 0, 1, Site("op"), still())
    span.finish()
    assert span.end_ns > span.start_ns
    assert span.status == "success"


def test_finishing_takes_a_status_and_metadata():
    """`finish("error", key=value)` is the classic way to end a span."""
    span = Span(1, 0, 1, Site("op"), 1)
    span.finish("error", reason="because")
    assert (span.status, span.metadata) == ("error", {"reason": "because"})
    assert "error" in repr(span)
    assert "op" in repr(span)


def test_captured_values_are_found_by_name_those_of_the_exit_first():
    """Reserved names are no metadata; a value that could not be read is none either."""
    site = Site("op", entry=("a", "b", AGENT), exit=("b", "c", FAILED))
    span = Span(1, 0, 1, site, 1)
    span.at_entry, span.at_exit = (1, 2, "ann"), (MISSING, 3, True)
    assert span.captured("a") == 1
    assert span.captured("c") == 3
    assert span.captured(FAILED) is True
    assert span.captured("nothing") is MISSING
    assert span.agent == "ann"
    assert span.metadata == {"a": 1, "b": 2, "c": 3}
    assert repr(MISSING) == "<no value>"


def test_metadata_can_be_added_to():
    """What the program adds stays, and does not hide what was captured."""
    span = Span(1, 0, 1, Site("op", entry=("a",)), 1)
    span.at_entry = (1,)
    span.metadata["b"] = 2
    assert span.metadata == {"a": 1, "b": 2}


def test_the_classic_form_is_json():
    """`to_dict` has the classic keys and nothing that JSON has not."""
    span = Span(1, 2, 3, Site("op", role="worker", rule="r"), 10)
    span.links = (4,)
    span.finish()
    shown = span.to_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert {"span_id", "parent_id", "trace_id", "operation", "start_time", "end_time"} <= set(shown)
    assert {"duration", "status", "metadata"} <= set(shown)
    assert shown["links"] == ["0000000000000004"]


def test_measurements_are_numbers_with_the_labels_that_were_read():
    """A metric without a number is left out; a label without a value is empty."""
    site = Site(
        "op",
        entry=("n", "t", "l"),
        measurements=(
            Measurement("number", "counter", "n", (("label", "l"), ("none", "x"))),
            Measurement("text", "counter", "t"),
        ),
    )
    span = Span(1, 0, 1, site, 1)
    span.at_entry = (5, "five", 7)
    assert span.measurements == (("number", "counter", 5, (("label", "7"), ("none", ""))),)


def test_ids_count_up_and_traces_are_random():
    """A gap in the ids is a span that was lost; no two traces have the same."""
    first = ids.next_span_id()
    assert [ids.next_span_id() for _ in range(3)] == [first + 1, first + 2, first + 3]
    assert 0 < first < 1 << 63
    assert len({ids.new_trace_id() for _ in range(100)}) == 100
    assert re.fullmatch("[0-9a-f]{1,32}", f"{ids.new_trace_id():x}")
