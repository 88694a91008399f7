"""Values as foreign formats take them: plain JSON types, text that is valid Unicode."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

DEEPEST: Final = 8
"""Levels of nesting kept of a value; whatever is deeper becomes text."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def text(value: object) -> str:
    """Any value as text; half a surrogate pair has no UTF-8 form and becomes U+FFFD."""
    try:
        found = str.__str__(value) if isinstance(value, str) else str(value)
    except Exception:
        found = f"<{type(value).__name__}>"
    return found if found.isascii() else _SURROGATE.sub("\ufffd", found)


def plain(value: object, depth: int = 0) -> Any:
    """A value in types that JSON has; what it cannot carry becomes text.

    Numbers that are not finite and integers of more than 64 bits are among what becomes text: no
    format here has both.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _not_finite(value)
    if depth < DEEPEST:
        try:
            if isinstance(value, Mapping):
                return {text(key): plain(each, depth + 1) for key, each in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(each, depth + 1) for each in value]
            if isinstance(value, (set, frozenset)):
                return [plain(each, depth + 1) for each in sorted(value, key=text)]
        except Exception:
            return f"<{type(value).__name__}>"
    return text(value)


def compact(value: object) -> str:
    """A plain value as JSON text without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def separated(parts: Iterable[str], separator: str = ",\n") -> Iterator[str]:
    """The parts with a separator between them, one chunk a part."""
    before = ""
    for part in parts:
        yield before + part
        before = separator


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
