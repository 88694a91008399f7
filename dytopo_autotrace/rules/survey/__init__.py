"""Holds rules against the source of the program, without importing or executing any of it.

What the source cannot answer is a doubt, never a fault: a name that is imported or assigned, a base
class from elsewhere, a parameter of a function behind a decorator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dytopo_autotrace.errors import Fault
from dytopo_autotrace.rules.expressions import Expression
from dytopo_autotrace.rules.match import HEIRS, Matcher, compile_rules, family_of, is_glob
from dytopo_autotrace.rules.model import Rule, RuleSet, Target
from dytopo_autotrace.rules.survey.families import family
from dytopo_autotrace.rules.survey.outline import (
    Definition,
    DoubtError,
    Outline,
    Scope,
    WrongError,
    hint,
)
from dytopo_autotrace.rules.survey.search import Program

__all__ = ["Absence", "Doubt", "Match", "Survey", "examine", "survey"]


@dataclass(frozen=True, slots=True)
class Match:
    """A function that a rule's target names, and where it is."""

    rule: str
    target: str
    module: str
    qualname: str
    file: str
    line: int
    kind: str
    """Such as `method`, `async function` or `generator method`."""
    shadowed_by: str = ""
    """The earlier rule that takes this function, `""` if none does."""
    pack: str = ""
    """The pack that the rule comes from, `""` for the user's own file."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What only running the program can tell about a rule, and why."""

    rule: str
    target: str
    why: str
    pack: str = ""


@dataclass(frozen=True, slots=True)
class Absence:
    """What a pack's rule names and this program does not have, which is no fault of anybody's."""

    rule: str
    target: str
    why: str
    pack: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What the source says about a set of rules."""

    matched: tuple[Match, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    faults: tuple[Fault, ...] = ()
    absences: tuple[Absence, ...] = ()


def survey(
    ruleset: RuleSet,
    search_path: Sequence[str],
    script: str | None = None,
    module: str | None = None,
    *,
    finders: Sequence[Any] = (),
) -> tuple[Fault, ...]:
    """What is wrong with the user's own rules; the arguments are those of `examine`."""
    return examine(ruleset, search_path, script, module, finders=finders).faults


def examine(
    ruleset: RuleSet,
    search_path: Sequence[str],
    script: str | None = None,
    module: str | None = None,
    *,
    finders: Sequence[Any] = (),
    with_packs: bool = False,
) -> Survey:
    """Look up what the user's own rules name; rules of packs may name what is not there.

    Args:
        search_path: as `sys.path` will be in the program.
        script: the script, directory or zip file that is the program, if it is one.
        module: the module that is the program, if it is one.
        finders: others than the path's that are asked where a module is.
        with_packs: look up the rules of packs as well.
    """
    examiner = _Examiner(ruleset, Program(tuple(search_path), script, module, tuple(finders)))
    for rule in ruleset.rules:
        if with_packs or not rule.origin.pack:
            examiner.examine(rule)
    return Survey(
        tuple(examiner.matched),
        tuple(examiner.doubts),
        tuple(examiner.faults),
        tuple(examiner.absences),
    )


