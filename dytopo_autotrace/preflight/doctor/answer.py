"""One thing that the doctor has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "stops"]
"""`stops`: functions that rules name are not woven, here or in child processes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was seen, how bad it is, and what to do about it."""

    topic: str
    text: str
    level: Level = "ok"
    hint: str = ""


def listed(names: object, most: int = 6) -> str:
    """Some names, and how many more there are."""
    texts = [str(name) for name in names]  # type: ignore[attr-defined]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def without_password(text: str) -> str:
    """A URL without the password and the parameters in it; any other text as it is."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    name, at, host = rest.rpartition("@")
    return f"{scheme}://{name.partition(':')[0]}{at}{host}".partition("?")[0]
