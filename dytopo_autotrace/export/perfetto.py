"""A run in Chrome's trace event format, which Perfetto and `chrome://tracing` open.

A track per agent, more of them where an agent does several things at once; a slice lies inside
another one only if that one called it. Messages (span links) are arrows. Times count from the first
span, in microseconds with nanoseconds behind the point; doubles have no room for both the date and
the nanoseconds.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export.run import ExportedSpan, Run
from dytopo_autotrace.export.values import compact, separated, text

Json = dict[str, Any]

PROCESS: Final = 1
_OTHERS: Final = "(no agent)"


@dataclass(slots=True)
class Lane:
    """One track: slices on it nest or follow one another."""

    number: int
    agent: str
    ordinal: int
    """Which of the agent's tracks it is, from 1."""
    open: list[Span] = field(default_factory=list)
    """The slices open at the moment reached, outermost first."""


def render(run: Run) -> Iterator[str]:
    """One JSON document, a chunk for each span."""
    tracks = lanes(run)
    places, known = tracks
    origin = run.tree.first_ns
    flows = itertools.count(1)
    undrawn = 0
    yield '{"traceEvents":[\n'
    yield from separated(map(compact, _names(run, known)))
    for span in run.tree.spans:
        each = run.exported(span)
        lane = places[span.id]
        lines = [_slice(each, span.start_ns - origin, lane)]
        lines += [
            {
                "ph": "i",
                "s": "t",
                "name": f"exception {event.attributes['exception.type']}",
                "cat": "exception",
                "ts": _micros(event.unix_ns - clock.unix_ns(origin)),
                **_place(lane),
                "args": dict(event.attributes),
            }
            for event in each.events
        ]
        for source in each.links:
            arrow = _arrow(run, source, span, places, origin, next(flows))
            undrawn += not arrow
            lines += arrow
        yield "".join(f",\n{compact(line)}" for line in lines)
    other = {
        "service": run.service,
        "first_span_unix_ns": str(clock.unix_ns(origin)),
        "undrawn_links": undrawn,
        **run.resource(),
    }
    yield f'\n],"displayTimeUnit":"ms","otherData":{compact(other)}}}\n'


def lanes(run: Run) -> tuple[dict[int, Lane], list[Lane]]:
    """The track of every span, by span id, and all tracks in order of their first span.

    A span goes onto its parent's track if it is the same agent's and fits inside, else onto the
    agent's first track that is free, else onto a new one.
    """
    tree = run.tree
    places: dict[int, Lane] = {}
    known: list[Lane] = []
    ordinals: dict[str, int] = {}
    free: dict[str, list[tuple[int, int, Lane]]] = {}
    busy: dict[str, list[tuple[int, int, Lane]]] = {}
    for span in sorted(tree.spans, key=lambda each: (each.start_ns, tree.depths[each.id])):
        agent = run.owners.agents[span.id] or _OTHERS
        parent = tree.parent_of(span)
        lane = places.get(parent.id) if parent is not None else None
        if lane is None or lane.agent != agent or not _fits(run, lane, span, parent):
            waiting, idle = busy.setdefault(agent, []), free.setdefault(agent, [])
            while waiting and waiting[0][0] <= span.start_ns:
                _, number, done = heapq.heappop(waiting)
                heapq.heappush(idle, (number, number, done))
            if idle:
                lane = heapq.heappop(idle)[2]
            else:
                ordinals[agent] = ordinals.get(agent, 0) + 1
                lane = Lane(len(known) + 1, agent, ordinals[agent])
                known.append(lane)
            lane.open = []
            # A slice of no length takes up its moment all the same, or two would lie on one another.
            end = max(tree.ends[span.id], span.start_ns + 1)
            heapq.heappush(waiting, (end, lane.number, lane))
        lane.open.append(span)
        places[span.id] = lane
    return places, known


def _fits(run: Run, lane: Lane, span: Span, parent: Span | None) -> bool:
    ends = run.tree.ends
    while lane.open and lane.open[-1] is not parent and ends[lane.open[-1].id] <= span.start_ns:
        lane.open.pop()
    if not lane.open or lane.open[-1] is not parent or parent is None:
        return False
    return span.start_ns >= parent.start_ns and ends[span.id] <= ends[parent.id]


def _names(run: Run, known: list[Lane]) -> Iterator[Json]:
    yield _meta("process_name", {"name": run.service}, 0)
    for lane in known:
        agent = text(lane.agent)
        shown = agent if lane.ordinal == 1 else f"{agent} ({lane.ordinal})"
        yield _meta("thread_name", {"name": shown}, lane.number)
        yield _meta("thread_sort_index", {"sort_index": lane.number}, lane.number)


def _meta(name: str, args: Json, lane: int) -> Json:
    return {"ph": "M", "name": name, "pid": PROCESS, "tid": lane, "args": args}


def _slice(each: ExportedSpan, start_ns: int, lane: Lane) -> Json:
    span = each.span
    ids = {"trace_id": span.trace_id, "span_id": span.span_id, "parent_id": span.parent_id or ""}
    return {
        "ph": "X",
        "name": each.name,
        "cat": text(span.role) or "span",
        "ts": _micros(start_ns),
        "dur": _micros(each.end_ns - each.start_ns),
        **_place(lane),
        "args": {**each.attributes, **ids},
    }


def _arrow(
    run: Run, source: Span, target: Span, places: dict[int, Lane], origin: int, number: int
) -> list[Json]:
    """From the end of one slice to the start of another; none if that were backwards in time."""
    # At its very end a slice is no longer the one that the arrow's end would be tied to.
    sent = max(min(run.tree.ends[source.id] - 1, target.start_ns), source.start_ns)
    if sent > target.start_ns:
        return []
    start: Json = {"ph": "s", "ts": _micros(sent - origin), **_place(places[source.id])}
    # Without "bp" the arrow would end at the next slice, not at the one around its end.
    end: Json = {"ph": "f", "bp": "e", "ts": _micros(target.start_ns - origin)}
    common = {"name": "message", "cat": "message", "id": number}
    return [{**start, **common}, {**end, **_place(places[target.id]), **common}]


def _place(lane: Lane) -> Json:
    return {"pid": PROCESS, "tid": lane.number}


def _micros(nanoseconds: int) -> float:
    return nanoseconds / 1000
