"""What the program says of its convergence, and rounds that changed nothing."""

from builders import Spans, any_spans
from hypothesis import given

from dytopo_autotrace.analyze.convergence import convergence
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.topology import topology
from dytopo_autotrace.analyze.tree import build


def found_in(spans):
    tree = build(spans)
    owned = owners(tree)
    return convergence(tree, owned, topology(tree, owned))


def test_the_last_word_of_each_round_counts():
    """Similarity and verdict by round, and rounds with the edges of the one before."""
    spans = Spans()
    run = spans.add("run", 0, 9)
    for number, (similarity, edges) in enumerate([(0.2, "ab"), (0.5, "ab"), (0.9, "ba")], 1):
        route = {"edges": [[*edges, 1.0]], "round": number}
        spans.add("route", number, number + 0.1, run, role="router", **route)
        for value in (0.0, similarity):
            said = {"round": number, "similarity": value, "converged": value > 0.8}
            spans.add("detect", number + value / 2, number + 0.9, run, **said)
    found = found_in(spans)
    assert [(each.round, each.similarity, each.converged) for each in found.rounds] == [
        ("1", 0.2, False),
        ("2", 0.5, False),
        ("3", 0.9, True),
    ]
    assert found.unchanged == ("2",)


@given(any_spans())
def test_any_records_have_an_answer(spans):
    """What is no number is no similarity."""
    for index, span in enumerate(spans):
        span.metadata["similarity"] = [True, "high", 0.5, None][index % 4]
    assert {each.similarity for each in found_in(spans).rounds} <= {0.5}
