"""Files as other tools write them, in their own words."""

import json

import pytest

from dytopo_autotrace.analyze import tree
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect import clock
from dytopo_autotrace.export.formats import render
from dytopo_autotrace.importing import parse

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND


def imported(document):
    return parse(json.dumps(document).encode())


def by_name(found):
    return {each.operation: each for each in found.spans}


def value(given):
    if isinstance(given, bool):
        return {"boolValue": given}
    if isinstance(given, int):
        return {"intValue": str(given)}
    if isinstance(given, float):
        return {"doubleValue": given}
    if isinstance(given, list):
        return {"arrayValue": {"values": [value(each) for each in given]}}
    return {"stringValue": given}


def attributes(**given):
    return [{"key": key.replace("__", "."), "value": value(each)} for key, each in given.items()]


def otlp_span(number, name, *, parent=None, start=0, end=1, **others):
    found = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": f"{number:016x}",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START + start * SECOND),
        "endTimeUnixNano": str(START + end * SECOND),
        **others,
    }
    if parent is not None:
        found["parentSpanId"] = f"{parent:016x}"
    return found


def otlp(*spans, service="helpdesk"):
    resource = {"attributes": attributes(service__name=service)}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def test_the_conventions_for_generative_ai():
    """Roles, agents, tokens, models and errors of spans that an OpenTelemetry instrumentation made."""
    found = imported(
        otlp(
            otlp_span(
                1,
                "invoke_workflow support",
                end=9,
                attributes=attributes(gen_ai__operation__name="invoke_workflow"),
            ),
            otlp_span(
                2,
                "invoke_agent Ann",
                parent=1,
                end=8,
                attributes=attributes(
                    gen_ai__operation__name="invoke_agent", gen_ai__agent__name="Ann"
                ),
            ),
            otlp_span(
                3,
                "chat m-1",
                parent=2,
                end=5,
                kind=3,
                attributes=attributes(
                    gen_ai__operation__name="chat",
                    gen_ai__request__model="m-1",
                    gen_ai__usage__input_tokens=100,
                    gen_ai__usage__output_tokens=20,
                    gen_ai__usage__cache_read__input_tokens=50,
                    server__address="api.example",
                ),
            ),
            otlp_span(
                4,
                "execute_tool search",
                parent=2,
                start=5,
                end=6,
                status={"code": 2, "message": "boom"},
                attributes=attributes(
                    gen_ai__operation__name="execute_tool",
                    gen_ai__tool__name="search",
                    error__type="TimeoutError",
                ),
                events=[
                    {
                        "timeUnixNano": str(START),
                        "name": "exception",
                        "attributes": attributes(
                            exception__type="asyncio.TimeoutError",
                            exception__message="too late",
                            exception__stacktrace="Traceback (most recent call last):\n"
                            '  File "/app/x.py", line 3, in search\n    go()\n'
                            "asyncio.TimeoutError: too late\n",
                        ),
                    }
                ],
            ),
        )
    )
    spans = by_name(found)
    assert found.service == "helpdesk"
    assert {each.operation: each.role for each in found.spans} == {
        "invoke_workflow support": "orchestrator",
        "invoke_agent Ann": "worker",
        "chat m-1": "llm",
        "execute_tool search": "tool",
    }
    assert spans["invoke_agent Ann"].agent == "Ann"
    chat = spans["chat m-1"].metadata
    assert (chat["model"], chat["tokens_in"], chat["tokens_out"]) == ("m-1", 100, 20)
    assert (chat["cache_read_tokens"], chat["server.address"]) == (50, "api.example")
    tool = spans["execute_tool search"]
    assert (tool.status, tool.metadata["tool"]) == ("error", "search")
    assert (tool.error.type_name, tool.error.module) == ("TimeoutError", "asyncio")
    assert (tool.error.message, tool.error.frames) == ("too late", (("/app/x.py", 3, "search"),))
    assert clock.unix_ns(tool.start_ns) == START + 5 * SECOND
    assert tool.duration == 1.0
    assert [
        (each.name, each.tokens, each.cached) for each in summarize(found).spending.by_agent
    ] == [("Ann", 120, 50)]


