"""What a rule does when a call begins, besides recording: leave it out, join a trace, send one on.

Rules without these keys have nothing of it in their advice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from dytopo_autotrace.collect.carrier import extract_from, inject_into
from dytopo_autotrace.collect.span import MISSING, Record
from dytopo_autotrace.weave.capture import EXTRACT, INJECT, OURS, WHEN
from dytopo_autotrace.weave.shape import Shape

_GATE: Final = " and __when({positional}, {named})"
_EXTRACT: Final = "__parent = __extract(__parent, {positional}, {named})"
_INJECT: Final = "__inject(__record, {positional}, {named})"

Effects = tuple[Callable[..., bool], Callable[..., Record | None], Callable[..., None]]


def effects(form: Shape, function: FunctionType | None) -> Effects:
    """What the advice calls: whether to record, which parent a call has, and who tells the next one.

    None of them raises: what cannot be read is counted, and the call is recorded as if the key were
    not there.
    """

    def value(name: str, given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return form.one_by_one((name,), function, (None, None, None, *given), kwargs)[0]

    def when(given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        if value(WHEN, given, kwargs) is not False:
            return True
        form.passed_by += 1
        return False

    def extract(
        here: Record | None, given: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Record | None:
        carrier = value(EXTRACT, given, kwargs)
        return here if carrier is MISSING else extract_from(carrier, here)

    def inject(record: Record, given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        carrier = value(INJECT, given, kwargs)
        if carrier is MISSING or carrier is None:
            return
        try:
            inject_into(carrier, record)
        except Exception:
            form.unreadable["inject"] += 1

    return when, extract, inject


def sources(form: Shape) -> dict[str, str]:
    """What stands in the advice for each of the three: nothing for a key that the rule has not."""
    given = {"positional": form.parameters.positional, "named": form.parameters.named}
    templates = {"when": (WHEN, _GATE), "extract": (EXTRACT, _EXTRACT), "inject": (INJECT, _INJECT)}
    return {
        key: template.replace("__", OURS).format(**given) if name in form.sources else ""
        for key, (name, template) in templates.items()
    }
