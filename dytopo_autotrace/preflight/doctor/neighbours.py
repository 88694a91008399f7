"""Other tools that patch, trace or profile: what is in this process, asked for, or installed.

The doctor's process is started as the program's will be, so that what comes by `sitecustomize` or a
`.pth` file is here as well.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from typing import Any, Final

from dytopo_autotrace.preflight.doctor.answer import Answer, listed


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    module: str
    variables: tuple[str, ...] = ()
    """Beginnings of the names of the environment variables that it reads."""


_TOOLS: Final = (
    _Tool("Datadog", "ddtrace", ("DD_",)),
    _Tool("OpenTelemetry", "opentelemetry.sdk", ("OTEL_",)),
    _Tool("New Relic", "newrelic", ("NEW_RELIC_",)),
    _Tool("Sentry", "sentry_sdk", ("SENTRY_",)),
    _Tool("Elastic APM", "elasticapm", ("ELASTIC_APM_",)),
    _Tool("Logfire", "logfire", ("LOGFIRE_",)),
    _Tool("AppSignal", "appsignal", ("APPSIGNAL_",)),
    _Tool("Langfuse", "langfuse", ("LANGFUSE_",)),
    _Tool("LangSmith", "langsmith", ("LANGSMITH_", "LANGCHAIN_TRACING")),
    _Tool("OpenLLMetry", "traceloop", ("TRACELOOP_",)),
    _Tool("OpenInference", "openinference", ("PHOENIX_",)),
    _Tool("AgentOps", "agentops", ("AGENTOPS_",)),
    _Tool("Weave", "weave", ("WANDB_",)),
    _Tool("MLflow", "mlflow", ("MLFLOW_",)),
    _Tool("coverage", "coverage", ("COVERAGE_", "COV_CORE_")),
    _Tool("gevent", "gevent", ("GEVENT_",)),
    _Tool("eventlet", "eventlet", ("EVENTLET_",)),
)


def neighbour_answers(environ: Mapping[str, str]) -> Iterator[Answer]:
    """Who else is here."""
    installed = []
    for tool in _TOOLS:
        asked = sorted(name for name in environ if name.startswith(tool.variables))
        variables = f" (environment: {listed(asked)})" if asked else ""
        if tool.module in sys.modules:
            yield Answer(
                "others",
                f"{tool.name} is in this process{variables}",
                "note",
                "Both see the calls; what it wraps before us is woven above its wrapper.",
            )
        elif _is_installed(tool.module):
            if asked:
                yield Answer("others", f"{tool.name} is installed and asked for{variables}", "note")
            else:
                installed.append(tool.name)
        elif asked:
            yield Answer(
                "others", f"{tool.name} is not installed, but asked for{variables}", "note"
            )
    if installed:
        yield Answer("others", f"installed, and not in this process: {listed(installed, 20)}")
    yield from _hooks()


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:
        return False


def _hooks() -> Iterator[Answer]:
    own = (BuiltinImporter, FrozenImporter, PathFinder)
    finders = [_name_of(finder) for finder in sys.meta_path if finder not in own]
    if finders:
        text = f"finders before or after Python's own: {listed(finders)}"
        yield Answer("others", text, "note", "They are asked as before.")
    for what, hook in (("traces", sys.gettrace()), ("profiles", sys.getprofile())):
        if hook is not None:
            text = f"{_name_of(hook)} {what} every call of this thread"
            yield Answer("others", text, "note", "It sees the advice as calls of its own.")


def _name_of(value: Any) -> str:
    kind = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
