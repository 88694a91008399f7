"""OTLP's JSON form, read by the protobuf messages that OpenTelemetry itself publishes."""

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dytopo_autotrace.export import genai, otlp
from dytopo_autotrace.export.formats import render
from tests.export.sample_runs import SOFT, records, runs, span, swarm

json_format = pytest.importorskip("google.protobuf.json_format")
trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
metrics_service = pytest.importorskip(
    "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2"
)


def lines(name, run, **options):
    text = b"".join(render(name, run, **options)).decode()
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def with_base64_ids(node):
    """OTLP's one departure from protobuf's JSON: ids are hex there."""
    if isinstance(node, list):
        return [with_base64_ids(each) for each in node]
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(each)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else with_base64_ids(each)
            for key, each in node.items()
        }
    return node


def without_empty(node):
    """Protobuf's printer leaves out what has its default."""
    if isinstance(node, list):
        return [without_empty(each) for each in node]
    if isinstance(node, dict):
        found = {key: without_empty(each) for key, each in node.items()}
        return {
            key: each
            for key, each in found.items()
            if key.endswith("Value") or each not in ([], "", 0, "0")
        }
    return node


def through_protobuf(document, message):
    """What the message understood, printed again."""
    parsed = json_format.ParseDict(with_base64_ids(document), message, ignore_unknown_fields=False)
    parsed.SerializeToString()
    return parsed, json_format.MessageToDict(parsed, use_integers_for_enums=True)


@settings(max_examples=60)
@given(runs(), st.booleans())
def test_protobuf_reads_every_field_as_it_was_written(run, content):
    """Whatever a run holds, the request has known fields only and comes back as it went in."""
    for document in lines("otlp", run, content=content):
        _, printed = through_protobuf(document, trace_service.ExportTraceServiceRequest())
        assert without_empty(printed) == without_empty(with_base64_ids(document))


@settings(max_examples=30)
@given(runs())
@example(records([span(1, "half a pair: \ud800", 0, 1, agent="\udfff")]))
def test_protobuf_reads_the_metrics(run):
    """Histograms have one more bucket than bounds, and their counts add up."""
    (document,) = lines("otlp-metrics", run)
    parsed, printed = through_protobuf(document, metrics_service.ExportMetricsServiceRequest())
    assert without_empty(printed) == without_empty(with_base64_ids(document))
    for metric in parsed.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.histogram.data_points:
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
            assert sum(point.bucket_counts) == point.count


def spans_of(run, **options):
    (document,) = lines("otlp", run, **options)
    scope = document["resourceSpans"][0]["scopeSpans"][0]
    return {each["spanId"]: each for each in scope["spans"]}


def attributes(written):
    return {each["key"]: next(iter(each["value"].values()), None) for each in written["attributes"]}


def test_a_span_says_what_it_was():
    """A model call has a name, a kind, exact times and its tokens by the conventions."""
    written = spans_of(swarm())["0000000000000004"]
    assert (written["name"], written["kind"]) == ("chat m-1", 3)
    assert written["startTimeUnixNano"] == "1790000000133456789"
    assert written["endTimeUnixNano"] == "1790000000213456789"
    assert written["parentSpanId"] == "0000000000000003"
    assert written["status"] == {}
    found = attributes(written)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.agent.name"] == "manager"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (
        "120",
        "30",
    )
    assert (found["dytopo.operation"], found["dytopo.round"]) == ("llm_call", "1")
    assert "dytopo.model" not in found


def test_a_failure_is_a_status_a_type_and_an_event():
    """What was raised is told three times, as the conventions ask, and its stack is Python's."""
    written = spans_of(swarm())["000000000000000a"]
    assert written["status"] == {"code": 2, "message": "no answer\nwithin 5 s"}
    assert attributes(written)["error.type"] == "httpx.ReadTimeout"
    (event,) = written["events"]
    assert (event["name"], event["timeUnixNano"]) == ("exception", written["endTimeUnixNano"])
    assert attributes(event)["exception.stacktrace"] == (
        "Traceback (most recent call last):\n"
        '  File "/app/swarm.py", line 12, in call\n'
        '  File "/app/client.py", line 7, in post\n'
        "httpx.ReadTimeout: no answer\nwithin 5 s"
    )


