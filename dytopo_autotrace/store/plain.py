"""Values of the host as JSON text, and back.

What JSON has comes back equal; a tuple or a set comes back as a list, a key as text, and an object of
another kind as its text. What JSON lacks (no value, numbers that are not finite, integers of thousands of
digits) travels as an object with the one key `"\\0"`, which no program writes by accident.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from dytopo_autotrace.collect.span import MISSING

Kind = TypeVar("Kind")

_MARK: Final = "\0"
_MARK_AS_JSON: Final = '"\\u0000"'
_NO_VALUE: Final = "missing"
_DEEPEST: Final = 50


def _other(value: Any) -> Any:
    """For the encoder: what it has no form for."""
    return _plain(value, 0)


def _fast_encoder() -> Callable[[Any], str]:
    # `JSONEncoder.encode` makes the C encoder anew for each text, which costs as much as its work.
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other
        ).encode
    quote = json.encoder.encode_basestring
    encode = make(None, _other, quote, None, ":", ",", False, False, False)
    return lambda value: "".join(encode(value, 0))


_encode: Final = _fast_encoder()
_encode_ascii: Final = json.JSONEncoder(separators=(",", ":")).encode


def to_text(value: Any) -> str:
    """Any value as JSON text that can be written as UTF-8; never raises."""
    try:
        text = _encode(value)
    except Exception:
        try:
            text = _encode(_plain(value, 0))
        except Exception as fault:
            return _encode_ascii(f"<{type(value).__name__}: {type(fault).__name__}>")
    if text.isascii() or _is_utf8(text):
        return text
    return _encode_ascii(json.loads(text))


def from_text(text: str) -> Any:
    """The value that `to_text` wrote."""
    if _MARK_AS_JSON in text:
        return json.loads(text, object_hook=_unmark)
    return json.loads(text)


def text_or_bytes(text: str) -> str | bytes:
    """Text for a column of its own: half of a surrogate pair, which UTF-8 has not, goes as bytes."""
    if text.isascii() or _is_utf8(text):
        return text
    return text.encode("utf-8", "surrogatepass")


def text_of(column: str | bytes | None) -> str:
    """The text that `text_or_bytes` wrote."""
    if isinstance(column, bytes):
        return column.decode("utf-8", "surrogatepass")
    return column or ""


def clean(text: str) -> str:
    """Text as UTF-8 can carry it: arguments and paths may have bytes that are none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def fields_of(value: Any) -> dict[str, Any]:
    """A dataclass as a table, by the names of its fields."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def with_fields(kind: type[Kind], table: Mapping[str, Any]) -> Kind:
    """The inverse of `fields_of`; what an earlier or a later version had more is left out."""
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return kind(**{name: value for name, value in table.items() if name in known})


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if isinstance(value, bool | str):
        return str.__str__(value) if isinstance(value, str) else bool(value)
    if isinstance(value, int):
        number = int(value)
        # Python refuses to print longer ones, unless told otherwise.
        return number if number.bit_length() < 2000 else {_MARK: hex(number)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_MARK: repr(float(value))}
    if value is MISSING:
        return {_MARK: _NO_VALUE}
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {_key(key): _plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(each, depth + 1) for each in value]
    return _shown(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return _shown(key)


def _shown(value: Any) -> str:
    try:
        return str.__str__(str(value))
    except Exception as fault:
        return f"<{type(value).__name__}: str raised {type(fault).__name__}>"


def _unmark(table: dict[str, Any]) -> Any:
    if len(table) != 1 or _MARK not in table:
        return table
    value = table[_MARK]
    if value == _NO_VALUE:
        return MISSING
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, str) and value.lstrip("-").startswith("0x"):
        return int(value, 16)
    return table
