"""The swarms of a run: one for each call of an orchestrator, with a name that tells it from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.collect.span import Span

_ROUNDS_KEY: Final = "rounds"
_LONGEST_NAME: Final = 24


@dataclass(frozen=True, slots=True)
class Swarm:
    """One call of an orchestrator."""

    name: str
    """What tells it from the others of the run; `""` where it is the only one."""
    operation: str
    trace_id: str
    span_id: str
    rounds: int
    """As it counted them itself, else as many as its calls name."""


def swarms(tree: Tree, owned: Owners) -> tuple[Swarm, ...]:
    """The swarms in order of start; an orchestrator begins a trace of its own."""
    found = sorted(
        (span for span in tree.spans if _is_outermost(tree, span)),
        key=lambda span: (span.start_ns, span.id),
    )
    named: dict[int, set[str]] = {}
    for span in tree.spans:
        if owned.rounds[span.id]:
            named.setdefault(span.trace, set()).add(owned.rounds[span.id])
    names = _names(found, owned)
    return tuple(
        Swarm(
            name,
            span.operation,
            span.trace_id,
            span.span_id,
            _counted(span) or len(named.get(span.trace, ())),
        )
        for span, name in zip(found, names, strict=True)
    )


def names_by_trace(found: Sequence[Swarm]) -> dict[str, str]:
    """The names of swarms by their trace; none where there is but one swarm."""
    names: dict[str, str] = {}
    for each in found:
        if each.name:
            names.setdefault(each.trace_id, each.name)
    return names


def _is_outermost(tree: Tree, span: Span) -> bool:
    return span.role == "orchestrator" and not any(
        each.role == "orchestrator" and each.trace == span.trace for each in ancestors(tree, span)
    )


def _counted(span: Span) -> int:
    said = span.metadata.get(_ROUNDS_KEY)
    return int(said) if isinstance(said, (int, str)) and str(said).isdigit() else 0


def _names(found: Sequence[Span], owned: Owners) -> list[str]:
    """Of each: a value that its rule captured, the agent that called it, else its number."""
    if len(found) < 2:
        return [""] * len(found)
    key = _telling_key(found)
    names = [
        _short(span.metadata.get(key)) or owned.agents[span.id] or span.operation for span in found
    ]
    counts = Counter(names)
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        if counts[name] > 1:
            seen[name] += 1
            names[number] = f"{name} {seen[name]}"
    return names


def _telling_key(found: Sequence[Span]) -> str:
    """Of the captured values the ones that tell most of the calls apart, by name and all short."""
    keys = dict.fromkeys(key for span in found for key in span.metadata)

    def told(key: str) -> int:
        values = [span.metadata.get(key) for span in found if key in span.metadata]
        are_names = all(isinstance(value, str) and _short(value) for value in values)
        return len({_short(value) for value in values}) if are_names else 0

    best = max(keys, key=told, default="")
    return best if best and told(best) > 1 else ""


def _short(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME else ""
