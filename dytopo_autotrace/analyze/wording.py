"""Findings in words: short, with their numbers, and no surer than the records are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dytopo_autotrace.analyze.findings import (
    DeadAgent,
    Failure,
    FailureGroup,
    Place,
    SlowAgent,
)
from dytopo_autotrace.analyze.swarms import Swarm

_MESSAGE_SHOWN: Final = 240
_WORD: Final = 20
_ROUNDS_LISTED: Final = 4
SAME_AGE: Final = 1.05
"""Calls whose ages are no further apart than this were cut off by the same limit, most likely."""
_CONDITION: Final = ("failed_if held:", "its rule calls such a result failed:")
CAME_TO_AN_END: Final = " that came to an end"
SLOW_REMEDY: Final = "Give it a faster model or less context, or split its work."


def seconds(value: float) -> str:
    """A duration with a unit that suits it."""
    if value >= 3600:
        return f"{value / 3600:.1f} h"
    if value >= 100:
        return f"{value:.0f} s"
    if value >= 9.995:
        return f"{value:.1f} s"
    if value >= 0.0995:
        return f"{value:.2f} s"
    if value >= 0.001:
        return f"{value * 1e3:.1f} ms"
    if value > 0:
        return f"{value * 1e6:.1f} µs"
    return "0 s"


def seconds_alike(larger: float, smaller: float) -> tuple[str, str]:
    """Two durations in the unit of the larger, so that they compare at a glance."""
    if larger < 0.0995:
        return seconds(larger), seconds(smaller)
    decimals = 2 if smaller >= 0.095 else 3
    return f"{larger:.{decimals}f} s", f"{smaller:.{decimals}f} s"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 call`, `2 calls`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def listing(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; after the first few only how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    if len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return names[0] if names else ""


def clip(text: str, most: int) -> str:
    """Text cut to its first characters, between words where there are any."""
    if len(text) <= most:
        return text
    head, _, rest = text[:most].rpartition(" ")
    return (head if head and len(rest) < _WORD else text[:most]) + "..."


def call(place: Place) -> str:
    """`llm_call of developer`."""
    if place.agent and place.agent != place.operation:
        return f"{place.operation} of {place.agent}"
    return place.operation


def in_rounds(rounds: Sequence[str]) -> str:
    """` in rounds 1, 2 and 3`, or nothing."""
    if not rounds:
        return ""
    return f" in {'round' if len(rounds) == 1 else 'rounds'} {listing(rounds, 8)}"


def of_swarm(number: str, swarm: str) -> str:
    """`round 2 of outer`; of the only swarm of a run without its name."""
    return f"round {number} of {swarm}" if swarm else f"round {number}"


def runs_of(swarms: Sequence[Swarm]) -> str:
    """`2 runs of swarm, 2 and 3 rounds`; of swarms that have no rounds nothing."""
    told = []
    for operation in dict.fromkeys(each.operation for each in swarms if each.rounds):
        rounds = [each.rounds for each in swarms if each.operation == operation]
        low, high = min(rounds), max(rounds)
        if low == high:
            number = count(low, "round") + " each" * (len(rounds) > 1)
        elif len(rounds) <= _ROUNDS_LISTED:
            number = f"{listing([str(each) for each in rounds])} rounds"
        else:
            number = f"{low} to {high} rounds"
        told.append(f"{count(len(rounds), 'run')} of {operation}, {number}")
    return "; ".join(told)


def headline(failure: Failure) -> str:
    """What failed, in one line, without agents: those are counted beside it."""
    operation = failure.origin.operation
    if failure.kind == "soft":
        return f"{operation} returned a failed result"
    if not failure.certain:
        return f"{operation} was cut off"
    return f"{failure.error_type} in {operation}"


def times(group: FailureGroup) -> str:
    """Whose failures they are, how many, and in which rounds."""
    agents = [
        name if number == group.count or len(group.agents) == 1 else f"{name} {number}x"
        for name, number in group.agents
    ]
    who = f" ({listing(agents, 4)})" if agents else ""
    calls = group.first.operation_calls
    often = ""
    if group.count > 1:
        of_all = len(agents) < 2 and group.count == calls
        often = f", all {count(calls, 'call')}" if of_all else f", {group.count} times"
    return f"{who}{often}{in_rounds(group.rounds)}"


def death(dead: DeadAgent) -> str:
    """That an agent is dead, and what that means here; one call alone is no life."""
    settled = CAME_TO_AN_END if dead.unsettled else ""
    rounds = in_rounds(dead.rounds)
    if dead.calls == 1:
        what = ": every model call failed" if dead.returned else " failed"
        return f"{dead.agent}{what} in its only {dead.role} call{settled}{rounds}"
    calls = f"all {dead.calls} {dead.role} calls{settled}"
    if dead.returned == dead.calls:
        return f"{dead.agent} is dead: every model call failed in {calls}{rounds}"
    return f"{dead.agent} is dead: {calls} failed{rounds}"


def made_good(rescued: Sequence[FailureGroup]) -> str:
    """`3 failures made good by retry and 1 taken for made good by fallback`."""
    parts: list[str] = []
    for assumed, made in ((False, "made good by"), (True, "taken for made good by")):
        groups = [group for group in rescued if group.first.assumed is assumed]
        if not groups:
            continue
        number = sum(group.count for group in groups)
        how_many = str(number) if parts else count(number, "failure")
        by = listing(sorted({group.first.fate for group in groups}))
        parts.append(f"{how_many} {made} {by}")
    return " and ".join(parts)


def slowness(slow: SlowAgent) -> str:
    """How much slower than its peers an agent is."""
    return f"{slow.agent} is {slow.ratio:.1f}x slower than {'its peer' if slow.peers == 1 else 'its peers'}"


def slow_medians(slow: SlowAgent) -> str:
    """`p50 1.12 s against 0.17 s`: the median call of an agent and that of its peers."""
    mine, theirs = seconds_alike(slow.p50_seconds, slow.peers_p50_seconds)
    return f"p50 {mine} against {theirs}"


def slow_cause(slow: SlowAgent) -> str:
    """Where a slow agent's time went."""
    mine, theirs = seconds_alike(slow.p50_seconds, slow.peers_p50_seconds)
    return (
        f"{slow.spent_share:.0%} of its own time went to {slow.spent_in}. Half of its calls take "
        f"{mine} or more, half of its peers' {theirs}."
    )


