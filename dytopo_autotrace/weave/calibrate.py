"""What one watched call costs in this process, on this machine, now: measured, not assumed."""

from __future__ import annotations

import itertools
from time import perf_counter_ns
from typing import Any

from dytopo_autotrace.collect.pipeline import Pipeline
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.rules.expressions import parse
from dytopo_autotrace.rules.model import Capture, Origin, Rule, Target
from dytopo_autotrace.weave.advice import Switch, advise
from dytopo_autotrace.weave.shape import shape

_CALLS = 500
_ROUNDS = 9


def seconds_per_call() -> float:
    """Seconds that the advice adds to a call with two captured attributes.

    The median of a few short rounds of a function that does nothing, woven and bare in turn. Takes
    a few milliseconds; nothing of it reaches the collectors.
    """

    def nothing(first: Any, second: Any) -> Any:  # noqa: ARG001 - as most functions have
        return first

    rule = Rule(
        name="calibration",
        targets=(Target("", "nothing", ":nothing"),),
        origin=Origin("calibration"),
        attributes={"first": parse("first"), "result": parse("result")},
    )
    scratch = Pipeline(_CALLS, itertools.count().__next__)
    form = shape(rule, "nothing", nothing, Capture())
    woven = advise(nothing, form, Switch(), scratch)
    before = current.get()
    try:
        current.set([0, 0, 1])  # a trace of its own, so that none is begun
        added = sorted(_time(woven) - _time(nothing) for _ in range(_ROUNDS))
    finally:
        current.set(before)
    return max(0.0, added[_ROUNDS // 2]) / 1e9


def _time(function: Any) -> float:
    started = perf_counter_ns()
    for _ in range(_CALLS):
        function(1, 2)
    return (perf_counter_ns() - started) / _CALLS
