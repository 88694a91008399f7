"""Foreign ids, of whatever width and spelling, as the whole numbers that spans have here."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import blake2b
from typing import Any, Final

SPAN_BITS: Final = 64
TRACE_BITS: Final = 128

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]+)")


def number(written: Any, bits: int) -> int:
    """An id as a number of at most so many bits, 0 for none.

    Hex digits, with a UUID's dashes or without, are the number they spell; base64 of 8 or 16 bytes
    (protobuf's own JSON form, which OTLP does not use) is those bytes; an integer is itself. What is
    wider, or is none of these, becomes a number by its hash: the same each time.
    """
    if isinstance(written, bool) or written is None:
        return 0
    if isinstance(written, int):
        return written if 0 <= written < 1 << bits else _folded(str(written), bits)
    if not isinstance(written, str) or not written.strip():
        return 0
    plain = written.strip()
    if found := _HEX.fullmatch(plain.replace("-", "")):
        digits = found[1].lower().lstrip("0")
        return int(digits or "0", 16) if len(digits) * 4 <= bits else _folded(digits, bits)
    if plain.endswith("=") and len(plain) in (12, 24):
        try:
            raw = base64.b64decode(plain, validate=True)
        except (binascii.Error, ValueError):
            pass
        else:
            return number(raw.hex(), bits)
    return _folded(plain, bits)


def renumbered(trace: int, span: int) -> int:
    """Another id for a span whose own is also that of a span in another trace."""
    return _folded(f"{trace:x}/{span:x}", SPAN_BITS)


def _folded(written: str, bits: int) -> int:
    digest = blake2b(written.encode("utf-8", "surrogatepass"), digest_size=bits // 8).digest()
    return int.from_bytes(digest) or 1
