"""Failures: one record for each, whatever it crossed, and nothing of the host kept for it."""

import gc
import sys
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace import TraceContext, traced
from dytopo_autotrace.collect import failures as module
from dytopo_autotrace.collect.failures import FailureLog, error_info, format_stack, outcome_of
from dytopo_autotrace.collect.span import ErrorInfo, Site, Span
from dytopo_autotrace.testing import capture


def failed(number, error, parent=0, status="error"):
    span = Span(number, parent, 1, Site(f"op{number}", role="worker"), number)
    span.end_ns = 1000 - number
    span.status, span.error = status, error
    return span


def info(identity, line=1, related=(), *, soft=False):
    frames = () if soft else (("f.py", line, "f"),)
    return ErrorInfo("ValueError", "text", "builtins", frames, identity, related, soft)


def operations(log):
    return [record.operation for record in log.all()]


def test_an_exception_that_crosses_calls_is_one_failure():
    """The innermost call is the origin; those that it passed through are not recorded again."""
    log = FailureLog()
    log.add_spans([failed(3, info(9), 2), failed(2, info(9), 1), failed(1, info(9))])
    assert operations(log) == ["op3"]


def test_it_is_one_failure_across_drains_too():
    """What was recorded in an earlier batch is remembered until the parent ends."""
    log = FailureLog()
    log.add_spans([failed(3, info(9), 2)])
    log.add_spans([failed(2, info(9), 1)])
    log.add_spans([failed(1, info(9))])
    assert operations(log) == ["op3"]


def test_an_exception_raised_from_another_is_the_same_failure():
    """A cause, a context or a member of a group below makes the one above no failure of its own."""
    log = FailureLog()
    log.add_spans([failed(2, info(9), 1), failed(1, info(10, related=(9,)))])
    assert operations(log) == ["op2"]


def test_another_exception_is_another_failure():
    """A call that handled what was below and raised something else has failed itself."""
    log = FailureLog()
    log.add_spans([failed(2, info(9), 1), failed(1, info(10))])
    assert operations(log) == ["op2", "op1"]


def test_an_address_used_again_is_no_proof():
    """Two exceptions at one address are told apart by where they were raised."""
    log = FailureLog()
    log.add_spans([failed(2, info(9, line=5), 1), failed(1, info(9, line=6))])
    assert operations(log) == ["op2", "op1"]


def test_soft_failures_are_each_their_own():
    """A stub result handed up by two calls is what both of them returned."""
    log = FailureLog()
    log.add_spans([failed(2, info(0, soft=True), 1), failed(1, info(0, soft=True))])
    assert operations(log) == ["op2", "op1"]


def test_a_timeout_made_of_a_cancellation_is_a_failure():
    """The cancelled call below is none, so the `TimeoutError` above is the one."""
    log = FailureLog()
    cancelled = failed(2, info(9), 1, status="cancelled")
    log.add_spans([cancelled, failed(1, info(10, related=(9,)))])
    assert operations(log) == ["op1"]


def test_the_log_is_bounded_and_counts_what_it_lets_go():
    """Beyond the limit the oldest records go."""
    log = FailureLog(limit=3)
    log.add_spans([failed(number, info(number)) for number in range(1, 6)])
    assert operations(log) == ["op3", "op4", "op5"]
    assert log.dropped == 2
    log.clear()
    assert (log.all(), log.dropped) == ([], 0)


def test_what_waits_for_parents_is_bounded(monkeypatch):
    """Parents that never end, and parents of endless failing calls, take bounded memory."""
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    monkeypatch.setattr(module, "MAX_BELOW", 7)
    log = FailureLog()
    log.add_spans([failed(number, info(number), parent=10_000 + number) for number in range(1, 50)])
    log.add_spans([failed(100 + number, info(number), parent=77) for number in range(50)])
    assert len(log._below) <= 5
    assert max(map(len, log._below.values())) <= 7


