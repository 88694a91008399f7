"""One run in one value: everything a report shows, worked out and put in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.activity import Activities, activities
from dytopo_autotrace.analyze.blocked import BlockedLoop, blocked_loops
from dytopo_autotrace.analyze.bottlenecks import bottlenecks
from dytopo_autotrace.analyze.convergence import Convergence, convergence
from dytopo_autotrace.analyze.critical_path import CriticalPath, critical_path
from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.findings import (
    AgentRow,
    Cancellation,
    DeadAgent,
    FailureGroup,
    LongPole,
    OperationRow,
    Outcomes,
    Recommendation,
    SlowAgent,
    Verdict,
)
from dytopo_autotrace.analyze.infection import Infection, infections
from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.ownership import Owners, owners
from dytopo_autotrace.analyze.recurring import marked
from dytopo_autotrace.analyze.rounds import Round, merged, rounds
from dytopo_autotrace.analyze.spending import Spending, Usage, leaf_usage, spending
from dytopo_autotrace.analyze.stories import stories
from dytopo_autotrace.analyze.swarms import Swarm, swarms
from dytopo_autotrace.analyze.timing import agent_rows, busy_ns, operation_rows, row_key
from dytopo_autotrace.analyze.topology import Topology, topology
from dytopo_autotrace.analyze.tree import Tree, build
from dytopo_autotrace.analyze.what_if import WhatIf, what_if
from dytopo_autotrace.collect.records import (
    Cost,
    RuleState,
    RunRecords,
    records_from_json,
    records_to_json,
)

__all__ = [
    "Cost",
    "OwnCost",
    "RuleState",
    "RunRecords",
    "RunSummary",
    "records_from_json",
    "records_to_json",
    "summarize",
]

_TASK_KEY: Final = "task"
_ROUNDS_KEY: Final = "rounds"
HELD_SHARE: Final = 0.1
"""Share of the run from which on a held event loop is part of the verdict."""
_OUTCOME_KEYS: Final = ("termination_reason", "status")


@dataclass(frozen=True, slots=True)
class OwnCost:
    """What watching cost by calibration: calls times seconds per call, and the background thread."""

    calls: int
    seconds_per_call: float
    seconds: float
    """Calls times seconds per call."""
    drain_seconds: float
    share: float | None
    """Of the program's wall time; None when that is not known."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Everything a report shows about one run."""

    verdict: Verdict
    service: str
    argv: tuple[str, ...]
    started_unix_ns: int
    wall_seconds: float
    task: str
    outcome: str
    """What the orchestrator itself said: termination reason or status."""
    rounds: int
    """Of all swarms together."""
    swarms: tuple[Swarm, ...]
    score: float
    parallelization_factor: float
    trace_ids: tuple[str, ...]
    span_count: int
    failure_count: int
    failures: tuple[FailureGroup, ...]
    dead_agents: tuple[DeadAgent, ...]
    infections: tuple[Infection, ...]
    blocked_loops: tuple[BlockedLoop, ...]
    cancellations: tuple[Cancellation, ...]
    agents: tuple[AgentRow, ...]
    operations: tuple[OperationRow, ...]
    slow_agents: tuple[SlowAgent, ...]
    long_poles: tuple[LongPole, ...]
    recommendations: tuple[Recommendation, ...]
    activities: Activities
    topology: Topology
    convergence: Convergence
    critical_path: CriticalPath
    what_if: WhatIf
    spending: Spending
    told_rounds: tuple[Round, ...]
    """Each round with all that is known of it, swarm by swarm."""
    tokens: float | None
    rules: tuple[RuleState, ...]
    drops: tuple[tuple[str, int], ...]
    cost: OwnCost | None
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


