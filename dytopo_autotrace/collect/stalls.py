"""Calls that run far longer than their like, told while they still run.

Looked for on the background thread, among the calls that were open at its last tick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import NOT_CALLS, Span

FEWEST: Final = 5
"""Calls of an operation that must have succeeded before its own history says anything."""
TIMES: Final = 5.0
LEAST_SECONDS: Final = 5.0
"""A call stalls by its history once it runs for so many times the slowest, and so long at least."""
MAX_TOLD: Final = 20
PAUSE_NS: Final = 500_000_000
"""Between two looks at what is open, which may be much."""


class Stalls:
    """Tells each stalled call once.

    Args:
        tell: takes a sentence.
        stall_after: seconds after which any call is stalled; 0 for what its history says.
        now_ns: the span clock.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        stall_after: float = 0.0,
        now_ns: Callable[[], int] = clock.now_ns,
    ) -> None:
        self.told: dict[int, str] = {}
        """What was said, by the id of the span."""
        self._tell = tell
        self._stall_after = stall_after
        self._now_ns = now_ns
        self._next_look_ns = 0
        self._open: dict[int, Span] = {}
        self._around: dict[int, int] = {}
        """Of what lies between a call and its caller, such as a round: what is around it."""
        self._history: dict[str, tuple[int, int]] = {}
        """By operation: how many calls succeeded, and the nanoseconds of the slowest."""

    def learn(self, spans: Sequence[Span]) -> None:
        """A consumer of the pipeline: these calls have ended."""
        history, running, around = self._history, self._open, self._around
        for span in spans:
            running.pop(span.id, None)
            around.pop(span.id, None)
            if span.status == "success" and span.error is None:
                count, slowest = history.get(span.operation, (0, 0))
                took = span.end_ns - span.start_ns
                history[span.operation] = (count + 1, max(slowest, took))

    def look(self, opened: Sequence[Span]) -> None:
        """A watcher of the pipeline: these calls began and still run."""
        for span in opened:
            if span.role in NOT_CALLS:
                self._around[span.id] = span.parent
            else:
                self._open[span.id] = span
        now = self._now_ns()
        if now < self._next_look_ns:
            return
        self._next_look_ns = now + PAUSE_NS
        callers = {self._caller(span) for span in self._open.values()}
        for span in self._open.values():
            if span.id in self.told or len(self.told) >= MAX_TOLD:
                continue
            said = self._stalled(span, now, has_callees=span.id in callers)
            if said:
                self.told[span.id] = said
                self._tell(said)

    def _stalled(self, span: Span, now: int, *, has_callees: bool) -> str:
        ran = (now - span.start_ns) / 1e9
        limit = span.site.stall_after or self._stall_after
        who = f"{span.operation} ({span.agent})" if span.agent else span.operation
        if span.site.stall_after or (limit and not has_callees):
            if ran < limit:
                return ""
            return f"{who} still runs after {ran:.1f} s (stall_after = {limit:g}){self._in(span)}"
        count, slowest = self._history.get(span.operation, (0, 0))
        # Who waits for a call that stalls does not stall itself.
        if limit or has_callees or count < FEWEST:
            return ""
        if ran < max(TIMES * slowest / 1e9, LEAST_SECONDS):
            return ""
        return (
            f"{who} still runs after {ran:.1f} s; {count} calls of it took "
            f"{slowest / 1e9:.2f} s at most{self._in(span)}"
        )

    def _in(self, span: Span) -> str:
        """What it waits for, as far as that is watched; else, whose call it is."""
        below = [each for each in self._open.values() if self._caller(each) == span.id]
        if below:
            inner = max(below, key=lambda each: each.start_ns)
            deeper = self._in(inner)
            return (
                deeper if deeper.startswith("; it waits") else f"; it waits for {inner.operation}"
            )
        above = self._open.get(self._caller(span))
        while above is not None and not above.agent:
            above = self._open.get(self._caller(above))
        named = above is not None and not span.agent
        return f"; it is a call of {above.agent}" if named and above is not None else ""

    def _caller(self, span: Span) -> int:
        parent = span.parent
        while parent in self._around:
            parent = self._around[parent]
        return parent
