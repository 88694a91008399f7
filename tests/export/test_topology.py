"""Who sent to whom: only what was recorded, in text that Graphviz and Mermaid read."""

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.export.formats import render
from tests.export.sample_runs import TEXT, records, span, swarm


def written(name, run):
    return b"".join(render(name, run)).decode()


def router(number, edges, **metadata):
    return span(number, "route", number, number + 1, role="router", edges=edges, **metadata)


def test_edges_are_the_routers():
    """Each router's edges are a graph of their own, with their weights and its isolated agents."""
    text = written("mermaid", swarm())
    assert text == (
        '%% "poets": Edges as the router captured them.\n'
        "flowchart LR\n"
        '  subgraph g0["round 1"]\n'
        '    g0n0["writer"]\n'
        '    g0n1["critic"]\n'
        '    g0n2["idle"]\n'
        '    g0n0 -->|"0.75"| g0n1\n'
        '    g0n1 -->|"0.5"| g0n0\n'
        "  end\n"
    )


def test_without_a_router_messages_are_edges():
    """Links between spans of two agents are counted; those of one agent to itself are none."""
    spans = [
        span(1, "call", 0, 1, agent="a"),
        span(2, "call", 1, 2, agent="b", links=(1,)),
        span(3, "call", 2, 3, agent="b", links=(1, 2)),
    ]
    text = written("mermaid", records(spans))
    assert "Messages between agents" in text
    assert text.count("-->") == 1
    assert '-->|"2"|' in text


def test_nothing_recorded_is_said_and_nothing_drawn():
    """Who ran after whom is no edge: a comment says that none was recorded."""
    spans = [span(1, "call", 0, 1, agent="a"), span(2, "call", 1, 2, agent="b")]
    for name in ("mermaid", "graphviz"):
        text = written(name, records(spans))
        assert "No edges were recorded" in text.splitlines()[0]
        assert "->" not in text


def test_an_empty_graph_is_not_a_missing_one():
    """A router that found no edge is drawn with its isolated agents."""
    text = written("mermaid", records([router(1, [], isolated=["a", "b"])]))
    assert "as the router captured them" in text
    assert '["a"]' in text
    assert "no edges were recorded" not in text


def test_a_list_that_was_cut_says_so():
    """Capturing keeps so many entries and a mark; the mark is no edge and is counted."""
    text = written("graphviz", records([router(1, [["a", "b", 0.5], "… 7 more"])]))
    assert "1 of the captured entries are no edges" in text


ANY = st.recursive(
    st.none() | st.integers() | st.floats() | TEXT, lambda inner: st.lists(inner, max_size=3)
)
EDGES = st.lists(st.tuples(TEXT, TEXT, st.floats() | st.none()).map(list) | ANY, max_size=5)


@settings(max_examples=100)
@given(EDGES, TEXT)
def test_any_name_stays_inside_its_label(edges, service):
    """No name of an agent or a program can end its label, or begin a line of its own."""
    run = records([router(1, edges)], service=service)
    label = r'"(?:[^"\\\n]|\\["\\])*"'
    for line in written("graphviz", run).split("\n")[4:]:
        assert re.fullmatch(
            rf"|\}}|  subgraph cluster_0 \{{|    label={label};|    g0n\d+ \[label={label}\];"
            rf"|    g0n\d+ -> g0n\d+(?: \[label={label}\])?;|  \}}|  // \d+ of .*",
            line,
        )
    for line in written("mermaid", run).split("\n")[2:]:
        assert re.fullmatch(
            r'|  subgraph g0\["[^"\n]*"\]|    g0n\d+\["[^"\n]*"\]'
            r'|    g0n\d+ -->(?:\|"[^"\n]*"\|)? g0n\d+|  end|  %% \d+ of .*',
            line,
        )


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it():
    """Graphviz sees the agents and the edges that the router captured, whatever they are called."""
    edges = [['a "b" \\', "end\nsubgraph", 0.5], ["<c>", 'a "b" \\', None], ["ß→", "x]", 1]]
    run = records([router(1, edges), router(2, [["a", "b", 1]])], service='a "b" \\n;')
    found = subprocess.run(
        ["dot", "-Tjson"],
        input=written("graphviz", run),
        capture_output=True,
        text=True,
        check=True,
    )
    drawn = json.loads(found.stdout)
    assert found.stderr == ""
    assert len(drawn["edges"]) == 4
    assert {"ß→", "<c>", "x]"} <= {each.get("label") for each in drawn["objects"]}