def summarize(run: RunRecords, before: Sequence[RunRecords] = ()) -> RunSummary:
    """Work out what a report shows about a run; `before` are earlier runs of the same program."""
    tree = build(run.spans, run.now_ns or None)
    owned = owners(tree)
    busy = busy_ns(tree)
    usage = leaf_usage(tree)
    found = outcomes(tree, owned, {span_id: each.total for span_id, each in usage.items()})
    groups = marked(stories(found, run.ended), before)
    rows = agent_rows(tree, owned, _with_callers(usage, tree, owned))
    messages = topology(tree, owned)
    graph = dependencies(tree)
    path = critical_path(graph, owned)
    predicted = what_if(graph, path, owned)
    found_swarms = swarms(tree, owned)
    times = activities(tree, owned, busy)
    said = convergence(tree, owned, messages)
    spent = spending(tree, owned, usage, run.prices)
    failures = len(found.failures)
    held_up = bottlenecks(
        tree, owned, busy, failures, groups, (*predicted.predictions, *predicted.cached)
    )
    blocked = blocked_loops(tree, owned)
    return RunSummary(
        verdict=_with_held_loop(
            _verdict(run, found, groups, held_up.slow_agents, _running_last(tree, owned)),
            blocked,
            graph.wall_ns / 1e9,
        ),
        service=run.service,
        argv=run.argv,
        started_unix_ns=run.started_unix_ns,
        wall_seconds=run.wall_seconds,
        task=_said_by_orchestrator(tree, (_TASK_KEY,)),
        outcome=_said_by_orchestrator(tree, _OUTCOME_KEYS),
        rounds=_rounds(tree, owned, found_swarms),
        swarms=found_swarms,
        score=held_up.score,
        parallelization_factor=held_up.parallelization_factor,
        trace_ids=tuple(f"{trace:032x}" for trace in tree.traces),
        span_count=len(tree.spans),
        failure_count=len(found.failures),
        failures=groups,
        dead_agents=found.dead_agents,
        blocked_loops=blocked,
        infections=infections(tree, owned, messages),
        cancellations=found.cancellations,
        agents=rows,
        operations=operation_rows(tree, owned, busy),
        slow_agents=held_up.slow_agents,
        long_poles=held_up.long_poles,
        recommendations=held_up.recommendations,
        activities=times,
        topology=messages,
        convergence=said,
        critical_path=path,
        what_if=predicted,
        spending=spent,
        told_rounds=rounds(tree, owned, found_swarms, times, messages, said, path, spent),
        tokens=sum(each.total for each in usage.values()) if usage else None,
        rules=run.rules,
        drops=tuple(sorted(run.drops.items(), key=lambda item: -item[1])),
        cost=_own_cost(run),
        faults=run.faults,
        remarks=(*run.remarks, *tree.remarks, *merged(tree, owned), *predicted.remarks),
    )


def _verdict(
    run: RunRecords,
    found: Outcomes,
    groups: tuple[FailureGroup, ...],
    slow: tuple[SlowAgent, ...],
    running: Sequence[str],
) -> Verdict:
    took = f" after {wording.seconds(run.wall_seconds)}" if run.wall_seconds > 0 else ""
    trouble = _trouble(found, groups) if run.spans else "no call was recorded"
    if run.ended == "KeyboardInterrupt":
        return Verdict("failed", _sentence(f"The program was interrupted{took}", trouble))
    if run.ended == "died":
        last = f", while {wording.listing(running, 3)} ran" if running else ""
        end = f"The program died{took}{last}, and did not say how"
        return Verdict("failed", _sentence(end, trouble))
    if run.ended not in ("returned", "SystemExit", "running", ""):
        said = f": {wording.clip(run.ended_message, 120)}" if run.ended_message else ""
        return Verdict("failed", _sentence(f"{run.ended} ended the program{took}{said}", trouble))
    if run.exit_status:
        end = f"The program exited with status {run.exit_status}{took}"
        return Verdict("failed", _sentence(end, trouble))
    end = f"The program ended normally{took}" if run.ended else _span_of_time(run)
    if run.ended == "running":
        end = f"The program still ran{took}"
    if trouble:
        return Verdict("degraded" if run.spans else "empty", f"{end}, but {trouble}.")
    rescued = [group for group in groups if group.first.rescued]
    ambient = sum(group.count for group in groups if group.ambient)
    beside = (
        f" {wording.count(ambient, 'failure')} outside the agents' work went unheeded."
        if ambient
        else ""
    )
    if slow:
        names = [wording.slowness(each) for each in slow]
        beside = f" But {wording.listing(names, 3)}.{beside}"
    if rescued:
        return Verdict("recovered", f"{end}; {wording.made_good(rescued)}.{beside}")
    return Verdict("healthy", f"{end}, and no agent's call failed.{beside}")


def _with_held_loop(
    verdict: Verdict, blocked: Sequence[BlockedLoop], wall_seconds: float
) -> Verdict:
    """The verdict, with the event loop if agents stood still for a good share of the run."""
    felt = [each for each in blocked if each.standing_still]
    seconds = math.fsum(each.seconds for each in felt)
    if not wall_seconds or seconds < HELD_SHARE * wall_seconds:
        return verdict
    holders = dict.fromkeys(
        wording.call(each.holder) if each.holder else each.where for each in felt
    )
    agents = sorted({name for each in felt for name in each.standing_still or ()})
    least = "" if all(each.is_exact for each in felt) else "at least "
    said = (
        f" The event loop was held for {least}{wording.seconds(seconds)} by "
        f"{wording.listing(list(holders), 3)}, while {wording.listing(agents, 4)} stood still."
    )
    return replace(verdict, text=verdict.text + said)


