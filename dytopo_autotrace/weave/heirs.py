"""`module:Base+.method`: a method in every class that inherits from one, now and later.

A class learns of its heirs by `__init_subclass__`, which is called before anyone else can have the new
class. Ours stands in front of the one that was there, and is taken out again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from dytopo_autotrace.collect.failures import without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.rules.match import Matcher, family_of
from dytopo_autotrace.rules.model import Rule
from dytopo_autotrace.weave.advice import is_plain
from dytopo_autotrace.weave.frames import pass_over
from dytopo_autotrace.weave.kinds import Weaver
from dytopo_autotrace.weave.patch import (
    Place,
    find,
    is_class,
    mangled,
    own_name,
    rebind_in_class,
    replace,
)
from dytopo_autotrace.weave.shape import Refusal

_HOOK: Final = "__init_subclass__"


def weave_families(module: ModuleType, matcher: Matcher, weaver: Weaver) -> None:
    """Weave what rules name in the heirs of a module's classes; never raises."""
    for selection in matcher.selections(module.__name__):
        for qualname in selection.families:
            place = f"{module.__name__}:{qualname}"
            base_name, method = family_of(qualname)
            try:
                base = _class(module, base_name)
                _Family(base, method, selection.rule, place, matcher, weaver).weave()
            except LookupError as missing:
                weaver.ledger.note(selection.rule.name, place, "nothing_matched", missing.args[0])
            except Refusal as refusal:
                weaver.ledger.note(selection.rule.name, place, "refused", str(refusal))
            except Exception as fault:
                text = f"{type(fault).__name__}: {fault}"
                weaver.ledger.note(selection.rule.name, place, "failed", text)


def _class(module: ModuleType, qualname: str) -> type:
    base: Any = find(module, qualname).raw
    if not is_class(base):
        raise Refusal(f"{qualname} is no class, so nothing inherits from it.")
    return base  # type: ignore[no-any-return]


class _Family:
    """A class, its heirs, and the methods of theirs that one rule names."""

    def __init__(
        self, base: type, method: str, rule: Rule, place: str, matcher: Matcher, weaver: Weaver
    ) -> None:
        self._base, self._method, self._rule, self._place = base, method, rule, place
        self._matcher, self._weaver = matcher, weaver

    def weave(self) -> None:
        self._tell_of_heirs(self._base)
        for member in _members(self._base):
            self._weave_member(member)

    def defined(self, member: type) -> None:
        """A class was defined that belongs to the family; never raises."""
        if self._weaver.switch.on:
            try:
                self._weave_member(member)
            except Exception as fault:
                text = f"{self._place}: {type(fault).__name__}: {fault}"
                self._weaver.ledger.faults.append(text)

    def _weave_member(self, member: type) -> None:
        if member is not self._base and _HOOK in vars(member):
            self._tell_of_heirs(member)  # It may keep its own heirs to itself.
        for attribute, raw in list(vars(member).items()):
            name = self._name_of(member, attribute, raw)
            if name:
                self._weave_method(member, attribute, raw, f"{member.__qualname__}.{name}")

    def _name_of(self, member: type, attribute: str, raw: Any) -> str:
        """The name that the rule knows an attribute by, `""` if it does not mean it."""
        if attribute == mangled(member, self._method):
            return self._method
        name = own_name(raw, member.__module__)
        return name if self._matcher.is_meant(self._method, name) else ""

    def _weave_method(self, member: type, attribute: str, raw: Any, qualname: str) -> None:
        rule, ledger = self._rule, self._weaver.ledger
        if not self._matcher.wins(rule, member.__module__, qualname):
            return  # An earlier rule names it, or this one excludes it.
        place = f"{member.__module__}:{qualname}"
        original = ledger.original_of(raw)
        if original is not raw:
            # `dataclass(slots=True)` has made the class anew, out of what was woven already.
            ledger.undo.append(_put_back(member, attribute, raw, original))
            return
        try:
            if "<locals>" in qualname and is_plain(raw):
                woven = self._weaver.weave(rule, qualname, raw)
                setattr(member, attribute, woven)
                ledger.undo.append(_put_back(member, attribute, None, None))
            else:
                at = Place(member, attribute, raw, is_own=True)
                woven = replace(at, qualname, rule, self._weaver)
                rebind_in_class(at, woven, ledger)
        except Refusal as refusal:
            ledger.note(rule.name, place, "refused", str(refusal))
        else:
            ledger.note(rule.name, place, "woven")

    def _tell_of_heirs(self, member: type) -> None:
        """Have the family told of every class that is derived from this one."""
        theirs = vars(member).get(_HOOK)
        tell = self.defined

        def __init_subclass__(cls: type, /, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            try:
                if theirs is None:
                    super(member, cls).__init_subclass__(*args, **kwargs)  # type: ignore[arg-type]
                else:
                    theirs.__get__(None, cls)(*args, **kwargs)
            except BaseException as error:
                attempt(without_our_head, error)
                raise
            attempt(tell, cls)

        pass_over(__init_subclass__)
        function = getattr(theirs, "__func__", None)
        __init_subclass__.__module__ = getattr(function, "__module__", member.__module__)
        __init_subclass__.__qualname__ = f"{member.__qualname__}.__init_subclass__"
        __init_subclass__.__doc__ = getattr(function, "__doc__", None)
        ours: Any = classmethod(__init_subclass__)
        try:
            setattr(member, _HOOK, ours)
        except (TypeError, AttributeError) as error:
            raise Refusal(f"{member.__qualname__} cannot be told of its heirs: {error}") from None

        def put_back() -> None:
            if vars(member).get(_HOOK) is ours:
                if theirs is None:
                    delattr(member, _HOOK)
                else:
                    setattr(member, _HOOK, theirs)

        self._weaver.ledger.undo.append(put_back)


def _members(base: type) -> Iterator[type]:
    """A class and all that inherit from it, each once."""
    seen: dict[int, type] = {}
    pending = [base]
    while pending:
        member = pending.pop()
        if id(member) not in seen:
            seen[id(member)] = member
            yield member
            pending += type.__subclasses__(member)


def _put_back(member: type, attribute: str, woven: Any, original: Any) -> Callable[[], None]:
    """Undo for a class that may be gone by then: it must not live for our sake.

    Args:
        woven: what we put in, and `original` what was there before; without them the function that
            stands there now has its own original at hand.
    """
    owner = weakref.ref(member)

    def put_back() -> None:
        alive = owner()
        if alive is None:
            return
        now: Any = vars(alive).get(attribute)
        if woven is None and is_plain(now):
            setattr(alive, attribute, now.__wrapped__)
        elif woven is not None and now is woven:
            setattr(alive, attribute, original)

    return put_back
