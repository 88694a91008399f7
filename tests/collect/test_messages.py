"""A call that read the output of agents is linked to the calls that gave it."""

from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace import traced
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.testing import capture


@traced(role="worker", agent="name", receives="sources")
def work(name, sources):
    return name


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from("abcx"))), max_size=10),
    st.booleans(),
)
def test_each_reader_links_to_the_latest_output_of_each_source(calls, drains_each_time):
    """Links are the latest earlier call of every named agent, once; unknown names have none."""

    @traced(role="orchestrator")
    def run():
        for name, sources in calls:
            work(name, sources)
            if drains_each_time:
                pipeline.drain()

    with capture() as seen:
        run()
    spans = sorted((s for s in seen.spans if s.role == "worker"), key=lambda s: s.start_ns)
    latest = {}
    for span, (name, sources) in zip(spans, calls, strict=True):
        assert span.links == tuple(dict.fromkeys(latest[s] for s in sources if s in latest))
        assert span.metadata["receives"] == sources
        latest[name] = span.id


def test_what_ran_beside_the_reader_was_not_read_by_it():
    """A call that had not ended when the reader began is no source, whatever its agent is called."""

    @traced(role="worker", agent="'slow'")
    def slow():
        work("reader", ["slow"])

    @traced(role="orchestrator")
    def run():
        slow()

    with capture() as seen:
        run()
    assert seen.one("work").links == ()
