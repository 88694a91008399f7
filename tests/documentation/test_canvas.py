"""The overview is JSON Canvas 1.0, nothing in it overlaps, and what people drew stays."""

import json
from itertools import combinations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.documentation import canvas, here
from dytopo_autotrace.documentation.categories import CATEGORIES
from dytopo_autotrace.documentation.documents import overview
from dytopo_autotrace.documentation.model import Recorded, Source
from dytopo_autotrace.importing import read
from tests.documentation.conftest import ROOT

COLOUR = {"type": "string", "pattern": "^([1-6]|#[0-9a-fA-F]{6})$"}
SIDE = {"enum": ["top", "right", "bottom", "left"]}
GENERIC = {
    "id": {"type": "string", "minLength": 1},
    "x": {"type": "integer"},
    "y": {"type": "integer"},
    "width": {"type": "integer", "minimum": 1},
    "height": {"type": "integer", "minimum": 1},
    "color": COLOUR,
}


def node(kind, required=(), **own):
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, **GENERIC, **own},
        "required": ["id", "type", "x", "y", "width", "height", *required],
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
SPEC = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "nodes": {
            "type": "array",
            "items": {
                "oneOf": [
                    node("text", ["text"], text=TEXT),
                    node("file", ["file"], file=TEXT, subpath={"type": "string", "pattern": "^#"}),
                    node("link", ["url"], url=TEXT),
                    node(
                        "group",
                        label=TEXT,
                        background=TEXT,
                        backgroundStyle={"enum": ["cover", "ratio", "repeat"]},
                    ),
                ]
            },
        },
        "edges": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "minLength": 1},
                    "fromNode": TEXT,
                    "fromSide": SIDE,
                    "fromEnd": {"enum": ["none", "arrow"]},
                    "toNode": TEXT,
                    "toSide": SIDE,
                    "toEnd": {"enum": ["none", "arrow"]},
                    "color": COLOUR,
                    "label": TEXT,
                },
                "required": ["id", "fromNode", "toNode"],
                "additionalProperties": False,
            },
        },
    },
}
"""JSON Canvas 1.0 (https://jsoncanvas.org/spec/1.0/, 2024-03-11) as a JSON schema."""


def overlap(one, other):
    return (
        one["x"] < other["x"] + other["width"]
        and other["x"] < one["x"] + one["width"]
        and one["y"] < other["y"] + other["height"]
        and other["y"] < one["y"] + one["height"]
    )


def inside(one, frame):
    return (
        frame["x"] <= one["x"]
        and frame["y"] <= one["y"]
        and one["x"] + one["width"] <= frame["x"] + frame["width"]
        and one["y"] + one["height"] <= frame["y"] + frame["height"]
    )


def check(document):
    """All that must hold of a canvas of ours."""
    jsonschema.validate(document, SPEC)
    nodes, edges = document["nodes"], document["edges"]
    ids = [each["id"] for each in (*nodes, *edges)]
    assert len(ids) == len(set(ids))
    frames = [each for each in nodes if each["type"] == "group"]
    cards = [each for each in nodes if each["type"] != "group"]
    for same in (frames, cards):
        for one, other in combinations(same, 2):
            assert not overlap(one, other), (one, other)
    for card in cards:
        for frame in frames:
            assert inside(card, frame) or not overlap(card, frame), (card, frame)
    known = {each["id"] for each in nodes}
    for edge in edges:
        assert {edge["fromNode"], edge["toNode"]} <= known


@pytest.fixture
def swarm(poets):
    return here.swarm(runs=[Recorded(Source("run.json", is_file=True), read("run.json"))])[0]


def test_the_example_swarms_canvas_keeps_to_the_spec():
    """The committed canvas validates, nothing overlaps, and every edge ends at a node."""
    check(json.loads((ROOT / "docs/example-swarm/overview-obsidian.canvas").read_text("utf-8")))


@pytest.mark.parametrize("metrics", [True, False])
def test_a_canvas_keeps_to_the_spec(swarm, metrics):
    """With and without figures it validates, and figures are there only if they are asked for."""
    text = canvas.document(swarm, "..", include_metrics=metrics)
    check(json.loads(text))

    assert ("p95" in text) == metrics


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(CATEGORIES)), st.text(min_size=1, max_size=3)),
        st.integers(1, 40),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_nothing_overlaps_however_much_there_is(sizes, random):
    """Groups stand apart, nodes stand apart, and each node stands in its own group."""
    groups = {name: [f"{name} {i}" for i in range(size)] for name, size in sizes.items()}
    heights = {key: random.randint(1, 900) for keys in groups.values() for key in keys}
    boxes, frames = canvas.layout(groups, heights)

    def plain(box):
        return {"x": box.x, "y": box.y, "width": box.width, "height": box.height}

    assert set(boxes) == set(heights)
    for one, other in combinations(map(plain, boxes.values()), 2):
        assert not overlap(one, other)
    for one, other in combinations(map(plain, frames.values()), 2):
        assert not overlap(one, other)
    for name, keys in groups.items():
        for key in keys:
            assert inside(plain(boxes[key]), plain(frames[name]))


def test_edges_are_what_was_observed(swarm):
    """There is an edge for each pair of parts of which one called the other, weighted by how often."""
    found = json.loads(canvas.document(swarm, "..", include_metrics=True))
    names = {each["id"]: each.get("text", "").split("\n")[0] for each in found["nodes"]}
    calls = {
        (names[each["fromNode"]], names[each["toNode"]]): each["label"]
        for each in found["edges"]
        if "message" not in each["label"]
    }
    traffic = [each for each in swarm.traffic if each.kind == "calls"]

    assert len(calls) == len(traffic)
    assert sum(int(label.replace(",", "")) for label in calls.values()) == sum(
        each.count for each in traffic
    )


def test_what_a_person_drew_stays(swarm):
    """Nodes and edges with other ids than ours survive; an edge to a node that is gone does not."""
    first = json.loads(canvas.document(swarm, "..", include_metrics=True))
    mine = {"id": "mine", "type": "text", "x": -900, "y": 0, "width": 9, "height": 9, "text": "!"}
    here_ = {"id": "e1", "fromNode": "mine", "toNode": first["nodes"][0]["id"]}
    gone = {"id": "e2", "fromNode": "mine", "toNode": "dytopo-gone"}
    first["nodes"].append(mine)
    first["edges"] += [here_, gone]
    again = json.loads(canvas.document(swarm, "..", include_metrics=True, before=json.dumps(first)))

    assert mine in again["nodes"]
    assert here_ in again["edges"]
    assert gone not in again["edges"]


def test_another_layout_of_the_same_json_is_left_alone(swarm, poets):
    """A canvas that another program wrote in its own way, unchanged in meaning, is not written."""
    text = canvas.document(swarm, ".", include_metrics=True)
    (poets / "x.canvas").write_text(json.dumps(json.loads(text), indent=1), encoding="utf-8")

    assert overview(swarm, str(poets / "x.canvas"), str(poets)).change == "same"


@pytest.mark.parametrize(
    ("counts", "red"), [([30, 30, 30], []), ([1, 1, 1, 30], [30]), ([7], []), ([], [])]
)
def test_only_what_stands_out_is_red(counts, red):
    """Calls are coloured where they are many beside the others; where all are alike none is."""
    busy = canvas._busy(counts)

    assert [number for number in counts if number >= busy] == red
