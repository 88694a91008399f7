"""The cost of a call is measured, and the measuring leaves no trace."""

from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.calibrate import seconds_per_call


def test_a_call_costs_microseconds_and_nothing_is_recorded():
    """The figure is plausible, and no span, id or context is left of it."""
    with capture() as seen:
        before = current.get()
        seconds = seconds_per_call()
        assert 0 < seconds < 1e-3
        assert current.get() is before
        assert seen.spans == []
        assert (pipeline.started, pipeline.dropped) == (0, 0)