def held_up(slow: SlowAgent) -> str:
    """Who waited for a slow agent, and how long."""
    waits = []
    if slow.last_calls:
        which = "every tier waits for it"
        if slow.last_calls < slow.calls:
            which = (
                f"in {slow.last_calls} of its {count(slow.calls, 'call')} "
                "those beside it finished first and waited"
            )
        waits.append(f"{which}, {seconds(slow.waited_seconds)} in all")
    if slow.alone_calls:
        waits.append(f"in {slow.alone_calls} it ran alone, {seconds(slow.alone_seconds)} in all")
    return "; ".join(waits)


def replayed(change: str, saved_seconds: float) -> str:
    """What the replay with a change predicts."""
    return f"Replayed with {change}, the run takes {seconds(saved_seconds)} less."


def cause(failures: Sequence[Failure]) -> str:
    """Type, message and the line that raised; of time that ran out, what was running."""
    first = failures[0]
    if not first.certain:
        return f"{_running(failures)} {_cut_off(failures)}"
    message = f": {clip(first.message, _MESSAGE_SHOWN)}" if first.message else ""
    if first.kind == "soft":
        said = f"nothing was raised{message.replace(':', ';', 1).replace(*_CONDITION)}"
        if first.returned:
            said += f". It returned: {clip(first.returned, _MESSAGE_SHOWN)}"
        return said
    text = first.error_type + message
    if first.frame is not None:
        file, line, function = first.frame
        text += f" ({file}:{line} in {function})"
    if first.kind == "timeout" and first.culprits:
        text += f". {_running(failures)}"
    return text


def where(failures: Sequence[Failure]) -> str:
    """The ways down from the outermost call to the origin, as one where they differ in one place."""
    paths = list(dict.fromkeys(failure.path for failure in failures))
    first = paths[0]
    if len(paths) > 1 and all(len(path) == len(first) for path in paths):
        differing = [i for i in range(len(first)) if len({path[i] for path in paths}) > 1]
        if len(differing) == 1:
            names = list(dict.fromkeys(path[differing[0]] for path in paths))
            if len(names) <= 4:
                merged = list(first)
                merged[differing[0]] = f"({' | '.join(names)})"
                return " > ".join(merged)
    more = len(paths) - 1
    return " > ".join(first) + (f", and {count(more, 'other way')}" if more else "")


def became(failures: Sequence[Failure]) -> str:
    """What happened next, as the tree shows it; of several failures, what holds for all."""
    first = failures[0]
    parts = [_attempts(failures), _crossing(first), _end(failures), _recovery(failures)]
    parts.append(_none_succeeded(first))
    return " ".join(part for part in parts if part)


def _none_succeeded(first: Failure) -> str:
    if first.kind == "soft":
        return ""
    operation = first.origin.operation
    if first.rescuer_model and first.model:
        if first.model_successes or first.model_calls < 2:
            return ""
        calls = count(first.model_calls, "call")
        return f"Not one of the {calls} of {operation} with {first.model} succeeded."
    if first.operation_successes or first.operation_calls < 2:
        return ""
    whose = f"{first.agents[0]}'s" if len(first.agents) == 1 else "the"
    return f"Not one of {whose} {count(first.operation_calls, 'call')} of {operation} succeeded."


def _between(values: Sequence[float]) -> str:
    """`0.20 s`, or `0.18 s to 0.25 s`."""
    low, high = seconds(min(values)), seconds(max(values))
    return low if low == high else f"{low} to {high}"


