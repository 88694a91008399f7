"""The current span as text: what one process injects another extracts, and nonsense changes nothing."""

import asyncio
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace import TraceContext, extracted, inject
from dytopo_autotrace.collect.carrier import parent_of
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.testing import capture

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def nothing_open():
    before = current.get()
    current.set(None)
    yield
    current.set(before)


def test_a_span_goes_on_where_it_was_extracted():
    """What begins below an extracted carrier is a child of the span that was injected."""
    with capture() as seen:
        with TraceContext("sends") as sends:
            carrier = inject()
        current.set(None)
        with extracted(carrier), TraceContext("receives") as receives:
            assert carrier == {"traceparent": f"00-{sends.trace_id}-{sends.span_id}-01"}
        assert current.get() is None
    assert (receives.trace_id, receives.parent_id) == (sends.trace_id, sends.span_id)
    assert len(seen.spans) == 2


def test_between_spans_the_trace_travels_without_a_parent():
    """A context that has a trace and no open span hands over the trace; what joins it is a root."""
    with capture():
        with TraceContext("earlier") as earlier:
            pass
        carrier = inject()
        current.set(None)
        with extracted(carrier), TraceContext("later") as later:
            pass
    assert (later.trace_id, later.parent_id) == (earlier.trace_id, None)


def test_without_a_trace_there_is_nothing_to_carry():
    """Outside of every trace the carrier is empty."""
    assert inject() == {}


def test_a_foreign_parent_is_taken_as_it_is():
    """Headers of another tracer are understood, in any case of letters, and whatever its version."""
    for name in ("traceparent", "Traceparent", "TRACEPARENT"):
        for text in (f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-more"):
            with capture(), extracted({"other": "x", name: text}), TraceContext("op") as span:
                assert (span.trace_id, span.parent_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "carrier",
    [
        None,
        {},
        {"traceparent": ""},
        {"traceparent": f"ff-{TRACE}-{SPAN}-00"},
        {"traceparent": f"00-{TRACE}-{SPAN}-00-more"},
        {"traceparent": f"00-{'0' * 32}-{SPAN}-00"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-00"},
        {"traceparent": f"00-{TRACE.upper()}-{SPAN}-00"},
        {"traceparent": None},
        7,
    ],
)
def test_what_is_not_well_formed_changes_nothing(carrier):
    """Whatever comes from outside, the block runs and the span is a root of its own."""
    with capture(), extracted(carrier), TraceContext("op") as span:
        assert span.parent_id is None


@given(st.text(string.hexdigits + "-", max_size=80))
def test_no_text_is_too_odd(text):
    """Any text gives a parent with ids that fit, or none."""
    parent = parent_of(text)
    assert parent is None or (0 <= parent[0] < 1 << 64 and 0 < parent[2] < 1 << 128)


def test_what_was_current_is_current_again():
    """The block gives way to the span around it, also when it raises or in another task."""

    async def receive(carrier):
        with extracted(carrier):
            await asyncio.sleep(0)
            with TraceContext("received") as span:
                return span.parent_id

    async def main():
        carriers = [{"traceparent": f"00-{TRACE}-{number:016x}-01"} for number in range(1, 9)]
        return await asyncio.gather(*map(receive, carriers))

    with capture(), TraceContext("around") as around:
        with pytest.raises(ZeroDivisionError), extracted({"traceparent": f"00-{TRACE}-{SPAN}-01"}):
            raise ZeroDivisionError
        assert inject()["traceparent"].split("-")[2] == around.span_id
        assert asyncio.run(main()) == [f"{number:016x}" for number in range(1, 9)]
