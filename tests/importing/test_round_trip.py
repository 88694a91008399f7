"""What goes out comes back: the same tree, names, outcomes and times, and what was captured."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dytopo_autotrace.analyze import outcomes, ownership, tree
from dytopo_autotrace.collect import clock
from dytopo_autotrace.export import genai
from dytopo_autotrace.export.formats import render
from dytopo_autotrace.export.run import OWN
from dytopo_autotrace.export.values import plain, text
from dytopo_autotrace.importing import parse
from tests.export import sample_runs
from tests.export.sample_runs import records, runs, swarm

TRACES = ("otlp", "jaeger", "zipkin")


def exported(name, run, **options):
    return b"".join(render(name, run, **options))


def start_and_end(one, name):
    """In the format's unit: nanoseconds, or microseconds, of which Zipkin has one at least."""
    unit = 1 if name == "otlp" else 1000
    start = clock.unix_ns(one.start_ns) // unit
    if not one.end_ns:
        return start, None
    end = clock.unix_ns(one.end_ns) // unit
    return start, max(end, start + 1) if name == "zipkin" else end


def shape(records, name):
    """All that must be the same after a round trip."""
    known = {span.id for span in records.spans}
    return {
        span.id: (
            *(span.parent, span.trace, text(span.operation), span.role, text(span.agent)),
            *(text(span.rule), span.status, *start_and_end(span, name)),
            tuple(link for link in span.links if link in known),
        )
        for span in records.spans
    }


@pytest.mark.parametrize("name", TRACES)
@settings(max_examples=40)
@given(run=runs(), content=st.booleans())
def test_the_tree_comes_back(name, run, content):
    """Ids, parents, names, roles, agents, rules, outcomes, links, and times to the format's unit."""
    back = parse(exported(name, run, content=content))
    assert shape(back, name) == shape(run, name)


@pytest.mark.parametrize("name", TRACES)
@settings(max_examples=40)
@given(run=runs())
def test_errors_come_back(name, run):
    """Type, message, frames and identity: what tells one exception from another."""
    back = {span.id: span.error for span in parse(exported(name, run)).spans}
    for span in run.spans:
        error, found = span.error, back[span.id]
        if error is None or error.soft:
            assert found == error
            continue
        assert found == replace(error, message=text(error.message))


NAMED_LIKE_OURS = records([sample_runs.span(1, "x", 0, 1)])
NAMED_LIKE_OURS.spans[0].metadata = dict.fromkeys([*OWN, "dytopo:x"], 1)
SPELLINGS = {
    key for keys in genai.KEYS_BY_ROLE.values() for listed in keys.values() for key in listed
}


@settings(max_examples=60)
@given(run=runs())
@example(NAMED_LIKE_OURS)
def test_metadata_comes_back_from_otlp(run):
    """What a rule captured is the same again, in types that JSON has; a null is not written.

    A key that a convention has a name for comes back as what it means, so there are none here.
    """
    for span in run.spans:
        span.metadata = {
            key.replace(".", ":") + "_" * (key in SPELLINGS): each
            for key, each in span.metadata.items()
        }
    back = {span.id: span.metadata for span in parse(exported("otlp", run, content=True)).spans}
    for span in run.spans:
        kept = {key: each for key, each in plain(span.metadata).items() if each is not None}
        assert back[span.id] == kept


@pytest.mark.parametrize("name", TRACES)
def test_the_analysis_says_the_same(name):
    """The failures of a run, and the agents they belong to, are found again in its export."""
    run = swarm()

    def failures(records):
        index = tree.build(records.spans, records.now_ns)
        found = outcomes.outcomes(index, ownership.owners(index))
        return [(each.kind, each.error_type, each.fate, each.agents) for each in found.failures]

    assert failures(run)
    assert failures(parse(exported(name, run))) == failures(run)


@pytest.mark.parametrize("name", ["otlp", "jaeger"])
def test_what_is_known_of_the_run_comes_back(name):
    """Service, start, length, exit status and losses travel with the spans."""
    run, back = swarm(), parse(exported(name, swarm()))
    for key in ("service", "started_unix_ns", "wall_seconds", "exit_status", "ended", "drops"):
        assert getattr(back, key) == getattr(run, key)


def test_a_second_round_trip_changes_nothing():
    """What was imported is exported as it came."""
    once = exported("otlp", parse(exported("otlp", swarm())))
    assert exported("otlp", parse(once)) == once
