"""The rounds of a run and who could send to whom in each, or who read whom, from what is recorded.

`rounds` is the one place that decides this: everything else reads its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dytopo_autotrace.collect.span import RECEIVES, Span
from dytopo_autotrace.documentation.model import Edge, Round
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.export.values import plain, text

EDGES_KEY = "edges"
CUT_KEY = "cut"
"""Metadata key under which the edges are captured that were taken out to break cycles."""


def rounds(run: Run) -> tuple[Round, ...]:
    """The rounds in the order of their start; a span belongs to the round that its owner says."""
    grouped: dict[tuple[int, str], list[Span]] = {}
    for span in run.tree.spans:
        number = run.owners.rounds[span.id]
        if number:
            grouped.setdefault((span.trace, number), []).append(span)
    found = [_round(run, number, spans) for (_, number), spans in grouped.items()]
    return tuple(sorted(found, key=lambda each: each.start_ns))


def _round(run: Run, number: str, spans: list[Span]) -> Round:
    spans.sort(key=lambda span: (span.start_ns, span.id))
    start = spans[0].start_ns
    routers = [
        span
        for span in spans
        if span.role == "router" and isinstance(span.metadata.get(EDGES_KEY), (list, tuple))
    ]
    edges: tuple[Edge, ...] | None
    edges, unread = _edges(routers, _cut(spans))
    unsaid: tuple[str, ...] = ()
    if not routers:
        edges, unsaid = _read(run, spans)
    managers = [span for span in spans if span.role == "manager"]
    workers = [run.owners.agents[span.id] for span in spans if span.role == "worker"]
    return Round(
        number=number,
        spans=tuple(spans),
        start_ns=start,
        seconds=(max(map(run.tree.end_ns, spans)) - start) / 1e9,
        goal=text(managers[0].metadata.get("goal") or "") if managers else "",
        ended=any(span.metadata.get("terminate") is True for span in managers),
        edges=edges,
        isolated=tuple(
            text(each)
            for span in routers[-1:]
            for each in _list(span.metadata.get("isolated"))
            if isinstance(each, str)
        ),
        agents=tuple(dict.fromkeys(filter(None, map(text, workers)))),
        routed=routers[-1].operation if routers else "",
        unread=unread,
        is_routed=bool(routers),
        unsaid=unsaid,
    )


def reads(run: Run, span: Span) -> tuple[str, ...] | None:
    """Agents whose recorded output a call read, None if nothing of the kind was captured."""
    # An orchestrator's link leads to the call around it, which it read nothing of.
    links = run.linked(span) if span.parent or span.role != "orchestrator" else ()
    if not links and not isinstance(span.metadata.get(RECEIVES), (list, tuple)):
        return None
    me = text(run.owners.agents[span.id])
    senders = (text(run.owners.agents[each.id]) for each in links)
    return tuple(dict.fromkeys(sender for sender in senders if sender and sender != me))


def _read(run: Run, spans: Sequence[Span]) -> tuple[tuple[Edge, ...] | None, tuple[str, ...]]:
    """The messages that were read, as edges without a weight, and agents who did not say all."""
    found: dict[tuple[str, str], Edge] = {}
    unsaid: dict[str, None] = {}
    is_captured = False
    for span in spans:
        agent = text(run.owners.agents[span.id])
        senders = reads(run, span)
        named = span.metadata.get(RECEIVES)
        names = set(map(text, named)) if isinstance(named, (list, tuple)) else set()
        if span.role == "worker" and (senders is None or names - {agent, *senders}):
            unsaid[agent] = None
        is_captured = is_captured or senders is not None
        for sender in senders or ():
            if agent:
                found[sender, agent] = Edge(sender, agent, None)
    return (tuple(found.values()) if is_captured else None), tuple(filter(None, unsaid))


def _edges(routers: Sequence[Span], cut: set[tuple[str, str]]) -> tuple[tuple[Edge, ...], int]:
    found: dict[tuple[str, str], Edge] = {}
    unread = 0
    for each in (each for span in routers for each in _list(span.metadata[EDGES_KEY])):
        entry = each
        if isinstance(each, dict):
            entry = [each.get("source"), each.get("target"), each.get("weight")]
        if not isinstance(entry, list) or len(entry) < 2 or not _are_names(entry[:2]):
            unread += 1
            continue
        source, target = text(entry[0]), text(entry[1])
        weight = entry[2] if len(entry) > 2 else None
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        is_cut = (source, target) in cut
        found[source, target] = Edge(source, target, weight if is_number else None, is_cut)
    return tuple(found.values()), unread


def _cut(spans: Sequence[Span]) -> set[tuple[str, str]]:
    return {
        (text(pair[0]), text(pair[1]))
        for span in spans
        for pair in _list(span.metadata.get(CUT_KEY))
        if isinstance(pair, list) and len(pair) >= 2
    }


def _list(value: Any) -> list[Any]:
    found = plain(value) if isinstance(value, (list, tuple)) else []
    return found if isinstance(found, list) else []


def _are_names(values: Sequence[Any]) -> bool:
    return all(isinstance(each, (str, int)) and not isinstance(each, bool) for each in values)
