"""Diagrams are read by mermaid itself."""

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dytopo_autotrace.documentation import mermaid as diagrams
from dytopo_autotrace.documentation.model import Edge, Round
from dytopo_autotrace.documentation.steps import Call, Step, Use
from tests.documentation.conftest import ROOT

pytestmark = pytest.mark.slow  # Node takes seconds to load mermaid

NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *("end", "END", "par", "and", "loop", "a;b", "a:b", "a->b", "#35;", "%%", "%%{init}%%"),
            *('"', "[x]", "(x)", "{x}", "|", "`x`", "1. x", "- x", "<b>", "subgraph", "note", "as"),
            *("participant", "o", "m", "日本", "-->", "--x", "&", "\n", "x\ny", "+", "-", "title"),
        ]
    ),
)
CALLS = st.builds(
    Call,
    actor=NAMES,
    role=st.just("worker"),
    operation=NAMES,
    seconds=st.floats(0, 100),
    model_calls=st.integers(0, 2),
    attempts=st.integers(0, 4),
    tokens=st.integers(0, 9999),
    failed=NAMES,
    within=NAMES,
    reads=st.lists(st.tuples(NAMES, st.none() | st.floats(-1, 1)), max_size=2).map(tuple),
    uses=st.lists(st.builds(Use, NAMES, st.floats(0, 9), NAMES, st.integers(1, 3)), max_size=2).map(
        tuple
    ),
)
STEPS = st.lists(
    st.lists(CALLS, min_size=1, max_size=3).map(lambda calls: Step(tuple(calls))), max_size=4
)
EDGES = st.lists(
    st.builds(Edge, NAMES, NAMES, st.none() | st.floats(-1, 1), st.booleans()), max_size=5
)


# A batch is one process of Node, and mermaid says which diagram is at fault: shrinking would only start
# hundreds more.
ONE_BATCH = settings(
    max_examples=3,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def blocks():
    """Every diagram on the project's pages, and where it is."""
    for file in sorted((ROOT / "docs").rglob("*.md")):
        text = file.read_text(encoding="utf-8")
        for found in re.finditer(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield f"{file.name}:{text.count(chr(10), 0, found.start()) + 1}", found[1]


def test_every_diagram_on_the_pages_can_be_drawn(mermaid):
    """mermaid parses each diagram in docs/, and there are some."""
    found = dict(blocks())
    assert found
    faults = mermaid(found.values())

    assert [f"{where}: {fault}" for where, fault in zip(found, faults, strict=True) if fault] == []


@ONE_BATCH
@given(st.lists(st.tuples(STEPS, NAMES), min_size=20, max_size=60))
def test_no_name_breaks_a_sequence_diagram(mermaid, given_):
    """Whatever agents and operations are called, the diagram parses."""
    texts = [diagrams.sequence(steps, name).text for steps, name in given_]
    faults = mermaid(texts)

    assert [(text, fault) for text, fault in zip(texts, faults, strict=True) if fault] == []


@ONE_BATCH
@given(st.lists(st.tuples(EDGES, st.lists(NAMES, max_size=4)), min_size=20, max_size=60))
def test_no_name_breaks_a_topology(mermaid, given_):
    """Whatever agents are called, and whoever is isolated, the graph parses."""
    rounds = [
        Round("1", (), 0, 1.0, "", False, tuple(edges), tuple(alone), (), "route")
        for edges, alone in given_
    ]
    texts = [diagrams.topology(each).text for each in rounds]
    faults = mermaid(texts)

    assert [(text, fault) for text, fault in zip(texts, faults, strict=True) if fault] == []


def test_a_round_of_many_is_drawn_as_far_as_it_can_be(mermaid):
    """Mermaid draws at most 500 edges and 50,000 characters: more is counted, not drawn."""
    agents = tuple(f"agent {number:03} {'#' * 40}" for number in range(90))
    edges = tuple(
        Edge(source, target, (i * j % 97) / 97)
        for i, source in enumerate(agents)
        for j, target in enumerate(agents)
        if i != j
    )
    graph = diagrams.topology(Round("1", (), 0, 1.0, "", False, edges, (), agents, "route"))
    shown = [float(weight) for weight in re.findall(r'"(\d\.\d\d)"', graph.text)]
    call = Call("x", "worker", "act", 1.0, 0, 0, 0, "")
    steps = tuple(
        Step((replace(call, actor=f"{name}{i}", reads=tuple((each, None) for each in agents)),))
        for i, name in enumerate(agents)
    )
    told = diagrams.sequence(steps, "run")

    assert 0 < len(shown) <= diagrams.MOST_EDGES
    assert min(shown) > 0.9
    assert graph.left_out == f"30 more agents and {len(edges) - len(shown)} more edges"
    assert re.fullmatch(r"\d+ more calls of this round", told.left_out)
    assert max(map(len, (graph.text, told.text))) < 50_000
    assert mermaid([graph.text, told.text]) == ["", ""]
