"""The run with a call off the event loop: who could not go on while it held the loop, goes on at once.

That is the best there is: when they would have gone on is not in the records, only that it was no sooner
than the loop was held. The call itself takes as long as before, in a thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from dytopo_autotrace.analyze.dependencies import Dependencies

_TRIED: Final = 5
_EVIDENCE: Final = 3


@dataclass(frozen=True, slots=True)
class OffLoop:
    """An operation whose calls held an event loop, and the graph in which they do not."""

    operation: str
    graph: Dependencies
    evidence: tuple[str, ...]
    """Ids of the longest of those calls."""


def off_the_loop(graph: Dependencies) -> Iterator[OffLoop]:
    """One operation after another, those that held it the longest first; a few."""
    spans, seconds = graph.tree.spans, graph.tree.seconds
    released: dict[str, list[int]] = {}
    for moment, let_go in graph.let_go.items():
        released.setdefault(spans[let_go.holder].operation, []).append(moment)
    holders = {
        operation: sorted(
            {graph.let_go[moment].holder for moment in moments},
            key=lambda call: (-seconds(spans[call]), call),
        )
        for operation, moments in released.items()
    }
    longest = sorted(
        holders, key=lambda name: (-math.fsum(seconds(spans[call]) for call in holders[name]), name)
    )
    for operation in longest[:_TRIED]:
        before, delay = list(graph.before), list(graph.delay)
        for moment in released[operation]:
            before[moment] = before[moment][:-1]  # The end of the hold was added as the last.
            delay[moment] = graph.let_go[moment].own_ns
        evidence = tuple(spans[call].span_id for call in holders[operation][:_EVIDENCE])
        yield OffLoop(operation, replace(graph, before=before, delay=delay, let_go={}), evidence)
