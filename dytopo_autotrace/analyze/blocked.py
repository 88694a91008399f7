"""What held the event loop's thread, for how long, and which agents stood still meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from dytopo_autotrace.analyze.findings import Place
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span


@dataclass(frozen=True, slots=True)
class BlockedLoop:
    """A time in which a loop's thread was found in one place of the host's code at every look."""

    where: str
    """File, line and function of the innermost code that is no library's."""
    holder: Place | None
    """The innermost watched call that was on that thread, if any."""
    seconds: float
    """At least so long: from the first look that found it to the last."""
    looks: int
    at_seconds: float
    standing_still: tuple[str, ...]
    """Agents with calls open all the while, other than the holder's own."""


def blocked_loops(tree: Tree, owned: Owners) -> tuple[BlockedLoop, ...]:
    """The longest first."""
    found = []
    for span in tree.others:
        if span.role != "blocked":
            continue
        covering = [
            each
            for each in tree.spans
            if each.start_ns <= span.start_ns and tree.end_ns(each) >= span.end_ns
        ]
        holder = _holder(covering, str(span.metadata.get("operation", "")))
        line = {holder.id, *(each.id for each in ancestors(tree, holder))} if holder else set()
        own = owned.agents[holder.id] if holder else ""
        still = dict.fromkeys(owned.agents[each.id] for each in covering if each.id not in line)
        looks = span.metadata.get("looks")
        found.append(
            BlockedLoop(
                str(span.metadata.get("where", "")),
                owned.place(holder) if holder else None,
                (span.end_ns - span.start_ns) / 1e9,
                looks if isinstance(looks, int) else 0,
                (span.start_ns - tree.first_ns) / 1e9,
                tuple(sorted(name for name in still if name and name != own)),
            )
        )
    return tuple(sorted(found, key=lambda each: -each.seconds))


def _holder(covering: list[Span], operation: str) -> Span | None:
    named = [each for each in covering if operation and each.operation == operation]
    return max(named, key=lambda each: each.start_ns, default=None)
