"""Spans to a collector: what arrives, what is tried again, and what is counted when it does not."""

import json
import logging
import threading
import time
from collections import Counter

import pytest

from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.export.formats import render
from dytopo_autotrace.live.otlp import MAX_WAITING, PATIENCE_SECONDS, OtlpSender
from dytopo_autotrace.live.worker import Worker
from dytopo_autotrace.rules.model import Export
from tests.export.sample_runs import swarm
from tests.live.collectors import Collector, nobody

json_format = pytest.importorskip("google.protobuf.json_format")

RESOURCE = {"service.name": "poets"}
SITE = Site("op")


def sender_to(url, known=(), running=(), say=lambda _: None, **how):
    return OtlpSender(
        Export("otlp", endpoint=url, **how), RESOURCE, lambda _: known, lambda: running, say
    )


def some(count):
    return [finished(number) for number in range(1, count + 1)]


def finished(number):
    span = Span(number, 0, 7, SITE, 1_000)
    span.finish()
    return span


def test_what_arrives_is_what_the_file_says():
    """Ids, names, times, attributes, events, links and statuses are those of the OTLP file."""
    records = swarm()
    ended = [span for span in records.spans if span.end_ns]
    still_open = [span for span in records.spans if not span.end_ns]
    with Collector() as collector:
        sender = sender_to(collector.url, records.spans, still_open)
        sender.take(ended)
        sender.last()
        arrived = {bytes(span.span_id).hex(): span for span in collector.spans}
    assert sender.losses() == {}
    written = [
        span
        for line in b"".join(render("otlp", records)).decode().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert {span["spanId"] for span in written} == set(arrived)
    for span in written:
        mine, theirs = arrived[span["spanId"]], _message(span)
        assert bytes(mine.parent_span_id).hex() == span.get("parentSpanId", "")
        assert bytes(mine.trace_id).hex() == span["traceId"]
        assert [bytes(link.span_id).hex() for link in mine.links] == [
            link["spanId"] for link in span.get("links", ())
        ]
        if any(each["key"] == "dytopo.open" for each in span["attributes"]):
            theirs.end_time_unix_nano = mine.end_time_unix_nano  # both are the moment of writing
        for field in ("trace_id", "span_id", "parent_span_id", "links", "flags"):
            mine.ClearField(field)
            theirs.ClearField(field)
        assert mine == theirs


def _message(span):
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

    return json_format.ParseDict(span, Message())


def test_content_is_sent_only_when_asked_for():
    """Prompts and answers stay here unless the rule file says otherwise."""
    records = swarm()
    for content, there in ((False, False), (True, True)):
        with Collector() as collector:
            sender = sender_to(collector.url, records.spans, content=content)
            sender.take([span for span in records.spans if span.end_ns])
            sender.last()
            assert (b"Write a poem" in collector.requests[0].SerializeToString()) == there


def test_headers_go_along():
    """The headers of the rule file are on each request."""
    with Collector() as collector:
        sender = sender_to(collector.url, headers={"authorization": "Bearer x"})
        sender.take(some(1))
        sender.last()
    assert collector.headers[0]["authorization"] == "Bearer x"


def test_a_collector_that_comes_back_gets_everything():
    """An answer of 503 is tried again after a while, and nothing is lost."""
    with Collector(503, 200) as collector:
        sender = sender_to(collector.url)
        sender.take(some(3))
        sender.step()
        sender.last()
        assert collector.attempts == 2
        assert sorted(int.from_bytes(s.span_id, "big") for s in collector.spans) == [1, 2, 3]
    assert sender.losses() == {}
    assert sender.sent == 3


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_what_is_refused_is_counted_and_not_tried_again(status):
    """An answer that says no, or sends elsewhere, is a loss by its name and takes one request."""
    with Collector(status) as collector:
        sender = sender_to(collector.url)
        sender.take(some(5))
        sender.step()
        assert collector.attempts == 1
        assert sender.losses() == {"refused": 5}
        assert f"HTTP {status}" in sender.trouble
        sender.last()
    assert sender.losses() == {"refused": 5}


def test_spans_that_an_accepted_request_lost_are_counted():
    """A collector that says how many it did not take is believed."""
    with Collector(rejects=2) as collector:
        sender = sender_to(collector.url)
        sender.take(some(5))
        sender.last()
    assert sender.losses() == {"refused": 2}
    assert sender.sent == 3
    assert sender.trouble == "too old"


def test_many_spans_go_in_several_requests():
    """No request has more than opentelemetry's own processor would send."""
    with Collector() as collector:
        sender = sender_to(collector.url)
        sender.take(some(1300))
        sender.last()
        assert len(collector.requests) == 3
        assert len(collector.spans) == 1300


def test_while_nobody_listens_spans_wait_and_the_oldest_give_way(monkeypatch):
    """The queue is bounded; what does not fit is counted, the rest is lost only at the end."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")  # how long a request is tried again
    sender = sender_to(nobody())
    spans = some(20)
    sender.take(spans)
    first = sender.step()
    assert sender.step() > first
    assert sender.losses() == {}
    assert sender.trouble == "Connection refused"
    sender.take([finished(1)] * (MAX_WAITING - 15))
    assert sender.losses() == {"queue full": 5}
    sender.hurry()
    sender.last()
    assert sender.losses() == {"queue full": 5, "unreachable": MAX_WAITING}


@pytest.mark.parametrize("statuses", [("hang",), (503,)])
def test_the_end_waits_for_a_bad_collector_about_a_second(statuses):
    """One that hangs, or is never ready, delays the end by no more than its patience, and is counted."""
    with Collector(*statuses) as collector:
        sender = sender_to(collector.url)
        worker = Worker("test", sender, 0.0)
        sender.take(some(3))
        worker.ensure_running()
        while not collector.attempts:
            threading.Event().wait(0.01)
        began = time.monotonic()
        sender.hurry()
        worker.finish()
        while not worker.wait(min(sender.patience(), 0.1)) and sender.patience():
            pass
        sender.give_up()
        assert time.monotonic() - began < PATIENCE_SECONDS + 1
        assert sender.losses() == {"unreachable": 3}


def test_what_is_given_up_is_not_sent_after_all():
    """Received and lost are all spans there were, and the losses are named with their reasons."""
    with Collector() as collector:
        sender = sender_to(collector.url)
        worker = Worker("test", sender, 0.0)
        spans = [finished(number) for number in range(1, MAX_WAITING + 3_001)]
        sender.take(spans)
        worker.ensure_running()
        while not collector.attempts:
            threading.Event().wait(0.01)
        sender.give_up()
        lost = sender.losses()
        sender.hurry()
        worker.finish()
        assert worker.wait(30)
        assert sender.losses() == lost
        assert len(collector.spans) + sum(lost.values()) == len(spans)
        late = lost["not sent in time"]
    assert lost == {"queue full": 3_000, "not sent in time": late}
    assert sender.complaint == (
        f"{3_000 + late:,} spans did not reach {collector.url}: "
        f"{late:,} not sent in time, 3,000 queue full"
    )


def test_the_libraries_log_nothing_of_it(caplog):
    """The exporter's log goes where the program's goes, so ours is kept out, and no one else's."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")  # whatever else in this process has set it to
    sender = sender_to(nobody())
    sender.take(some(1))
    worker = Worker("test", sender, 0.0)
    worker.ensure_running()
    sender.hurry()
    worker.finish()
    assert worker.wait(10)
    assert [each.name for each in caplog.records if "opentel" in each.name] == []
    assert [each.name for each in caplog.records if "urllib3" in each.name] == []
    logging.getLogger("urllib3.connectionpool").warning("the program's own")
    assert Counter(each.message for each in caplog.records) == {"the program's own": 1}
