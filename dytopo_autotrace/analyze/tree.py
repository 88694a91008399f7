"""The index of spans: who called whom, in order of start, whatever state the records are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.collect.span import NOT_CALLS, SCOPE_ROLE, Span

CLOCKS_APART_NS: Final = 10_000_000
"""How far the clocks of two processes may differ before it is worth a remark."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The calls of one or several traces, indexed. Keys of the mappings are span ids.

    A scope (a round) is no call: who called whom, and what became of an exception, is the same with
    and without one. Scopes are kept beside the calls, in `scopes` and `within`.
    """

    spans: tuple[Span, ...]
    """Depth first: a parent before its children, children in order of start."""
    roots: tuple[Span, ...]
    children: Mapping[int, Sequence[Span]]
    parents: Mapping[int, Span]
    depths: Mapping[int, int]
    ends: Mapping[int, int]
    """When each span ended; of one that still runs, the moment it was measured up to."""
    scopes: tuple[Span, ...]
    """Spans of the role `scope`, in order of start."""
    within: Mapping[int, Span]
    """The innermost scope that a call or a scope was recorded directly below."""
    others: tuple[Span, ...]
    """Spans that are neither calls nor scopes, such as times in which the event loop stood still."""
    remarks: tuple[str, ...]
    """What was odd about the records, one sentence each."""

    def children_of(self, span: Span) -> Sequence[Span]:
        """The span's children in order of start."""
        return self.children.get(span.id, ())

    def parent_of(self, span: Span) -> Span | None:
        """The span's parent, None for a root."""
        return self.parents.get(span.id)

    def end_ns(self, span: Span) -> int:
        """When it ended, never before its start."""
        return self.ends[span.id]

    def seconds(self, span: Span) -> float:
        """How long it took, or has been running."""
        return (self.ends[span.id] - span.start_ns) / 1e9

    @property
    def first_ns(self) -> int:
        """The earliest start, 0 without spans."""
        return min((root.start_ns for root in self.spans), default=0)

    @property
    def last_ns(self) -> int:
        """The latest end, 0 without spans."""
        return max(self.ends.values(), default=0)

    @property
    def traces(self) -> tuple[int, ...]:
        """Trace ids in order of their first root."""
        return tuple(dict.fromkeys(span.trace for span in (*self.roots, *self.spans)))


def build(spans: Iterable[Span], now_ns: int | None = None, *, as_recorded: bool = False) -> Tree:
    """Index spans that may come in any order, incomplete, repeated or linked in a circle.

    `now_ns` is the moment that spans still running are measured up to; by default the latest
    moment found in the records. `as_recorded` is for those who show the spans: scopes then are
    parents as any other span.
    """
    by_id, repeated = _unique(spans)
    known = by_id.values()
    if now_ns is None:
        now_ns = max((_latest_ns(span) for span in known), default=0)
    ends: dict[int, int] = {}
    backwards = 0
    running: dict[str, int] = {}
    for span in known:
        if span.end_ns:
            backwards += span.end_ns < span.start_ns
            ends[span.id] = max(span.end_ns, span.start_ns)
        else:
            running[span.operation] = running.get(span.operation, 0) + 1
            ends[span.id] = max(now_ns, span.start_ns)

    left_out = frozenset() if as_recorded else NOT_CALLS
    calls = [each for each in known if each.role not in left_out]
    beside = sorted((each for each in known if each.role in left_out), key=_by_start)
    scopes = [each for each in beside if each.role == SCOPE_ROLE]
    others = [each for each in beside if each.role != SCOPE_ROLE]
    within = _within(known, by_id) if scopes else {}

    children: dict[int, list[Span]] = {}
    parents: dict[int, Span] = {}
    roots: list[Span] = []
    orphans = 0
    for span in sorted(calls, key=_by_start):
        parent = _above(span, by_id, left_out)
        if parent is None:
            orphans += _outside(span.parent, by_id, left_out) != 0
            roots.append(span)
        else:
            parents[span.id] = parent
            children.setdefault(parent.id, []).append(span)

    ordered: list[Span] = []
    depths: dict[int, int] = {}
    for root in roots:
        _walk(root, children, ordered, depths)
    circles = 0
    if len(ordered) < len(calls):
        for span in sorted(calls, key=_by_start):
            if span.id not in depths:
                circles += 1
                root = _cut_circle(span, parents, children)
                roots.append(root)
                _walk(root, children, ordered, depths)

    early = sum(
        span.start_ns < parent.start_ns - CLOCKS_APART_NS
        for span in ordered
        if (parent := parents.get(span.id)) is not None
    )
    return Tree(
        tuple(ordered),
        tuple(roots),
        children,
        parents,
        depths,
        ends,
        tuple(scopes),
        within,
        tuple(others),
        _remarks(orphans, repeated, backwards, early, circles, running),
    )