def test_openinference():
    """Span kinds, agents, model names and token counts as Phoenix's instrumentations write them."""
    found = imported(
        otlp(
            otlp_span(
                1,
                "AgentRun",
                attributes=attributes(openinference__span__kind="AGENT", agent__name="planner"),
            ),
            otlp_span(
                2,
                "ChatCompletion",
                parent=1,
                attributes=attributes(
                    openinference__span__kind="LLM",
                    llm__model_name="m-2",
                    llm__token_count__prompt=7,
                    llm__token_count__completion=3,
                    input__value="hello",
                ),
            ),
            otlp_span(
                3,
                "node",
                parent=1,
                attributes=attributes(
                    openinference__span__kind="CHAIN", graph__node__id="router-1"
                ),
            ),
        )
    )
    spans = by_name(found)
    assert (spans["AgentRun"].role, spans["AgentRun"].agent) == ("worker", "planner")
    assert spans["ChatCompletion"].role == "llm"
    assert spans["ChatCompletion"].metadata["tokens_in"] == 7
    assert spans["ChatCompletion"].metadata["input.value"] == "hello"
    assert (spans["node"].role, spans["node"].agent) == ("", "router-1")
    assert summarize(found).tokens == 10


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ({"traceloop__span__kind": "workflow"}, "orchestrator"),
        ({"traceloop__span__kind": "task"}, ""),
        ({"llm__request__type": "chat"}, "llm"),
        ({"mlflow__spanType": '"CHAT_MODEL"'}, "llm"),
        ({"langfuse__observation__type": "generation"}, "llm"),
        ({"gen_ai__operation__name": "embeddings"}, "embedding"),
        ({"gen_ai__operation__name": "never heard of"}, ""),
        ({"dytopo__role": "router", "gen_ai__operation__name": "chat"}, "router"),
        ({}, ""),
    ],
)
def test_roles_of_other_tools(given, role):
    """Each tool's word for what a span is; one that is not known makes no role."""
    found = imported(otlp(otlp_span(1, "x", attributes=attributes(**given))))
    assert found.spans[0].role == role


@pytest.mark.parametrize("names", ["camel", "proto"])
@pytest.mark.parametrize("enums", ["int", "text"])
def test_what_protobuf_prints_is_read(names, enums):
    """Ids in base64, enums as names and fields in snake case: protobuf's JSON, which is not OTLP's."""
    json_format = pytest.importorskip("google.protobuf.json_format")
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    request = service.ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    span = resource.scope_spans.add().spans.add()
    span.trace_id, span.span_id = bytes(range(1, 17)), bytes(range(1, 9))
    span.parent_span_id = bytes(range(9, 17))
    span.name, span.kind = "GET", 3
    span.start_time_unix_nano, span.end_time_unix_nano = START, START + 5
    span.status.code, span.status.message = 2, "no"
    pair = span.attributes.add()
    pair.key, pair.value.int_value = "n", 5
    link = span.links.add()
    link.trace_id, link.span_id = bytes(range(1, 17)), bytes(range(2, 10))
    text = json_format.MessageToJson(
        request,
        preserving_proto_field_name=names == "proto",
        use_integers_for_enums=enums == "int",
    )
    (found,) = parse(text.encode()).spans
    assert found.trace_id == bytes(range(1, 17)).hex()
    assert found.span_id == bytes(range(1, 9)).hex()
    assert found.parent_id == bytes(range(9, 17)).hex()
    assert found.links == (int.from_bytes(bytes(range(2, 10))),)
    assert (found.operation, found.status, found.error.message) == ("GET", "error", "no")
    assert found.metadata == {"n": 5, "span.kind": "client"}
    assert found.end_ns - found.start_ns == 5


def test_what_tempo_answers_is_read():
    """Its API calls the resources `batches`, and older ones the scopes by an older name."""
    document = otlp(otlp_span(1, "x"))
    resource = document["resourceSpans"][0]
    older = {"resource": {}, "instrumentationLibrarySpans": resource["scopeSpans"]}
    assert len(imported({"batches": [older]}).spans) == 1
    assert len(imported({"trace": document}).spans) == 1


def jaeger_span(number, name, **others):
    return {
        "traceID": "abc",
        "spanID": f"{number:x}",
        "operationName": name,
        "references": [],
        "startTime": START // 1000,
        "duration": 1500,
        "tags": [],
        "logs": [],
        "processID": "p1",
        **others,
    }


