"""The report for programs: the whole summary as JSON, or the parts that were asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.summary import RunSummary
from dytopo_autotrace.errors import UsageError, nearest


def render(summary: RunSummary) -> str:
    """The summary as indented JSON, in ASCII; seconds are numbers, ids lower-case hex."""
    return _json(summary)


def render_parts(
    summary: RunSummary,
    *,
    number: str = "",
    agent: str = "",
    failures: bool = False,
    critical_path: bool = False,
    what_if: bool = False,
) -> str:
    """Only what was asked for, beside the verdict, under the keys that it has in the whole.

    What belongs to the asked round or agent is below `round` and `agent`.

    Raises:
        UsageError: there is no such round or agent.
    """
    parts: dict[str, Any] = {"verdict": summary.verdict}
    if failures:
        for key in ("failures", "dead_agents", "infections", "cancellations"):
            parts[key] = getattr(summary, key)
    if critical_path:
        parts["critical_path"] = summary.critical_path
    if what_if:
        parts["what_if"] = summary.what_if
        parts["recommendations"] = summary.recommendations
    if number:
        parts["round"] = dict(_of_round(summary, number))
    if agent:
        parts["agent"] = dict(_of_agent(summary, agent))
    return _json(parts)


def _json(value: Any) -> str:
    return json.dumps(to_json(value), indent=2, allow_nan=False)


def _of_round(summary: RunSummary, number: str) -> Iterator[tuple[str, Any]]:
    _known("round", number, [each.round for each in summary.activities.rounds])
    yield "round", number
    yield "told_rounds", [each for each in summary.told_rounds if each.time.round == number]
    yield "activities", [each for each in summary.activities.rounds if each.round == number]
    yield "graphs", [each for each in summary.topology.graphs if each.round == number]
    yield "spending", [each for each in summary.spending.by_round if each.name == number]
    yield "failures", [each for each in summary.failures if number in each.rounds]


def _of_agent(summary: RunSummary, agent: str) -> Iterator[tuple[str, Any]]:
    _known("agent", agent, [each.agent for each in summary.activities.agents])
    yield "agent", agent
    yield "rows", [row for row in summary.agents if row.name == agent]
    yield "operations", [row for row in summary.operations if row.agent == agent]
    yield "activities", [each for each in summary.activities.agents if each.agent == agent]
    yield "topology", [each for each in summary.topology.agents if each.agent == agent]
    yield "spending", [each for each in summary.spending.by_agent if each.name == agent]
    yield "slow_agents", [each for each in summary.slow_agents if each.agent == agent]
    yield "dead_agents", [each for each in summary.dead_agents if each.agent == agent]
    yield "infections", [each for each in summary.infections if each.agent == agent]
    told = [each for each in summary.failures if agent in {name for name, _ in each.agents}]
    yield "failures", told


def _known(what: str, name: str, names: list[str]) -> None:
    if name not in names:
        raise UsageError(f"There is no {what} {name!r}. {nearest(name, names)}")
