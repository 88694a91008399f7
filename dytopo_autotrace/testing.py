"""Test doubles for programs that are watched: see what a piece of code records, and nothing else.

>>> from dytopo_autotrace import traced
>>> with capture() as seen:
...     @traced(role="worker", attributes={"asked": "question"})
...     def answer(question):
...         return 42
...     answer("why?")
42
>>> seen.tree()
[('answer', [])]
>>> seen.one("answer").metadata
{'asked': 'why?'}

Rules are given as they stand in a file, or by the path of one:

>>> with capture('[[rule]]\\ntarget = "textwrap:shorten"') as seen:
...     import textwrap
...     textwrap.shorten("a long story", 8)
'a [...]'
>>> [span.operation for span in seen.spans]
['shorten']
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dytopo_autotrace import agent
from dytopo_autotrace.collect import clock as clocks
from dytopo_autotrace.collect import ids as identities
from dytopo_autotrace.collect.failures import FailureRecord, failures
from dytopo_autotrace.collect.metrics import MetricsCollector, metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.collect.tracing import current, traces

if TYPE_CHECKING:
    from dytopo_autotrace.rules.model import RuleSet

__all__ = ["Captured", "CountingIds", "FakeClock", "capture"]


class FakeClock:
    """A clock that stands still until it is told otherwise.

    Args:
        tick_seconds: how far each look at it moves it on.
    """

    def __init__(self, tick_seconds: float = 0.0) -> None:
        self.now_ns = 1_000_000_000
        self._tick_ns = round(tick_seconds * 1e9)

    def __call__(self) -> int:
        self.now_ns += self._tick_ns
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class CountingIds:
    """Ids 1, 2, 3, …: the same in every run."""

    def __init__(self) -> None:
        # The pipeline takes the first one for the place where it begins to count.
        self.next_span_id: Callable[[], int] = itertools.count().__next__
        self.new_trace_id: Callable[[], int] = itertools.count(1).__next__


class Captured:
    """What was recorded: up to now inside the block, all of it after the block."""

    def __init__(self, installation: agent.Installation | None) -> None:
        self.installation = installation
        """The agent with the rules, `None` if there are none."""
        self._kept: tuple[list[Span], list[FailureRecord]] | None = None

    @property
    def spans(self) -> list[Span]:
        """The finished spans, in the order in which they ended."""
        return self._now()[0] if self._kept is None else self._kept[0]

    @property
    def failures(self) -> list[FailureRecord]:
        """The failure records, in the order in which the failures happened."""
        return self._now()[1] if self._kept is None else self._kept[1]

    @property
    def metrics(self) -> MetricsCollector:
        """The collector of the process: ask it inside the block."""
        pipeline.drain()
        return metrics

    def one(self, operation: str) -> Span:
        """The only span of an operation.

        Raises:
            AssertionError: there are none, or several.
        """
        found = [span for span in self.spans if span.operation == operation]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans of {operation!r} in {self.spans}")
        return found[0]

    def tree(self) -> list[tuple[str, list[Any]]]:
        """The operations in the order of their start, each with a list of those below it."""
        spans = sorted(self.spans, key=lambda span: (span.start_ns, span.id))
        nodes: dict[int, tuple[str, list[Any]]] = {span.id: (span.operation, []) for span in spans}
        roots: list[tuple[str, list[Any]]] = []
        for span in spans:
            siblings = nodes[span.parent][1] if span.parent in nodes else roots
            siblings.append(nodes[span.id])
        return roots

    def _now(self) -> tuple[list[Span], list[FailureRecord]]:
        pipeline.drain()
        spans = [span for trace in traces.all().values() for span in trace]
        return sorted(spans, key=lambda span: span.end_ns), failures.all()

    def keep(self) -> None:
        """Remember what there is now: afterwards the collectors are emptied."""
        self._kept = self._now()


@contextmanager
def capture(
    rules: str | os.PathLike[str] | RuleSet | None = None,
    *,
    clock: Callable[[], int] | None = None,
    ids: CountingIds | None = None,
) -> Iterator[Captured]:
    """Watch what happens in a block, with collectors that are empty before and after it.

    An agent that is installed is taken out, ours as well in the end. The clock and the ids are used
    by what the rules name, by `TraceContext`, and by functions that are decorated within the block.

    Args:
        rules: the text of a rule file, the path of one, or rules already loaded; without it only
            `@traced` and `TraceContext` record.
        clock: nanoseconds, instead of the real ones.
        ids: instead of random ones.

    Raises:
        RuleFileError: something is wrong with the rules.
    """
    agent.uninstall()
    before = clocks.now_ns, pipeline.next_id, identities.new_trace_id, current.get()
    current.set(None)
    if clock is not None:
        clocks.now_ns = clock
    if ids is not None:
        pipeline.next_id, identities.new_trace_id = ids.next_span_id, ids.new_trace_id
    clear()
    try:
        seen = Captured(None if rules is None else _install(rules))
        try:
            yield seen
        finally:
            seen.keep()
    finally:
        agent.uninstall()
        clocks.now_ns, pipeline.next_id, identities.new_trace_id, outer = before
        current.set(outer)
        clear()


def clear() -> None:
    """Stop the background thread and empty the collectors of this process."""
    pipeline.stop()
    pipeline.clear()
    traces.clear()
    failures.clear()
    metrics.reset()
    agent.counter.calls.clear()
    agent.measurer.unmeasured.clear()


def _install(rules: str | os.PathLike[str] | RuleSet) -> agent.Installation:
    if not isinstance(rules, str) or ("\n" not in rules and "[" not in rules):
        return agent.install(rules, strict=True)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "rules.toml")
        path.write_text(rules, encoding="utf-8")
        return agent.install(path, strict=True)