def _span_of_time(run: RunRecords) -> str:
    """What is known of an end that nobody recorded."""
    traces = len({span.trace for span in run.spans})
    subject = "The trace spans" if traces == 1 else f"The {traces:,} traces span"
    return f"{subject} {wording.seconds(run.wall_seconds)}"


def _trouble(found: Outcomes, groups: tuple[FailureGroup, ...]) -> str:
    """What was not made good, the dead first."""
    parts = []
    dead = [each for each in found.dead_agents if each.calls > 1]
    if dead:
        names = wording.listing([each.agent for each in dead], 4)
        calls = sum(each.calls for each in dead)
        verb = "was" if len(dead) == 1 else "were"
        settled = wording.CAME_TO_AN_END if any(each.unsettled for each in dead) else ""
        parts.append(f"{names} {verb} dead (all {calls} calls{settled} failed)")
    if once := [each for each in found.dead_agents if each.calls == 1]:
        whose = "its only call" if len(once) == 1 else "their only calls"
        settled = wording.CAME_TO_AN_END if any(each.unsettled for each in once) else ""
        names = wording.listing([each.agent for each in once], 4)
        parts.append(f"{names} failed in {whose}{settled}")
    left = [
        group
        for group in groups
        if not group.dead_agents and not group.first.rescued and not group.ambient
    ]
    news = [group for group in left if not group.recurring]
    before = ""
    if left and not news:
        before = f", as in every one of the {wording.count(left[0].recurring, 'run')} before"
    # What every run has is no news beside what only this one has, nor beside a death.
    left = news if news or parts else left
    if left:
        number_left = sum(group.count for group in left)
        other = "other " if parts else ""
        agents = list(dict.fromkeys(name for group in left for name, _ in group.agents))
        whose = f" of {wording.listing(agents, 3)}" if agents else ""
        what = f": {left[0].headline}" if len(left) == 1 else ""
        parts.append(
            f"{wording.count(number_left, f'{other}failure')}{whose} "
            f"{'was' if number_left == 1 else 'were'} not made good{before}{what}"
        )
    return " and ".join(parts)


def _running_last(tree: Tree, owned: Owners) -> list[str]:
    """The calls that still ran when the records end and waited for no other, the longest first."""
    running = [span for span in tree.spans if not span.end_ns]
    callers = {tree.parents[span.id].id for span in running if span.id in tree.parents}
    innermost = [span for span in running if span.id not in callers]
    innermost.sort(key=tree.seconds, reverse=True)
    return [
        f"{span.operation}{' of ' * bool(owned.agents[span.id])}{owned.agents[span.id]}"
        f" (for {wording.seconds(tree.seconds(span))})"
        for span in innermost
    ]


def _sentence(end: str, trouble: str) -> str:
    if trouble:
        return f"{end}; {trouble}."
    return end if end.endswith(".") else f"{end}."


def _said_by_orchestrator(tree: Tree, keys: tuple[str, ...]) -> str:
    for span in tree.spans:
        if span.role == "orchestrator":
            for key in keys:
                if isinstance(value := span.metadata.get(key), (str, int, float)):
                    return str(value)
    return ""


def _rounds(tree: Tree, owned: Owners, found: Sequence[Swarm]) -> int:
    """Rounds as the orchestrators counted them, else as many as their calls name."""
    if len(found) > 1:
        return sum(each.rounds for each in found)
    said = _said_by_orchestrator(tree, (_ROUNDS_KEY,))
    if said.isdigit():
        return int(said)
    return len({owned.rounds[span.id] for span in tree.spans if owned.rounds[span.id]})


def _with_callers(
    usage: Mapping[int, Usage], tree: Tree, owned: Owners
) -> dict[tuple[str, str], float]:
    """Tokens of each row and of all that was called on its behalf; not to be added up."""
    summed: dict[tuple[str, str], float] = {}
    rows_above: dict[int, frozenset[tuple[str, str]]] = {}
    for span in tree.spans:
        parent = tree.parent_of(span)
        above = rows_above[parent.id] if parent else frozenset()
        key = row_key(span, owned)
        rows_above[span.id] = above if key in above else above | {key}
        if span.id in usage:
            for each in rows_above[span.id]:
                summed[each] = summed.get(each, 0) + usage[span.id].total
    return summed


def _own_cost(run: RunRecords) -> OwnCost | None:
    if run.cost is None:
        return None
    seconds = run.cost.calls * run.cost.seconds_per_call
    share = seconds / run.wall_seconds if run.wall_seconds > 0 else None
    return OwnCost(
        run.cost.calls, run.cost.seconds_per_call, seconds, run.cost.drain_seconds, share
    )
