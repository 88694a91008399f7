"""Failures that tell the same story, folded into one and put into words, the gravest first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.failure_patterns import is_known, suggestions
from dytopo_autotrace.analyze.findings import DeadAgent, Failure, FailureGroup, Outcomes

AMBIENT_ROLES: Final = frozenset({"health", "io", "memory"})
_VARYING: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b(?:(?=\w*\d)\w+|[0-9a-f]{8,}|tmp[a-z0-9_]{6,})",
    re.IGNORECASE,
)
"""UUIDs, words with a digit, and what has none by chance: long hexadecimal words, temporary files."""


def stories(outcomes: Outcomes, ended: str = "") -> tuple[FailureGroup, ...]:
    """Groups of failures alike in all but agent, round and the numbers in their messages.

    `ended` is the type of the exception that ended the program, if one did.
    """
    alike: dict[tuple[object, ...], list[Failure]] = {}
    for failure in outcomes.failures:
        alike.setdefault(_signature(failure), []).append(failure)
    killed = _causes_of_death(outcomes.dead_agents, alike)
    groups = [_group(failures, killed.get(key, ())) for key, failures in alike.items()]
    return tuple(sorted(groups, key=lambda group: _gravity(group, ended)))


def is_ambient(failure: Failure) -> bool:
    """It touched no agent and no step of the swarm's work: a health check, a best-effort write."""
    touched = (failure.origin, *failure.passed_through)
    return (
        failure.fate in ("swallowed", "returned")
        and not failure.agents
        and all(place.role in AMBIENT_ROLES for place in touched)
    )


def without_numbers(message: str) -> str:
    """A message without what differs from one time to the next: numbers, addresses, ids."""
    return _VARYING.sub("#", message)


def _signature(failure: Failure) -> tuple[object, ...]:
    return (
        failure.kind,
        failure.certain,
        failure.error_type,
        without_numbers(failure.message),
        failure.origin.operation,
        failure.fate,
        failure.attempts if failure.fate == "retry" else 0,
        failure.surface_type,
        failure.effect.operation if failure.effect else "",
        failure.handled_by.operation if failure.handled_by else "",
        failure.handler_failed,
        failure.assumed,
        (failure.model, failure.rescuer_model) if failure.rescuer_model else (),
        failure.followed_by is not None,
    )


def _causes_of_death(
    dead: Iterable[DeadAgent], alike: dict[tuple[object, ...], list[Failure]]
) -> dict[tuple[object, ...], tuple[DeadAgent, ...]]:
    """For each dead agent the one story that has most of its failures."""
    shares: dict[str, Counter[tuple[object, ...]]] = {}
    for key, failures in alike.items():
        for failure in failures:
            if not failure.rescued:
                for agent in failure.agents:
                    shares.setdefault(agent, Counter())[key] += 1
    killed: dict[tuple[object, ...], tuple[DeadAgent, ...]] = {}
    for each in dead:
        if each.agent in shares:
            key = shares[each.agent].most_common(1)[0][0]
            killed[key] = (*killed.get(key, ()), each)
    return killed


def _group(failures: list[Failure], dead: tuple[DeadAgent, ...]) -> FailureGroup:
    first = failures[0]
    agents = Counter(agent for failure in failures for agent in failure.agents)
    taken, spent = wording.recovery(failures)
    return FailureGroup(
        first=first,
        count=len(failures),
        agents=tuple(agents.most_common()),
        rounds=tuple(dict.fromkeys(failure.round for failure in failures if failure.round)),
        dead_agents=dead,
        ambient=all(is_ambient(failure) for failure in failures),
        headline=wording.headline(first),
        cause=wording.cause(failures),
        where=wording.where(failures),
        became=wording.became(failures),
        remedy=_remedy(first),
        recovery_seconds=taken,
        recovery_tokens=spent,
    )


def _remedy(failure: Failure) -> str:
    component = failure.agents[0] if len(failure.agents) == 1 else failure.origin.operation
    if failure.kind == "timeout":
        held_up = failure.culprits[0].place if failure.culprits else failure.origin
        return (
            f"See what held up {wording.call(held_up)}: the log of what it waited for, the size of "
            "its input. If it is only slow, raise the limit above its slowest good call."
        )
    kind = failure.error_type
    if kind == "SystemExit":
        return "It ended the program on purpose: see what that printed."
    if failure.kind == "soft":
        kind = "parse" if failure.origin.role == "llm" else ""
        if not is_known(kind, failure.message, of_answers=failure.of_answer):
            return _remedy_of_result(failure)
    instead = ""
    if failure.rescuer_model and failure.model and not failure.model_successes:
        instead = f" As long as {failure.model} fails, ask {failure.rescuer_model} at once."
    known = is_known(kind, failure.message, of_answers=failure.of_answer)
    if failure.frame is not None and not known:
        file, line, _ = failure.frame
        return f"Look at line {line} of {file}, and at what it was given.{instead}"
    said = suggestions(component, kind, failure.message, of_answers=failure.of_answer)
    if instead:
        return f"{said[0]}{instead}"
    if failure.fate == "retry" and not failure.assumed:
        # What else could be tried is for those to whom trying again was no help.
        return f"{said[0]} Trying again was enough this time; keep the retries."
    return " ".join(said[:2])


def _remedy_of_result(failure: Failure) -> str:
    """Of a failed result: what to look at, and where to stop it."""
    operation = failure.origin.operation
    look = f"See what {operation} returned"
    if not failure.returned:
        rule = f"rule {failure.rule}" if failure.rule else "its rule"
        look += f': add attributes = {{ result = "result" }} to {rule}'
    read = f" {wording.count(failure.readers, 'later call')} read it." if failure.readers else ""
    return f"{look}.{read} Let its caller check the result before it passes it on."


def _gravity(group: FailureGroup, ended: str) -> tuple[object, ...]:
    order = ("raised", "unsettled", "interrupted", "swallowed", "returned", "fallback", "retry")
    ended_it = group.first.fate == "raised" and group.first.surface_type == ended
    return (
        not ended_it,
        not any(dead.calls > 1 for dead in group.dead_agents),
        not group.dead_agents,
        group.ambient,
        order.index(group.first.fate),
        -group.count,
        group.first.at_seconds,
    )
