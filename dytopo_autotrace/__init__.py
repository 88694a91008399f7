"""Auto-instrumentation for Python multi-agent swarms: watch functions by rule, explain what happened."""

from dytopo_autotrace.agent import Installation, install, uninstall
from dytopo_autotrace.collect.tracing import TraceContext
from dytopo_autotrace.weave.decorators import traced

__all__ = ["Installation", "TraceContext", "install", "traced", "uninstall"]
__version__ = "0.1.0"
