"""Failures that earlier runs of the same program had as well: part of its weather, not of this run's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from dytopo_autotrace.analyze.findings import FailureGroup
from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.stories import stories, without_numbers
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.collect.records import RunRecords

FEWEST_RUNS: Final = 2
"""What happened in one earlier run may have happened by chance."""


def marked(
    groups: Sequence[FailureGroup], before: Sequence[RunRecords]
) -> tuple[FailureGroup, ...]:
    """The same groups, those that every run before had too marked, and told after the others.

    A dead agent stays where it is, however long it has been dead.
    """
    if len(before) < FEWEST_RUNS or not groups:
        return tuple(groups)
    known = frozenset.intersection(*(_known(run) for run in before))
    found = [
        replace(group, recurring=len(before)) if _identity(group) in known else group
        for group in groups
    ]
    return tuple(sorted(found, key=is_weather))


def is_weather(group: FailureGroup) -> bool:
    """Every run has it, and no agent is dead of it."""
    return group.recurring > 0 and not group.dead_agents


def _known(run: RunRecords) -> frozenset[tuple[object, ...]]:
    return _identities(stories(outcomes(build(run.spans, run.now_ns or None))))


def _identities(groups: Iterable[FailureGroup]) -> frozenset[tuple[object, ...]]:
    return frozenset(_identity(group) for group in groups)


def _identity(group: FailureGroup) -> tuple[object, ...]:
    """Alike in everything but how often, when, and the numbers in the message."""
    first = group.first
    return (
        *(first.kind, first.error_type, without_numbers(first.message), first.origin.operation),
        *(first.fate, frozenset(name for name, _ in group.agents)),
    )