def jaeger(*spans):
    processes = {"p1": {"serviceName": "shop", "tags": []}}
    return {"data": [{"traceID": "abc", "spans": list(spans), "processes": processes}]}


def tag(key, given, kind="string"):
    return {"key": key, "type": kind, "value": given}


def test_jaeger_of_an_opentracing_client():
    """Short ids, `follows from` as the only reference, and an error told in a log."""
    found = imported(
        jaeger(
            jaeger_span(1, "checkout"),
            jaeger_span(
                2,
                "pay",
                references=[
                    {"refType": "FOLLOWS_FROM", "traceID": "abc", "spanID": "1"},
                    {"refType": "FOLLOWS_FROM", "traceID": "def", "spanID": "9"},
                ],
                tags=[
                    tag("error", True, "bool"),
                    tag("span.kind", "client"),
                    tag("n", "5", "int64"),
                ],
                logs=[
                    {
                        "timestamp": START // 1000,
                        "fields": [
                            tag("event", "error"),
                            tag("error.kind", "ValueError"),
                            tag("message", "no"),
                            tag("stack", '  File "a.py", line 1, in b'),
                        ],
                    }
                ],
            ),
        )
    )
    spans = by_name(found)
    pay = spans["pay"]
    assert (found.service, pay.trace, pay.parent, pay.links) == ("shop", 0xABC, 1, (9,))
    assert (pay.status, pay.error.type_name, pay.error.message) == ("error", "ValueError", "no")
    assert pay.error.frames == (("a.py", 1, "b"),)
    assert pay.metadata == {"n": 5, "span.kind": "client"}
    assert spans["checkout"].duration == 0.0015
    # Of a foreign exporter, even the deprecated field of the parent counts.
    (old,) = imported(jaeger(jaeger_span(2, "x", parentSpanID="1"))).spans
    assert old.parent == 1


def zipkin_span(number, name, **others):
    return {
        "traceId": "00000000000000ab",
        "id": f"{number:016x}",
        "name": name,
        "timestamp": START // 1000,
        "duration": 1000,
        **others,
    }


def test_zipkin_of_two_sides():
    """A span that client and server share becomes two, and the server's work is the server's."""
    client, server = {"serviceName": "web"}, {"serviceName": "api"}
    found = imported(
        [
            [
                zipkin_span(1, "get /", kind="CLIENT", localEndpoint=client),
                zipkin_span(1, "get /", kind="SERVER", shared=True, localEndpoint=server),
                zipkin_span(2, "query", parentId=f"{1:016x}", localEndpoint=server),
                zipkin_span(3, "render", parentId=f"{1:016x}", localEndpoint=client),
            ]
        ]
    )
    ask, serve, query, render = found.spans
    assert ask.id != serve.id
    assert [serve.parent, query.parent, render.parent] == [ask.id, serve.id, ask.id]
    assert serve.metadata["service.name"] == "api"
    assert found.service == "web"


