"""Auto-instrumentation for Python multi-agent swarms: watch functions by rule, explain what happened."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dytopo_autotrace.agent import Installation, install, reload, uninstall
    from dytopo_autotrace.collect.carrier import extracted, inject
    from dytopo_autotrace.collect.tracing import TraceContext
    from dytopo_autotrace.weave.decorators import traced
    from dytopo_autotrace.weave.observers import Call

__all__ = [
    "Call",
    "Installation",
    "TraceContext",
    "extracted",
    "inject",
    "install",
    "reload",
    "traced",
    "uninstall",
]
__version__ = "0.1.0"

_HOMES = {
    "Call": "weave.observers",
    "Installation": "agent",
    "TraceContext": "collect.tracing",
    "extracted": "collect.carrier",
    "inject": "collect.carrier",
    "install": "agent",
    "reload": "agent",
    "traced": "weave.decorators",
    "uninstall": "agent",
}


def __getattr__(name: str) -> object:
    # On use, since the launcher is imported from here while the working directory is still on
    # `sys.path`: a program's own random.py must not be taken for the standard one.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    import_module(f"{__name__}.agent")  # wires the collectors, whatever is used first
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
