"""Chrome's trace format: slices that nest only in their callers, arrows that tie to their slices."""

import json
from collections import defaultdict
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.analyze import tree
from dytopo_autotrace.export.formats import render
from tests.export.sample_runs import at, records, runs, span, swarm


def written(run, **options):
    return json.loads(b"".join(render("perfetto", run, **options)))


def nanoseconds(microseconds):
    return round(Fraction(microseconds) * 1000)


def slices(document):
    """Slices as (track, start, end, id)."""
    return [
        (
            event["tid"],
            nanoseconds(event["ts"]),
            nanoseconds(event["ts"]) + nanoseconds(event["dur"]),
            int(event["args"]["span_id"], 16),
        )
        for event in document["traceEvents"]
        if event["ph"] == "X"
    ]


def check_tracks(run):
    """On one track, two slices are apart, or the one inside was called by the one outside."""
    index = tree.build(run.spans)
    callers = {span.id: {each.id for each in tree.ancestors(index, span)} for span in run.spans}
    tracks = defaultdict(list)
    for track, start, end, span_id in slices(written(run)):
        tracks[track].append((start, end, span_id))
    for found in tracks.values():
        for index, (start, end, span_id) in enumerate(found):
            for other_start, other_end, other in found[index + 1 :]:
                apart = end <= other_start or other_end <= start
                if start <= other_start and other_end <= end and other_start != other_end:
                    apart = apart or span_id in callers[other]
                elif other_start <= start and end <= other_end and start != end:
                    apart = apart or other in callers[span_id]
                assert apart


def check_arrows(document):
    """Each arrow has one start and one end, not before it, both on a slice of their track."""
    ends = defaultdict(dict)
    for event in document["traceEvents"]:
        if event["ph"] in ("s", "f"):
            assert event["ph"] not in ends[event["id"]]
            ends[event["id"]][event["ph"]] = event
    found = slices(document)
    for both in ends.values():
        assert set(both) == {"s", "f"}
        assert both["f"]["bp"] == "e"
        assert both["s"]["ts"] <= both["f"]["ts"]
        for event in both.values():
            moment = nanoseconds(event["ts"])
            assert any(
                track == event["tid"] and start <= moment <= end for track, start, end, *_ in found
            )
    return len(ends)


@settings(max_examples=60)
@given(runs(), st.booleans())
def test_any_run_draws(run, content):
    """Each span is one slice, on a track that has a name, and each link is an arrow or is counted."""
    document = written(run, content=content)
    assert len(slices(document)) == len(run.spans)
    check_tracks(run)
    arrows = check_arrows(document)
    links = sum(len(each.links) for each in run.spans)
    assert arrows + document["otherData"]["undrawn_links"] == links
    named = {each["tid"] for each in document["traceEvents"] if each["name"] == "thread_name"}
    assert {track for track, *_ in slices(document)} <= named


OVERLAPPING = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 30), st.sampled_from("ab"), st.integers(0, 8)),
    max_size=12,
)


@settings(max_examples=200)
@given(OVERLAPPING)
def test_calls_that_overlap_never_lie_on_one_another(shapes):
    """However the calls of an agent overlap, a slice lies in another one only if that called it."""
    spans = []
    for number, (start, length, agent, parent) in enumerate(shapes, 1):
        above = parent if parent < number else 0
        spans.append(span(number, "call", start, start + length, parent=above, agent=agent))
    check_tracks(records(spans))


def tracks_of(document):
    names = {
        event["tid"]: event["args"]["name"]
        for event in document["traceEvents"]
        if event["name"] == "thread_name"
    }
    return {span_id: names[track] for track, _, _, span_id in slices(document)}


def test_each_agent_has_a_track():
    """An agent's calls, and what is done on its behalf, lie on its track; side by side on two."""
    named = tracks_of(written(swarm()))
    assert named[3] == named[4] == "manager"
    assert named[6] == named[7] == named[13] == "writer"
    assert named[14] == "writer (2)"
    assert named[8] == named[10] == "critic"
    assert named[1] == named[5] == "(no agent)"


def test_times_keep_their_nanoseconds():
    """They count from the first span, whose date stands beside them."""
    document = written(records([span(1, "a", 0, 10), span(2, "b", 0.000001, 0.000004)]))
    assert (2, 1, 4) in {(each[3], each[1], each[2]) for each in slices(document)}
    assert document["otherData"]["first_span_unix_ns"] == "1790000000123456789"


def test_a_message_is_an_arrow_between_tracks():
    """From the end of the sender's call to the start of the reader's."""
    document = written(swarm())
    arrows = [each for each in document["traceEvents"] if each["ph"] == "s"]
    assert [nanoseconds(each["ts"]) for each in arrows][-1] == 600 * 10**6
    to_writer = [each for each in arrows if nanoseconds(each["ts"]) == 300 * 10**6 - 1]
    assert len(to_writer) == 1
    backwards = records([span(1, "a", 5, 9, links=(2,)), span(2, "b", 6, 9)], now_ns=at(9))
    assert written(backwards)["otherData"]["undrawn_links"] == 1


def test_an_exception_is_a_mark_at_the_end():
    """It can be found by its type, where it left the call."""
    marks = [each for each in written(swarm())["traceEvents"] if each["ph"] == "i"]
    assert ("exception httpx.ReadTimeout", 390 * 1000) in {(e["name"], e["ts"]) for e in marks}
