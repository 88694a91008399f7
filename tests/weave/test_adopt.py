"""A host's own tracing, taken over and given back."""

import asyncio

from dytopo_autotrace import TraceContext, observability
from dytopo_autotrace.testing import capture

ADOPT = '[agent]\nadopt = ["patient.observability"]\n'


def test_the_hosts_names_are_ours_while_we_are_there(load):
    """The module's names, and what other modules imported of them, are replaced and put back."""
    theirs, observed = load("patient.observability"), load("patient.observed")
    before = dict(vars(theirs)), dict(vars(observed))
    with capture(ADOPT) as seen:
        assert theirs.TraceContext is observed.TraceContext is observed.Traced is TraceContext
        assert theirs.trace_id_var is observability.trace_id_var
        assert asyncio.run(observed.work()).operation == "work"
        asyncio.run(observed.work_by_other_name())
        assert seen.metrics.stats("worked")["count"] == 1
    assert (dict(vars(theirs)), dict(vars(observed))) == before
    assert all(vars(theirs)[name] is value for name, value in before[0].items())
    assert [span.agent for span in seen.spans] == ["worker", ""]


def test_a_module_imported_later_is_taken_over_as_well(load):
    """A host's tracing that is imported after us is ours before anyone can take a name of it."""
    with capture(ADOPT) as seen:
        asyncio.run(load("patient.observed").work())
        theirs = load("patient.observability")
    assert seen.tree() == [("work", [])]
    assert theirs.TraceContext is not TraceContext
    assert theirs.MetricsCollector is not observability.MetricsCollector


def test_manual_and_automatic_spans_share_a_tree(load):
    """A watched call inside the host's own span is its child."""
    text = ADOPT + '[[rule]]\ntarget = "patient.plain:double"\n'
    with capture(text) as seen:
        observed, plain = load("patient.observed"), load("patient.plain")

        async def both():
            async with observed.TraceContext("manual"):
                await plain.double(1)

        asyncio.run(both())
    assert seen.tree() == [("manual", [("double", [])])]


def test_what_everyone_uses_is_not_taken_from_everyone(load):
    """A host that calls `dict` its `Span` gets ours there, and `dict` stays `dict` elsewhere."""
    theirs = load("patient.observability")
    with capture(ADOPT):
        import builtins

        assert theirs.Span is observability.Span
        assert builtins.dict is dict is type({})
    assert theirs.Span is dict


def test_our_own_names_stay_ours(load):
    """Nothing of what we export is touched by giving the host's names back."""
    with capture(ADOPT):
        load("patient.observed")
    assert observability.TraceContext is TraceContext
    assert observability.classic_names()["TraceContext"] is TraceContext