def _running(failures: Sequence[Failure]) -> str:
    first = failures[0]
    if len(first.culprits) > 1:
        shown = [f"{call(each.place)} {seconds(each.ran_seconds)}" for each in first.culprits]
        text = f"What was running, and for how long: {listing(shown, 4)}"
    else:
        ran = _between([each.culprits[0].ran_seconds for each in failures if each.culprits])
        text = f"{first.culprits[0].place.operation} had run {ran}"
    if first.slowest_success_seconds is not None:
        text += f"; those that succeeded took {seconds(first.slowest_success_seconds)} at most"
    return f"{text}."


def _cut_off(failures: Sequence[Failure]) -> str:
    """That they were cancelled, and whether always at the same age, as by a time limit."""
    first = failures[0]
    cut = [each.cut_off for each in failures if each.cut_off is not None]
    ages = [each.ran_seconds for each in cut]
    names = {each.place.operation for each in cut}
    if len(cut) > 1 and len(names) == 1 and max(ages) <= min(ages) * SAME_AGE:
        return (
            f"{names.pop()} was cancelled {_between(ages)} after its start each time, as by a "
            "time limit: by which, no record says."
        )
    who = "They were" if len(first.culprits) > 1 else "It was"
    return f"{who} cancelled, by a timeout or by the caller: which, no record says."


def _attempts(failures: Sequence[Failure]) -> str:
    failed = sorted({each.attempts - (each.fate == "retry") for each in failures})
    if failed[-1] < 2:
        return ""
    number = str(failed[0]) if len(failed) == 1 else f"{failed[0]} to {failed[-1]}"
    over = _between([each.lost_seconds for each in failures])
    if failures[0].assumed and failures[0].fate != "fallback":
        return f"{number} calls failed over {over}, taken for attempts at the same."
    return f"{number} attempts failed over {over}."


def _crossing(failure: Failure) -> str:
    if failure.kind == "soft" or not failure.certain:
        return ""
    changed = ""
    if failure.surface_type != failure.error_type:
        changed = f"It surfaced as {failure.surface_type}."
    if not failure.passed_through:
        return changed
    names = list(dict.fromkeys(place.operation for place in failure.passed_through))
    return f"It passed through {listing(names, 4)}. {changed}".strip()


def _recovery(failures: Sequence[Failure]) -> str:
    """What making it good took."""
    taken, spent = recovery(failures)
    if taken is None:
        return ""
    in_all = " in all" if len(failures) > 1 else ""
    if spent:
        return f"That cost {seconds(taken)} and {spent:,.0f} tokens{in_all}."
    untold = "" if spent is None else "; the failed attempts told of no tokens"
    return f"That cost {seconds(taken)}{in_all}{untold}."


def recovery(failures: Sequence[Failure]) -> tuple[float | None, float | None]:
    """Seconds and tokens that making them good took, added up; None where that is not known."""
    taken = [each.recovery_seconds for each in failures if each.recovery_seconds is not None]
    spent = [each.recovery_tokens for each in failures if each.recovery_tokens is not None]
    return (sum(taken) if taken else None), (sum(spent) if spent else None)


def _end(failures: Sequence[Failure]) -> str:
    first = failures[0]
    after = _between([each.rescued_after_seconds or 0.0 for each in failures])
    if first.fate == "retry":
        if first.assumed:
            return (
                f"The next call succeeded, {after} after the first had failed: taken for a retry; "
                "what it was asked was not captured."
            )
        return f"Attempt {first.attempts} succeeded, {after} after the first had failed."
    if first.fate == "fallback" and first.rescuer is not None:
        if first.rescuer_model:
            return (
                f"{call(first.rescuer)} with {first.rescuer_model} then succeeded, {after} after "
                f"the failure: taken for a fallback to {first.rescuer_model}."
            )
        return (
            f"{call(first.rescuer)} then succeeded, {after} after the failure, "
            "and its caller returned normally: taken for a fallback."
        )
    handler = first.handled_by.operation if first.handled_by is not None else "its caller"
    if first.fate == "raised":
        return "Nothing caught it: it was raised out of the outermost watched call."
    if first.fate == "returned":
        return "It was returned out of the outermost watched call."
    if first.fate == "interrupted":
        return f"{handler} was itself cancelled before it could react."
    if first.fate == "unsettled":
        return f"{handler} was still running when the records end."
    if first.handler_failed:
        return f"{handler} caught it, and failed later of something else."
    if first.effect is not None and first.kind != "soft":
        return f"{first.effect.operation} turned it into a failed result and went on."
    if first.effect is not None:
        return f"It made {first.effect.operation} return a failed result too; {handler} went on."
    if not first.certain:
        return f"{handler} went on without it."
    if first.kind == "soft":
        return f"{handler} went on with it and ended normally."
    if first.followed_by is not None:
        return (
            f"{handler} swallowed it: it ended normally. {call(first.followed_by)} then succeeded."
        )
    return f"{handler} swallowed it: it ended normally, and nothing else did the work."
