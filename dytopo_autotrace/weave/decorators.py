"""`@traced`: the same advice as a rule's, asked for in the code itself."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dytopo_autotrace.weave.ledger import Ledger

if TYPE_CHECKING:
    from dytopo_autotrace.rules.model import Rule
    from dytopo_autotrace.weave.kinds import Weaver

F = TypeVar("F", bound=Callable[..., Any])

DISABLED = "DYTOPO_AUTOTRACE_DISABLED"

ledger = Ledger()
"""What `@traced` wove in this process; it stays until the process ends, as other decorators do."""


def is_disabled() -> bool:
    """Whether the environment says that nothing of ours may run."""
    return os.environ.get(DISABLED, "") not in ("", "0", "false", "no")


@overload
def traced(function: F, /) -> F: ...
@overload
def traced(
    *,
    operation: str = "",
    role: str = "",
    agent: str = "",
    attributes: Mapping[str, str] | None = None,
    failed_if: str = "",
    scope: Mapping[str, str] | None = None,
    stall_after: float = 0.0,
    when: str = "",
    min_seconds: float = 0.0,
    extract: str = "",
    inject: str = "",
    adds_to: str = "",
    held_by: str = "",
    ends: str = "",
    raised: str = "",
    stream: str = "",
    edges: str = "",
    isolated: str = "",
    stats: str = "",
    receives: str = "",
    on_start: str = "",
    on_end: str = "",
    metric: Sequence[Mapping[str, Any]] = (),
) -> Callable[[F], F]: ...
def traced(
    function: Any = None,
    /,
    *,
    operation: str = "",
    role: str = "",
    agent: str = "",
    attributes: Mapping[str, str] | None = None,
    failed_if: str = "",
    scope: Mapping[str, str] | None = None,
    stall_after: float = 0.0,
    when: str = "",
    min_seconds: float = 0.0,
    extract: str = "",
    inject: str = "",
    adds_to: str = "",
    held_by: str = "",
    ends: str = "",
    raised: str = "",
    stream: str = "",
    edges: str = "",
    isolated: str = "",
    stats: str = "",
    receives: str = "",
    on_start: str = "",
    on_end: str = "",
    metric: Sequence[Mapping[str, Any]] = (),
) -> Any:
    """Record the calls of a function, as a rule with the same keys would.

    It records with or without the launcher. With `DYTOPO_AUTOTRACE_DISABLED=1` the function itself
    comes back. Keys that are wrong are warned about, and the function comes back as well: a typing
    error in what is watched must not stop what is watched.

    Args:
        operation: name of the spans; default: the function's qualname.
        role: orchestrator, manager, router, worker, llm, tool, or one of your own.
        agent: expression for the agent that a call belongs to.
        attributes: attribute name -> expression over the parameters, `result` and `error`.
        failed_if: expression that holds when a call failed although it raised nothing.
        scope: `{"opens": "round", "key": "round_num"}`: the call opens or continues a scope.
        stall_after: seconds after which a call that still runs is told of.
        when: expression that holds for the calls that are recorded.
        min_seconds: shorter calls are counted and not kept.
        extract: expression for the headers that a call came with, its caller's span in them.
        inject: expression for the headers that a call sends, which get its span.
        adds_to: operation of the calls around, which get the attributes.
        held_by: expression for the object whose span begins with the call and outlasts it.
        ends: operation of such a span, which ends with the call.
        raised: expression for the exception that it ended with.
        stream: attribute of the result that keeps the generator with which the call ends.
        edges, isolated, stats: of a router, expressions for who sends to whom.
        receives: expression for the agents whose output the call reads.
        on_start, on_end: `package:function`, an observer of your own that is shown each call.
        metric: what a rule has as `[[rule.metric]]`: dicts with name, kind, value, labels.
    """
    keys = {
        "operation": operation,
        "role": role,
        "agent": agent,
        "attributes": dict(attributes or {}),
        "failed_if": failed_if,
        "scope": dict(scope or {}),
        "stall_after": stall_after,
        "when": when,
        "min_seconds": min_seconds,
        "extract": extract,
        "inject": inject,
        "adds_to": adds_to,
        "held_by": held_by,
        "ends": ends,
        "raised": raised,
        "stream": stream,
        "edges": edges,
        "isolated": isolated,
        "stats": stats,
        "receives": receives,
        "on_start": on_start,
        "on_end": on_end,
        "metric": [dict(each) for each in metric],
    }
    given = {key: value for key, value in keys.items() if value}
    if function is None:
        return lambda target: _woven(target, given)
    return _woven(function, given)


def _woven(target: Any, keys: Mapping[str, Any]) -> Any:
    if is_disabled():
        return target
    is_descriptor = issubclass(type(target), classmethod | staticmethod)
    inner = target.__func__ if is_descriptor else target
    module = getattr(inner, "__module__", None) or "?"
    qualname = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    place = f"{module}:{qualname}"
    name = f"@traced {place}"
    try:
        woven = _weaver().weave(_rule(name, keys, module), qualname, target)
    except Exception as problem:
        ledger.note(name, place, "refused", str(problem))
        text = f"@traced on {place} records nothing: {problem}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)  # where the decorator stands
        return target
    ledger.note(name, place, "woven")
    return woven


def _rule(name: str, keys: Mapping[str, Any], module: str) -> Rule:
    from dytopo_autotrace.rules.build import rule_from  # noqa: PLC0415 - costs nothing until used
    from dytopo_autotrace.rules.model import Origin  # noqa: PLC0415
    from dytopo_autotrace.weave.shape import Refusal  # noqa: PLC0415

    rule, faults = rule_from(name, keys, Origin(module))
    if faults or rule is None:
        raise Refusal("; ".join(f"{fault.key}: {fault.message} {fault.hint}" for fault in faults))
    return rule


@functools.cache
def _weaver() -> Weaver:
    from dytopo_autotrace.rules.model import Capture  # noqa: PLC0415 - costs nothing until used
    from dytopo_autotrace.weave.kinds import Weaver  # noqa: PLC0415

    return Weaver(Capture(), ledger)
