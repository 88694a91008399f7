"""What a check of the rules found, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

RuleVerdict = Literal[
    "matched", "shadowed", "unsure", "nothing_matched", "refused", "failed", "absent", "off"
]
"""`absent`: a pack's rule for what this program does not have; `off`: the file has it wrong."""

FAILING: Final = frozenset({"nothing_matched", "refused", "failed", "off"})
"""Verdicts by which a rule of the user's own watches nothing."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The program that rules are held against, as the command line names it."""

    search_path: tuple[str, ...]
    script: str | None = None
    """A script, or a directory or zip file with a `__main__.py`."""
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a rule matches."""

    place: str
    """`module:qualname`."""
    kind: str
    """Such as `method`, `async function` or `generator method`; `""` if only weaving could tell."""
    file: str
    line: int
    taken_by: str = ""
    """The earlier rule that has it, `""` for this one."""
    fate: Literal["", "woven", "refused", "failed"] = ""
    """What weaving it came to, `""` if that was not tried."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """What one rule came to."""

    name: str
    pack: str
    """`""` for a rule of the user's own."""
    file: str
    line: int | None
    targets: tuple[str, ...]
    verdict: RuleVerdict
    functions: tuple[Function, ...] = ()
    problems: tuple[str, ...] = ()
    """What is wrong, and what to do about it."""
    doubts: tuple[str, ...] = ()
    """What only running, or importing, can tell."""

    @property
    def is_wrong(self) -> bool:
        """Whether its author must do something about it."""
        return not self.pack and (self.verdict in FAILING or bool(self.problems))


@dataclass(frozen=True, slots=True)
class Imported:
    """A module that was imported to see its functions woven."""

    module: str
    error: str = ""
    """Why that did not work, `""` if it did."""


@dataclass(frozen=True, slots=True)
class Woven:
    """What importing came to, in a process of its own."""

    modules: tuple[Imported, ...] = ()
    notes: tuple[Note, ...] = ()
    faults: tuple[str, ...] = ()
    """Of ours, contained."""
    trouble: str = ""
    """Why there is not more: the process died, or took too long."""


@dataclass(frozen=True, slots=True)
class Note:
    """What weaving one function under one rule came to."""

    rule: str
    place: str
    fate: str
    """`woven`, `refused`, `failed` or `nothing_matched`."""
    reason: str = ""
    kind: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """What all rules came to."""

    rule_file: str
    packs: tuple[str, ...]
    program: str
    """As the command line names it, `""` if it names none."""
    rules: tuple[RuleCheck, ...]
    faults: tuple[str, ...] = ()
    """Of the rule file as a whole."""
    woven: Woven | None = None
    """None if nothing was imported."""

    @property
    def is_good(self) -> bool:
        if self.woven is not None and (self.woven.trouble or self.woven.faults):
            return False
        return not self.faults and not any(rule.is_wrong for rule in self.rules)
