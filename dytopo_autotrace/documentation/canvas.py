"""The overview as JSON Canvas 1.0 (https://jsoncanvas.org/spec/1.0/): who there is, who calls whom.

What a person added in the meantime, nodes and edges with ids that are not ours, is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dytopo_autotrace.analyze.wording import count, seconds
from dytopo_autotrace.documentation.categories import CATEGORIES
from dytopo_autotrace.documentation.markdown import code, prose, short, source_link
from dytopo_autotrace.documentation.model import Component, Swarm, Traffic

OURS: Final = "dytopo-"
"""What the ids of our nodes and edges begin with."""
WIDTH: Final = 300
GAP: Final = 50
PADDING: Final = 30
BETWEEN: Final = 140
"""Room between groups, for edges and their labels."""
LINE: Final = 26
LINE_CHARACTERS: Final = 30
BUSY_SHARE: Final = 0.25
BUSY_TIMES: Final = 2
"""Calls that are this share of the busiest or more, and so many times the median, are coloured.

Where all are alike, none stands out.
"""
BUSY_COLOUR: Final = "1"
MESSAGE_COLOUR: Final = "4"

_COLUMNS: Final[tuple[tuple[str, ...], ...]] = (
    ("program", "observability"),
    ("orchestrator", "governance"),
    ("manager", "workers"),
    ("routing", "model"),
    ("tools", "audit"),
)
"""Which groups stand above each other, from left to right the way that work goes."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the canvas."""

    x: int
    y: int
    width: int
    height: int


def document(swarm: Swarm, sources: str, *, include_metrics: bool, before: str = "") -> str:
    """The canvas as JSON text.

    Args:
        sources: the relative path from the canvas to the root of the sources.
        before: the text of the canvas as it was, for what a person added to it.
    """
    texts = {each.key: _text(each, sources, metrics=include_metrics) for each in swarm.components}
    groups = {
        name: [each.key for each in swarm.components if each.category == name]
        for name in CATEGORIES
        if any(each.category == name for each in swarm.components)
    }
    heights = {key: _height(text) for key, text in texts.items()}
    boxes, frames = layout(groups, heights)
    nodes: list[dict[str, Any]] = [
        _node(f"group-{name}", "group", frame, CATEGORIES[name].colour)
        | {"label": CATEGORIES[name].title}
        for name, frame in frames.items()
    ]
    nodes += [
        _node(each.key, "text", boxes[each.key], CATEGORIES[each.category].colour)
        | {"text": texts[each.key]}
        for each in swarm.components
    ]
    nodes.append(_legend(swarm, frames.values(), metrics=include_metrics))
    busy = _busy([each.count for each in swarm.traffic if each.kind == "calls"])
    edges = [_edge(each, boxes, busy) for each in swarm.traffic]
    kept_nodes, kept_edges = _kept(before, nodes, edges)
    whole = {"nodes": nodes + kept_nodes, "edges": edges + kept_edges}
    return json.dumps(whole, indent="\t", ensure_ascii=False) + "\n"


def layout(
    groups: Mapping[str, Sequence[str]], heights: Mapping[str, int]
) -> tuple[dict[str, Box], dict[str, Box]]:
    """Where nodes and the frames of their groups go: columns of groups, in each a grid of nodes.

    Args:
        groups: the nodes of each group, by the group's name; names beyond `_COLUMNS` come last.
        heights: of each node.
    """
    known = {name for column in _COLUMNS for name in column}
    columns = [*_COLUMNS, tuple(name for name in groups if name not in known)]
    boxes: dict[str, Box] = {}
    frames: dict[str, Box] = {}
    left = 0
    for column in columns:
        top = 0
        widest = 0
        for name in column:
            if name not in groups:
                continue
            frame = _place(groups[name], heights, left, top, boxes)
            frames[name] = frame
            top += frame.height + BETWEEN
            widest = max(widest, frame.width)
        if widest:
            left += widest + BETWEEN
    return boxes, frames


