"""Spans as rows: a span that was written and read is the span that was in memory."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import AGENT, FAILED, MISSING, ErrorInfo, Measurement, Site, Span
from dytopo_autotrace.store import rows
from dytopo_autotrace.store.rows import RowMaker, signed, site_of, span_of, unsigned

ANY_TEXT = st.text(st.characters(), max_size=12)
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
NUMBERS = st.integers(0, 2**64 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
ERRORS = st.builds(
    ErrorInfo,
    type_name=ANY_TEXT,
    message=ANY_TEXT,
    module=ANY_TEXT,
    frames=st.lists(st.tuples(ANY_TEXT, st.integers(0, 10**6), ANY_TEXT), max_size=3).map(tuple),
    identity=NUMBERS,
    related=st.lists(NUMBERS, max_size=3).map(tuple),
    soft=st.booleans(),
)


@st.composite
def sites(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=5))
    names += draw(st.sets(st.sampled_from([AGENT, FAILED, "\0m\x000", "\0m\x000\0l"])))
    cut = draw(st.integers(0, len(names)))
    measured = ()
    if "\0m\x000" in names:
        labels = (("l", "\0m\x000\0l"),) if "\0m\x000\0l" in names else ()
        measured = (Measurement("m", "histogram", "\0m\x000", labels, "help", (0.5, 2.0)),)
    return Site(
        draw(ANY_TEXT),
        role=draw(ANY_TEXT),
        rule=draw(ANY_TEXT),
        entry=tuple(names[:cut]),
        exit=tuple(names[cut:]),
        measurements=measured,
        failed_if=draw(ANY_TEXT),
        max_length=draw(st.integers(0, 10**6)),
    )


@st.composite
def spans(draw, site=None):
    site = draw(sites()) if site is None else site
    start = clock.counter_ns(draw(st.integers(0, 2**62)))
    span = Span(draw(NUMBERS), draw(NUMBERS), draw(st.integers(0, 2**128 - 1)), site, start)
    value = PLAIN | st.just(MISSING)
    span.at_entry = tuple(draw(ANY_TEXT if name == AGENT else value) for name in site.entry)
    span.at_exit = tuple(draw(ANY_TEXT if name == AGENT else value) for name in site.exit)
    if draw(st.booleans()):
        # 0 on the counter means that the span runs.
        span.end_ns = start + draw(st.integers(1, 2**50))
        span.end_ns += span.end_ns == 0
        span.status = draw(st.sampled_from(["success", "error", "cancelled"]))
    span.error = draw(st.none() | ERRORS)
    span.links = tuple(draw(st.lists(NUMBERS, max_size=2)))
    if draw(st.booleans()):
        span.agent = draw(ANY_TEXT)
    if draw(st.booleans()):
        span.metadata = draw(st.dictionaries(ANY_TEXT, PLAIN, max_size=3))
    if draw(st.booleans()) and not site.measurements:
        span.measurements = (
            ("m", "counter", draw(st.integers() | st.floats(-1, 1)), (("l", "x"),)),
        )
    return span


def again(maker, span):
    (row,) = maker.rows([span])
    site = next(site_of(*rest) for _, number, *rest in maker.new_sites if number == row[4])
    trace = next(trace for _, number, trace in maker.new_traces if number == row[3])
    return span_of(row, site, int.from_bytes(trace, "big"))


def everything(span):
    return {
        "site": dataclasses.asdict(span.site),
        "measurements": span.measurements,
        "error": span.error,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        **span.to_dict(),
    }


@given(spans())
def test_a_span_comes_back_equal(span):
    """Ids, times to the nanosecond, values, errors, links, measurements: all are as they were."""
    back = again(RowMaker(1), span)
    assert everything(back) == everything(span)
    # Asking for the metadata has copied into it what was captured: that is not written twice.
    assert everything(again(RowMaker(1), span)) == everything(span)


def test_what_was_asked_is_told_from_what_was_answered():
    """A retry is told by what was captured when the calls began, from a store as in the process."""
    site = Site("ask", entry=("item",), exit=("seen",))
    error = ErrorInfo("ValueError", "no", identity=7)
    made = []
    for number, (item, seen, failed) in enumerate([(1, 0, True), (2, 0, False), (1, 5, False)], 1):
        span = Span(number, 0, 1, site, clock.now_ns() + number * 1000)
        span.end_ns = span.start_ns + 10
        span.at_entry, span.at_exit = (item,), (seen,)
        span.status, span.error = ("error", error) if failed else ("success", None)
        made.append(span)
    maker = RowMaker(1)
    back = [again(maker, span) for span in made]
    (told,) = outcomes(build(back)).failures
    assert (told.fate, told.rescuer.span_id) == ("retry", made[2].span_id)
    assert to_json(outcomes(build(back))) == to_json(outcomes(build(made)))


@given(st.data())
def test_spans_of_one_site_share_its_row(data):
    """However many spans and equal sites there are, a site and a trace are written once."""
    site = data.draw(sites())
    same = [dataclasses.replace(site) for _ in range(3)]
    made = [data.draw(spans(site=data.draw(st.sampled_from([site, *same])))) for _ in range(5)]
    for span in made:
        span.trace = 5
    maker = RowMaker(1)
    maker.rows(made)
    assert len(maker.new_sites) == len(maker.new_traces) == 1


@given(st.lists(st.tuples(sites(), st.integers(0, 2**128 - 1)), max_size=12))
def test_what_is_remembered_is_bounded(pairs):
    """A site or trace that was forgotten gets a new number, and its spans still come back."""
    limit, rows.MAX_REMEMBERED = rows.MAX_REMEMBERED, 2
    try:
        maker = RowMaker(1)
        for site, trace in pairs:
            span = Span(1, 0, trace, site, clock.now_ns())
            assert everything(again(maker, span)) == everything(span)
        numbers = [row[1] for row in (*maker.new_sites, *maker.new_traces)]
        assert len(set(numbers)) == len(numbers)
    finally:
        rows.MAX_REMEMBERED = limit


@given(NUMBERS)
def test_ids_survive_signed_integers(number):
    """Every id of 64 bits fits a signed integer of 64 bits and comes back."""
    assert -(2**63) <= signed(number) < 2**63
    assert unsigned(signed(number)) == number


def test_values_that_are_not_finite_come_back():
    """NaN and the infinities are told from text and from each other."""
    site = Site("f", exit=("a", "b", "c", "d"))
    span = Span(1, 0, 1, site, clock.now_ns())
    span.at_exit = (math.nan, math.inf, -math.inf, "nan")
    nan, *rest = again(RowMaker(1), span).at_exit
    assert math.isnan(nan)
    assert rest == [math.inf, -math.inf, "nan"]


def test_a_span_that_cannot_be_read_is_counted():
    """A value whose text raises costs its own span and no other."""

    class Bad:
        def __str__(self):
            raise RuntimeError

    site = Site("f", entry=(AGENT,))
    good, bad = Span(1, 0, 1, site, 5), Span(2, 0, 1, site, 5)
    bad.at_entry = (Bad(),)
    maker = RowMaker(1)
    assert len(maker.rows([bad, good])) == 1
    assert maker.unreadable == 1


def test_an_open_span_is_written_as_open():
    """A span that ends while its row is made is still written as open: its end comes later."""
    span = Span(1, 0, 1, Site("f"), clock.now_ns())
    span.finish()
    (row,) = RowMaker(1).rows([span], still_open=True)
    assert span_of(row, span.site, 1).end_ns == 0
    assert span_of(row, span.site, 1).status == "in_progress"
