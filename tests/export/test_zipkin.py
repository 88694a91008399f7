"""Zipkin v2 JSON, against a schema written from Zipkin's published API description."""

import json

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.export.formats import render
from tests.export.sample_runs import records, runs, span, swarm

MICROSECONDS = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
SPAN = {
    "type": "object",
    "required": ["traceId", "id", "timestamp", "duration", "localEndpoint"],
    "additionalProperties": False,
    "properties": {
        "traceId": {"type": "string", "pattern": "^(?!0+$)([0-9a-f]{16}){1,2}$"},
        "id": {"type": "string", "pattern": "^(?!0+$)[0-9a-f]{16}$"},
        "parentId": {"type": "string", "pattern": "^(?!0+$)[0-9a-f]{16}$"},
        "name": {"type": "string", "minLength": 1},
        "kind": {"enum": ["CLIENT", "SERVER", "PRODUCER", "CONSUMER"]},
        "timestamp": MICROSECONDS,
        "duration": MICROSECONDS,
        "localEndpoint": {
            "type": "object",
            "required": ["serviceName"],
            "additionalProperties": False,
            "properties": {"serviceName": {"type": "string", "minLength": 1}},
        },
        "annotations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["timestamp", "value"],
                "additionalProperties": False,
                "properties": {"timestamp": MICROSECONDS, "value": {"type": "string"}},
            },
        },
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
VALIDATOR = jsonschema.Draft202012Validator({"type": "array", "items": SPAN})


def written(run, **options):
    return json.loads(b"".join(render("zipkin", run, **options)))


@settings(max_examples=60)
@given(runs(), st.booleans())
def test_every_document_is_a_list_of_spans(run, content):
    """Tags are text, durations at least one, roots without a parent, names in lower case."""
    document = written(run, content=content)
    VALIDATOR.validate(document)
    assert len(document) == len(run.spans)
    assert all(each["name"] == each["name"].lower() for each in document)


def find(document, span_id):
    return next(each for each in document if each["id"] == f"{span_id:016x}")


def test_only_calls_to_the_outside_have_a_kind():
    """Zipkin's word for an internal span is none."""
    document = written(swarm())
    assert find(document, 4)["kind"] == "CLIENT"
    assert "kind" not in find(document, 3)


def test_a_failure_is_a_tag_and_an_annotation():
    """The error tag has the message, the annotation the event as OpenTelemetry maps it."""
    found = find(written(swarm()), 10)
    assert found["tags"]["error"] == "no answer\nwithin 5 s"
    assert found["tags"]["otel.status_code"] == "ERROR"
    (annotation,) = found["annotations"]
    name, _, attributes = annotation["value"].partition(": ")
    assert json.loads(name) == "exception"
    assert json.loads(attributes)["exception.type"] == "httpx.ReadTimeout"
    assert "error" not in find(written(swarm()), 13)["tags"]


def test_values_are_text_and_links_are_a_tag():
    """What Zipkin has no form for is written as JSON; links name trace and span."""
    document = written(swarm())
    assert find(document, 4)["tags"]["gen_ai.usage.input_tokens"] == "120"
    assert json.loads(find(document, 5)["tags"]["dytopo.edges"])[0] == ["writer", "critic", 0.75]
    trace = f"{swarm().spans[0].trace:032x}"
    assert find(document, 8)["tags"]["dytopo.links"] == f"{trace}:{6:016x}"


def test_no_duration_is_nothing():
    """A duration of less than a microsecond is one, since none means that it is not known."""
    assert written(records([span(1, "a", 0, 0.0001)]))[0]["duration"] == 1
