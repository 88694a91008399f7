"""Tokens are counted once, priced where a price is known, and what was in vain is told apart."""

import pytest
from builders import Spans, any_spans
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.spending import leaf_usage, spending
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.collect.records import ModelPrice


def spent(spans, *prices):
    tree = build(spans)
    return spending(tree, owners(tree), leaf_usage(tree), prices)


def used(span, read, written, **more):
    span.measurements = (
        ("swarm_tokens_total", "counter", read, (("direction", "in"),)),
        ("swarm_tokens_total", "counter", written, (("direction", "out"),)),
        *((f"tokens_{k}", "counter", v, (("direction", k),)) for k, v in more.items()),
    )
    return span


@given(st.integers(1, 6), st.integers(0, 1000), st.integers(0, 1000))
def test_wrappers_that_repeat_the_usage_add_nothing(depth, read, written):
    """However many callers tell of the same tokens, they are counted at the innermost."""
    spans = Spans()
    for span in spans.chain(["call"] * depth, 0, 1, role="llm", agent="a"):
        used(span, read, written)
    total = spent(spans).total
    assert (total.calls, total.read, total.written) == (1, read, written)


def test_cached_tokens_have_their_own_price():
    """They are part of what was read, at the price of the cache."""
    spans = Spans()
    used(
        spans.add("call", 0, 1, role="llm", agent="a", model="m-1"),
        1_000_000,
        100_000,
        cached=400_000,
    )
    found = spent(spans, ModelPrice("m-1", 10.0, 30.0, 1.0))
    assert found.total.cost == pytest.approx(6.0 + 0.4 + 3.0)
    assert found.priced_by == ("rules",)
    assert spent(spans, ModelPrice("m-*", 10.0, 30.0)).total.cost == pytest.approx(13.0)


def test_an_unknown_model_is_unpriced_never_free():
    """Tokens without a price have no cost, and are counted as such."""
    spans = Spans()
    used(spans.add("call", 0, 1, role="llm", agent="a", model="home-made"), 70, 30)
    used(spans.add("call", 1, 2, role="llm", agent="b", model="m-1"), 10, 10)
    found = spent(spans, ModelPrice("m-1", 1.0, 1.0))
    of = {each.name: each for each in found.by_agent}
    assert of["a"].cost is None
    assert of["a"].unpriced_tokens == 100
    assert of["b"].cost == pytest.approx(20e-6)
    assert found.unpriced_models == ("home-made",)


def test_a_library_prices_what_the_rules_do_not():
    """Models that the rule file does not name are priced by genai-prices, if it is there."""
    pytest.importorskip("genai_prices")
    spans = Spans()
    used(spans.add("call", 0, 1, role="llm", model="gpt-4o"), 1_000_000, 0, cached=500_000)
    found = spent(spans)
    assert found.priced_by == ("genai-prices",)
    assert 0 < found.total.cost < 100


def test_tokens_in_vain_are_told_by_their_fate():
    """Of a failed call, of an attempt made again, of output that no other agent read."""
    spans = Spans()
    run = spans.add("run", 0, 20, role="orchestrator")

    def worker(start, agent, number, **more):
        call = spans.add(
            "act",
            start,
            start + 1,
            run,
            role="worker",
            agent=agent,
            round=number,
            receives=[],
            **more,
        )
        used(spans.add("call", start, start + 1, call, role="llm"), 10, 0)
        return call

    read = worker(0, "read", 1)
    worker(0, "unread", 1)
    failed = worker(0, "failed", 1)
    failed.status, failed.error = "error", spans.error()
    worker(2, "reader", 1).links = (read.id,)
    worker(4, "reader", 2)
    outer = spans.add("act", 6, 9, run, role="worker", agent="again", round=2)
    used(spans.add("try", 6, 7, outer, role="llm", error=spans.error()), 5, 0)
    used(spans.add("try", 8, 9, outer, role="llm"), 5, 0)
    wasted = {each.name: each.tokens for each in spent(spans).wasted}
    assert wasted == {"failed": 10, "retried": 5, "unread": 20}


@given(any_spans())
def test_groups_add_up_to_the_total(spans):
    """By agent, round and model the same tokens are told, whatever state the records are in."""
    for index, span in enumerate(spans):
        used(span, index, 1)
    found = spent(spans)
    for groups in (found.by_agent, found.by_round, found.by_model):
        assert sum(each.tokens for each in groups) == pytest.approx(found.total.tokens)
        assert sum(each.calls for each in groups) == found.total.calls
