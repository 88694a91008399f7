"""Jaeger's JSON, against a schema written from the types of its UI model."""

import json

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.export.formats import render
from tests.export.sample_runs import records, runs, span, swarm

TAG = {
    "type": "object",
    "required": ["key", "type", "value"],
    "additionalProperties": False,
    "properties": {"key": {"type": "string"}, "type": {}, "value": {}},
    "oneOf": [
        {"properties": {"type": {"const": "string"}, "value": {"type": "string"}}},
        {"properties": {"type": {"const": "bool"}, "value": {"type": "boolean"}}},
        {
            "properties": {
                "type": {"const": "int64"},
                "value": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
            }
        },
        {"properties": {"type": {"const": "float64"}, "value": {"type": "number"}}},
    ],
}
TAGS = {"type": "array", "items": TAG}
WARNINGS = {"type": "array", "items": {"type": "string"}}
UINT64 = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
TRACE_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
SPAN_ID = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
REFERENCE = {
    "type": "object",
    "required": ["refType", "traceID", "spanID"],
    "additionalProperties": False,
    "properties": {
        "refType": {"enum": ["CHILD_OF", "FOLLOWS_FROM"]},
        "traceID": TRACE_ID,
        "spanID": SPAN_ID,
    },
}
LOG = {
    "type": "object",
    "required": ["timestamp", "fields"],
    "additionalProperties": False,
    "properties": {"timestamp": UINT64, "fields": TAGS},
}
SPAN = {
    "type": "object",
    "required": [
        *("traceID", "spanID", "operationName", "references", "startTime", "duration"),
        *("tags", "logs", "processID", "warnings"),
    ],
    "additionalProperties": False,
    "properties": {
        "traceID": TRACE_ID,
        "spanID": SPAN_ID,
        "operationName": {"type": "string", "minLength": 1},
        "references": {"type": "array", "items": REFERENCE},
        "startTime": UINT64,
        "duration": UINT64,
        "tags": TAGS,
        "logs": {"type": "array", "items": LOG},
        "processID": {"type": "string"},
        "warnings": WARNINGS,
    },
}
PROCESS = {
    "type": "object",
    "required": ["serviceName", "tags"],
    "additionalProperties": False,
    "properties": {"serviceName": {"type": "string", "minLength": 1}, "tags": TAGS},
}
TRACE = {
    "type": "object",
    "required": ["traceID", "spans", "processes", "warnings"],
    "additionalProperties": False,
    "properties": {
        "traceID": TRACE_ID,
        "spans": {"type": "array", "items": SPAN, "minItems": 1},
        "processes": {"type": "object", "additionalProperties": PROCESS},
        "warnings": WARNINGS,
    },
}
DOCUMENT = {
    "type": "object",
    "required": ["data"],
    "additionalProperties": False,
    "properties": {"data": {"type": "array", "items": TRACE}},
}
VALIDATOR = jsonschema.Draft202012Validator(DOCUMENT)


def written(run, **options):
    return json.loads(b"".join(render("jaeger", run, **options)))


@settings(max_examples=60)
@given(runs(), st.booleans())
def test_every_document_has_the_types_of_the_ui_model(run, content):
    """Nothing is null, every tag's value is of its type, every process exists, keys are unique."""
    document = written(run, content=content)
    VALIDATOR.validate(document)
    assert sum(len(trace["spans"]) for trace in document["data"]) == len(run.spans)
    for trace in document["data"]:
        for each in trace["spans"]:
            assert each["processID"] in trace["processes"]
            assert each["traceID"] == trace["traceID"]
            keys = [tag["key"] for tag in each["tags"]]
            assert len(keys) == len(set(keys))


def find(document, span_id):
    spans = (each for trace in document["data"] for each in trace["spans"])
    found = next(each for each in spans if each["spanID"] == f"{span_id:016x}")
    return found, {tag["key"]: tag["value"] for tag in found["tags"]}


def test_a_failure_shows_as_one():
    """Jaeger marks a span by its tag `error`; the exception is a log with its stack."""
    found, tags = find(written(swarm()), 10)
    assert tags["error"] is True
    assert tags["otel.status_code"] == "ERROR"
    (log,) = found["logs"]
    fields = {field["key"]: field["value"] for field in log["fields"]}
    assert (fields["event"], fields["exception.type"]) == ("exception", "httpx.ReadTimeout")
    assert log["timestamp"] == found["startTime"] + found["duration"]


def test_what_did_not_fail_does_not():
    """A success and a cancelled call have no error tag at all: even `false` would be shown."""
    for number in (6, 13):
        assert "error" not in find(written(swarm()), number)[1]


def test_the_parent_comes_before_the_links():
    """Jaeger's UI takes the first reference for the parent."""
    found, _ = find(written(swarm()), 11)
    assert [each["refType"] for each in found["references"]] == [
        *("CHILD_OF", "FOLLOWS_FROM", "FOLLOWS_FROM")
    ]


def test_spans_stay_inside_their_parents():
    """Start and end are cut alike, so a child never sticks out by a microsecond."""
    parent = span(1, "p", 0.0004, 1.0009)
    child = span(2, "c", 0.0005, 1.0009, parent=1)
    document = written(records([parent, child]))
    (outer, _), (inner, _) = find(document, 1), find(document, 2)
    assert outer["startTime"] <= inner["startTime"]
    assert inner["startTime"] + inner["duration"] <= outer["startTime"] + outer["duration"]


def test_oddities_of_the_records_are_warnings():
    """What was remarked about the records is shown where Jaeger shows warnings."""
    warnings = written(swarm())["data"][0]["warnings"]
    assert any("still running" in each for each in warnings)
