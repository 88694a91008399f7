"""Who sent to whom, as Mermaid and as Graphviz: one graph for each round that has one.

Edges are those that a router captured as `edges`, a list of [source, target, weight]. Where no router
did, they are the messages between agents that span links tell of. Where there are none either, the
output says so; nothing is guessed from who ran after whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.topology import RoundGraph
from dytopo_autotrace.analyze.topology import topology as analyzed
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.export.values import text

_LONGEST_LABEL: Final = 80
_MERMAID_SPECIAL: Final = re.compile(r"[^\w \-.,:/+()…\u0080-\U0010ffff]|[-.+)](?= )")


@dataclass(slots=True)
class Graph:
    """Edges of one round, or of the whole run: (source, target) to weight, or to how many messages."""

    title: str
    edges: dict[tuple[str, str], float | None] = field(default_factory=dict)
    agents: dict[str, None] = field(default_factory=dict)
    cut: set[tuple[str, str]] = field(default_factory=set)
    """Edges that the program is known to have cut: drawn with a broken line."""
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
    found = analyzed(run.calls, owners(run.calls))
    if found.source == "none":
        return Topology(
            "No edges were recorded: no span of role router captured `edges`, and no span links to "
            "one of another agent.",
            (),
        )
    counts = found.source == "messages"
    said = (
        "Messages between agents, from span links; the number is how many."
        if counts
        else "Edges as the router captured them."
    )
    return Topology(said, tuple(_graph(each) for each in found.graphs), counts_messages=counts)


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
            line = "-.->" if (source, target) in graph.cut else "-->"
            lines.append(f"    {names[source]} {line}{label} {names[target]}")
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
            said = [] if weight is None else [f"label={_dot(_weight(weight))}"]
            said += ["style=dashed"] if (source, target) in graph.cut else []
            styled = f" [{', '.join(said)}]" if said else ""
            lines.append(f"    {names[source]} -> {names[target]}{styled};")
        lines.append("  }")
        if graph.unread:
            lines.append(f"  // {_unread(graph)}")
        yield "".join(f"{line}\n" for line in lines)
    yield "}\n"


def _graph(found: RoundGraph) -> Graph:
    name = found.router.operation if found.router else "messages"
    graph = Graph(f"round {text(found.round)}" if found.round else text(name))
    for edge in found.edges:
        source, target = text(edge.source), text(edge.target)
        graph.agents.setdefault(source)
        graph.agents.setdefault(target)
        graph.edges[source, target] = edge.weight
    for agent in found.isolated:
        graph.agents.setdefault(text(agent))
    if found.cut_recorded:
        graph.cut = {(text(source), text(target)) for source, target in found.cut}
    graph.unread = found.damaged
    return graph


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
