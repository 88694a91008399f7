"""The way to one collector: opentelemetry's own exporter, and what came of each request.

Imports opentelemetry and requests, so it is imported on the thread that sends, when there is
something to send.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from requests.adapters import HTTPAdapter

from dytopo_autotrace.collect.span import TRACE, UNWATCHED
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.export.genai import SCHEMA_URL
from dytopo_autotrace.export.run import ExportedSpan

PATH: Final = "/v1/traces"

Outcome = Literal["sent", "refused", "unreachable", "unsent"]
"""Refused: asking again would not help. Unreachable: nobody answered, or said that it may help.
Unsent: no request was made, since it was hurried, or the spans cannot be encoded."""

_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.common._internal",
    "opentelemetry.exporter.otlp.proto.common._internal.trace_encoder",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
_TOO_MANY: Final = 429
_TIMEOUT: Final = 408
_FAULT: Final = 500


@dataclass(slots=True)
class Reply:
    """What came of the last request."""

    status: int = 0
    """0 if nobody answered."""
    said: str = ""
    refused: int = 0
    """Spans of an accepted request that the collector says it did not take."""


class Collector:
    """Sends spans to one endpoint; used by one thread.

    Args:
        endpoint: where the collector listens, `""` for what the environment or opentelemetry says.
        resource: what is true of all spans; what the environment adds to it counts less.
    """

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        resource: Mapping[str, Any],
        version: str,
        deadline: float | None = None,
    ) -> None:
        self.reply = Reply()
        self.deadline = deadline
        """Moment on the monotonic clock at which a request is over, whatever its time-out."""
        _be_quiet()
        session = requests.Session()
        session.max_redirects = 0  # Followed, a request to a log-in page would pass for delivered.
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Noting(self))
        self._exporter = OTLPSpanExporter(
            endpoint=_signal(endpoint) or None,
            headers=dict(headers) or None,
            timeout=None if deadline is None else max(deadline - time.monotonic(), 0.1),
            session=session,
        )
        self._resource = OTELResourceDetector().detect().merge(Resource(dict(resource), SCHEMA_URL))
        self._scope = InstrumentationScope("dytopo_autotrace", version, SCHEMA_URL)

    def send(self, spans: Iterable[ExportedSpan]) -> Outcome:
        """Send spans in one request, again after a while if it may help; see `reply` for more."""
        self.reply = Reply()
        found = [self._sdk_span(each) for each in spans]
        try:
            is_taken = self._exporter.export(found) is SpanExportResult.SUCCESS
        except Exception as error:
            is_taken = False  # Some versions let connection errors through.
            self.reply.said = self.reply.said or f"{type(error).__name__}: {error}"
        reply = self.reply
        if is_taken and 200 <= reply.status < 300:
            return "sent"
        if not reply.said:
            return "unsent"
        may_help = reply.status in (0, _TIMEOUT, _TOO_MANY) or reply.status >= _FAULT
        return "unreachable" if may_help else "refused"

    def close(self) -> None:
        """Make no other attempt, even where one is waited for by now; from any thread."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _sdk_span(self, each: ExportedSpan) -> ReadableSpan:
        span = each.span
        status = Status(StatusCode.ERROR, each.message) if each.failed else Status()
        return _Sent(
            (each.withheld, each.lost_links),
            name=each.name,
            context=_context(span.trace, span.id),
            parent=_context(span.trace, span.parent) if span.parent else None,
            resource=self._resource,
            attributes=each.attributes,
            events=[Event(e.name, dict(e.attributes), e.unix_ns) for e in each.events],
            links=[Link(_context(to.trace, to.id)) for to in each.links],
            kind=SpanKind.CLIENT if each.is_client else SpanKind.INTERNAL,
            status=status,
            start_time=each.start_ns,
            end_time=each.end_ns,
            instrumentation_scope=self._scope,
        )


class _Sent(ReadableSpan):
    """A span that tells how much of it was left out."""

    def __init__(self, left_out: tuple[int, int], **values: Any) -> None:
        super().__init__(**values)
        self._left_out = left_out

    @property
    def dropped_attributes(self) -> int:
        return self._left_out[0]

    @property
    def dropped_links(self) -> int:
        return self._left_out[1]


class _Noting(HTTPAdapter):
    """Notes what each request came to, which the exporter only logs, and cuts it at the deadline."""

    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self._collector = collector

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        collector = self._collector
        if collector.deadline is not None:
            options["timeout"] = max(collector.deadline - time.monotonic(), 0.05)
        try:
            response = super().send(request, *args, **options)
        except Exception as error:
            collector.reply = Reply(said=_cause(error))
            raise
        said = f"HTTP {response.status_code} {response.reason or ''}".strip()
        collector.reply = Reply(response.status_code, said)
        if response.status_code < 300:
            _read_partial_success(response, collector.reply)
        return response


def _read_partial_success(response: Any, reply: Reply) -> None:
    if "protobuf" not in response.headers.get("content-type", ""):
        return
    try:
        partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    except Exception:
        return  # It was accepted, and what else was said cannot be read.
    if partial.rejected_spans > 0:
        reply.refused = partial.rejected_spans
        reply.said = partial.error_message or reply.said


def _signal(endpoint: str) -> str:
    bare = endpoint.rstrip("/")
    return bare if not bare or bare.endswith(PATH) else bare + PATH


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _cause(error: BaseException) -> str:
    """The innermost of the exceptions that libraries put around each other."""
    seen: set[int] = set()
    step = error
    while id(step) not in seen:
        seen.add(id(step))
        inner = next((arg for arg in step.args if isinstance(arg, BaseException)), None)
        inner = inner or getattr(step, "reason", None) or step.__cause__ or step.__context__
        if not isinstance(inner, BaseException):
            break
        step = inner
    if isinstance(step, OSError) and step.strerror:
        return step.strerror
    return str(step).rpartition(": ")[2][:200] or type(step).__name__


def _be_quiet() -> None:
    """Have the libraries' log say nothing of our requests: it goes where the program's goes."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _is_the_programs not in logger.filters:
            logger.addFilter(_is_the_programs)


def _is_the_programs(_: logging.LogRecord) -> bool:
    here = current.get()
    return here is None or here[TRACE] != UNWATCHED
