"""The classic analysis of one trace: what held it up, a score, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.critical_path import critical_path
from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.findings import (
    FailureGroup,
    LongPole,
    Recommendation,
    SlowAgent,
)
from dytopo_autotrace.analyze.outcomes import outcomes
from dytopo_autotrace.analyze.ownership import Owners, owners
from dytopo_autotrace.analyze.poles import long_poles, slow_agents
from dytopo_autotrace.analyze.recommendations import (
    FULL_PARALLELIZATION,
    about_slow_agent,
    recommendations,
)
from dytopo_autotrace.analyze.stories import stories
from dytopo_autotrace.analyze.timing import busy_ns, parallelization
from dytopo_autotrace.analyze.tree import Tree, build
from dytopo_autotrace.analyze.what_if import Prediction, what_if
from dytopo_autotrace.collect.span import Span

TARGET_SCORE: Final = 70
_SLOWEST_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Bottlenecks:
    """What held a run up, its score, and what to do."""

    parallelization_factor: float
    long_poles: tuple[LongPole, ...]
    slow_agents: tuple[SlowAgent, ...]
    recommendations: tuple[Recommendation, ...]
    score: float


def bottlenecks(
    tree: Tree,
    owned: Owners,
    busy: Mapping[int, int],
    failures: int,
    groups: Sequence[FailureGroup],
    predictions: Sequence[Prediction] = (),
) -> Bottlenecks:
    """Find what held the records' run up; `groups` are its failures, the gravest first."""
    factor = parallelization(tree, busy)
    poles = long_poles(tree, owned, busy)
    slow = slow_agents(tree, owned, busy)
    return Bottlenecks(
        factor,
        poles,
        slow,
        recommendations(tree, owned, busy, factor, groups, slow, poles, predictions),
        score(factor, len(poles) + len(slow), failures) if tree.spans else 0.0,
    )


def score(parallelization_factor: float, poles: int, failures: int) -> float:
    """0 to 100: 40 for parallelization (2.0x gives all), 30 for no long poles, 30 for no errors.

    Each long pole and each failure takes 5 points off its 30. Above 70 is the target.
    """
    parallel = 40 * min(max(parallelization_factor, 0.0) / FULL_PARALLELIZATION, 1.0)
    return round(parallel + max(30 - 5 * poles, 0) + max(30 - 5 * failures, 0), 1)


def analyze(spans: Iterable[Span], now_ns: int | None = None) -> dict[str, Any]:
    """The classic analysis of the spans of a trace, as plain values. Durations are seconds.

    `long_poles` holds single calls over 10 s and agents far slower than their peers (see
    `poles`); `error_count` counts failures by their origin, not the calls an exception crossed.
    """
    tree = build(spans, now_ns)
    owned = owners(tree)
    busy = busy_ns(tree)
    found = outcomes(tree, owned)
    graph = dependencies(tree)
    path = critical_path(graph, owned)
    predicted = what_if(graph, path, owned)
    told = (*predicted.predictions, *predicted.cached)
    result = bottlenecks(tree, owned, busy, len(found.failures), stories(found), told)
    traces = tree.traces
    return {
        "trace_id": f"{traces[0]:032x}" if traces else "",
        "total_duration": (tree.last_ns - tree.first_ns) / 1e9,
        "total_spans": len(tree.spans),
        "parallelization_factor": result.parallelization_factor,
        "slowest_operations": _slowest(tree, owned, busy),
        "long_poles": _classic_poles(result),
        "error_count": len(found.failures),
        "recommendations": [
            {
                "priority": each.priority,
                "category": each.category,
                "message": each.message,
                "saved_seconds": each.saved_seconds,
                "sureness": each.sureness,
                "evidence": list(each.evidence),
            }
            for each in result.recommendations
        ],
        "critical_path": [
            {
                "operation": each.operation,
                "agent": each.agent,
                "seconds": each.seconds,
                "share": each.share,
            }
            for each in path.by_operation[:_SLOWEST_LISTED]
        ],
        "performance_score": result.score,
    }


def format_report(analysis: Mapping[str, Any]) -> str:
    """The classic analysis as text."""
    if not analysis.get("total_spans"):
        return "Performance analysis\n  No spans were recorded for this trace."
    points = float(analysis["performance_score"])
    lines = [
        f"Performance analysis of trace {analysis['trace_id']}",
        f"  Score            {points:.0f} of 100 (target above {TARGET_SCORE})",
        f"  Duration         {wording.seconds(analysis['total_duration'])}",
        f"  Spans            {analysis['total_spans']}",
        f"  Parallelization  {analysis['parallelization_factor']:.2f}x",
        f"  Failures         {analysis['error_count']}",
    ]
    if slowest := analysis.get("slowest_operations"):
        lines += ["", "Slowest operations"]
        for each in slowest:
            who = f" ({each['agent']})" if each.get("agent") else ""
            lines.append(f"  {wording.seconds(each['duration']):>8}  {each['operation']}{who}")
    if poles := analysis.get("long_poles"):
        lines += ["", "Long poles"]
        lines += [f"  {each['operation']}: {each['reason']}" for each in poles]
    if recommended := analysis.get("recommendations"):
        lines += ["", "Recommendations"]
        lines += [
            f"  [{each['priority']}] {each['category']}: {each['message']}" for each in recommended
        ]
    return "\n".join(lines)


def _slowest(tree: Tree, owned: Owners, busy: Mapping[int, int]) -> list[dict[str, Any]]:
    spans = sorted(tree.spans, key=lambda span: (-tree.seconds(span), span.start_ns))
    return [
        {
            "operation": span.operation,
            "duration": tree.seconds(span),
            "own_duration": busy[span.id] / 1e9,
            "role": span.role,
            "agent": owned.agents[span.id],
            "status": span.status,
            "span_id": span.span_id,
        }
        for span in spans[:_SLOWEST_LISTED]
    ]


def _classic_poles(result: Bottlenecks) -> list[dict[str, Any]]:
    slow = [
        {
            "operation": each.agent,
            "duration": each.p50_seconds,
            "role": each.role,
            "agent": each.agent,
            "span_id": "",
            "reason": about_slow_agent(each).message,
        }
        for each in result.slow_agents
    ]
    long = [
        {
            "operation": each.place.operation,
            "duration": each.seconds,
            "role": each.place.role,
            "agent": each.place.agent,
            "span_id": each.place.span_id,
            "reason": f"ran {wording.seconds(each.seconds)}" + (", still running" * each.running),
        }
        for each in result.long_poles
    ]
    return slow + long
