"""The test doubles that the package ships."""

import doctest

import pytest

from dytopo_autotrace import TraceContext, agent, testing, traced
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import current, traces
from dytopo_autotrace.errors import RuleFileError
from dytopo_autotrace.testing import CountingIds, FakeClock, capture


def test_the_examples_in_the_module_hold():
    """What the docstring shows is what happens."""
    results = doctest.testmod(testing)
    assert results.attempted > 4
    assert not results.failed


def test_a_capture_is_isolated_from_what_came_before_and_after():
    """Spans from outside are not seen inside, and none are left over."""
    with TraceContext("before"):
        pass
    with capture() as seen:
        with TraceContext("inside"):
            pass
        assert [span.operation for span in seen.spans] == ["inside"]
    assert [span.operation for span in seen.spans] == ["inside"]
    assert not traces.all()
    assert pipeline._running is None


def test_a_capture_begins_a_context_of_its_own_and_gives_the_old_one_back():
    """A span that is open outside is no parent of those inside, and is current again afterwards."""
    with TraceContext("outside"):
        outer = current.get()
        with capture() as seen, TraceContext("inside"):
            pass
        assert current.get() is outer
    assert seen.one("inside").parent == 0


def test_a_capture_keeps_what_was_recorded_until_an_exception():
    """A block that raises has its records all the same, and its exception comes out."""
    with pytest.raises(KeyError), capture() as seen, TraceContext("inside"):
        raise KeyError
    assert seen.one("inside").status == "error"
    assert [failure.error_type for failure in seen.failures] == ["KeyError"]


def test_rules_come_as_text_as_a_path_and_loaded(tmp_path, load):
    """All three ways weave, and nothing is woven afterwards."""
    text = '[[rule]]\ntarget = "patient.plain:add"\n'
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    plain = load("patient.plain")
    add = plain.add
    for rules in (text, path, str(path)):
        with capture(rules) as seen:
            plain.add(1)
        assert seen.tree() == [("add", [])]
        assert plain.add is add
    with capture(seen.installation.ruleset) as again:
        plain.add(1)
    assert again.tree() == [("add", [])]


def test_wrong_rules_are_raised(load):
    """A test whose rules are wrong must not pass because nothing was recorded."""
    with pytest.raises(RuleFileError, match="did you mean|Did you mean"), capture("[[rulle]]\n"):
        pass
    assert agent._installed is None


def test_a_fake_clock_gives_exact_durations():
    """A span takes as long as the clock was advanced, and spans by `@traced` in the block as well."""
    clock = FakeClock()
    with capture(clock=clock) as seen:

        @traced(operation="work")
        def work():
            clock.advance(1.5)

        with TraceContext("outer"):
            work()
            clock.advance(0.25)
    assert seen.one("work").duration == 1.5
    assert seen.one("outer").duration == 1.75
    assert seen.tree() == [("outer", [("work", [])])]


def test_a_ticking_clock_moves_by_itself():
    """Each look at the clock costs a tick, so no two moments are the same."""
    clock = FakeClock(tick_seconds=1)
    assert clock() - clock() == -1_000_000_000


def test_counting_ids_are_the_same_in_every_run():
    """Two captures of the same program have the same ids."""
    runs = []
    for _ in range(2):
        with capture(ids=CountingIds()) as seen, TraceContext("outer"), TraceContext("inner"):
            pass
        runs.append([(span.trace, span.id, span.parent) for span in seen.spans])
    assert runs[0] == runs[1] == [(1, 2, 1), (1, 1, 0)]


def test_one_insists_on_one():
    """Asking for the only span of an operation fails when there are none or several."""
    with capture() as seen:
        for _ in range(2):
            with TraceContext("twice"):
                pass
    with pytest.raises(AssertionError, match="2 spans of 'twice'"):
        seen.one("twice")
    with pytest.raises(AssertionError, match="0 spans of 'never'"):
        seen.one("never")
