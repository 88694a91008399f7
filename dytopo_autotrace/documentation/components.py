"""What the swarm is made of, and who calls and sends to whom: from rules, code and runs together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.timing import percentile
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.documentation.categories import CATEGORIES, category
from dytopo_autotrace.documentation.model import (
    Component,
    Figures,
    Function,
    Place,
    Traffic,
    Watched,
)
from dytopo_autotrace.documentation.recorded import Read
from dytopo_autotrace.documentation.rounds import reads as reads_of
from dytopo_autotrace.export.content import without_content
from dytopo_autotrace.export.values import text
from dytopo_autotrace.rules.model import NOT_CALLS, ROLES

DESCRIBES: Final = ("agent_role", "query", "key")
"""Metadata keys under which an agent tells what it is, what it needs and what it offers."""
BY_AGENT: Final = frozenset({"manager", "worker"})
"""Roles of which each agent is a component of its own."""


def components(watched: Sequence[Watched], reads: Sequence[Read]) -> tuple[Component, ...]:
    """All parts, in the order of the categories; what was never called is among them."""
    places = _places(watched)
    spans: dict[str, list[tuple[Read, Span]]] = {}
    names: dict[str, tuple[str, str, str, set[str]]] = {}
    for read in reads:
        for span in _calls(read):
            key = key_of(read, span)
            spans.setdefault(key, []).append((read, span))
            known = names.setdefault(key, (span.role, *_name(read, span), set()))
            known[3].add(span.rule)
    found = [
        replace(
            _component(key, *names[key], _functions(places, names[key]), _figures(own)),
            says=_says(own),
        )
        for key, own in spans.items()
    ]
    called = {(rule, operation) for _, _, operation, rules in names.values() for rule in rules}
    for (rule, operation), (role, functions) in places.items():
        if (rule, operation) not in called:
            key = f"{role} {operation} {rule}"
            found.append(_component(key, role, "", operation, {rule}, functions, None))
    order = list(CATEGORIES)
    return tuple(
        sorted(
            found,
            key=lambda each: (
                order.index(each.category),
                ROLES.index(each.role) if each.role in ROLES else len(ROLES),
                each.figures is None,
                -(each.figures.total_seconds if each.figures else 0),
                each.title,
                each.key,
            ),
        )
    )


def traffic(parts: Sequence[Component], reads: Sequence[Read]) -> tuple[Traffic, ...]:
    """Calls from part to part, and messages from agent to agent, the busiest first."""
    calls: dict[tuple[str, str], list[float]] = {}
    messages: dict[tuple[str, str], int] = {}
    workers = {each.agent: each.key for each in parts if each.role == "worker" and each.agent}
    for read in reads:
        tree = read.index.tree
        for span in _calls(read):
            above = tree.parent_of(span)
            while above is not None and above.role in NOT_CALLS:
                above = tree.parent_of(above)
            if above is None:
                continue
            pair = key_of(read, above), key_of(read, span)
            if pair[0] != pair[1]:
                calls.setdefault(pair, []).append(tree.seconds(span))
        for source, target in _messages(read):
            if source in workers and target in workers and source != target:
                pair = workers[source], workers[target]
                messages[pair] = messages.get(pair, 0) + 1
    found = [
        *(
            Traffic("calls", source, target, len(took), sum(took))
            for (source, target), took in calls.items()
        ),
        *(
            Traffic("messages", source, target, number)
            for (source, target), number in messages.items()
        ),
    ]
    return tuple(sorted(found, key=lambda each: (-each.count, each.kind, each.source, each.target)))


def _calls(read: Read) -> Iterator[Span]:
    """All but what no call owns, such as rounds: those are no parts of the swarm."""
    return (span for span in read.index.tree.spans if span.role not in NOT_CALLS)


def key_of(read: Read, span: Span) -> str:
    """The component of a span."""
    if span.role in BY_AGENT:
        return f"{span.role} {text(read.index.owners.agents[span.id])}"
    return f"{span.role} {text(span.operation)} {text(span.rule)}"


def _messages(read: Read) -> Iterator[tuple[str, str]]:
    """Messages as rounds tell of them, a pair each; else as span links do."""
    routed = [each for each in read.run.rounds if each.is_routed]
    for each in routed:
        for edge in each.edges or ():
            if not edge.cut:
                yield edge.source, edge.target
    if routed:
        return
    agents = read.index.owners.agents
    for span in read.index.tree.spans:
        for sender in reads_of(read.index, span) or ():
            yield sender, text(agents[span.id])


def _name(read: Read, span: Span) -> tuple[str, str]:
    agent = text(read.index.owners.agents[span.id]) if span.role in BY_AGENT else ""
    return agent, text(span.operation)


def _places(
    watched: Sequence[Watched],
) -> Mapping[tuple[str, str], tuple[str, tuple[Function, ...]]]:
    """Role and functions by rule and operation: an operation without a name is each function's own."""
    found: dict[tuple[str, str], tuple[str, dict[Place, Function]]] = {}
    for each in watched:
        for function in each.functions:
            operation = each.rule.operation or function.qualname
            entry = found.setdefault((each.rule.name, operation), (each.rule.role, {}))
            entry[1].setdefault(function.place, function)
    return {key: (role, tuple(functions.values())) for key, (role, functions) in found.items()}


