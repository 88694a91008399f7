"""Failures and slowness of several runs folded together: how often, when, and what rescued them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from dytopo_autotrace.analyze.findings import Failure, FailureGroup, Recommendation
from dytopo_autotrace.analyze.stories import without_numbers
from dytopo_autotrace.analyze.wording import call, clip, count, death, listing
from dytopo_autotrace.documentation.model import Run, Trouble

MOST_OF_MESSAGE: Final = 60
"""Characters of a message in the title of a failure that nothing else tells from another."""

Seen = tuple[Run, FailureGroup]


def troubles(runs: Sequence[Run]) -> tuple[Trouble, ...]:
    """Every cluster of failures that was seen, the gravest and most frequent first."""
    found: dict[tuple[object, ...], list[Seen]] = {}
    for run in runs:
        for group in run.summary.failures:
            found.setdefault(_signature(group), []).append((run, group))
    folded = [_trouble(seen, len(runs)) for seen in found.values()]
    folded.sort(
        key=lambda each: (
            not any(dead.calls > 1 for dead in each.group.dead_agents),
            not each.deaths,
            each.group.ambient,
            each.group.first.rescued,
            -each.count,
            each.group.headline,
            each.group.where,
        ),
    )
    return tuple(
        replace(each, title=title) for each, title in zip(folded, _titles(folded), strict=True)
    )


def bottlenecks(runs: Sequence[Run]) -> tuple[tuple[Recommendation, tuple[Run, ...]], ...]:
    """What the analyzers advise about speed; the same advice of several runs once, the latest's."""
    found: dict[tuple[str, str], tuple[Recommendation, list[Run]]] = {}
    for run in runs:
        for each in run.summary.recommendations:
            if each.category in ("errors", "retries", "timeouts", "dead_agent"):
                continue
            key = each.category, without_numbers(each.message)[:60]
            found.setdefault(key, (each, []))[1].append(run)
    order = {"high": 0, "medium": 1, "low": 2}
    folded = [(advice, tuple(seen)) for advice, seen in found.values()]
    return tuple(sorted(folded, key=lambda each: (order[each[0].priority], -len(each[1]))))


def recovered(runs: Sequence[Run]) -> tuple[str, ...]:
    """Everything that rescued a failure, as a sentence each."""
    return _recoveries([group for run in runs for group in run.summary.failures])


def _trouble(seen: Sequence[Seen], of_runs: int) -> Trouble:
    """The same failure of several runs: counts are of all, words are of the run that had it most."""
    told, group = max(seen, key=lambda each: each[1].count)
    agents: Counter[str] = Counter()
    for _, each in seen:
        agents.update(dict(each.agents))
    return Trouble(
        title=group.headline,
        group=group,
        told=told,
        runs=tuple(run for run, _ in seen),
        count=sum(each.count for _, each in seen),
        of_runs=of_runs,
        agents=tuple(sorted(agents, key=lambda name: (-agents[name], name))),
        rounds=_in_order(number for _, each in seen for number in each.rounds),
        deaths=_deaths(seen),
        cause=_said(seen, told, lambda each: each.cause),
        where=_said(seen, told, lambda each: each.where),
        became=_said(seen, told, lambda each: each.became),
        recoveries=_recoveries([each for _, each in seen]),
    )


def _said(seen: Sequence[Seen], told: Run, words: Callable[[FailureGroup], str]) -> tuple[str, str]:
    """What is said of a failure, and the run that it is said of if another says otherwise."""
    of_told = next(words(group) for run, group in seen if run is told)
    return of_told, "" if all(words(group) == of_told for _, group in seen) else told.name


def _deaths(seen: Sequence[Seen]) -> tuple[str, ...]:
    """Who is dead of it, a sentence for each way of being so."""
    found: dict[str, list[str]] = {}
    for run, group in seen:
        for dead in group.dead_agents:
            found.setdefault(death(dead), []).append(run.name)
    if len(seen) == 1:
        return tuple(found)
    return tuple(f"In {listing(names, 4)}, {words}" for words, names in found.items())


def _in_order(rounds: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        sorted(dict.fromkeys(rounds), key=lambda each: (not each.isdigit(), len(each), each))
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
        without_numbers(first.message),
        first.origin.operation,
        first.fate,
        first.surface_type,
        frozenset(dead.agent for dead in group.dead_agents),
    )


# --- Titles ---------------------------------------------------------------------------------------


def _titles(folded: Sequence[Trouble]) -> list[str]:
    """A title for each by what it is, not by its place among the others, so that it stays the same."""
    ways: tuple[Callable[[Trouble], str], ...] = (
        lambda each: _with_agents(each, ""),
        lambda each: _with_agents(each, f", {each.group.first.fate}"),
        lambda each: _with_agents(each, f", {each.group.first.fate}{_message(each.group.first)}"),
    )
    titles = [""] * len(folded)
    for way in ways:
        open_ = [i for i, title in enumerate(titles) if not title]
        made = {i: way(folded[i]) for i in open_}
        often = Counter(made.values())
        for i, title in made.items():
            if often[title] == 1 and title not in titles:
                titles[i] = title
    taken = Counter[str]()
    for i, title in enumerate(titles):
        if not title:
            last = ways[-1](folded[i])
            taken[last] += 1
            titles[i] = f"{last}, {taken[last]}"
    return titles


def _with_agents(each: Trouble, more: str) -> str:
    dead = [name.agent for name in each.group.dead_agents]
    names = dead or each.agents
    return f"{each.group.headline}{f' ({listing(names, 3)})' if names else ''}{more}"


def _message(failure: Failure) -> str:
    said = clip(without_numbers(failure.message), MOST_OF_MESSAGE)
    return f": {said}" if said else ""
