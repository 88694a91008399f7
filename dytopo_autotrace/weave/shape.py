"""What a rule makes of one function: everything about its advice that is settled before any call."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from dytopo_autotrace.collect.faults import is_for_the_program
from dytopo_autotrace.collect.span import (
    AGENT,
    FAILED,
    MISSING,
    ON_END,
    ON_START,
    RECEIVES,
    RESERVED,
    SCOPE,
    Measurement,
    Site,
)
from dytopo_autotrace.rules.expressions import Expression
from dytopo_autotrace.rules.model import Capture, Rule
from dytopo_autotrace.weave.capture import (
    ANYTHING,
    EXTRACT,
    HELD_BY,
    INJECT,
    LAST,
    OURS,
    RAISED,
    WHEN,
    Keeper,
    Parameters,
    Reader,
    namespace,
    reader,
    value_source,
)
from dytopo_autotrace.weave.iterating import COUNTED
from dytopo_autotrace.weave.observers import Observer

_NOT_KEPT = (WHEN, EXTRACT, INJECT, HELD_BY, RAISED)
_AT_EXIT = frozenset({"result", "error", LAST})
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_COROUTINES = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Refusal(Exception):  # noqa: N818 - nothing went wrong, it is an answer
    """Why a target is not woven, in words for the person who wrote the rule."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The code of an advice and what it knows by name.

    All of it is in cells: the advice has the globals of the function that it stands for, where code
    that asks its caller, or evaluates an annotation, finds what it would find without us.
    """

    code: CodeType
    given: Mapping[str, Any]
    """By the names of the last parameters of the code, in their order."""

    def around(self, function: FunctionType | None, *own: Any) -> FunctionType:
        """The advice of one function.

        Args:
            own: what is this function's alone, and comes before what is given.
        """
        scope = {"__name__": __name__} if function is None else function.__globals__
        make = FunctionType(self.code, scope)
        advice: FunctionType = make(*own, *self.given.values())
        return advice


@dataclass(slots=True)
class Shape:
    """The advice of one rule on one function, shared by closures that are defined again and again."""

    site: Site
    starts_trace: bool
    parameters: Parameters
    """Of the function that is called, which the advice has as well."""
    bound_to: Parameters
    """Of the function whose parameters the expressions name: the same, or the one that is wrapped."""
    sources: dict[str, str]
    """Capture name -> source of its value."""
    values: dict[str, Any]
    """The globals that the sources need."""
    exit: tuple[str, ...]
    """Names of what is read when a call ends; an iteration's site also has what is counted."""
    iterates: bool
    """Whether calls are generators, whose span covers the iteration."""
    on_raise: frozenset[str]
    """Names among those captured at exit that can be read when the call raised."""
    keeps_last: bool = False
    """Whether the last item of an iteration is read when it ends, and so is held until then."""
    adds_to: str = ""
    """Operation of the calls that the attributes are added to, instead of a span."""
    ends: str = ""
    """Operation whose span of the same object ends with the call, which has none of its own."""
    stream: str = ""
    """Attribute of the result that holds the generator that the call is about."""
    passed_by: int = 0
    """How many calls the rule's `when` left out."""
    unreadable: Counter[str] = field(default_factory=Counter)
    """How often each captured value could not be read."""
    readers: dict[tuple[str, ...], Callable[[FunctionType | None], Reader]] = field(
        default_factory=dict
    )
    """Compiled on use, by the names of what they read."""
    make: Generated | None = None
    """The generated advice, once it has been generated."""

    @property
    def entry(self) -> tuple[str, ...]:
        """Names of what is read before a call begins."""
        return tuple(name for name in self.site.entry if name != ON_START)

    @property
    def reads_directly(self) -> bool:
        """Whether the expressions can stand in the advice, or need a reader that binds for them."""
        return self.parameters is self.bound_to

    def reader(self, names: tuple[str, ...], function: FunctionType | None) -> Reader | None:
        """Reads all of the named values, None if there are none."""
        return self._reader(names)(function) if names else None

    def _reader(self, names: tuple[str, ...]) -> Callable[[FunctionType | None], Reader]:
        known = self.readers.get(names)
        if known is None:
            sources = {name: self.sources[name] for name in names}
            known = self.readers[names] = reader(sources, self.bound_to, self.values)
        return known

    def one_by_one(
        self,
        names: tuple[str, ...],
        function: FunctionType | None,
        given: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        """Each value on its own: one that cannot be read is `MISSING`, and counted.

        Args:
            given: result, error and last item of the call, then its positional arguments.
        """
        values: list[Any] = []
        for name in names:
            try:
                values += self._reader((name,))(function)(*given, **kwargs)
            except BaseException as error:
                if is_for_the_program(error):
                    raise
                values.append(MISSING)
                self.unreadable[shown(name)] += 1
        return tuple(values)


def innermost(function: Any) -> FunctionType | None:
    """The plain function below decorators that say what they wrap."""
    try:
        inner = inspect.unwrap(function)
    except ValueError:
        return None
    inner = getattr(inner, "__func__", inner)
    return inner if type(inner) is FunctionType else None


def shape(
    rule: Rule,
    qualname: str,
    function: Any,
    capture: Capture,
    observers: Mapping[str, Observer] = MappingProxyType({}),
) -> Shape:
    """Settle what a rule's advice does for a function.

    Args:
        observers: those of the rule, by the reserved name of when they are called.

    Raises:
        Refusal: an expression names something that the function does not have.
    """
    expressions = _expressions(rule)
    own = Parameters.of(function) if type(function) is FunctionType else ANYTHING
    named = frozenset[str]().union(*(expression.names for expression in expressions.values()))
    bound_to = own
    inner = innermost(function)
    hidden = own is ANYTHING and bool(observers)
    if inner is not None and (hidden or not named - _AT_EXIT <= own.names):
        bound_to = Parameters.of(inner)
    known = {*bound_to.names, *_AT_EXIT}
    for name, expression in expressions.items():
        for unknown in sorted(expression.names - known):
            raise Refusal(
                f"{shown(name)} = {expression.text!r} names {unknown!r}, "
                f"which is no parameter of {qualname}. {expression.instead_of(unknown, known)}"
            )
    keeper = Keeper(capture)
    ended = _AT_EXIT - (bound_to.names & {LAST})
    read_at_exit = [name for name, each in expressions.items() if each.names & ended]
    at_entry = [name for name in expressions if name not in (*read_at_exit, *_NOT_KEPT)]
    at_exit = [*read_at_exit, *[ON_END] * (ON_END in observers)]
    sources = {
        name: value_source(
            name, each, keeper, parameters=bound_to.names, whole=name in rule.topology
        )
        for name, each in expressions.items()
    }
    values = namespace(keeper)
    for name, observer in observers.items():
        known_as = OURS + name.removeprefix(RESERVED)
        sources[name] = _shown_to(known_as, bound_to, rule.name)
        values[known_as] = observer.sees
        values[OURS + "keeper"] = keeper
    iterates = own is not ANYTHING and bool(function.__code__.co_flags & _GENERATORS)
    site = Site(
        operation=rule.operation or qualname,
        role=rule.role,
        rule=rule.name,
        entry=(*at_entry, *[ON_START] * (ON_START in observers)),
        exit=(*at_exit, *COUNTED) if iterates else tuple(at_exit),
        measurements=_measurements(rule),
        failed_if=rule.failed_if.text if rule.failed_if else "",
        max_length=capture.max_length,
        scope=rule.scope.opens if rule.scope else "",
        stall_after=rule.stall_after,
        observed=bool(observers),
        min_seconds=rule.min_seconds,
        receives=RECEIVES in rule.topology,
        awaits=own is not ANYTHING and bool(function.__code__.co_flags & _COROUTINES),
    )
    return Shape(
        site=site,
        starts_trace=rule.role == "orchestrator",
        parameters=own,
        bound_to=bound_to,
        sources=sources,
        values=values,
        exit=tuple(at_exit),
        iterates=iterates,
        on_raise=frozenset(
            name
            for name in at_exit
            if name == ON_END or expressions[name].names & ended <= {"error"}
        ),
        keeps_last=any(LAST in expressions[name].names & ended for name in read_at_exit),
        adds_to=rule.adds_to,
        ends=rule.ends,
        stream=rule.stream,
    )


def _shown_to(observer: str, parameters: Parameters, rule: str) -> str:
    """Source that shows a call to an observer."""
    arguments = ", ".join(f"{name!r}: {name}" for name in parameters.order if OURS not in name)
    return f"{observer}({OURS}result, {OURS}error, {{{arguments}}}, {rule!r}, {OURS}keeper)"


def _expressions(rule: Rule) -> dict[str, Expression]:
    named: dict[str, Expression] = {}
    if rule.agent:
        named[AGENT] = rule.agent
    if rule.scope:
        named[SCOPE] = rule.scope.key
    effects = (rule.when, rule.extract, rule.inject, rule.held_by, rule.raised)
    at_start = zip(_NOT_KEPT, effects, strict=True)
    named.update({name: each for name, each in at_start if each is not None})
    named.update(rule.attributes)
    named.update(rule.topology)
    if rule.failed_if:
        named[FAILED] = rule.failed_if
    for index, metric in enumerate(rule.metrics):
        # A rule may record one metric twice, under different labels.
        named[f"\0{metric.name}\0{index}"] = metric.value
        for label, expression in metric.labels.items():
            named[f"\0{metric.name}\0{index}\0{label}"] = expression
    return named


def shown(capture_name: str) -> str:
    """A capture name as the author of the rule knows it."""
    reserved = {AGENT: "agent", FAILED: "failed_if", SCOPE: "scope.key"}
    reserved |= {ON_START: "on_start", ON_END: "on_end"}
    reserved |= {name: name.strip(RESERVED) for name in _NOT_KEPT}
    if capture_name in reserved or not capture_name.startswith(RESERVED):
        return reserved.get(capture_name, capture_name)
    _, metric, _, *label = capture_name.split(RESERVED)
    return f"metric {metric}, label {label[0]}" if label else f"metric {metric}"


def _measurements(rule: Rule) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            name=metric.name,
            kind=metric.kind,
            value=f"\0{metric.name}\0{index}",
            labels=tuple((label, f"\0{metric.name}\0{index}\0{label}") for label in metric.labels),
            help=metric.help,
            buckets=metric.buckets or None,
        )
        for index, metric in enumerate(rule.metrics)
    )
