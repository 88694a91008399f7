"""Whether the files that a database library holds open are still the ones it opened."""

from __future__ import annotations

import contextlib
import os


class Descriptors:
    """The file descriptors behind a connection, to see when they are the host's instead.

    A program that closes every descriptor it did not open gets the same numbers for its own files, and
    SQLite would write into those.
    """

    def __init__(self, path: str, others: frozenset[int]) -> None:
        """Note what has been opened at a path, and beside it, since `others` were (see `opened`)."""
        self._held = []
        for descriptor in opened(path) - others:
            with contextlib.suppress(OSError):
                status = os.fstat(descriptor)
                self._held.append((descriptor, status.st_dev, status.st_ino))

    def are_ours(self) -> bool:
        """Whether each still means the same file."""
        for descriptor, device, inode in self._held:
            try:
                status = os.fstat(descriptor)
            except OSError:
                return False
            if status.st_ino != inode or status.st_dev != device:
                return False
        return True


def opened(path: str) -> frozenset[int]:
    """This process's descriptors of a database and its log; none where they cannot be listed."""
    real = os.path.realpath(path)
    names = {real, f"{real}-wal", f"{real}-shm"}
    found = set()
    try:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") in names:
                    found.add(int(name))
    except OSError:
        pass
    return frozenset(found)


def identity(path: str) -> tuple[int, int] | None:
    """Which file is at a path, None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
