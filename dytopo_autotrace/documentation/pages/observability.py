"""`OBSERVABILITY.md`: what each rule captures and yields, how to ask for it, and what that costs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dytopo_autotrace.documentation.markdown import Markdown, code, slug, source_link
from dytopo_autotrace.documentation.model import Function, Place, Run, Sample, Swarm, Watched
from dytopo_autotrace.documentation.pages import common
from dytopo_autotrace.export.formats import FORMATS
from dytopo_autotrace.rules.model import Rule

MOST_FUNCTIONS = 12
MOST_IN_QUERY = 12


@dataclass(frozen=True, slots=True)
class Told:
    """A rule as the page tells it; one that neither code nor runs know is only named."""

    rule: Rule
    anchor: str
    shown: bool
    origin: Markdown
    watches: str
    calls: str
    functions: tuple[Function, ...]
    more: int
    doubts: tuple[str, ...]
    captures: tuple[tuple[str, str], ...]
    operations: Markdown
    query: str
    command: str
    sample: Sample | None


def observability(swarm: Swarm, sources: str) -> str:
    """The page; `sources` leads from it to the root of the sources."""
    samples = dict(swarm.samples)
    told = [_told(each, swarm, sources, samples) for each in swarm.watched]
    newest = swarm.runs[0] if swarm.runs else None
    return common.page(
        "observability.md.jinja",
        swarm,
        sources,
        content=swarm.content,
        watch=_watch(swarm),
        rule_file=source_link(Place(swarm.rule_file, 1), sources, swarm.rule_file),
        rules=[each for each in told if each.shown],
        rest=[each.rule.name for each in told if not each.shown],
        newest=newest,
        export=common.export,
        formats=tuple(FORMATS.items()),
        costs=[(run.name, run.summary.cost) for run in swarm.runs if run.summary.cost],
        share=lambda value: "-" if value is None else f"{value:.3%}",
        losses=[
            (run.name, reason, number)
            for run in swarm.runs
            for reason, number in run.summary.drops
            if number
        ],
    )


def _watch(swarm: Swarm) -> str:
    rules = f" --rules {shlex.quote(swarm.rule_file)}" if swarm.rule_file else ""
    return f"python -m dytopo_autotrace{rules} {_program(swarm)}"


def _program(swarm: Swarm) -> str:
    """What the launcher takes: the script, or the module that ran as one."""
    for run in swarm.runs:
        started = run.summary.argv[0] if run.summary.argv else ""
        if started.endswith(".py"):
            return shlex.quote(started)
        if started and all(part.isidentifier() for part in started.split(".")):
            return f"-m {started}"
    return "your_swarm.py"


def _told(watched: Watched, swarm: Swarm, sources: str, samples: Mapping[str, Sample]) -> Told:
    rule = watched.rule
    calls = sum(
        state.calls
        for run in swarm.runs
        for state in run.summary.rules
        if state.name == rule.name and state.origin.startswith("pack ") == bool(rule.origin.pack)
    )
    sample = samples.get(rule.name)
    known = bool(watched.functions or watched.shadowed or calls or sample)
    operations = _operations(watched, samples)
    return Told(
        rule=rule,
        anchor=f"rule-{slug(rule.name)}",
        shown=known or not rule.origin.pack,
        origin=_origin(rule, swarm, sources),
        watches=_watches(watched),
        calls=f"{calls:,}" if swarm.runs else "-",
        functions=watched.functions[:MOST_FUNCTIONS],
        more=max(0, len(watched.functions) - MOST_FUNCTIONS),
        doubts=watched.doubts[:5],
        captures=tuple(_captures(rule)),
        operations=common.codes(operations, 6),
        query=_query(() if rule.adds_to or rule.ends else operations),
        command=_command(swarm.runs[sample.run], sample) if sample else "",
        sample=sample,
    )


def _watches(watched: Watched) -> str:
    if watched.functions:
        number = len(watched.functions)
        return f"{number} function{'' if number == 1 else 's'}"
    if watched.shadowed:
        return f"nothing: {watched.shadowed[0][1]} takes it"
    return "nothing in the sources that were read"


def _origin(rule: Rule, swarm: Swarm, sources: str) -> Markdown:
    if rule.origin.pack:
        return Markdown(f"the pack {code(rule.origin.pack)}")
    line = rule.origin.line or 1
    return source_link(Place(swarm.rule_file, line), sources)


def _captures(rule: Rule) -> Iterator[tuple[str, str]]:
    """Everything that is kept of arguments and results, and the expression that says what."""
    if rule.agent is not None:
        yield "agent", rule.agent.text
    for name, expression in (*rule.attributes.items(), *rule.topology.items()):
        yield name, expression.text
    if rule.scope is not None:
        yield f"key of the scope {rule.scope.opens}", rule.scope.key.text
    for metric in rule.metrics:
        yield f"metric {metric.name}", metric.value.text
        for label, expression in metric.labels.items():
            yield f"{label} of metric {metric.name}", expression.text
    for observer in filter(None, (rule.on_start, rule.on_end)):
        yield "what it adds", observer


def _operations(watched: Watched, samples: Mapping[str, Sample]) -> list[str]:
    if watched.rule.operation:
        return [watched.rule.operation]
    seen = samples.get(watched.rule.name)
    names = [seen.operation] if seen else []
    return list(dict.fromkeys([*names, *(each.qualname for each in watched.functions)]))


def _query(operations: Sequence[str]) -> str:
    """The latency of these operations, as many as are known."""
    if not operations:
        return ""
    if len(operations) == 1:
        chosen = f"operation={json.dumps(operations[0], ensure_ascii=False)}"
    else:
        names = "|".join(map(re.escape, operations[:MOST_IN_QUERY]))
        chosen = f"operation=~{json.dumps(names, ensure_ascii=False)}"
    return (
        "histogram_quantile(0.95, sum by (le, agent) (rate("
        f"dytopo_operation_duration_seconds_bucket{{{chosen}}}[5m])))"
    )


def _command(run: Run, sample: Sample) -> str:
    return f"{common.export(run, 'csv')} | grep -w -e {shlex.quote(sample.operation)}"