def ancestors(tree: Tree, span: Span) -> Iterator[Span]:
    """The span's parent, its parent's parent, and so on."""
    above = tree.parent_of(span)
    while above is not None:
        yield above
        above = tree.parent_of(above)


def _above(span: Span, by_id: Mapping[int, Span], left_out: frozenset[str]) -> Span | None:
    """The span's parent; of a root, the span under which its trace was begun.

    An orchestrator begins a trace of its own, linked to the span around it, which waits for it as
    for any other call.
    """
    if parent := _outside(span.parent, by_id, left_out):
        return by_id.get(parent)
    linked = (by_id.get(_outside(link, by_id, left_out)) for link in span.links)
    return next((each for each in linked if each is not None and each is not span), None)


def _outside(caller: int, by_id: Mapping[int, Span], left_out: frozenset[str]) -> int:
    """The id of the call around a caller that may be a scope, which calls nothing."""
    seen: set[int] = set()
    while (above := by_id.get(caller)) is not None and above.role in left_out:
        if caller in seen:
            return 0
        seen.add(caller)
        caller = above.parent
    return caller


def _within(spans: Iterable[Span], by_id: Mapping[int, Span]) -> dict[int, Span]:
    return {
        span.id: above
        for span in spans
        if (above := by_id.get(span.parent)) is not None
        and above.role == SCOPE_ROLE
        and above is not span
    }


def scope_of(tree: Tree, span: Span) -> Span | None:
    """The innermost scope around a call: its own, or that of whoever called it."""
    at: Span | None = span
    while at is not None:
        if (scope := tree.within.get(at.id)) is not None:
            return scope
        at = tree.parent_of(at)
    return None


def _by_start(span: Span) -> tuple[int, int]:
    return span.start_ns, span.id


def _unique(spans: Iterable[Span]) -> tuple[dict[int, Span], int]:
    by_id: dict[int, Span] = {}
    repeated = 0
    for span in spans:
        known = by_id.get(span.id)
        if known is None:
            by_id[span.id] = span
        elif known is not span:
            repeated += 1
            # The same span is seen twice when it was read while open and again when finished.
            if not known.end_ns and span.end_ns:
                by_id[span.id] = span
    return by_id, repeated


def _latest_ns(span: Span) -> int:
    """Its end, or its start while it runs; the end of a running one is 0, which may be later."""
    return max(span.start_ns, span.end_ns) if span.end_ns else span.start_ns


def _walk(
    root: Span, children: dict[int, list[Span]], ordered: list[Span], depths: dict[int, int]
) -> None:
    stack = [(root, 0)]
    while stack:
        span, depth = stack.pop()
        ordered.append(span)
        depths[span.id] = depth
        stack.extend((child, depth + 1) for child in reversed(children.get(span.id, ())))


def _cut_circle(span: Span, parents: dict[int, Span], children: dict[int, list[Span]]) -> Span:
    """Make the earliest span of the circle above `span` a root and return it."""
    seen: set[int] = set()
    at = span
    while at.id not in seen:
        seen.add(at.id)
        at = parents[at.id]
    circle = [at]
    while (after := parents[circle[-1].id]) is not at:
        circle.append(after)
    root = min(circle, key=_by_start)
    above = parents.pop(root.id)
    children[above.id].remove(root)
    return root


def _remarks(
    orphans: int,
    repeated: int,
    backwards: int,
    early: int,
    circles: int,
    running: dict[str, int],
) -> tuple[str, ...]:
    remarks = []
    if running:
        names = sorted(running, key=lambda name: (-running[name], name))
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        remarks.append(
            f"{_spans(sum(running.values()))} still running when measured, so shorter here than "
            f"in truth: {listed}."
        )
    if orphans:
        remarks.append(
            f"{_spans(orphans)} with a parent that was not recorded, shown as roots of their own."
        )
    if repeated:
        remarks.append(f"{_spans(repeated)} with an id seen before, left out.")
    if backwards:
        remarks.append(f"{_spans(backwards)} with an end before the start, counted as no time.")
    if early:
        remarks.append(
            f"{_spans(early)} began before their caller: a clock was set or differs, "
            "and times across it are wrong."
        )
    if circles:
        remarks.append(
            f"{circles} {'circle' if circles == 1 else 'circles'} of parents, "
            "each cut at its earliest span."
        )
    return tuple(remarks)


def _spans(count: int) -> str:
    return f"{count} {'span' if count == 1 else 'spans'}"
