"""Who is compared: each puts itself around `_calls` and returns what flushes its background work.

Every peer is set up as its documentation says, with everything behind it thrown away: no network
is touched, and nothing is encoded for it, which spares the peers work that they do in real life.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import _calls

Flush = Callable[[], object]
Open = Callable[[str], AbstractContextManager[Any]]
Set = Callable[[Any, str, object], object]


def bare() -> Flush:
    """The calls as they are."""
    return _nothing


def empty_wrapt() -> Flush:
    """What wrapt costs by itself: the least that any tool built on it can cost."""
    import wrapt

    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
        return wrapped(*args, **kwargs)

    _calls.replace(
        lambda function: wrapt.FunctionWrapper(function, wrapper),
        lambda batch: batch,
    )
    return _nothing


def by_rule() -> Flush:
    """A rule file, as for a program that does not know of us."""
    import dytopo_autotrace
    from dytopo_autotrace.collect.pipeline import pipeline

    rules = Path(__file__).with_name("call_cost.toml")
    dytopo_autotrace.install(str(rules), strict=True)
    return pipeline.drain


def by_decorator() -> Flush:
    """`@traced` in the code itself."""
    from dytopo_autotrace import traced
    from dytopo_autotrace.collect.pipeline import pipeline

    _calls.replace(
        traced(attributes={"first": "first", "result": "result"}),
        traced(role="orchestrator"),
    )
    return pipeline.drain


def opentelemetry() -> Flush:
    """https://opentelemetry.io/docs/languages/python/instrumentation/#acquire-tracer"""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_discarding_exporter()))
    trace.set_tracer_provider(provider)
    start = trace.get_tracer("benchmark").start_as_current_span
    _calls.replace(
        _spans(start, lambda span, key, value: span.set_attribute(key, value)), _root(start)
    )
    return provider.force_flush


def ddtrace() -> Flush:
    """https://ddtrace.readthedocs.io/en/stable/basic_usage.html#manual-instrumentation

    A trace filter that returns None discards a trace before it is encoded:
    https://ddtrace.readthedocs.io/en/stable/advanced_usage.html#trace-filtering
    """
    from ddtrace.trace import TraceFilter, tracer

    class Discard(TraceFilter):
        def process_trace(self, trace: Any) -> None:  # noqa: ARG002
            return None

    tracer.configure(trace_processors=[Discard()])
    _calls.replace(
        _spans(tracer.trace, lambda span, key, value: span.set_tag(key, value)),
        _root(tracer.trace),
    )
    return tracer.flush


def sentry() -> Flush:
    """https://docs.sentry.io/platforms/python/tracing/instrumentation/custom-instrumentation/"""
    import sentry_sdk
    from sentry_sdk.transport import Transport

    class Discard(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            pass

    sentry_sdk.init(
        dsn="https://public@sentry.invalid/1", traces_sample_rate=1.0, transport=Discard
    )
    _calls.replace(
        _spans(
            lambda name: sentry_sdk.start_span(op="function", name=name),
            lambda span, key, value: span.set_data(key, value),
        ),
        _root(lambda name: sentry_sdk.start_transaction(op="task", name=name)),
    )
    return sentry_sdk.flush


def logfire() -> Flush:
    """https://logfire.pydantic.dev/docs/guides/onboarding-checklist/add-manual-tracing/

    It sends through a batch span processor, so that is what discards here.
    """
    import logfire as peer
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    peer.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[BatchSpanProcessor(_discarding_exporter())],
    )
    _calls.replace(
        _spans(peer.span, lambda span, key, value: span.set_attribute(key, value)), _root(peer.span)
    )
    return peer.force_flush


OURS: Final = ("ours, by rule", "ours, @traced")
WRAPT: Final = "empty wrapt wrapper"
CONTESTANTS: Final[Mapping[str, Callable[[], Flush]]] = {
    "bare": bare,
    WRAPT: empty_wrapt,
    OURS[0]: by_rule,
    OURS[1]: by_decorator,
    "opentelemetry-sdk": opentelemetry,
    "ddtrace": ddtrace,
    "sentry-sdk": sentry,
    "logfire": logfire,
}
PEERS: Final = ("opentelemetry-sdk", "ddtrace", "sentry-sdk", "logfire")
"""Those of them that are packages of others, by the name of the package."""


def _spans(start: Open, put: Set) -> Callable[[Callable], Callable]:
    """A decorator as users of the peers write it: a span, and two values on it."""

    def decorate(function: Callable) -> Callable:
        name = function.__qualname__
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with start(name) as span:
                    put(span, "first", args[-2])
                    result = await function(*args, **kwargs)
                    put(span, "result", result)
                    return result

        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with start(name) as span:
                    put(span, "first", args[-2])
                    result = function(*args, **kwargs)
                    put(span, "result", result)
                    return result

        return wrapper

    return decorate


def _root(start: Open) -> Callable[[Callable], Callable]:
    """A decorator for a batch: the span that all its calls are below."""

    def decorate(batch: Callable) -> Callable:
        name = batch.__qualname__
        if inspect.iscoroutinefunction(batch):

            async def wrapper() -> None:
                with start(name):
                    await batch()

        else:

            def wrapper() -> None:
                with start(name):
                    batch()

        return wrapper

    return decorate


def _discarding_exporter() -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Discard(SpanExporter):
        def export(self, spans: Any) -> Any:  # noqa: ARG002
            return SpanExportResult.SUCCESS

    return Discard()


def _nothing() -> None:
    """There is no background work."""
