"""Which rule a function falls under.

A target is `module:qualname`. `*` stands for any characters within one dotted part, `?` for one
character, `**` alone between dots for any number of parts, none included.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.rules.model import Rule, RuleSet, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_LENGTH: Final = 300
"""Characters in one target."""

MAX_DEEP: Final = 3
"""`**` in a module or qualname: with each one more there are many more ways to match a name."""

LOCALS: Final = "<locals>"
"""The part of a qualname below which a function's own functions are."""
UNDECORATED: Final = "__wrapped__"
"""The last part of a qualname that names the function below its decorators."""

HEIRS: Final = "+"
"""After a class, in AspectJ's notation: it and every class that inherits from it."""

# Rules never reach into what we are made of ourselves, nor does a rule that begins with a
# wildcard mean the standard library: it would be woven whole.
_NEVER: Final = frozenset({"dytopo_autotrace", "wrapt"})

_PART: Final = re.compile(r"[\w*?]+")
_DUNDER: Final = r"__[^.]*__\."


class TargetError(AutotraceError):
    """A text is no target: what is wrong, and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".rstrip())


@dataclass(frozen=True, slots=True)
class Selection:
    """What one rule asks of one module: qualnames as they are, and qualnames with globs."""

    rule: Rule
    literals: tuple[str, ...]
    globs: tuple[str, ...]
    families: tuple[str, ...] = ()
    """Qualnames such as `Base+.method`, which reach beyond the module."""


def parse_target(text: str, *, module_optional: bool = False) -> Target:
    """Read `module:qualname`, or, for an exclude, `qualname` alone; raises `TargetError`."""
    if not text:
        raise TargetError("is empty.", "Write module:qualname, such as 'pkg.agents:Worker.run'.")
    if len(text) > MAX_LENGTH:
        raise TargetError(f"has {len(text)} characters, {MAX_LENGTH} are the most.")
    module, colon, qualname = text.partition(":")
    if not colon:
        if not module_optional:
            raise TargetError("has no colon.", _with_colon(text))
        module, qualname = "", text
    if colon:
        _check_module(module)
    _check_qualname(qualname)
    return Target(module, qualname, text)


def _with_colon(text: str) -> str:
    module, dot, function = text.rpartition(".")
    example = f"{module}:{function}" if dot and module and function else f"{text}:function"
    return f"Write module:qualname, such as {example!r}."


def _check_module(module: str) -> None:
    if not module:
        raise TargetError("has no module before the colon.", "Write module:qualname.")
    parts = module.split(".")
    _check_deep(parts, "module")
    for part in parts:
        if part != "**":
            _check_part(part, "module")


def _check_qualname(qualname: str) -> None:
    if not qualname:
        raise TargetError("has no qualname after the colon.", "`*` means every function there.")
    parts = qualname.split(".")
    _check_deep(parts, "qualname")
    if HEIRS in qualname:
        parts = _without_heirs(parts)
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == LOCALS:
            if last or not position or parts[position - 1] == LOCALS:
                raise TargetError(
                    f"has a misplaced {LOCALS}.",
                    "It stands between two functions: outer.<locals>.f",
                )
        elif part == UNDECORATED:
            if not last or not position:
                raise TargetError(
                    f"has a misplaced {UNDECORATED}.",
                    "It stands once, at the end: Class.method.__wrapped__",
                )
        elif part != "**":
            _check_part(part, "qualname")


def _without_heirs(parts: list[str]) -> list[str]:
    """The parts of a `Base+.method` as they would be without the plus."""
    *path, base, method = ["", *parts]
    if not base.endswith(HEIRS) or HEIRS in "".join([*path, base[:-1], method]):
        raise TargetError(
            f"has a misplaced {HEIRS}.", "It stands after a class, before its method: Base+.method"
        )
    plain = [*path[1:], base.removesuffix(HEIRS), method]
    if is_glob("".join(plain[:-1])) or "**" in method or {LOCALS, UNDECORATED} & {*plain}:
        raise TargetError(
            f"has more than one class before its {HEIRS}.", "Name one class, then a method or `*`."
        )
    return plain


def family_of(qualname: str) -> tuple[str, str]:
    """The class and the method, or glob, of a `Base+.method`."""
    base, _, method = qualname.partition(HEIRS + ".")
    return base, method


def _check_deep(parts: list[str], where: str) -> None:
    if parts.count("**") > MAX_DEEP:
        raise TargetError(f"has more than {MAX_DEEP} `**` in its {where}.", "One is mostly enough.")


def _check_part(part: str, where: str) -> None:
    if not part:
        raise TargetError(f"has an empty part in its {where}.", "Put one dot between two names.")
    if "**" in part:
        raise TargetError(
            f"has `**` within a part of its {where}.", "It stands alone between dots."
        )
    if not _PART.fullmatch(part):
        wrong = next(character for character in part if not _PART.fullmatch(character))
        hint = "Parts are names, with `*` and `?` as wildcards, joined by dots."
        if where == "qualname" and ":" in part:
            hint = "One colon stands between module and qualname, dots within them."
        raise TargetError(f"has {wrong!r} in its {where}, which no name has.", hint)
    if part[0].isdigit():
        raise TargetError(f"has the part {part!r} in its {where}: no name begins with a digit.")


def is_glob(text: str) -> bool:
    return "*" in text or "?" in text


def needs_source(qualname: str) -> bool:
    """Whether no attribute leads to such a function, so that its `def` must be rewritten."""
    return LOCALS in qualname or qualname.endswith("." + UNDECORATED)


@lru_cache(maxsize=512)
def _module_pattern(glob: str) -> Callable[[str], object]:
    pattern = re.compile(_regex(glob, part_guard="", any_part=r"[^.]+\.")).fullmatch
    if not is_glob(glob.partition(".")[0]):
        return lambda name: pattern(name + ".")

    def outside_the_standard_library(name: str) -> object:
        return name.partition(".")[0] not in sys.stdlib_module_names and pattern(name + ".")

    return outside_the_standard_library


@lru_cache(maxsize=512)
def _qualname_pattern(glob: str) -> Callable[[str], object]:
    nested = "" if LOCALS in glob else "(?!<)"
    pattern = re.compile(
        _regex(glob, part_guard=f"(?!{_DUNDER})", any_part=rf"(?!{_DUNDER}){nested}[^.]+\.")
    ).fullmatch
    return lambda name: pattern(name + ".")


def _regex(glob: str, *, part_guard: str, any_part: str) -> str:
    """The regex for a name with a dot at its end, so that every part ends alike."""
    regex: list[str] = []
    for part in glob.split("."):
        if part == "**":
            if regex[-1:] != [f"(?:{any_part})*"]:
                regex.append(f"(?:{any_part})*")
        elif is_glob(part):
            guard = "(?!<)" if part.startswith("__") else f"(?!<){part_guard}"
            regex.append(guard + _part_regex(part))
        else:
            regex.append(re.escape(part) + r"\.")
    return "".join(regex)


def _part_regex(part: str) -> str:
    """One part with wildcards; each star is settled once, so that no name takes long."""
    first, *rest = (re.escape(piece).replace(r"\?", "[^.]") for piece in part.split("*"))
    if not rest:
        return first + r"\."
    middle = "".join(f"(?>[^.]*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}[^.]*{rest[-1]}" + r"\."


def _module_matches(target: Target, module_name: str) -> bool:
    if is_glob(target.module):
        return bool(_module_pattern(target.module)(module_name))
    return target.module == module_name


def _qualname_matches(target: Target, qualname: str) -> bool:
    if HEIRS in target.qualname:
        return False  # Its methods are found from the class on.
    if is_glob(target.qualname):
        return bool(_qualname_pattern(target.qualname)(qualname))
    return target.qualname == qualname


def _excluded(rule: Rule, module_name: str, qualname: str) -> bool:
    return any(
        (not entry.module or _module_matches(entry, module_name))
        and _qualname_matches(entry, qualname)
        for entry in rule.exclude
    )


class Matcher:
    """Answers for a frozen set of rules; keeps nothing that grows with the modules it is asked."""

    __slots__ = ("_globs", "_literal", "_rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._globs = tuple(
            rule for rule in self._rules if any(is_glob(target.module) for target in rule.targets)
        )
        modules = {
            target.module: ()
            for rule in self._rules
            for target in rule.targets
            if not is_glob(target.module)
        }
        self._literal: dict[str, tuple[Rule, ...]] = {
            module: self._choose(self._rules, module)
            for module in modules
            if module.partition(".")[0] not in _NEVER
        }

    @staticmethod
    def _choose(rules: Iterable[Rule], module_name: str) -> tuple[Rule, ...]:
        return tuple(
            rule
            for rule in rules
            if any(_module_matches(target, module_name) for target in rule.targets)
        )

    def wants(self, module_name: str) -> tuple[Rule, ...]:
        """The rules with a target in a module, in order; `()` for nearly all modules."""
        known = self._literal.get(module_name)
        if known is not None:
            return known
        if not self._globs or module_name.partition(".")[0] in _NEVER:
            return ()
        return self._choose(self._globs, module_name)

    def selections(self, module_name: str) -> tuple[Selection, ...]:
        """What each of the rules that want a module asks of it, in order."""
        return tuple(_select(rule, module_name) for rule in self.wants(module_name))

    def needs_source(self, module_name: str) -> bool:
        """Whether a target of the module can only be reached by rewriting the module's source."""
        return any(
            needs_source(qualname)
            for selection in self.selections(module_name)
            for qualname in (*selection.literals, *selection.globs)
        )

    def matches(self, module_name: str, qualname: str) -> tuple[Rule, ...]:
        """All rules that match a function, in order: the first one wins, it shadows the others."""
        return tuple(
            rule for rule in self.wants(module_name) if _matches(rule, module_name, qualname)
        )

    def is_meant(self, pattern: str, name: str) -> bool:
        """Whether a glob for a method means this one."""
        return bool(name) and is_glob(pattern) and bool(_qualname_pattern(pattern)(name))

    def excludes(self, rule: Rule, module_name: str, qualname: str) -> bool:
        """Whether a rule leaves a function out that it reaches from elsewhere."""
        return _excluded(rule, module_name, qualname)

    def wins(self, rule: Rule, module_name: str, qualname: str) -> bool:
        """Whether a rule that reaches a method from elsewhere may have it: the first one wins."""
        if _excluded(rule, module_name, qualname):
            return False
        named = self.rule_for(module_name, qualname)
        return named is None or self._rules.index(rule) <= self._rules.index(named)

    def rule_for(self, module_name: str, qualname: str) -> Rule | None:
        """The rule that wins, `None` when there is none."""
        for rule in self.wants(module_name):
            if _matches(rule, module_name, qualname):
                return rule
        return None


def _matches(rule: Rule, module_name: str, qualname: str) -> bool:
    return any(
        _module_matches(target, module_name) and _qualname_matches(target, qualname)
        for target in rule.targets
    ) and not _excluded(rule, module_name, qualname)


def _select(rule: Rule, module_name: str) -> Selection:
    qualnames = tuple(
        dict.fromkeys(
            target.qualname for target in rule.targets if _module_matches(target, module_name)
        )
    )
    return Selection(
        rule,
        tuple(
            name
            for name in qualnames
            if not (is_glob(name) or HEIRS in name or _excluded(rule, module_name, name))
        ),
        tuple(name for name in qualnames if is_glob(name) and HEIRS not in name),
        tuple(name for name in qualnames if HEIRS in name),
    )


def compile_rules(ruleset: RuleSet) -> Matcher:
    """The matcher for all rules of a set."""
    return Matcher(ruleset.rules)
