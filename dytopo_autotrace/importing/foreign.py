"""What the readers of foreign files have in common: the span as they found it, and what they left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

OWN_MARK: Final = "dytopo.operation"
"""An attribute that each span which this package exported has."""


class BadSpan(Exception):  # noqa: N818 - said to nobody: it is counted under its text
    """A span that cannot be used; the text says why, in words that fit many of them."""


@dataclass(slots=True)
class ForeignEvent:
    """Something that happened at one moment of a span."""

    name: str
    unix_ns: int | None
    attributes: dict[str, Any]


@dataclass(slots=True)
class ForeignSpan:
    """A span as the file has it: ids as they are written, times in Unix nanoseconds."""

    trace: Any
    id: Any
    parent: Any
    name: str
    start_ns: int
    end_ns: int | None
    kind: str = ""
    """In lower case; `""` for one that is internal or does not say."""
    service: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[ForeignEvent] = field(default_factory=list)
    links: list[tuple[Any, Any]] = field(default_factory=list)
    """Trace and id of each."""
    failed: bool = False
    message: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether this package exported it, and so knows what it meant."""
        return OWN_MARK in self.attributes


@dataclass(slots=True)
class Findings:
    """What the readers say beside the spans."""

    formats: list[str] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    """Of the first resource that this package wrote."""
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Reason to how often, and where first."""

    def leave_out(self, reason: str, place: str) -> None:
        """Count something that could not be used."""
        count, first = self.left_out.get(reason, (0, place))
        self.left_out[reason] = count + 1, first

    def found(self, name: str) -> None:
        """Note a format."""
        if name not in self.formats:
            self.formats.append(name)


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is text, a number as text, else `""`."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def whole(value: Any, what: str) -> int:
    """A whole number, which may be written as text.

    Raises:
        BadSpan: it is none, or so large that it can be no time.
    """
    if isinstance(value, str) and len(value) < 40:
        try:
            value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            value = None
    if isinstance(value, float) and abs(value) < 2**63:  # false for NaN too
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadSpan(f"{what} is not a number")
    if abs(value) >= 2**63:
        raise BadSpan(f"{what} is beyond every calendar")
    return value


def is_true(value: Any) -> bool:
    """Whether a flag is set; formats without booleans write it as text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def restored(attributes: dict[str, Any]) -> dict[str, Any]:
    """What this package wrote, with lists and tables that the format has no form for read back."""
    if OWN_MARK in attributes:
        for key, value in attributes.items():
            if isinstance(value, str) and value[:1] in ("[", "{"):
                try:
                    attributes[key] = json.loads(value)
                except (ValueError, RecursionError):
                    pass
    return attributes