def _place(
    keys: Sequence[str], heights: Mapping[str, int], left: int, top: int, boxes: dict[str, Box]
) -> Box:
    """Put nodes into a grid, at most six rows until that gets wider than high."""
    across = max(1, math.ceil(len(keys) / 6), math.isqrt(len(keys)) // 2)
    y = top + PADDING
    for first in range(0, len(keys), across):
        row = keys[first : first + across]
        for number, key in enumerate(row):
            x = left + PADDING + number * (WIDTH + GAP)
            boxes[key] = Box(x, y, WIDTH, heights[key])
        y += max(heights[key] for key in row) + GAP
    width = 2 * PADDING + min(across, len(keys)) * (WIDTH + GAP) - GAP
    return Box(left, top, width, y - GAP + PADDING - top)


def _text(component: Component, sources: str, *, metrics: bool) -> str:
    lines = [f"**{prose(component.title)}**"]
    if component.agent and component.title != component.operation:
        lines.append(f"{prose(component.role)}, {code(component.operation)}")
    elif component.role:
        lines.append(str(prose(component.role)))
    if metrics:
        lines += _figures(component)
    for function in component.functions[:3]:
        lines.append(str(source_link(function.place, sources, short(function.place))))
    if len(component.functions) > 3:
        lines.append(f"and {count(len(component.functions) - 3, 'more function')}")
    return "\n".join(lines)


def _figures(component: Component) -> list[str]:
    found = component.figures
    if found is None:
        return ["not called in the documented runs"]
    failed = f", {found.failures} failed" if found.failures else ""
    failed += f", {found.cancelled} cut off" if found.cancelled else ""
    lines = [
        f"{count(found.calls, 'call')}{failed}",
        f"p50 {seconds(found.p50_seconds)}, p95 {seconds(found.p95_seconds)}",
    ]
    if found.tokens:
        lines.append(f"{found.tokens:,.0f} tokens")
    return lines


def _height(text: str) -> int:
    rows = 0
    for line in text.split("\n"):
        shown = line.partition("](")[0]
        rows += max(1, math.ceil(len(shown) / LINE_CHARACTERS))
    return 40 + LINE * rows


def _node(key: str, kind: str, box: Box, colour: str) -> dict[str, Any]:
    return {
        "id": _id(key),
        "type": kind,
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "color": colour,
    }


def _legend(swarm: Swarm, frames: Iterable[Box], *, metrics: bool) -> dict[str, Any]:
    right = max((frame.x + frame.width for frame in frames), default=2 * WIDTH)
    lines = [f"**{prose(swarm.service)}**"]
    if swarm.runs:
        newest = swarm.runs[0]
        lines.append(
            f"{count(len(swarm.runs), 'recorded run')}, the latest {newest.started} UTC."
            + ("" if metrics else " Figures were left out.")
        )
        lines.append(
            "An arrow is calls, or messages where it says so, with how many. Red: calls, at least "
            f"{BUSY_SHARE:.0%} of the busiest and {BUSY_TIMES} times the median. Green: messages."
        )
    else:
        lines.append("No run is recorded: this is what code and rules alone say.")
    width = max(2 * WIDTH, min(right, 4 * WIDTH))
    rows = sum(math.ceil(len(line) / (width // 10)) for line in lines)
    height = 50 + LINE * rows
    return {
        "id": _id("legend"),
        "type": "text",
        "x": 0,
        "y": -height - BETWEEN,
        "width": width,
        "height": height,
        "text": "\n".join(lines),
    }


def _busy(counts: Sequence[int]) -> float:
    """The number of calls from which an edge stands out."""
    if not counts:
        return math.inf
    return max(BUSY_SHARE * max(counts), BUSY_TIMES * statistics.median(counts))


def _edge(traffic: Traffic, boxes: Mapping[str, Box], busy: float) -> dict[str, Any]:
    source, target = boxes[traffic.source], boxes[traffic.target]
    from_side, to_side = _sides(source, target, boxes.values(), traffic.kind)
    edge: dict[str, Any] = {
        "id": _id(f"{traffic.kind} {traffic.source} {traffic.target}"),
        "fromNode": _id(traffic.source),
        "fromSide": from_side,
        "toNode": _id(traffic.target),
        "toSide": to_side,
    }
    if traffic.kind == "messages":
        edge["color"] = MESSAGE_COLOUR
        return edge | {"label": count(traffic.count, "message")}
    if traffic.count >= busy:
        edge["color"] = BUSY_COLOUR
    return edge | {"label": f"{traffic.count:,}"}


def _sides(source: Box, target: Box, others: Iterable[Box], kind: str) -> tuple[str, str]:
    """The sides that face each other; where another node stands between, a way around it."""
    across = target.x + target.width // 2 - source.x - source.width // 2
    down = target.y + target.height // 2 - source.y - source.height // 2
    if target.x >= source.x + source.width or target.x + target.width <= source.x:
        return ("right", "left") if across >= 0 else ("left", "right")
    low, high = min(source.y, target.y), max(source.y, target.y)
    between = any(each.x == source.x and low < each.y < high for each in others)
    if between or kind == "messages":
        return ("right", "right") if kind == "messages" else ("left", "left")
    return ("bottom", "top") if down >= 0 else ("top", "bottom")


def _id(key: str) -> str:
    return OURS + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]


def _kept(
    before: str, nodes: Sequence[dict[str, Any]], edges: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes and edges that a person added; an edge goes with the node that it ended at."""
    try:
        found = json.loads(before) if before.strip() else {}
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        return [], []
    theirs = [each for each in _dicts(found.get("nodes")) if not _is_ours(each)]
    ends = {each["id"] for each in (*nodes, *theirs) if "id" in each}
    ours = {each["id"] for each in edges}
    links = [
        each
        for each in _dicts(found.get("edges"))
        if not _is_ours(each)
        and each.get("id") not in ours
        and each.get("fromNode") in ends
        and each.get("toNode") in ends
    ]
    return theirs, links


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _is_ours(each: Mapping[str, Any]) -> bool:
    return str(each.get("id", "")).startswith(OURS)
