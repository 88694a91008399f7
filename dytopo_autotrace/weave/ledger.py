"""What was put into the host, in order, and how each piece is taken out again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Fate = Literal["woven", "refused", "failed", "nothing_matched", "shadowed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one rule at one place in the host."""

    rule: str
    place: str
    """`module:qualname`."""
    fate: Fate
    reason: str = ""


@dataclass(slots=True)
class Ledger:
    """Entries for people, undo callables for `uninstall`."""

    entries: dict[Entry, None] = field(default_factory=dict)
    """In order, each once: nested functions are woven as often as they are defined."""
    undo: list[Callable[[], None]] = field(default_factory=list)
    replaced: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """By the `id()` of what was put in: itself, and what was there before."""
    at_source: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """The same, for functions of a module that were woven at their `def`."""
    faults: list[str] = field(default_factory=list)
    """What went wrong inside ourselves, contained: the host never saw it."""

    def note(self, rule: str, place: str, fate: Fate, reason: str = "") -> None:
        self.entries.setdefault(Entry(rule, place, fate, reason))

    def original_of(self, value: Any) -> Any:
        """What was there before this was put in its place; anything else comes back as it is."""
        woven, original = self.replaced.get(id(value), (None, None))
        return original if woven is value else value

    def take_out(self) -> None:
        """Undo everything, last in first out; one undo that fails does not stop the rest."""
        while self.undo:
            try:
                self.undo.pop()()
            except Exception as fault:
                self.faults.append(f"taking out: {type(fault).__name__}: {fault}")
        self.replaced.clear()
        self.at_source.clear()
