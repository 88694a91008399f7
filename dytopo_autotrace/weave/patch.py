"""Finds what rules name in a module and replaces it by the woven one, noting how to put it back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from dytopo_autotrace.errors import nearest
from dytopo_autotrace.rules.match import Matcher, needs_source
from dytopo_autotrace.rules.model import Rule
from dytopo_autotrace.weave.advice import is_plain
from dytopo_autotrace.weave.capture import UNCHANGING
from dytopo_autotrace.weave.kinds import Weaver
from dytopo_autotrace.weave.ledger import Ledger
from dytopo_autotrace.weave.shape import Refusal

Replaced = dict[int, tuple[Any, Any]]
"""By the `id()` of what was there before: itself, and what is there now."""

_NAMES: Final[Any] = vars(ModuleType)["__dict__"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands that a qualified name leads to."""

    owner: Any
    attribute: str
    raw: Any
    """As it is kept, not as attribute access would give it."""
    is_own: bool
    """Whether the owner itself has it, rather than one of its bases."""


def weave_module(
    module: ModuleType, matcher: Matcher, weaver: Weaver, known_as: str = ""
) -> Replaced:
    """Weave what rules name among a module's attributes; never raises.

    Args:
        known_as: the name that rules call it by, its own if none is given.

    Returns:
        What was replaced in the module itself, so that its aliases elsewhere can follow.
    """
    ledger = weaver.ledger
    replaced: Replaced = {}
    methods: list[tuple[Place, Any]] = []
    known_as = known_as or module.__name__
    for qualname, rule in _targets(module, matcher, known_as):
        named = f"{known_as}:{qualname}"
        try:
            place = find(module, qualname)
            if place.is_own and ledger.original_of(place.raw) is not place.raw:
                continue  # The module ran again and left this one as it was.
            woven = replace(place, qualname, rule, weaver)
        except LookupError as missing:
            ledger.note(rule.name, named, "nothing_matched", str(missing.args[0]))
        except Refusal as refusal:
            ledger.note(rule.name, named, "refused", str(refusal))
        except Exception as fault:
            ledger.note(rule.name, named, "failed", f"{type(fault).__name__}: {fault}")
        else:
            ledger.note(rule.name, named, "woven")
            methods.append((place, woven))
            if place.owner is module and not _is_foreign(place.raw, module):
                replaced[id(place.raw)] = (place.raw, woven)
    # Only now: a rule may have named the other name of a method, and another one its first.
    for place, woven in methods:
        rebind_in_class(place, woven, ledger)
    return replaced


def _is_foreign(value: Any, module: ModuleType) -> bool:
    """Whether it was imported from another package, whose users the rule does not mean."""
    home = value.__module__ if is_plain(value) or is_class(value) else None
    return isinstance(home, str) and home.partition(".")[0] != module.__name__.partition(".")[0]


def reachable(qualname: str) -> bool:
    """Whether an attribute leads to what a qualified name names; if not, only the source does."""
    return not needs_source(qualname)


def names_in(module: ModuleType) -> dict[str, Any]:
    """A module's own names; a module that loads itself when it is looked at is not set off."""
    names: dict[str, Any] = _NAMES.__get__(module)
    return names


def _targets(module: ModuleType, matcher: Matcher, known_as: str) -> Iterator[tuple[str, Rule]]:
    selections = matcher.selections(known_as)
    literals = [literal for selection in selections for literal in selection.literals]
    defined = _defined_in(module) if any(selection.globs for selection in selections) else ()
    seen = set()
    for qualname in (*literals, *defined):
        if qualname not in seen and reachable(qualname):
            seen.add(qualname)
            rule = matcher.rule_for(known_as, qualname)
            if rule is not None:
                yield qualname, rule


def find(module: ModuleType, qualname: str) -> Place:
    """Follow a qualified name without running code of the host's.

    Raises:
        LookupError: something on the way is not there, with what is there instead.
    """
    owner: Any = module
    *path, last = qualname.split(".")
    for part in path:
        owner = _look_up(owner, part).raw
    return _look_up(owner, last)


def _look_up(owner: Any, name: str) -> Place:
    if is_class(owner):
        shown, attribute = owner.__qualname__, mangled(owner, name)
        places = [vars(base) for base in owner.__mro__]
    elif issubclass(type(owner), ModuleType):
        places = [names_in(owner)]
        shown, attribute = places[0].get("__name__", "the module"), name
    else:
        raise Refusal(f"{name!r} is looked for in a {type(owner).__name__}; name it by its class.")
    for place in places:
        if attribute in place:
            return Place(owner, attribute, place[attribute], place is places[0])
    known = [known for place in places for known in place if not known.startswith("__")]
    raise LookupError(f"{shown} has no {name!r}. {nearest(name, known[:200])}".rstrip())


def mangled(owner: type, name: str) -> str:
    """The attribute that a class keeps a private method under."""
    if name.startswith("__") and not name.endswith("__"):
        return f"_{owner.__name__.lstrip('_')}{name}"
    return name


def is_class(value: Any) -> bool:
    # Of the type, not with isinstance, which asks lazy objects what they pretend to be.
    return issubclass(type(value), type)


