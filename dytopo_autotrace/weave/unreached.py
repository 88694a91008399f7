"""Who still holds the bare function: calls from there are not seen, and a report must say so.

A function that a dict, a list, a partial, a default or a closure took before it was woven cannot be
exchanged there. The garbage collector knows who holds what; it is asked once, when a run is told
about, and runs none of the host's code.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partialmethod
from time import monotonic
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

from dytopo_autotrace.collect.failures import is_hidden
from dytopo_autotrace.weave.advice import is_plain
from dytopo_autotrace.weave.ledger import Ledger

MAX_SECONDS: Final = 3.0
"""Beyond that the search is given up: somebody waits for the report."""
_AT_ONCE: Final = 50
"""Objects that are asked for together: the interpreter does nothing else meanwhile."""
_MAX_STEPS: Final = 5
_MAX_HELD: Final = 200
_RUNNING: Final = (FrameType, GeneratorType, AsyncGeneratorType, CoroutineType)
_PARTS_OF_CLASSES: Final = (
    MappingProxyType,
    cached_property,
    classmethod,
    partialmethod,
    property,
    staticmethod,
)
_OURS: Final = __name__.partition(".")[0] + "."


@dataclass(frozen=True, slots=True)
class Held:
    """A bare function, and where it is held."""

    function: str
    """`module:qualname`."""
    holder: str


def held_elsewhere(ledger: Ledger) -> list[Held] | None:
    """Where functions that were woven are still held bare; `None` if that would take too long."""
    bare = {}
    for woven, before in ledger.replaced.values():
        # What a class inherits may be woven there under a rule of its own.
        raw = ledger.original_of(before)
        inner, advice = getattr(raw, "__func__", raw), getattr(woven, "__func__", woven)
        if is_plain(inner) and advice is not inner:
            bare[id(inner)] = inner
    if not bare:
        return []
    ignored = _ours(ledger)
    found: dict[Held, None] = {}
    try:
        for function, holder in _holders(list(bare.values()), ignored, monotonic() + MAX_SECONDS):
            held = Held(f"{function.__module__}:{function.__qualname__}", holder)
            found[held] = None
    except TimeoutError:
        return None
    return list(found)


def _ours(ledger: Ledger) -> set[int]:
    """Ids of what holds bare functions for our sake."""
    ignored = {id(ledger.replaced)}
    ours = [undo for undo in ledger.undo if type(undo) is FunctionType]
    for woven, raw in ledger.replaced.values():
        advice = getattr(woven, "__func__", woven)
        ignored |= {id(raw), id(woven), id(advice)}
        if is_plain(advice):
            ignored.add(id(vars(advice)))
            ours.append(advice)
    ignored |= _held_by_closures(ours)
    ignored |= {id(pair) for pair in ledger.replaced.values()}
    return ignored


def _held_by_closures(waiting: list[FunctionType]) -> set[int]:
    """Ids of the cells of functions of ours, of those that they call, and of the dicts in them."""
    found: set[int] = set()
    while waiting:
        for cell in waiting.pop().__closure__ or ():
            if id(cell) in found:
                continue
            found.add(id(cell))
            try:
                inside = cell.cell_contents
            except ValueError:
                continue  # nothing yet
            if type(inside) is dict:
                found.add(id(inside))
            elif type(inside) is FunctionType and _is_ours(inside):
                waiting.append(inside)
    return found


def _referrers(wanted: list[Any], until: float) -> Iterator[tuple[Any, list[Any]]]:
    """Who holds any of these, with those that it holds.

    The collector is asked who holds them, not for all objects: to hold a tuple that another thread is
    about to finish makes `tuple()` fail there (SystemError), be it the host's.

    Raises:
        TimeoutError: it took too long.
    """
    ids = frozenset(map(id, wanted))
    holders: dict[int, Any] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        if monotonic() > until:
            raise TimeoutError
        some = wanted[start : start + _AT_ONCE]
        holders |= {id(each): each for each in gc.get_referrers(*some) if each is not some}
    for each in holders.values():
        yield (
            each,
            list({id(got): got for got in gc.get_referents(each) if id(got) in ids}.values()),
        )


def _holders(
    functions: list[Any], ignored: set[int], until: float
) -> Iterator[tuple[FunctionType, str]]:
    """Walk from the functions up to something that has a name, a few steps at most."""
    origins: dict[int, list[FunctionType]] = {id(each): [each] for each in functions}
    names = _global_names()
    wanted, seen = functions, set(ignored)
    for step in range(_MAX_STEPS):
        if not wanted:
            return
        seen |= {id(wanted), id(functions), id(origins), *map(id, origins.values())}
        further: list[Any] = []
        seen.add(id(further))
        for holder, held in _referrers(wanted, until):
            if id(holder) in seen or _is_ours(holder):
                continue
            whose = list({id(f): f for each in held for f in origins[id(each)]}.values())
            name = _name(holder, names)
            if name is None and step + 1 < _MAX_STEPS and len(further) < _MAX_HELD:
                seen.add(id(holder))
                further.append(holder)
                origins[id(holder)] = whose
                continue
            for function in whose:
                if name:
                    yield function, name
        named = {id(each): name for each in further if (name := names.get(id(each)))}
        for holder in further:
            if id(holder) in named:
                for function in origins[id(holder)]:
                    yield function, f"{named[id(holder)]} ({type(holder).__name__})"
        wanted = [each for each in further if id(each) not in named]


def _name(holder: Any, names: Mapping[int, str]) -> str | None:
    """What a holder is called, `""` if it need not be told of, `None` if only its holder tells."""
    kind = type(holder)
    if kind is FunctionType:
        return f"{holder.__module__}:{holder.__qualname__} (default, closure or attribute)"
    if issubclass(kind, type):
        if _is_made_anew(holder):
            return ""  # `dataclass(slots=True)` left it behind, and nobody calls it.
        return f"class {holder.__module__}:{holder.__qualname__}"
    if kind in (dict, list, tuple, set, frozenset, CellType, MethodType):
        return _module_of(holder) if kind is dict else None
    shown = f"a {kind.__module__}.{kind.__qualname__}"
    known_as = names.get(id(holder))
    if known_as is None and kind in _PARTS_OF_CLASSES:
        return None
    return f"{known_as} ({shown})" if known_as else shown


def _is_made_anew(held: type) -> bool:
    """Whether a class's own name leads to another class of that name."""
    found: Any = sys.modules.get(held.__module__)
    for part in held.__qualname__.split("."):
        if type(found) is not ModuleType and not issubclass(type(found), type):
            return False
        found = found.__dict__.get(part)
    is_class = issubclass(type(found), type)
    return is_class and found is not held and found.__qualname__ == held.__qualname__


def _module_of(names: dict[Any, Any]) -> str | None:
    """A module whose names these are; its classes and instances are looked for one step up."""
    name = names.get("__name__")
    if type(name) is str:
        module = sys.modules.get(name)
        if type(module) is ModuleType and module.__dict__ is names:
            return f"module {name}"
    return None


def _global_names() -> dict[int, str]:
    """By the id of what stands under a global: the first name that it has."""
    found: dict[int, str] = {}
    for name, module in sys.modules.copy().items():
        if type(module) is ModuleType:
            for key, value in module.__dict__.copy().items():
                if id(value) not in found:
                    found[id(value)] = f"{name}.{key}"
    return found


def _is_ours(holder: Any) -> bool:
    if type(holder) in _RUNNING:
        return True  # A call that is on its way, mostly one of ours.
    if type(holder) is FunctionType:
        return is_hidden(holder.__code__) or str(holder.__module__).startswith(_OURS)
    return type(holder).__module__.startswith(_OURS)