def _functions(
    places: Mapping[tuple[str, str], tuple[str, tuple[Function, ...]]],
    named: tuple[str, str, str, set[str]],
) -> tuple[Function, ...]:
    _, _, operation, rules = named
    return tuple(
        function
        for rule in sorted(rules)
        for function in places.get((rule, operation), ("", ()))[1]
    )


def _component(
    key: str,
    role: str,
    agent: str,
    operation: str,
    rules: Iterable[str],
    functions: tuple[Function, ...],
    figures: Figures | None,
) -> Component:
    first = functions[0] if functions else None
    module, qualname = (first.module, first.qualname) if first else ("", operation)
    return Component(
        key=key,
        category=category(role, module, qualname),
        title=agent or operation or "unnamed",
        role=role,
        agent=agent,
        operation=operation,
        rules=tuple(sorted(filter(None, rules))),
        functions=functions,
        figures=figures,
    )


def _figures(spans: Sequence[tuple[Read, Span]]) -> Figures:
    durations = sorted(read.index.tree.seconds(span) for read, span in spans)
    row = spans[0][1]
    agent = text(spans[0][0].index.owners.agents[row.id])
    # A row of the agent table counts tokens for all calls of a role and agent, or operation.
    name = agent if row.role in BY_AGENT else text(row.operation)
    counted = [
        each.tokens
        for read in {id(read): read for read, _ in spans}.values()
        for each in read.run.summary.agents
        if each.tokens is not None and _is_row(each.role, each.name, row, name)
    ]
    return Figures(
        calls=len(spans),
        failures=sum(is_failed(span) for _, span in spans),
        cancelled=sum(span.status == "cancelled" for _, span in spans),
        p50_seconds=percentile(durations, 50),
        p95_seconds=percentile(durations, 95),
        total_seconds=sum(durations),
        tokens=sum(counted) if counted else None,
    )


def _says(spans: Sequence[tuple[Read, Span]]) -> tuple[tuple[str, str], ...]:
    """What an agent last said of itself in a call that went well."""
    found: dict[str, str] = {}
    for read, span in spans:
        if span.role not in BY_AGENT or is_failed(span) or span.status != "success":
            continue
        values = span.metadata if read.index.content else without_content(dict(span.metadata))[0]
        for key in DESCRIBES:
            value = values.get(key)
            if isinstance(value, str) and value:
                found[key] = text(value)
    return tuple((key, found[key]) for key in DESCRIBES if key in found)


def _is_row(role: str, name: str, span: Span, wanted: str) -> bool:
    if span.role in ("orchestrator", "llm"):  # one component for all agents
        return role == span.role
    return (role, name) == (span.role or "-", wanted)
