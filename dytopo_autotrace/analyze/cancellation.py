"""Which cancelled spans were cut off, by whom as far as that is known, and what was running then.

`CancelledError` alone says little: it is a timeout's tool, a failing task group's, a race's and the
user's. What the caller did next tells them apart, and sometimes nothing does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.findings import Cancellation
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed, is_hard, is_soft
from dytopo_autotrace.analyze.timing import SWARM_ROLES
from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span

TOGETHER_NS = 1_000_000_000
"""Calls whose cancellation ends this close to one another were cancelled by one and the same act."""

AT_ONCE_NS: Final = 5_000_000
"""What is cancelled this soon after another event was cancelled because of it: the next turn of the loop."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Cancelled spans sorted by what is known. Keys are span ids."""

    timeouts: dict[int, tuple[Span, ...]]
    """A span that raised TimeoutError -> innermost cancelled spans below it."""
    cut_off: dict[int, tuple[Span, ...]]
    """A cancelled span whose caller went on -> innermost cancelled spans in it, or itself."""
    stopped: frozenset[int]
    """Every span that a timeout ended or that was cut off, the innermost included."""
    others: tuple[Cancellation, ...]


def is_timeout(span: Span) -> bool:
    """It raised a timeout: `TimeoutError`, or a library's own (`ReadTimeout`, `APITimeoutError`)."""
    return is_hard(span) and span.error is not None and "timeout" in span.error.type_name.lower()


def cancelled(tree: Tree, owners: Owners) -> Cancelled:
    """Sort the cancelled spans."""
    top: dict[int, Span] = {}
    inner: dict[int, list[Span]] = {}
    below: dict[int, list[Span]] = {}
    cut_off: dict[int, tuple[Span, ...]] = {}
    others: list[Cancellation] = []
    tops: list[Span] = []
    blamed: set[int] = set()
    races = _Races(tree)

    for span in tree.spans:
        if span.status != "cancelled":
            continue
        parent = tree.parent_of(span)
        above = top.get(parent.id) if parent is not None else None
        top[span.id] = span if above is None else above
        if above is None:
            tops.append(span)
        if all(child.status != "cancelled" for child in tree.children_of(span)):
            inner.setdefault(top[span.id].id, []).append(span)

    for span in tops:
        innermost = tuple(sorted(inner[span.id], key=lambda each: -tree.seconds(each)))
        parent = tree.parent_of(span)
        if parent is not None and is_timeout(parent):
            below.setdefault(parent.id, []).extend(innermost)
            blamed.add(span.id)
            continue
        if parent is None:
            reason = "from outside of the watched calls"
        elif parent.status not in ("success", "in_progress") and not is_soft(parent):
            reason = f"{parent.operation} failed meanwhile"
        elif races.lost(span, innermost):
            reason = f"another {span.operation} had just succeeded"
        elif _left_over(tree, owners, span, innermost):
            reason = f"{parent.operation} ended"
        else:
            cut_off[span.id] = innermost
            blamed.add(span.id)
            continue
        others.extend(
            Cancellation(owners.place(each), tree.seconds(each), reason) for each in innermost
        )

    timeouts = {}
    for parent_id, spans in below.items():
        # A race that was decided earlier under the same caller is not what ran out of time.
        last = max(tree.end_ns(each) for each in spans)
        timeouts[parent_id] = tuple(
            sorted(
                (each for each in spans if tree.end_ns(each) >= last - TOGETHER_NS),
                key=lambda each: -tree.seconds(each),
            )
        )
    stopped = frozenset(span_id for span_id, above in top.items() if above.id in blamed)
    return Cancelled(timeouts, cut_off, stopped, tuple(others))


def _left_over(tree: Tree, owners: Owners, span: Span, innermost: Sequence[Span]) -> bool:
    """Whether its caller stopped it at its end, and it did no agent's work: a monitor, say."""
    caller = tree.parents[span.id]
    if span.role or not caller.end_ns or any(owners.agents[each.id] for each in innermost):
        return False
    if any(above.role in SWARM_ROLES for each in innermost for above in _up_to(tree, each, span)):
        return False
    return min(tree.end_ns(each) for each in innermost) >= caller.end_ns - AT_ONCE_NS


def _up_to(tree: Tree, inner: Span, top: Span) -> Iterator[Span]:
    yield inner
    if inner is not top:
        for above in ancestors(tree, inner):
            yield above
            if above is top:
                return


class _Races:
    """Calls of one operation side by side, of which the first answer was enough."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._won: dict[int, dict[str, list[int]]] = {}
        """By caller and operation: when calls that succeeded had ended, in order."""

    def lost(self, span: Span, innermost: Sequence[Span]) -> bool:
        """Whether another such call beside it had succeeded at once before it was cancelled."""
        cancelled_at = min(self._tree.end_ns(each) for each in innermost)
        ends = self._ends(span)
        before = bisect_right(ends, cancelled_at)
        return before > 0 and ends[before - 1] >= max(cancelled_at - AT_ONCE_NS, span.start_ns)

    def _ends(self, span: Span) -> list[int]:
        parent = self._tree.parents[span.id]
        won = self._won.get(parent.id)
        if won is None:
            won = self._won[parent.id] = {}
            for child in self._tree.children_of(parent):
                if child.status == "success" and not is_failed(child):
                    won.setdefault(child.operation, []).append(self._tree.end_ns(child))
            for ends in won.values():
                ends.sort()
        return won.get(span.operation, [])
