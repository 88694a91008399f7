"""Hands records to other tools: one format, one file. How a file is written is settled here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def replace_file(
    path: str | os.PathLike[str], content: bytes | Iterable[bytes], *, private: bool = False
) -> None:
    """Write a file so that whoever reads it sees the old content or the new, never a part.

    The content can come in chunks: if making one of them fails, the old file stays. Parent
    directories are created. A link keeps pointing where it did, and what is not a regular file
    (`/dev/stdout`, a pipe) is written to, not replaced. A private file is for its owner only.
    """
    chunks = (content,) if isinstance(content, bytes) else content
    # Not os.replace on the path as given: that would put a file where the link or the device was.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as stream:
            stream.writelines(chunks)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are private to the user, and these take the mode the user's umask says.
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}.tmp")
    try:
        mode = 0o600 if private else 0o666

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags, mode)

        with open(temporary, "xb", opener=opener) as stream:
            stream.writelines(chunks)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
