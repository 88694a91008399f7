"""Tells when a module that was executing before we came is done."""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any, Final

from dytopo_autotrace.collect.faults import attempt

_MARK: Final = "_initializing"
"""What importlib sets to false when a module's body has run, or raised."""

_waiting: dict[int, tuple[Any, Callable[[], None]]] = {}
"""By the `id()` of a spec: itself, and what is to be called."""


class _Watched(ModuleSpec):
    """A spec that tells when its module is done, and is then an ordinary one again."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        ModuleSpec.__setattr__(self, name, value)
        if name == _MARK and not value:
            attempt(_done, self)


_Watched.__name__, _Watched.__qualname__ = ModuleSpec.__name__, ModuleSpec.__qualname__
_Watched.__module__ = ModuleSpec.__module__


def when_done(spec: Any, then: Callable[[], None]) -> Callable[[], None]:
    """Have something done once the module of a spec is; call what is returned to think better of it.

    A spec of a class of its own is left as it is, and nothing is done.
    """
    if type(spec) is not ModuleSpec:
        return lambda: None
    _waiting[id(spec)] = (spec, then)
    spec.__class__ = _Watched

    def give_back() -> None:
        if _waiting.pop(id(spec), None) is not None:
            spec.__class__ = ModuleSpec

    return give_back


def _done(spec: Any) -> None:
    spec.__class__ = ModuleSpec
    _, then = _waiting.pop(id(spec))
    then()
