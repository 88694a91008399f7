"""What held the event loop's thread, for how long, and which agents stood still meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from dytopo_autotrace.analyze.findings import Place
from dytopo_autotrace.analyze.holds import holds
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.tree import Tree


@dataclass(frozen=True, slots=True)
class BlockedLoop:
    """A time in which one call, or one turn of the loop, held a loop's thread."""

    where: str
    """File, line and function of the innermost code that is no library's."""
    holder: Place | None
    """The innermost watched call that held it all the while, if any."""
    seconds: float
    is_exact: bool
    """As long as the call; else at least so long: as it was looked at."""
    at_seconds: float
    standing_still: tuple[str, ...] | None
    """Agents with calls open on that loop all the while, other than the holder's own; None where it is
    not known which calls were on that loop."""


def blocked_loops(tree: Tree, owned: Owners) -> tuple[BlockedLoop, ...]:
    """The longest first, and last those in which nobody stood still."""
    by_id = {span.id: span for span in tree.spans}
    found = []
    for hold in holds(tree):
        own = owned.agents[hold.holder.id] if hold.holder else ""
        still = {owned.agents[each] for each in hold.held_up if each in by_id}
        found.append(
            BlockedLoop(
                hold.where,
                owned.place(hold.holder) if hold.holder else None,
                (hold.end_ns - hold.start_ns) / 1e9,
                hold.is_exact,
                (hold.start_ns - tree.first_ns) / 1e9,
                tuple(sorted(still - {"", own})) if hold.is_loop_known else None,
            )
        )
    return tuple(sorted(found, key=lambda each: (each.standing_still == (), -each.seconds)))
