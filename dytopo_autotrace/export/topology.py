"""Who sent to whom, as Mermaid and as Graphviz: one graph for each round that has one.

Edges are those that a router captured as `edges`, a list of [source, target, weight]. Where no router
did, they are the messages between agents that span links tell of. Where there are none either, the
output says so; nothing is guessed from who ran after whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.export.values import plain, text

EDGES_KEY: Final = "edges"
"""Metadata key under which a router's edges are captured."""

_LONGEST_LABEL: Final = 80
_MERMAID_SPECIAL: Final = re.compile(r"[^\w \-.,:/+()…\u0080-\U0010ffff]|[-.+)](?= )")


@dataclass(slots=True)
class Graph:
    """Edges of one round, or of the whole run: (source, target) to weight, or to how many messages."""

    title: str
    edges: dict[tuple[str, str], float | None] = field(default_factory=dict)
    agents: dict[str, None] = field(default_factory=dict)
    unread: int = 0
    """Entries of the captured list that are no edge, such as a mark that it was cut."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The graphs, and where they come from in a sentence."""

    source: str
    graphs: tuple[Graph, ...]
    counts_messages: bool = False


def topology(run: Run) -> Topology:
    """The graphs of a run, by the best that was recorded."""
    routers = [span for span in run.tree.spans if span.role == "router"]
    routers = [span for span in routers if isinstance(span.metadata.get(EDGES_KEY), (list, tuple))]
    if routers:
        routers.sort(key=lambda span: (span.start_ns, span.id))
        graphs = tuple(_captured(run, span) for span in routers)
        return Topology("Edges as the router captured them.", graphs)
    messages = _messages(run)
    if messages.edges:
        said = "Messages between agents, from span links; the number is how many."
        return Topology(said, (messages,), counts_messages=True)
    return Topology(
        "No edges were recorded: no span of role router captured `edges`, and no span links to one "
        "of another agent.",
        (),
    )


def mermaid(run: Run) -> Iterator[str]:
    """A Mermaid flowchart, a chunk for each graph."""
    found = topology(run)
    yield f"%% {_mermaid(run.service)}: {found.source}\nflowchart LR\n"
    if not found.graphs:
        yield '  none["no edges were recorded"]\n'
    for number, graph in enumerate(found.graphs):
        names = {agent: f"g{number}n{index}" for index, agent in enumerate(graph.agents)}
        lines = [f"  subgraph g{number}[{_mermaid(graph.title)}]"]
        lines += [f"    {name}[{_mermaid(agent)}]" for agent, name in names.items()]
        for (source, target), weight in graph.edges.items():
            label = "" if weight is None else f"|{_mermaid(_weight(weight))}|"
            lines.append(f"    {names[source]} -->{label} {names[target]}")
        lines.append("  end")
        if graph.unread:
            lines.append(f"  %% {_unread(graph)}")
        yield "".join(f"{line}\n" for line in lines)


def graphviz(run: Run) -> Iterator[str]:
    """A Graphviz digraph, a chunk for each graph."""
    found = topology(run)
    yield f"// {found.source}\ndigraph {_dot(run.service)} {{\n  rankdir=LR;\n  node [shape=box];\n"
    if not found.graphs:
        yield '  none [label="no edges were recorded", shape=plaintext];\n'
    for number, graph in enumerate(found.graphs):
        names = {agent: f"g{number}n{index}" for index, agent in enumerate(graph.agents)}
        lines = [f"  subgraph cluster_{number} {{", f"    label={_dot(graph.title)};"]
        lines += [f"    {name} [label={_dot(agent)}];" for agent, name in names.items()]
        for (source, target), weight in graph.edges.items():
            label = "" if weight is None else f" [label={_dot(_weight(weight))}]"
            lines.append(f"    {names[source]} -> {names[target]}{label};")
        lines.append("  }")
        if graph.unread:
            lines.append(f"  // {_unread(graph)}")
        yield "".join(f"{line}\n" for line in lines)
    yield "}\n"


def _captured(run: Run, router: Span) -> Graph:
    number = run.owners.rounds[router.id]
    graph = Graph(f"round {text(number)}" if number else text(router.operation))
    for entry in plain(router.metadata[EDGES_KEY]):
        edge = _edge(entry)
        if edge is None:
            graph.unread += 1
            continue
        source, target, weight = edge
        _add(graph, source, target)
        graph.edges[source, target] = weight
    for agent in _names(router.metadata.get("isolated")):
        graph.agents.setdefault(agent)
    return graph


def _edge(entry: Any) -> tuple[str, str, float | None] | None:
    if isinstance(entry, dict):
        entry = [entry.get("source"), entry.get("target"), entry.get("weight")]
    if not isinstance(entry, list) or len(entry) < 2:
        return None
    source, target, weight = (*entry, None)[:3]
    if not isinstance(source, (str, int)) or not isinstance(target, (str, int)):
        return None
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    return text(source), text(target), weight if is_number else None


def _names(value: Any) -> Sequence[str]:
    listed = plain(value) if isinstance(value, (list, tuple, set)) else []
    return [each for each in listed if isinstance(each, str) and not each.startswith("… ")]


def _messages(run: Run) -> Graph:
    graph = Graph("messages")
    for span in run.tree.spans:
        receiver = run.owners.agents[span.id]
        for sender in map(run.owners.agents.__getitem__, (one.id for one in run.linked(span))):
            if sender and receiver and sender != receiver:
                source, target = text(sender), text(receiver)
                _add(graph, source, target)
                graph.edges[source, target] = (graph.edges.get((source, target)) or 0) + 1
    return graph


def _add(graph: Graph, source: str, target: str) -> None:
    graph.agents.setdefault(source)
    graph.agents.setdefault(target)


def _unread(graph: Graph) -> str:
    return f"{graph.unread} of the captured entries are no edges; long lists are cut when captured."


def _weight(weight: float) -> str:
    return f"{weight:.3g}" if isinstance(weight, float) else str(weight)


def _shown(label: str) -> str:
    one_line = " ".join(label.split()) or " "
    return one_line if len(one_line) <= _LONGEST_LABEL else f"{one_line[: _LONGEST_LABEL - 1]}…"


def _mermaid(label: str) -> str:
    # Entity codes, since a quote or a bracket would end the label, `&` begins one in HTML, and what
    # looks like a list in Markdown ("1. x", "- x") is refused when it is drawn.
    escaped = _MERMAID_SPECIAL.sub(lambda found: f"#{ord(found[0])};", _shown(label))
    return f'"{escaped}"'


def _dot(label: str) -> str:
    escaped = _shown(label).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
