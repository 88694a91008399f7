"""Times in which an event loop was held, and whose calls could not go on meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span


@dataclass(frozen=True, slots=True)
class Hold:
    """One time in which a loop was held by one call, or by one turn that no watched call began."""

    start_ns: int
    end_ns: int
    before_ns: int
    """How long before the start the loop did nothing else either, whoever held it then."""
    holder: Span | None
    held_up: frozenset[int]
    """Ids of the calls on that loop that could not go on, other than the holder and its callers."""
    is_loop_known: bool
    """Whether it is known which calls were on that loop; else `held_up` is empty."""
    is_exact: bool
    where: str


def holds(tree: Tree) -> tuple[Hold, ...]:
    """In order of start. Of calls that held a loop within one another, the outermost."""
    blocked = [span for span in tree.others if span.role == "blocked"]
    if not blocked:
        return ()
    by_id = {span.id: span for span in tree.spans}
    scopes = {span.id: span for span in tree.scopes}
    found: list[Hold] = []
    reach: dict[object, int] = {}
    # Of those that start together the longest is the outermost.
    for span in sorted(blocked, key=lambda each: (each.start_ns, -tree.ends[each.id])):
        start, end = span.start_ns, tree.ends[span.id]
        thread = span.metadata.get("thread")
        if end <= reach.get(thread, start):
            continue
        reach[thread] = end
        caller = span.parent
        while caller in scopes and caller not in by_id:
            caller = scopes[caller].parent
        holder = by_id.get(caller)
        line = {holder.id, *(each.id for each in ancestors(tree, holder))} if holder else set()
        before = span.metadata.get("before_ns")
        found.append(
            Hold(
                start,
                end,
                before if isinstance(before, int) else 0,
                holder,
                frozenset(span.links) - line,
                bool(span.links),
                span.metadata.get("exact") is True,
                str(span.metadata.get("where", "")),
            )
        )
    return tuple(found)
