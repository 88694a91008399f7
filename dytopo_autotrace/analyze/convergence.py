"""How alike the rounds became, where a rule captured it, and the rounds that changed nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.topology import Topology
from dytopo_autotrace.analyze.tree import Tree

SIMILARITY_KEY: Final = "similarity"
CONVERGED_KEY: Final = "converged"
"""Metadata keys under which a rule captures what the program says of its convergence."""


@dataclass(frozen=True, slots=True)
class RoundSimilarity:
    """What the program said of one round; None where it said nothing."""

    round: str
    trace_id: str
    similarity: float | None
    converged: bool | None


@dataclass(frozen=True, slots=True)
class Convergence:
    rounds: tuple[RoundSimilarity, ...]
    unchanged: tuple[str, ...]
    """Rounds whose graph has the same edges as the graph before."""


def convergence(tree: Tree, owned: Owners, found: Topology) -> Convergence:
    """The last word in each round counts."""
    said: dict[tuple[int, str], RoundSimilarity] = {}
    for span in sorted(tree.spans, key=lambda each: (each.start_ns, each.id)):
        value, verdict = span.metadata.get(SIMILARITY_KEY), span.metadata.get(CONVERGED_KEY)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = owned.rounds[span.id]
        if number and (is_number or isinstance(verdict, bool)):
            said[span.trace, number] = RoundSimilarity(
                number,
                span.trace_id,
                float(value) if is_number and value is not None else None,
                verdict if isinstance(verdict, bool) else None,
            )
    unchanged = (
        graph.round for graph in found.graphs if graph.churn and graph.churn.jaccard == 1.0
    )
    return Convergence(tuple(said.values()), tuple(dict.fromkeys(unchanged)))