def test_zipkin_tells_errors_by_a_tag():
    """Any error tag is a failure, an empty one too; plain annotations are events."""
    failed, silent = imported(
        [
            zipkin_span(
                1,
                "a",
                tags={"error": "503"},
                annotations=[{"timestamp": START // 1000, "value": "retry"}],
            ),
            zipkin_span(2, "b", tags={"error": ""}),
        ]
    ).spans
    assert (failed.status, failed.error.message) == ("error", "503")
    assert failed.metadata["events"] == [{"name": "retry", "unix_ns": START}]
    assert (silent.status, silent.error) == ("error", None)


def test_spans_that_cannot_be_used_are_counted_by_reason():
    """Each reason is told once, with how often and where first; the rest is read."""
    found = imported(
        otlp(
            otlp_span(1, "good"),
            otlp_span(2, "bad", startTimeUnixNano="soon"),
            otlp_span(3, "bad", startTimeUnixNano="later"),
            otlp_span(0, "nobody"),
            otlp_span(4, "nowhere", traceId=""),
            "not a span",
        )
    )
    assert [each.operation for each in found.spans] == ["good"]
    where = "resourceSpans[0].scopeSpans[0].spans"
    assert found.remarks == (
        f"2 left out, the start time of a span is not a number: first at {where}[1].",
        "1 left out, a span has no span id: first at nobody.",
        "1 left out, a span has no trace id: first at nowhere.",
        f"1 left out, a span is not an object: first at {where}[5].",
    )


def test_ids_that_two_traces_share_are_told_apart():
    """Tracers promise ids within a trace only: a second trace gets others, its tree stays whole."""
    other = "f" * 32
    found = imported(
        otlp(
            otlp_span(1, "a"),
            otlp_span(2, "b", parent=1),
            otlp_span(1, "c", traceId=other),
            otlp_span(
                2, "d", parent=1, traceId=other, links=[{"traceId": other, "spanId": f"{1:016x}"}]
            ),
        )
    )
    spans = by_name(found)
    assert len({each.id for each in found.spans}) == 4
    assert spans["b"].parent == spans["a"].id == 1
    assert spans["d"].parent == spans["d"].links[0] == spans["c"].id != 1
    assert found.remarks == (
        "2 spans were given another id, since a span of another trace has the same.",
    )


def test_odd_trees_and_clocks_are_kept_for_the_analysis():
    """A parent that is missing, an end before the start, no end, a circle: the tree deals with them."""
    found = imported(
        otlp(
            otlp_span(1, "orphan", parent=99),
            otlp_span(2, "backwards", start=5, end=4),
            otlp_span(3, "open", endTimeUnixNano="0"),
            otlp_span(4, "circle", parent=4),
        )
    )
    spans = by_name(found)
    assert (spans["open"].status, spans["open"].end_ns) == ("in_progress", 0)
    index = tree.build(found.spans, found.now_ns)
    assert len(index.spans) == 4
    assert len(index.remarks) == 4


def test_a_handled_exception_is_no_failure():
    """An exception on a span that did not fail is kept as an event."""
    event = {
        "timeUnixNano": str(START),
        "name": "exception",
        "attributes": attributes(exception__type="KeyError"),
    }
    (span,) = imported(otlp(otlp_span(1, "x", events=[event]))).spans
    assert (span.status, span.error) == ("success", None)
    assert span.metadata["events"][0]["exception.type"] == "KeyError"


def test_a_cancelled_call_is_known_by_its_exception():
    """Other tools have no word for it: it is an error whose exception says that it was cancelled."""
    event = {
        "timeUnixNano": str(START),
        "name": "exception",
        "attributes": attributes(exception__type="asyncio.exceptions.CancelledError"),
    }
    (span,) = imported(otlp(otlp_span(1, "x", events=[event], status={"code": 2}))).spans
    assert span.status == "cancelled"


def test_several_services_are_one_run():
    """The run is the service's whose spans have no parent; spans of the others say whose they are."""
    document = otlp(otlp_span(1, "root"), service="front")
    document["resourceSpans"] += otlp(
        otlp_span(2, "x", parent=1), otlp_span(3, "y", parent=1), service="back"
    )["resourceSpans"]
    found = imported(document)
    assert found.service == "front"
    assert by_name(found)["x"].metadata == {"service.name": "back"}


def test_a_batch_without_spans_is_an_empty_run():
    """What holds nothing is no fault."""
    for document in ({"resourceSpans": []}, {"data": []}, {"traces": []}):
        assert imported(document).spans == ()


def only(found):
    (span,) = found.spans
    return span


KINDS = {
    "langsmith": (
        {"langsmith.span.kind": "llm", "gen_ai.request.model": "m"}
        | {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 2},
        "llm",
    ),
    "langfuse": (
        {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "m"}
        | {"langfuse.observation.usage_details": '{"input": 7, "output": 2, "total": 9}'},
        "llm",
    ),
    "mlflow": (
        {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"m"'}
        | {"mlflow.chat.tokenUsage": '{"input_tokens": 7, "output_tokens": 2}'},
        "llm",
    ),
    "vercel": (
        {"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m"}
        | {"ai.usage.promptTokens": 7, "ai.usage.completionTokens": 2},
        "llm",
    ),
    "vercel's outer call": (
        {"ai.operationId": "ai.generateText", "ai.model.id": "m"}
        | {"ai.usage.promptTokens": 7, "ai.usage.completionTokens": 2},
        "",
    ),
    "no kind": (
        {"gen_ai.request.model": "m", "llm.usage.prompt_tokens": 7}
        | {"llm.usage.completion_tokens": 2},
        "llm",
    ),
}


@pytest.mark.parametrize("tool", KINDS)
def test_model_calls_of_other_tools(tool):
    """Role, model and tokens are read under whatever names a tool gives them; an outer call is none."""
    written, role = KINDS[tool]
    listed = [{"key": key, "value": value(each)} for key, each in written.items()]
    span = only(imported(otlp(otlp_span(1, "call", attributes=listed))))
    assert span.role == role
    kept = {key: span.metadata[key] for key in ("model", "tokens_in", "tokens_out")}
    assert kept == {"model": "m", "tokens_in": 7, "tokens_out": 2}


def test_a_tool_of_the_ai_sdk():
    """A call of a tool has the tool's name."""
    said = attributes(ai__operationId="ai.toolCall", ai__toolCall__name="search")
    span = only(imported(otlp(otlp_span(1, "ai.toolCall", attributes=said))))
    assert (span.role, span.metadata["tool"]) == ("tool", "search")


def test_langfuse_tells_an_error_by_its_level():
    """What Langfuse calls an error is one, with its message, whatever the status of the span."""
    said = attributes(
        langfuse__observation__level="ERROR",
        langfuse__observation__status_message="no answer",
    )
    span = only(imported(otlp(otlp_span(1, "call", attributes=said))))
    assert (span.status, span.error.message) == ("error", "no answer")


@pytest.mark.parametrize(
    ("name", "entity", "agent"),
    [("planner.agent", "planner", "planner"), ("invoke_agent Ann", "", "Ann"), ("Bob", "", "Bob")],
)
def test_an_agent_without_an_agents_name(name, entity, agent):
    """Is called as its entity is, else as its span."""
    said = attributes(traceloop__span__kind="agent")
    said += attributes(traceloop__entity__name=entity) if entity else []
    assert only(imported(otlp(otlp_span(1, name, attributes=said)))).agent == agent


def test_another_word_for_a_chat_is_kept():
    """`text_completion` is a call of a model, and goes out again under the name it came with."""
    said = attributes(gen_ai__operation__name="text_completion", gen_ai__request__model="davinci")
    found = imported(otlp(otlp_span(1, "x", attributes=said)))
    assert only(found).role == "llm"
    once = b"".join(render("otlp", found))
    assert b'"text_completion davinci"' in once
    assert b"".join(render("otlp", parse(once))) == once


PRINTED = {
    "name": "call",
    "context": {"trace_id": "0x" + "1" * 32, "span_id": "0x" + "2" * 16, "trace_state": "[]"},
    "kind": "SpanKind.CLIENT",
    "parent_id": None,
    "start_time": "2026-09-21T13:33:20.000001Z",
    "end_time": "2026-09-21T13:33:21.000001Z",
    "status": {"status_code": "ERROR", "description": "broke"},
    "attributes": {"gen_ai.operation.name": "chat"},
    "events": [],
    "links": [],
    "resource": {"attributes": {"service.name": "helpdesk"}, "schema_url": ""},
}


def test_what_the_console_exporter_prints():
    """Spans one after the other, each over many lines."""
    second = PRINTED | {"context": PRINTED["context"] | {"span_id": "0x" + "3" * 16}}
    second |= {"parent_id": "0x" + "2" * 16}
    data = json.dumps(PRINTED, indent=4) + "\n" + json.dumps(second, indent=4) + "\n"
    found = parse(data.encode())
    one, other = found.spans
    assert (found.service, one.role, one.status, one.error.message) == (
        *("helpdesk", "llm", "error", "broke"),
    )
    assert (other.parent, clock.unix_ns(one.end_ns) - clock.unix_ns(one.start_ns)) == (
        one.id,
        SECOND,
    )


def test_answers_of_apis():
    """Jaeger's third, Phoenix' two forms, and spans of Jaeger without a trace around them."""
    span = otlp_span(1, "x")
    jaeger = {"traceID": "1" * 32, "spanID": "2" * 16, "operationName": "x"}
    jaeger |= {"startTime": START // 1000, "duration": 5}
    for document in (
        {"result": otlp(span)},
        {"data": [span], "next_cursor": None},
        [span],
        {"data": [PRINTED | {"name": "x"}]},
        [jaeger],
        jaeger,
    ):
        assert only(imported(document)).operation == "x"
