"""Mermaid diagrams: the sequence of a round, and its topology."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from dytopo_autotrace.analyze.wording import count, seconds
from dytopo_autotrace.documentation.markdown import clean
from dytopo_autotrace.documentation.model import Round
from dytopo_autotrace.documentation.steps import Call, Step

LONGEST: Final = 60
MOST_AGENTS: Final = 60
"""More than fit on a page say nothing any more."""

_SPECIAL: Final = re.compile(r"[^\w \-.,/+()…→\u00a0-\U0010ffff]|[-.+)](?= )")
_END: Final = re.compile(r"\bend\b", re.IGNORECASE)
"""The word that closes a block, wherever it stands."""


def label(value: object) -> str:
    """Text that no Mermaid diagram takes for something else: entity codes for what means something."""
    text = " ".join(clean(value).split()) or " "
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    text = _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
    return _END.sub(lambda found: f"#{ord(found[0][0])};{found[0][1:]}", text)


def sequence(steps: Sequence[Step], orchestrator: str) -> str:
    """The steps of a round as a sequence diagram."""
    actors = dict.fromkeys(call.actor for step in steps for call in step.calls)
    names = {actor: f"a{number}" for number, actor in enumerate(actors)}
    lines = ["sequenceDiagram", f"  participant o as {label(orchestrator)}"]
    lines += [f"  participant {name} as {label(actor)}" for actor, name in names.items()]
    for step in steps:
        if len(step.calls) == 1:
            lines += [f"  {line}" for line in _call(step.calls[0], names)]
            continue
        for number, call in enumerate(step.calls):
            lines.append(f"  {'and' if number else 'par'} {label(call.actor)}")
            lines += [f"    {line}" for line in _call(call, names)]
        lines.append("  end")
    return "\n".join(lines)


def _call(call: Call, names: dict[str, str]) -> Iterable[str]:
    me = names[call.actor]
    for source, weight in call.reads:
        if source in names and names[source] != me:
            shown = "" if weight is None else f", weight {weight:.2f}"
            yield f"{names[source]}-){me}: {label(f'output{shown}')}"
    named = f"{call.within} → {call.operation}" if call.within else call.operation
    often = f", {call.times} times" if call.times > 1 else ""
    yield f"o->>{me}: {label(named + often)}"
    arrow, said = ("--x", f"{call.failed}, ") if call.failed else ("-->>", "")
    took = f"{seconds(call.seconds)}{' at most' if call.times > 1 else ''}"
    yield f"{me}{arrow}o: {label(said + took + _model(call))}"


def _model(call: Call) -> str:
    """What the model did for a call, as a part of its answer: an arrow for each hides the agents'."""
    if not call.model_calls:
        return ""
    tries = f" in {call.attempts} attempts" if call.attempts > call.model_calls else ""
    spent = f", {call.tokens:,} tokens" if call.tokens else ""
    return f", {count(call.model_calls, 'model call')}{tries}{spent}"


def topology(told: Round) -> str:
    """Who could send to whom in a round; what was cut to break a cycle is dotted."""
    agents = dict.fromkeys(
        (*told.agents, *(name for edge in told.edges or () for name in (edge.source, edge.target)))
    )
    agents.update(dict.fromkeys(told.isolated))
    shown = list(agents)[:MOST_AGENTS]
    names = {agent: f"n{number}" for number, agent in enumerate(shown)}
    lines = ["flowchart LR"]
    lines += [f'  {name}["{label(agent)}"]' for agent, name in names.items()]
    for edge in told.edges or ():
        if edge.source not in names or edge.target not in names:
            continue
        weight = "" if edge.weight is None else f"{edge.weight:.2f}"
        said = f"{weight} cut".strip() if edge.cut else weight
        arrow = "-.->" if edge.cut else "-->"
        text = f'|"{label(said)}"|' if said else ""
        lines.append(f"  {names[edge.source]} {arrow}{text} {names[edge.target]}")
    return "\n".join(lines)
