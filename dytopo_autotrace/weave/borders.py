"""What a rule does when a call begins, besides recording: leave it out, join a trace, send one on,
tell the call around it, or begin or end a span that is longer than the call.

Rules without these keys have nothing of it in their advice.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from dytopo_autotrace.collect.carrier import extract_from, inject_into
from dytopo_autotrace.collect.pipeline import Pipeline
from dytopo_autotrace.collect.span import END_NS, MISSING, SITE, SPAN, VALUES, Record, Site
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.weave.capture import EXTRACT, HELD_BY, INJECT, OURS, RAISED, WHEN
from dytopo_autotrace.weave.iterating import COUNTED
from dytopo_autotrace.weave.shape import Shape
from dytopo_autotrace.weave.spanning import begin, end

_GATE: Final = " and __when({positional}, {named})"
_EXTRACT: Final = "__parent = __extract(__parent, {positional}, {named})"
_INJECT: Final = "__inject(__record, {positional}, {named})"

Effects = tuple[Callable[..., bool], Callable[..., Record | None], Callable[..., None]]


def effects(form: Shape, function: FunctionType | None, into: Pipeline) -> Effects:
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

    def tell(given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        around = current.get()
        if around is not None and len(around) > SITE and around[SITE].operation == form.adds_to:
            names = form.site.entry
            values = form.one_by_one(names, function, (None, None, None, *given), kwargs)
            try:
                add(around, names, values)
            except Exception:
                form.unreadable["adds_to"] += 1
        form.passed_by += 1
        return False

    def begins(given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        if WHEN in form.sources and not when(given, kwargs):
            return False
        holder = value(HELD_BY, given, kwargs)
        if holder is not MISSING:
            names = form.site.entry
            values = form.one_by_one(names, function, (None, None, None, *given), kwargs)
            try:
                begin(holder, form.site, values, into)
            except Exception:
                form.unreadable["held_by"] += 1
        return False

    def ends(given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        form.passed_by += 1
        holder = value(HELD_BY, given, kwargs)
        raised = value(RAISED, given, kwargs) if RAISED in form.sources else None
        try:
            end(holder, form.ends, raised if isinstance(raised, BaseException) else None)
        except Exception:
            form.unreadable["ends"] += 1
        return False

    gate = tell if form.adds_to else ends if form.ends else begins
    return gate if _is_instead_of_a_span(form) else when, extract, inject


def _is_instead_of_a_span(form: Shape) -> bool:
    """Whether the calls themselves are not recorded: what is done is done before the call."""
    return bool(form.adds_to or HELD_BY in form.sources)


def add(record: Record, names: tuple[str, ...], values: tuple[Any, ...]) -> None:
    """Add attributes to a call that runs; the later value of a name is the one that counts."""
    site: Site = record[SITE]
    if record[SPAN] is not None or record[END_NS] or site.exit[-len(COUNTED) :] == COUNTED:
        return  # The program's own span, one that has ended, or an iteration, whose tail is counts.
    for name, value in zip(names, values, strict=True):
        if name in site.exit:
            record[VALUES + len(site.entry) + site.exit.index(name)] = value
        else:
            record.append(value)
            site = record[SITE] = _with(site, name)


@functools.cache
def _with(site: Site, name: str) -> Site:
    return dataclasses.replace(site, exit=(*site.exit, name))


def sources(form: Shape) -> dict[str, str]:
    """What stands in the advice for each of the three: nothing for a key that the rule has not."""
    given = {"positional": form.parameters.positional, "named": form.parameters.named}
    templates = {"when": (WHEN, _GATE), "extract": (EXTRACT, _EXTRACT), "inject": (INJECT, _INJECT)}
    return {
        key: template.replace("__", OURS).format(**given)
        if name in form.sources or (key == "when" and _is_instead_of_a_span(form))
        else ""
        for key, (name, template) in templates.items()
    }
