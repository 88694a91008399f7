"""Which cancelled spans were cut off, by whom as far as that is known, and what was running then.

`CancelledError` alone says little: it is a timeout's tool, a failing task group's, a race's and the
user's. What the caller did next tells them apart, and sometimes nothing does.
"""

from __future__ import annotations

from dataclasses import dataclass

from dytopo_autotrace.analyze.findings import Cancellation
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_hard, is_soft
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

TOGETHER_NS = 1_000_000_000
"""Calls whose cancellation ends this close to one another were cancelled by one and the same act."""


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
        elif parent is not None and (
            parent.status in ("success", "in_progress") or is_soft(parent)
        ):
            cut_off[span.id] = innermost
            blamed.add(span.id)
        else:
            reason = (
                f"{parent.operation} failed meanwhile"
                if parent is not None
                else "from outside of the watched calls"
            )
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
