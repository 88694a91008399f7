"""What to do about what was seen, each with the numbers that say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.findings import (
    FailureGroup,
    LongPole,
    Priority,
    Recommendation,
    SlowAgent,
)
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.timing import covered_ns, operation_rows
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.analyze.what_if import Prediction, queues

FULL_PARALLELIZATION: Final = 2.0
WORTH_SAYING: Final = 0.10
"""Share of the time watched below which a saving is not worth a recommendation."""
_FAILURES_TOLD: Final = 10
_PREDICTIONS_TOLD: Final = 5
_CATEGORIES: Final[Mapping[str, str]] = {
    "faster_agent": "what_if",
    "faster_operation": "what_if",
    "slots": "parallelization",
    "side_by_side": "parallelization",
    "no_retries": "retries",
    "cached": "caching",
    "off_loop": "parallelization",
}
_ORDER: Final[Mapping[Priority, int]] = {"high": 0, "medium": 1, "low": 2}


def recommendations(
    tree: Tree,
    owned: Owners,
    busy: Mapping[int, int],
    factor: float,
    groups: Sequence[FailureGroup],
    slow: Sequence[SlowAgent],
    poles: Sequence[LongPole],
    predictions: Sequence[Prediction] = (),
) -> tuple[Recommendation, ...]:
    """What to do, the most pressing first; of many kinds of failure only the gravest.

    Of one priority, what is predicted to save the most comes first.
    """
    found = [
        *(_about_failure(group) for group in groups[:_FAILURES_TOLD]),
        *(
            _predicted(about_slow_agent(each), predictions, "faster_agent", each.agent)
            for each in slow
        ),
        *_about_long_poles(poles),
        *_about_parallelization(tree, owned, busy, factor, predictions),
        *_about_caching(predictions),
    ]
    told = {each.evidence for each in found if each.saved_seconds is not None}
    found += [
        _about_prediction(each)
        for each in [each for each in predictions if each.kind != "cached"][:_PREDICTIONS_TOLD]
        if each.evidence not in told
    ]
    return tuple(
        sorted(found, key=lambda each: (_ORDER[each.priority], -(each.saved_seconds or 0.0)))
    )


def _predicted(
    said: Recommendation, predictions: Sequence[Prediction], kind: str, subject: str
) -> Recommendation:
    """The same with what the replay predicts, if that was tried."""
    for each in predictions:
        if each.kind == kind and each.subject == subject:
            return replace(
                said,
                message=f"{said.message} {wording.replayed(each.text, each.saved_seconds)}",
                saved_seconds=each.saved_seconds,
                sureness=each.sureness,
                evidence=each.evidence,
            )
    return said


def _about_prediction(found: Prediction) -> Recommendation:
    share = found.saved_share
    priority: Priority = "high" if share > 0.3 else "medium" if share > WORTH_SAYING else "low"
    return Recommendation(
        # What is not sure is not pressing.
        max(priority, found.sureness, key=_ORDER.__getitem__),
        _CATEGORIES[found.kind],
        f"With {found.text} the run would take {wording.seconds(found.seconds)}: "
        f"{wording.seconds(found.saved_seconds)} less ({share:.0%}).",
        found.saved_seconds,
        found.sureness,
        found.evidence,
        from_replay=True,
    )


def _about_failure(group: FailureGroup) -> Recommendation:
    text = f"{group.headline}{wording.times(group)}: {group.remedy}"
    if group.dead_agents:
        dead = "; ".join(wording.death(each) for each in group.dead_agents)
        return Recommendation("high", "dead_agent", f"{dead}. {text}")
    if group.first.rescued or group.ambient:
        return Recommendation("low", "retries" if group.first.rescued else "errors", text)
    if group.first.kind == "timeout":
        return Recommendation("high", "timeouts", text)
    return Recommendation("high", "errors", text)


def about_slow_agent(slow: SlowAgent) -> Recommendation:
    """How much slower than its peers it is, and who waits for it."""
    return Recommendation(
        "high",
        "long_poles",
        f"{wording.slowness(slow)} ({wording.slow_medians(slow)}) and {wording.held_up(slow)}. "
        f"{wording.SLOW_REMEDY}",
        slow_agent=slow.agent,
    )


def _about_long_poles(poles: Sequence[LongPole]) -> list[Recommendation]:
    groups: dict[tuple[str, str], list[LongPole]] = {}
    for pole in poles:
        groups.setdefault((pole.place.operation, pole.place.agent), []).append(pole)
    return [
        Recommendation(
            "high" if len(group) > 2 else "medium",
            "long_poles",
            f"{wording.call(group[0].place)} ran over 10 s in "
            f"{wording.count(len(group), 'call')}, the longest {wording.seconds(group[0].seconds)}"
            f"{' and still running' if group[0].running else ''}. "
            "Split it, give it a limit, or start it earlier beside other work.",
        )
        for group in groups.values()
    ]


def _about_parallelization(
    tree: Tree,
    owned: Owners,
    busy: Mapping[int, int],
    factor: float,
    predictions: Sequence[Prediction],
) -> list[Recommendation]:
    """What calls that never ran side by side would save if they did, or else the largest share."""
    if not tree.spans or factor >= FULL_PARALLELIZATION:
        return []
    wall = _watched(tree)
    worst, taken, longest = "", 0, 0
    found = queues(tree, owned)
    for operation, groups in found.items():
        spent = [[tree.end_ns(span) - span.start_ns for span in group] for group in groups]
        total, least = sum(map(sum, spent)), sum(map(max, spent))
        if total - least > taken - longest:
            worst, taken, longest = operation, total, least
    if worst and taken - longest >= WORTH_SAYING * wall:
        calls = [span for group in found[worst] for span in group]
        who = wording.listing(list(dict.fromkeys(owned.agents[span.id] for span in calls)))
        said = Recommendation(
            # Whether they need each other's results is not in the records.
            "low",
            "parallelization",
            f"{wording.count(len(calls), 'call')} of {worst} ({who}) took "
            f"{wording.seconds(taken / 1e9)} one after another; side by side they would take as "
            f"long as the slowest, {wording.seconds(longest / 1e9)}. "
            "Start those together that do not need each other's results.",
        )
        return [_predicted(said, predictions, "side_by_side", worst)]
    if len(tree.spans) < 3:
        return []
    top = operation_rows(tree, owned, busy, 1)[0]
    who = f" of {top.agent}" if top.agent else ""
    return [
        Recommendation(
            "low",
            "parallelization",
            f"On average {factor:.2f} calls ran at a time ({FULL_PARALLELIZATION:.2f} gives full "
            f"marks). The largest share of own time, {top.share:.0%}, is {top.operation}{who}.",
        )
    ]


def _watched(tree: Tree) -> int:
    return covered_ns((root.start_ns, tree.end_ns(root)) for root in tree.roots)


def _about_caching(predictions: Sequence[Prediction]) -> list[Recommendation]:
    return [
        Recommendation(
            "low",
            "caching",
            f"If the inputs of {each.subject} repeat, a cache saves up to "
            f"{wording.seconds(each.saved_seconds)}: so much the run is shorter with {each.text}.",
            each.saved_seconds,
            each.sureness,
            each.evidence,
        )
        for each in predictions
        if each.kind == "cached" and each.saved_share >= WORTH_SAYING
    ]
