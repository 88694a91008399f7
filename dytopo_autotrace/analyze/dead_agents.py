"""Agents of whose calls not one succeeded, however healthy the program looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from dytopo_autotrace.analyze.findings import DeadAgent, Failure
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span


def dead_agents(
    tree: Tree, owned: Owners, failures: Iterable[Failure], stopped: Collection[int]
) -> tuple[DeadAgent, ...]:
    """Agents all of whose settled worker calls failed.

    A worker call is an innermost span with role `worker` (a closure around it is not another
    call). It failed when it raised, when its result is a failure by rule, when it was cut off, or
    when it called models and every one of those calls failed, even though it returned normally.
    Calls still running, or cancelled for no fault of theirs, say nothing and are not counted.
    """
    calls = _worker_calls(tree)
    models = _model_calls(tree, calls)
    by_agent: dict[str, list[tuple[Span, bool]]] = {}
    unsettled: Counter[str] = Counter()
    for span in calls:
        agent = owned.agents[span.id]
        if not agent:
            continue
        if span.status == "in_progress" or (span.status == "cancelled" and span.id not in stopped):
            unsettled[agent] += 1
            continue
        good, bad = models.get(span.id, (0, 0))
        dead = is_failed(span) or span.status == "cancelled" or (bad > 0 and good == 0)
        by_agent.setdefault(agent, []).append((span, dead))

    causes: dict[str, list[Failure]] = {}
    for failure in failures:
        for agent in failure.agents:
            causes.setdefault(agent, []).append(failure)
    found = []
    for agent, settled in by_agent.items():
        if not all(dead for _, dead in settled):
            continue
        first = settled[0][0]
        kinds = Counter(
            (each.error_type, each.message) for each in causes.get(agent, ()) if not each.rescued
        )
        error_type, message = kinds.most_common(1)[0][0] if kinds else ("", "")
        found.append(
            DeadAgent(
                agent=agent,
                role=first.role,
                calls=len(settled),
                unsettled=unsettled[agent],
                returned=sum(
                    span.status == "success" and not is_failed(span) for span, _ in settled
                ),
                rounds=tuple(
                    dict.fromkeys(r for span, _ in settled if (r := owned.rounds[span.id]))
                ),
                error_type=error_type,
                message=message,
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.calls, each.agent)))


def _worker_calls(tree: Tree) -> list[Span]:
    """Worker spans with no worker span of the same agent below them, in order."""
    holds: set[int] = set()
    nearest: dict[int, Span] = {}
    workers = []
    for span in tree.spans:
        parent = tree.parent_of(span)
        above = nearest.get(parent.id) if parent is not None else None
        if span.role == "orchestrator":
            continue  # a swarm within a call has agents of its own, whatever they are called
        if span.role == "worker":
            if above is not None and above.agent == span.agent:
                holds.add(above.id)
            nearest[span.id] = span
            workers.append(span)
        elif above is not None:
            nearest[span.id] = above
    return [span for span in workers if span.id not in holds]


def _model_calls(tree: Tree, workers: list[Span]) -> dict[int, tuple[int, int]]:
    """Per worker call: outermost model calls in it that succeeded, and that did not."""
    wanted = {span.id for span in workers}
    nearest: dict[int, int] = {}
    counts: dict[int, tuple[int, int]] = {}
    for span in tree.spans:
        parent = tree.parent_of(span)
        if span.role == "orchestrator":
            continue
        if span.id in wanted:
            nearest[span.id] = span.id
        elif parent is not None and parent.role != "llm" and parent.id in nearest:
            nearest[span.id] = nearest[parent.id]
        if span.role == "llm" and span.id in nearest:
            good, bad = counts.get(nearest[span.id], (0, 0))
            failed = is_failed(span) or span.status == "cancelled"
            running = span.status == "in_progress"
            counts[nearest[span.id]] = (good + (not failed), bad + (failed and not running))
    return counts
