"""Mermaid diagrams: the sequence of a round, and its topology."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dytopo_autotrace.analyze.wording import count, seconds
from dytopo_autotrace.documentation.markdown import clean
from dytopo_autotrace.documentation.model import Edge, Round
from dytopo_autotrace.documentation.steps import Call, Step

LONGEST: Final = 60
MOST_AGENTS: Final = 60
"""More than fit on a page say nothing any more."""
MOST_EDGES: Final = 200
"""Mermaid itself draws no graph of more than 500; the heaviest are shown."""
MOST_ARROWS: Final = 160
LONGEST_TEXT: Final = 40_000
"""Mermaid itself reads no diagram of more than 50,000 characters."""

_SPECIAL: Final = re.compile(r"[^\w \-.,/+()…→\u00a0-\U0010ffff]|[-.+)](?= )")
_END: Final = re.compile(r"\bend\b", re.IGNORECASE)
"""The word that closes a block, wherever it stands."""


def label(value: object) -> str:
    """Text that no Mermaid diagram takes for something else: entity codes for what means something."""
    text = " ".join(clean(value).split()) or " "
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    text = _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
    return _END.sub(lambda found: f"#{ord(found[0][0])};{found[0][1:]}", text)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A diagram, and what it leaves out because more than that cannot be drawn, or read."""

    text: str
    left_out: str = ""


Actor = tuple[str, bool]
"""A name, and whether it is a tool's: an agent may have the same."""


def sequence(steps: Sequence[Step], orchestrator: str) -> Drawn:
    """The steps of a round as a sequence diagram, as many as can be drawn."""
    most = MOST_ARROWS
    drawn = _sequence(steps, orchestrator, most)
    while len(drawn.text) > LONGEST_TEXT and most > 1:
        most //= 2
        drawn = _sequence(steps, orchestrator, most)
    return drawn


def _sequence(steps: Sequence[Step], orchestrator: str, most: int) -> Drawn:
    shown, left = _shown(steps, most)
    names = {actor: f"a{number}" for number, actor in enumerate(_actors(shown))}
    lines = ["sequenceDiagram", f"  participant o as {label(orchestrator)}"]
    lines += [f"  participant {name} as {label(actor)}" for (actor, _), name in names.items()]
    for step in shown:
        if len(step.calls) == 1:
            lines += [f"  {line}" for line in _call(step.calls[0], names)]
            continue
        for number, call in enumerate(step.calls):
            lines.append(f"  {'and' if number else 'par'} {label(call.actor)}")
            lines += [f"    {line}" for line in _call(call, names)]
        lines.append("  end")
    return Drawn("\n".join(lines), f"{count(left, 'more call')} of this round" if left else "")


def _shown(steps: Sequence[Step], most: int) -> tuple[list[Step], int]:
    """The first steps, up to this many arrows, and how many calls come after those."""
    room = most
    shown: list[Step] = []
    left = 0
    for step in steps:
        calls: list[Call] = []
        for call in step.calls:
            # One that alone has more is shown with the first of what it read and used.
            some = replace(call, reads=call.reads[: most // 4], uses=call.uses[: most // 4])
            room -= 2 + len(some.reads) + 2 * len(some.uses)
            if room < 0 and (shown or calls):
                left += call.times
            else:
                calls.append(some)
        if calls:
            shown.append(Step(tuple(calls)))
    return shown, left


def _actors(steps: Sequence[Step]) -> Iterator[Actor]:
    """Everybody in the diagram, in the order in which they come."""
    found: dict[Actor, None] = {}
    for call in (call for step in steps for call in step.calls):
        found.update(dict.fromkeys((source, False) for source, _ in call.reads))
        found[call.actor, call.role == "tool"] = None
        found.update(dict.fromkeys((use.tool, True) for use in call.uses))
    return iter(found)


def _call(call: Call, names: Mapping[Actor, str]) -> Iterable[str]:
    me = names[call.actor, call.role == "tool"]
    for source, weight in call.reads:
        if names[source, False] != me:
            shown = "" if weight is None else f", weight {weight:.2f}"
            yield f"{names[source, False]}-){me}: {label(f'output{shown}')}"
    named = f"{call.within} → {call.operation}" if call.within else call.operation
    yield f"o->>{me}: {label(named + _often(call.times))}"
    for use in call.uses:
        tool = names[use.tool, True]
        yield f"{me}->>{tool}: {label(use.tool + _often(use.times))}"
        yield _answer(tool, me, use.failed, _took(use.seconds, use.times))
    yield _answer(me, "o", call.failed, _took(call.seconds, call.times) + _model(call))


def _answer(source: str, target: str, failed: str, took: str) -> str:
    arrow, said = ("--x", f"{failed}, ") if failed else ("-->>", "")
    return f"{source}{arrow}{target}: {label(said + took)}"


def _often(times: int) -> str:
    return f", {times} times" if times > 1 else ""


def _took(longest: float, times: int) -> str:
    return f"{seconds(longest)}{' at most' if times > 1 else ''}"


def _model(call: Call) -> str:
    """What the model did for a call, as a part of its answer: an arrow for each hides the agents'."""
    if not call.model_calls:
        return ""
    tries = f" in {call.attempts} attempts" if call.attempts > call.model_calls else ""
    spent = f", {call.tokens:,} tokens" if call.tokens else ""
    return f", {count(call.model_calls, 'model call')}{tries}{spent}"


def topology(told: Round) -> Drawn:
    """Who could send to whom in a round, or did; what was cut to break a cycle is dotted."""
    edges: Sequence[Edge] = told.edges or ()
    if len(edges) > MOST_EDGES:
        edges = sorted(edges, key=lambda edge: -(edge.weight or 0.0))[:MOST_EDGES]
    ends = (name for edge in edges for name in edge.ends)
    agents = dict.fromkeys((*told.agents, *ends, *told.isolated))
    everyone = {*agents, *(name for edge in told.edges or () for name in edge.ends)}
    shown = list(agents)
    if len(agents) > MOST_AGENTS:
        having = {name for edge in edges for name in edge.ends}
        shown.sort(key=lambda name: name not in having)
    names = {agent: f"n{number}" for number, agent in enumerate(shown[:MOST_AGENTS])}
    lines = ["flowchart LR"]
    lines += [f'  {name}["{label(agent)}"]' for agent, name in names.items()]
    drawn = [edge for edge in edges if edge.source in names and edge.target in names]
    for edge in drawn:
        weight = "" if edge.weight is None else f"{edge.weight:.2f}"
        said = f"{weight} cut".strip() if edge.cut else weight
        arrow = "-.->" if edge.cut else "-->"
        text = f'|"{label(said)}"|' if said else ""
        lines.append(f"  {names[edge.source]} {arrow}{text} {names[edge.target]}")
    left = (
        (len(everyone) - len(names), "more agent"),
        (len(told.edges or ()) - len(drawn), "more edge"),
    )
    more = " and ".join(count(number, noun) for number, noun in left if number)
    return Drawn("\n".join(lines), more)
