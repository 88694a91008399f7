"""The woven form of each kind of thing that a rule can name, or the reason why there is none."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dytopo_autotrace.collect.span import ON_END, ON_START
from dytopo_autotrace.rules.model import Capture, Rule
from dytopo_autotrace.weave.advice import Switch, advise, is_advice, is_plain
from dytopo_autotrace.weave.ledger import Ledger
from dytopo_autotrace.weave.observers import Observer, Unusable, find_observer, say
from dytopo_autotrace.weave.shape import Refusal, Shape, innermost, shape


@dataclass(slots=True)
class Weaver:
    """What everything woven together shares: limits on what is kept, one ledger, one switch."""

    capture: Capture
    ledger: Ledger
    switch: Switch = field(default_factory=Switch)
    shapes: dict[tuple[Any, ...], Shape] = field(default_factory=dict)
    observers: dict[str, Observer] = field(default_factory=dict)
    """A person's own, by `package:function`."""
    say: Callable[[str], None] = say
    """Takes what a person must be told at once."""

    def weave(self, rule: Rule, qualname: str, raw: Any) -> Any:
        """The woven form of what stands in a class or module, of the same kind.

        Raises:
            Refusal: it cannot be woven, and why.
        """
        kind = type(raw)  # not with isinstance: proxies pretend to be what they stand for
        if issubclass(kind, classmethod | staticmethod):
            return _like(raw, self._advised(rule, qualname, raw.__func__))
        if issubclass(kind, property):
            return self._property(rule, qualname, raw)
        if issubclass(kind, functools.cached_property | functools.partialmethod):
            return _around(raw, self.weave(rule, qualname, raw.func))
        if issubclass(kind, type):
            raise Refusal(f"{qualname} is a class; name its methods, such as {qualname}.*")
        if not callable(raw):
            raise Refusal(f"{qualname} is a {kind.__name__}, which cannot be called.")
        return self._advised(rule, qualname, raw)

    def _property(self, rule: Rule, qualname: str, raw: property) -> Any:
        """The same property, whose getter is recorded."""
        if raw.fget is None:
            raise Refusal(f"{qualname} is a property that cannot be read.")
        woven = raw.getter(self._advised(rule, qualname, raw.fget))
        for name, value in getattr(raw, "__dict__", {}).items():
            vars(woven).setdefault(name, value)
        return woven

    def _advised(self, rule: Rule, qualname: str, function: Any) -> Any:
        if is_advice(function):
            raise Refusal(f"{qualname} is woven already.")
        if inspect.isbuiltin(function) or isinstance(function, _C_KINDS):
            raise Refusal(f"{qualname} is written in C, so its parameters cannot be seen.")
        if is_plain(function) and _knows_itself(function):
            raise Refusal(f"{qualname} has itself for a default, to change what it is when called.")
        inner = innermost(function)
        own_code = function.__code__ if is_plain(function) else None
        key = (rule, qualname, own_code, inner and inner.__code__)
        form = self.shapes.get(key)
        if form is None:
            form = self.shapes[key] = shape(
                rule, qualname, function, self.capture, self._observers_of(rule)
            )
        return advise(function, form, self.switch)

    def _observers_of(self, rule: Rule) -> Mapping[str, Observer]:
        named = (
            (ON_START, "on_start", rule.on_start),
            (ON_END, "on_end", rule.on_end),
        )
        return {place: self._observer(key, text) for place, key, text in named if text}

    def _observer(self, key: str, text: str) -> Observer:
        known = self.observers.get(text)
        if known is None:
            try:
                known = Observer(text, find_observer(text), self.say)
            except Unusable as answer:
                raise Refusal(f"{key} = {text!r}: {answer}") from None
            known = self.observers.setdefault(text, known)
        return known

    def decorate(self, rule: Rule, place: str, qualname: str, raw: Any) -> Any:
        """The woven form if there is one, else what was given; noted either way, and never raises."""
        if not self.switch.on:
            return raw  # Code woven at its source stays when the rest is taken out.
        try:
            return self._decorated(rule, place, qualname, raw)
        except Exception as fault:
            self.ledger.faults.append(f"{place}: {type(fault).__name__}: {fault}")
            return raw

    def _decorated(self, rule: Rule, place: str, qualname: str, raw: Any) -> Any:
        try:
            woven = self.weave(rule, qualname, raw)
        except Refusal as refusal:
            self.ledger.note(rule.name, place, "refused", str(refusal))
        except Exception as fault:
            self.ledger.note(rule.name, place, "failed", f"{type(fault).__name__}: {fault}")
        else:
            self.ledger.note(rule.name, place, "woven")
            if "." not in qualname:
                self.ledger.at_source[id(woven)] = (woven, raw)
            return woven
        return raw


_C_KINDS = (type(str.join), type("".join), type(object.__init__))


def _knows_itself(function: Any) -> bool:
    """Whether a function is handed to itself: it may exchange its own code, and so its parameters."""
    given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return any(each is function for each in given)


def _around(raw: Any, function: Any) -> Any:
    """A copy of a descriptor that calls its `func`, around another one."""
    woven = object.__new__(type(raw))
    vars(woven).update(vars(raw))
    woven.func = function
    return woven


def _like(raw: Any, function: Any) -> Any:
    woven = type(raw)(function)
    # What was hung on the descriptor stays; abstractness is read through to the function.
    for name, value in vars(raw).items():
        if name != "__wrapped__":
            vars(woven).setdefault(name, value)
    return woven