def test_a_soft_failure_has_no_exception():
    """Nothing was raised, so there is no event; the status is an error all the same."""
    written = spans_of(swarm())["000000000000000b"]
    assert written["status"] == {"code": 2, "message": SOFT.message}
    assert attributes(written)["dytopo.error.soft"] is True
    assert "events" not in written


def test_a_cancelled_call_is_no_error():
    """Its status is unset, and what became of it stands under our own name."""
    written = spans_of(swarm())["000000000000000d"]
    assert written["status"] == {}
    found = attributes(written)
    assert found["dytopo.status"] == "cancelled"
    assert "error.type" not in found


def test_a_call_that_runs_ends_now_and_says_so():
    """OTLP has no open spans: the end is the moment up to which was recorded."""
    written = spans_of(swarm())["000000000000000e"]
    assert written["endTimeUnixNano"] == "1790000001123456789"
    assert attributes(written)["dytopo.open"] is True


def test_links_go_along_and_lost_ones_are_counted():
    """A message is a link; one to a span that was not recorded has no trace and is counted."""
    written = spans_of(swarm())["0000000000000008"]
    assert [each["spanId"] for each in written["links"]] == ["0000000000000006"]
    assert written["droppedLinksCount"] == 1
    nested = spans_of(swarm())["000000000000000f"]
    assert nested["links"][0]["traceId"] != nested["traceId"]


def test_content_is_left_out_and_counted_unless_asked_for():
    """What was said stays here; how much of it was left out does not."""
    written = spans_of(swarm())["0000000000000001"]
    assert "dytopo.task" not in attributes(written)
    assert written["droppedAttributesCount"] == 1
    asked = spans_of(swarm(), content=True)["0000000000000001"]
    assert attributes(asked)["dytopo.task"] == "Write a poem"
    assert "droppedAttributesCount" not in asked


def test_the_run_says_what_was_lost():
    """Drops are part of the resource; the command line is not, since the task is often on it."""
    (document,) = lines("otlp", swarm())
    found = attributes(document["resourceSpans"][0]["resource"])
    assert found["service.name"] == "poets"
    assert found["dytopo.run.drops.buffer"] == "3"
    assert "process.command_args" not in found
    (document,) = lines("otlp", swarm(), content=True)
    assert "process.command_args" in attributes(document["resourceSpans"][0]["resource"])


def test_a_large_run_is_several_lines():
    """No line holds more spans than a receiver takes at once."""
    many = [span(number + 1, "op", number, number + 1) for number in range(otlp.SPANS_PER_LINE + 1)]
    documents = lines("otlp", records(many))
    sizes = [len(each["resourceSpans"][0]["scopeSpans"][0]["spans"]) for each in documents]
    assert sizes == [otlp.SPANS_PER_LINE, 1]


def test_services_stay_apart():
    """A span that another service recorded goes under that one's name."""
    mine, theirs = span(1, "a", 0, 1), span(2, "b", 0, 1, **{"service.name": "search"})
    documents = lines("otlp", records([mine, theirs]))
    names = [attributes(each["resourceSpans"][0]["resource"])["service.name"] for each in documents]
    assert names == ["poets", "search"]


def test_the_two_histograms_of_the_conventions():
    """Duration and tokens of model calls are there, with the conventions' bounds and labels."""
    (document,) = lines("otlp-metrics", swarm())
    metrics = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    by_name = {each["name"]: each for each in metrics}
    duration, tokens = by_name[genai.OPERATION_DURATION], by_name[genai.TOKEN_USAGE]
    assert (duration["unit"], tokens["unit"]) == ("s", "{token}")
    points = duration["histogram"]["dataPoints"]
    assert points[0]["explicitBounds"] == [
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
        *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    ]
    assert sum(int(point["count"]) for point in points) == 3
    failed = [point for point in points if "error.type" in attributes(point)]
    assert [attributes(point)["error.type"] for point in failed] == ["httpx.ReadTimeout"]
    used = {
        (
            attributes(point)["gen_ai.token.type"],
            attributes(point).get("gen_ai.request.model"),
        ): point["sum"]
        for point in tokens["histogram"]["dataPoints"]
    }
    assert used == {
        ("input", "m-1"): 120.0,
        ("output", "m-1"): 30.0,
        ("input", None): 900.0,
        ("output", None): 100.0,
    }
    assert by_name["swarm_tokens_total"]["sum"]["isMonotonic"] is True


def test_no_spans_are_a_request_without_spans():
    """An empty run is still something that a receiver takes."""
    assert spans_of(records([])) == {}