class _Examiner:
    """Goes through rules and keeps what it finds."""

    def __init__(self, ruleset: RuleSet, program: Program) -> None:
        self.matched: list[Match] = []
        self.doubts: list[Doubt] = []
        self.faults: list[Fault] = []
        self.absences: list[Absence] = []
        self._all = compile_rules(ruleset)
        self._program = program

    def examine(self, rule: Rule) -> None:
        found: dict[str, tuple[Definition, Target]] = {}
        for target in rule.targets:
            try:
                for module, qualname, definition, file in self._functions(rule, target):
                    found.setdefault(f"{file}:{qualname}", (definition, target))
                    self.matched.append(
                        self._match(rule, target, module, qualname, definition, file)
                    )
            except WrongError as wrong:
                if rule.origin.pack:
                    why = f"{wrong.message} {wrong.hint}".rstrip()
                    self.absences.append(Absence(rule.name, target.text, why, rule.origin.pack))
                    continue
                self._fault(rule, "rule.target", target.text, wrong.message, wrong.hint)
            except DoubtError as doubt:
                self._doubt(rule, target, str(doubt))
        self._check_names(rule, list(found.values()))

    def _match(
        self, rule: Rule, target: Target, module: str, name: str, definition: Definition, file: str
    ) -> Match:
        # The main module is asked for by each of its names, in this order, when it is woven.
        rules = (self._all.rule_for(each, name) for each in self._program.names_of(module))
        winner = next((each for each in rules if each is not None), None)
        by = winner.name if winner is not None and winner is not rule else ""
        if HEIRS in target.qualname and self._all.wins(rule, module, name):
            by = ""  # A later rule names it, and is later for what is reached from a class too.
        line, kind, pack = definition.line, definition.kind, rule.origin.pack
        return Match(rule.name, target.text, module, name, file, line, kind, by, pack)

    def _functions(self, rule: Rule, target: Target) -> Iterator[tuple[str, str, Definition, str]]:
        """Module, qualname, definition and file of the functions that a target names."""
        only = Matcher((dataclasses.replace(rule, targets=(target,)),))
        if HEIRS in target.qualname:
            yield from self._of_heirs(rule, target, only)
            return
        if not is_glob(target.module) and not is_glob(target.qualname):
            outline = self._program.outline(target.module)
            if only.rule_for(target.module, target.qualname) is None:
                raise WrongError("is excluded by the rule itself.", "Leave one of them out.")
            definition = outline.find(target.qualname)
            yield target.module, target.qualname, definition, outline.file
            return
        if is_glob(target.module):
            modules = self._program.modules(target.module, lambda name: bool(only.wants(name)))
        else:
            modules = [target.module]
        yield from self._chosen(only, target, modules)

    def _of_heirs(
        self, rule: Rule, target: Target, only: Matcher
    ) -> Iterator[tuple[str, str, Definition, str]]:
        """What a `Base+.method` names in the classes whose source is found."""
        base, method = family_of(target.qualname)
        found: set[tuple[str, str]] = set()
        for module, outline, owner, scope in self._members(target, base, only):
            for name, definition in scope.functions.items():
                qualname = f"{owner}.{name}"
                is_meant = name == method or self._all.is_meant(method, name)
                is_new = (outline.file, qualname) not in found
                if is_meant and is_new and not self._all.excludes(rule, module, qualname):
                    found.add((outline.file, qualname))
                    yield module, qualname, definition, outline.file
        if not found:
            raise DoubtError("classes that inherit may be defined anywhere")

    def _members(
        self, target: Target, base: str, only: Matcher
    ) -> Iterator[tuple[str, Outline, str, Scope]]:
        if not is_glob(target.module):
            yield from family(self._program, target.module, base)
            return
        for module in self._program.modules(target.module, lambda name: bool(only.wants(name))):
            try:
                yield from family(self._program, module, base)
            except (WrongError, DoubtError):
                continue  # The class is in one of them.

    def _chosen(
        self, only: Matcher, target: Target, modules: Iterable[str]
    ) -> Iterator[tuple[str, str, Definition, str]]:
        any_found, names, doubt = False, set[str](), None
        for module in modules:
            try:
                outline = self._program.outline(module)
            except DoubtError as unclear:
                doubt = unclear
                continue
            for qualname, definition in outline.functions():
                names.add(qualname)
                if only.rule_for(module, qualname) is not None:
                    any_found = True
                    yield module, qualname, definition, outline.file
            if outline.defines_more:
                doubt = DoubtError(outline.defines_more)
        if any_found:
            return
        if doubt is not None:
            raise doubt
        where = "the modules" if is_glob(target.module) else target.module
        raise WrongError(f"matches no function that {where} define.", hint(target.qualname, names))

    def _check_names(self, rule: Rule, found: Sequence[tuple[Definition, Target]]) -> None:
        for key, expression in _expressions(rule, "rule"):
            lacking: dict[str, list[Definition]] = {}
            for definition, target in found:
                undecorated = target.qualname.endswith(".__wrapped__")
                for name in sorted(expression.names - definition.parameters - _ALWAYS):
                    if undecorated or not definition.may_take_more:
                        lacking.setdefault(name, []).append(definition)
                    else:
                        why = f"{name!r} is no parameter at the def, but its decorators may add it"
                        self._doubt(rule, target, f"{key}: {why}")
            # A pack's expressions are for all versions of what it knows, and tested with it.
            for name, definitions in () if rule.origin.pack else lacking.items():
                first, more = definitions[0], len(definitions) - 1
                others = f" and {more} more" if more else ""
                self._fault(
                    rule,
                    key,
                    expression.text,
                    f"names {name!r}, which is no parameter of {first.qualname}{others}.",
                    expression.instead_of(name, first.parameters | _ALWAYS),
                )

    def _doubt(self, rule: Rule, target: Target, why: str) -> None:
        self.doubts.append(Doubt(rule.name, target.text, why, rule.origin.pack))

    def _fault(self, rule: Rule, key: str, value: str, message: str, advice: str) -> None:
        origin = rule.origin
        self.faults.append(Fault(origin.file, origin.line, key, repr(value), message, advice))


_ALWAYS: Final = frozenset({"result", "error", "last"})


def _expressions(value: Any, key: str) -> Iterator[tuple[str, Expression]]:
    """All expressions in a rule with their keys in its file, whatever keys a rule may have."""
    if isinstance(value, Expression):
        yield key, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _expressions(each, f"{key}.{name}")
    elif isinstance(value, tuple):
        for each in value:
            yield from _expressions(each, key)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            name = "metric" if field.name == "metrics" else field.name
            yield from _expressions(getattr(value, field.name), f"{key}.{name}")