def replace(place: Place, qualname: str, rule: Rule, weaver: Weaver) -> Any:
    ledger, owner, attribute = weaver.ledger, place.owner, place.attribute
    # What a base class has may be woven already: under its own rule, which is not this one.
    woven = weaver.weave(rule, qualname, ledger.original_of(place.raw))
    try:
        setattr(owner, attribute, woven)
    except (TypeError, AttributeError) as error:
        raise Refusal(f"{qualname} cannot be replaced: {error}") from None
    return_attributes = _keep_attributes(place.raw, woven)

    def put_back() -> None:
        # Another tool may have wrapped ours since: then its wrapper stays, and ours falls silent.
        names = names_in(owner) if issubclass(type(owner), ModuleType) else vars(owner)
        if names.get(attribute) is woven:
            if place.is_own:
                setattr(owner, attribute, place.raw)
            else:
                delattr(owner, attribute)
        return_attributes()

    ledger.undo.append(put_back)
    ledger.replaced[id(woven)] = (woven, place.raw)
    return woven


def rebind_in_class(place: Place, woven: Any, ledger: Ledger) -> None:
    """Rebind other names in a class for the same method, such as `__radd__ = __add__`."""
    owner = place.owner
    if not (is_class(owner) and place.is_own):
        return
    for name, value in list(vars(owner).items()):
        if value is place.raw:
            setattr(owner, name, woven)
            ledger.undo.append(_class_binding(owner, name, woven, place.raw))


def _class_binding(owner: type, name: str, ours: Any, theirs: Any) -> Callable[[], None]:
    def bind_back() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, theirs)

    return bind_back


def _keep_attributes(raw: Any, woven: Any) -> Callable[[], None]:
    """What the host hangs on the woven function from now on, handed to its own when it is back."""
    theirs, ours = getattr(raw, "__func__", raw), getattr(woven, "__func__", woven)
    if not (is_plain(theirs) and is_plain(ours)):
        return lambda: None  # A proxy hands them on at once.
    before = dict(vars(ours))

    def hand_over() -> None:
        for name, value in vars(ours).items():
            if name not in before or before[name] is not value:
                vars(theirs)[name] = value
        for name in before.keys() - vars(ours).keys():
            vars(theirs).pop(name, None)

    return hand_over


def rebind_aliases(
    replaced: Replaced, modules: Iterable[Any], undo: list[Callable[[], None]] | None = None
) -> None:
    """Rebind `from x import f` that modules took before, found by identity.

    Args:
        undo: takes how to bind each back.
    """
    if not replaced:
        return
    for module in modules:
        if not issubclass(type(module), ModuleType):
            continue
        names = names_in(module)
        for name, value in names.copy().items():
            if id(value) in replaced:
                original, replacement = replaced[id(value)]
                if original is value:
                    names[name] = replacement
                    if undo is not None:
                        undo.append(_binding(names, name, replacement, original))


def _binding(names: dict[str, Any], name: str, ours: Any, theirs: Any) -> Callable[[], None]:
    def bind_back() -> None:
        if names.get(name) is ours:
            names[name] = theirs

    return bind_back


def loaded_modules() -> list[Any]:
    return list(sys.modules.copy().values())


def adopt(module: ModuleType, ours: Mapping[str, Any], ledger: Ledger) -> None:
    """Replace a module's classic observability names by ours, wherever they were imported to."""
    names = names_in(module)
    replaced: Replaced = {}
    for name, value in ours.items():
        theirs = names.get(name)
        if theirs is None or theirs is value:
            continue
        rebind_aliases({id(theirs): (theirs, value)}, (module,), ledger.undo)
        # A name may stand for something that everyone uses, such as `Span = dict`.
        if type(theirs) not in UNCHANGING and not (
            is_class(theirs) and _is_foreign(theirs, module)
        ):
            replaced[id(theirs)] = (theirs, value)
    rebind_aliases(replaced, loaded_modules(), ledger.undo)


def _defined_in(module: ModuleType) -> Iterator[str]:
    """Qualified names of the functions and methods that a module itself defines."""
    pending: list[tuple[str, Any]] = [("", module)]
    while pending:
        prefix, owner = pending.pop()
        names = names_in(owner) if owner is module else vars(owner)
        for name, value in list(names.items()):
            if is_class(value):
                if value.__module__ == module.__name__ and value.__qualname__ == prefix + name:
                    pending.append((f"{prefix}{name}.", value))
            elif (own := own_name(value, module.__name__)) and (
                own == name or (owner is not module and mangled(owner, own) == name)
            ):
                yield prefix + own


def own_name(value: Any, module_name: str) -> str:
    """The name that a function of this module was defined by, `""` for anything else."""
    kind = type(value)
    inner = value.__func__ if issubclass(kind, classmethod | staticmethod) else value
    if not callable(inner):
        return ""
    try:
        # Asking a lazy object for its name would wake it; a decorator's object has it at hand.
        if not is_plain(inner) and inspect.getattr_static(inner, "__name__", None) is None:
            return ""
        return str(inner.__name__) if inner.__module__ == module_name else ""
    except Exception:
        return ""
