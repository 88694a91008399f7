"""Each call of an orchestrator is a swarm of its own, with a name that tells it from the others."""

from builders import Spans

from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.swarms import swarms
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.analyze.wording import runs_of


def found_in(spans):
    tree = build(spans)
    return swarms(tree, owners(tree))


def several(*calls):
    """One orchestrator after another, each with a trace of its own, so many rounds and values."""
    spans = Spans()
    for number, (rounds, values) in enumerate(calls, 1):
        start = 10 * number
        run = spans.add("team", start, start + 9, role="orchestrator", trace=number, **values)
        for each in range(1, rounds + 1):
            spans.add("act", start + each, start + each + 1, run, agent="a", round=each)
    return spans


def test_the_only_swarm_needs_no_name():
    """One orchestrator has rounds, and no name beside them."""
    (one,) = found_in(several((3, {"label": "one"})))
    assert (one.name, one.rounds) == ("", 3)


def test_swarms_are_named_by_what_tells_them_apart():
    """A captured value that differs is the name; of equal ones, or without any, a number is added."""
    two = {"kind": "x", "label": "two"}
    names = [each.name for each in found_in(several((1, {"kind": "x", "label": "one"}), (1, two)))]
    assert names == ["one", "two"]
    assert [each.name for each in found_in(several((1, {}), (1, {})))] == ["team 1", "team 2"]
    values = ({"label": "one"}, {"label": "two"}, {"label": "two"})
    named = found_in(several(*((1, value) for value in values)))
    assert [each.name for each in named] == ["one", "two 1", "two 2"]


def test_rounds_are_counted_for_each_swarm():
    """Two swarms have their own rounds: what one counted says nothing of the other."""
    assert runs_of(found_in(several((2, {}), (3, {})))) == "2 runs of team, 2 and 3 rounds"
    assert runs_of(found_in(several((2, {}), (2, {})))) == "2 runs of team, 2 rounds each"
    said = found_in(several((2, {"rounds": 5}), (3, {})))
    assert [each.rounds for each in said] == [5, 3]
    many = found_in(several(*((number, {}) for number in (1, 2, 3, 1, 2))))
    assert runs_of(many) == "5 runs of team, 1 to 3 rounds"
