"""Failures and slowness of several runs folded together: how often, when, and what rescued them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from dytopo_autotrace.analyze.findings import FailureGroup, Recommendation
from dytopo_autotrace.analyze.wording import call, count
from dytopo_autotrace.documentation.model import Run, Trouble

_VARYING: Final = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8,}|\d+", re.IGNORECASE)


def troubles(runs: Sequence[Run]) -> tuple[Trouble, ...]:
    """Every cluster of failures that was seen, the gravest and most frequent first."""
    found: dict[tuple[object, ...], list[tuple[Run, FailureGroup]]] = {}
    for run in runs:
        for group in run.summary.failures:
            found.setdefault(_signature(group), []).append((run, group))
    folded = [_trouble(seen, len(runs)) for seen in found.values()]
    return tuple(
        sorted(
            folded,
            key=lambda each: (
                not each.group.dead_agents,
                each.group.ambient,
                each.group.first.rescued,
                -each.count,
                each.group.headline,
                each.group.where,
            ),
        )
    )


def bottlenecks(runs: Sequence[Run]) -> tuple[tuple[Recommendation, tuple[Run, ...]], ...]:
    """What the analyzers advise about speed; the same advice of several runs once, the latest's."""
    found: dict[tuple[str, str], tuple[Recommendation, list[Run]]] = {}
    for run in runs:
        for each in run.summary.recommendations:
            if each.category in ("errors", "retries", "timeouts", "dead_agent"):
                continue
            key = each.category, _VARYING.sub("#", each.message)[:60]
            found.setdefault(key, (each, []))[1].append(run)
    order = {"high": 0, "medium": 1, "low": 2}
    folded = [(advice, tuple(seen)) for advice, seen in found.values()]
    return tuple(sorted(folded, key=lambda each: (order[each[0].priority], -len(each[1]))))


def recovered(runs: Sequence[Run]) -> tuple[str, ...]:
    """Everything that rescued a failure, as a sentence each."""
    return tuple(
        dict.fromkeys(
            line for run in runs for group in run.summary.failures for line in _recoveries([group])
        )
    )


def _trouble(seen: Sequence[tuple[Run, FailureGroup]], of_runs: int) -> Trouble:
    group = max((each for _, each in seen), key=lambda each: each.count)
    return Trouble(
        group=group,
        runs=tuple(run for run, _ in seen),
        count=sum(each.count for _, each in seen),
        of_runs=of_runs,
        recoveries=_recoveries([each for _, each in seen]),
    )


def _recoveries(groups: Sequence[FailureGroup]) -> tuple[str, ...]:
    how: Counter[str] = Counter()
    for group in groups:
        first = group.first
        if not first.rescued:
            continue
        if first.fate == "retry":
            words = f"a retry of {call(first.origin)} (attempt {first.attempts})"
            if first.assumed:
                words = f"what is taken for a retry of {call(first.origin)}"
        else:
            words = f"a fallback to {call(first.rescuer)}" if first.rescuer else "a fallback"
            if first.rescuer_model:
                words += f" with {first.rescuer_model}"
        how[words] += group.count
    return tuple(f"{words}, {count(number, 'time')}" for words, number in how.most_common())


def _signature(group: FailureGroup) -> tuple[object, ...]:
    first = group.first
    return (
        first.kind,
        first.error_type,
        _VARYING.sub("#", first.message),
        first.origin.operation,
        first.fate,
        first.surface_type,
    )