def test_a_record_says_where_and_what():
    """Component, operation, error, ids, agent, attributes and a short stack are in the record."""

    @traced(role="worker", operation="work", agent="who", attributes={"step": "step"})
    def work(who, step):
        raise LookupError("not here")

    with capture() as seen:
        with pytest.raises(LookupError):
            work("ann", 3)
    (record,) = seen.failures
    span = seen.one("work")
    assert (record.component, record.operation) == ("worker", "work")
    assert (record.error_type, record.error_message) == ("LookupError", "not here")
    assert (record.span_id, record.trace_id) == (span.span_id, span.trace_id)
    assert record.context["agent"] == "ann"
    assert record.context["step"] == 3
    assert "raise LookupError" in record.context["stack"]
    assert "dytopo_autotrace" not in record.context["stack"]
    assert record.to_dict()["recovered"] is False


def test_no_traceback_is_kept_alive():
    """Frames, their locals and the exception go as soon as the host has handled it."""

    class Thing:
        pass

    references = []

    @traced
    def fail():
        local = Thing()
        references.append(weakref.ref(local))
        error = ValueError("x")
        error.payload = local
        raise error

    with capture() as seen:
        try:
            with TraceContext("around"):
                fail()
        except ValueError:
            pass
        gc.collect()
        assert references[0]() is None
        assert len(seen.failures) == 1


def test_the_stack_is_cut_to_its_innermost_frames():
    """A deep recursion leaves a short stack that ends where it was raised."""

    def dive(depth):
        if not depth:
            raise ValueError
        dive(depth - 1)

    try:
        dive(100)
    except ValueError as error:
        kept = error_info(error)
    assert len(kept.frames) == module.MAX_FRAMES
    assert kept.frames[-1][2] == "dive"
    assert "raise ValueError" in format_stack(kept.frames)


class Awkward(Exception):
    """Fails whenever it is looked at."""

    def __str__(self):
        raise RuntimeError

    @property
    def __cause__(self):
        raise RuntimeError


def test_an_exception_that_resists_is_an_error_all_the_same():
    """Whatever an exception does when looked at, the call has failed and says so."""
    status, kept = outcome_of(Awkward())
    assert status == "error"
    assert kept.type_name == "Awkward"


class Cancelled(BaseException):
    """As trio has one."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SystemExit(False), "success"),
        (SystemExit(2), "error"),
        (Cancelled(), "cancelled"),
        (StopAsyncIteration(), "success"),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), "error"),
    ],
    ids=repr,
)
def test_less_common_exceptions_have_their_outcome(error, status):
    """Exits by their code, cancellations by their name."""
    assert outcome_of(error)[0] == status


errors = st.recursive(
    st.sampled_from([ValueError, KeyError, OSError, RuntimeError]).map(lambda kind: kind("x")),
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(
        lambda several: ExceptionGroup("several", several)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(errors, st.integers(1, 6))
def test_any_exception_through_any_depth_is_one_failure(error, depth):
    """However deep the woven calls and whatever the exception, there is one record of it."""

    def fail():
        raise error

    function = traced(operation="origin")(fail)
    for _ in range(depth):
        function = traced(operation="level")(lambda inner=function: inner())
    with capture() as seen:
        try:
            function()
        except Exception as caught:
            assert caught is error
        finally:
            error.__traceback__ = None
    assert [record.operation for record in seen.failures] == ["origin"]


def test_our_frames_are_not_in_what_is_kept():
    """The frames of an error are the host's, although ours were between them."""

    @traced
    def outer():
        inner()

    @traced
    def inner():
        raise ValueError

    with capture() as seen:
        with pytest.raises(ValueError):
            outer()
    by_operation = {span.operation.rpartition(".")[2]: span for span in seen.spans}
    assert [frame[2] for frame in by_operation["outer"].error.frames] == ["outer", "inner"]
    assert [frame[2] for frame in by_operation["inner"].error.frames] == ["inner"]
    assert sys.exc_info() == (None, None, None)
