"""What can go wrong, grouped by who can act: the author of a rule file, the person at the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class AutotraceError(Exception):
    """Anything of ours that a person must be told; never raised into the host."""


class UsageError(AutotraceError):
    """The command line asks for something that cannot be done: say what, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a rule file: where, which key, the value seen, and what to do.

    `rule` is the index of the `[[rule]]` that the fault switches off, or None for the whole file.
    """

    file: str
    line: int | None
    key: str
    value: str
    message: str
    hint: str = ""
    rule: int | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        seen = f" = {self.value}" if self.value else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{where}: {self.key}{seen}: {self.message}{hint}"


class RuleFileError(AutotraceError):
    """A rule file cannot be used at all, or `--strict` was given and it has faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def nearest(name: str, valid: Iterable[str]) -> str:
    """`Did you mean 'x'?` with the nearest valid name, or the list of them when none is near."""
    import difflib  # noqa: PLC0415 - only when something is wrong

    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.65)
    close = close or [each for each in names if each.startswith(f"{name}.")]
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Valid: {', '.join(names)}." if names else ""
