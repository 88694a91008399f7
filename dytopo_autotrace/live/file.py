"""A file that is written anew while the program runs, and once more at its end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.errors import AutotraceError

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords
    from dytopo_autotrace.rules.model import Export

PATIENCE_SECONDS: Final = 10.0
"""How long the end of the program waits for a file: on a disk that hangs, not for ever."""

SHARE: Final = 20
"""One part in so many is the most of its time that the thread spends on writing."""


class FileExport:
    """Writes the run in one format; whoever reads the file sees one state of it, never a part.

    Args:
        directory: what a relative path is relative to: programs change theirs.
        version: changes whenever there is something new to write.
    """

    def __init__(
        self,
        export: Export,
        run_id: str,
        directory: str,
        records: Callable[[], RunRecords],
        version: Callable[[], object],
        say: Callable[[str], None],
    ) -> None:
        self.trouble = ""
        self.ready = threading.Event()
        self.ready.set()
        self._export = export
        self._run_id = run_id
        self._path = os.path.join(directory, os.path.expanduser(export.path))
        self._is_directory = export.path.endswith(("/", os.sep))
        self._records = records
        self._version = version
        self._say = say
        self._written: object = None
        self._is_hopeless = False

    @property
    def name(self) -> str:
        """Where to, for a person."""
        return self._export.path

    def step(self) -> float:
        version = self._version()
        if version == self._written or self._is_hopeless:
            return self._export.every_seconds
        began = time.monotonic()
        self._write()
        self._written = version
        return max(self._export.every_seconds, SHARE * (time.monotonic() - began))

    def last(self) -> None:
        if not self._is_hopeless:
            self._write()

    def failed(self, fault: Exception) -> None:
        self.trouble = f"{type(fault).__name__}: {fault}"

    def patience(self) -> float:
        """How long to wait for `last`, seconds."""
        return PATIENCE_SECONDS

    def _write(self) -> None:
        self.ready.clear()
        try:
            from dytopo_autotrace.export import replace_file  # noqa: PLC0415 - on this thread
            from dytopo_autotrace.export.formats import find, render  # noqa: PLC0415
        finally:
            self.ready.set()
        export = self._export
        path = self._path
        try:
            if self._is_directory:
                path = os.path.join(path, self._run_id[:8] + find(export.format).suffix)
            content = render(export.format, self._records(), content=export.content)
            replace_file(path, content, private=export.content)
        except AutotraceError as error:
            self._is_hopeless = True  # A library is missing, and will be.
            self._say(f"{export.format} is not written: {error}")
        except OSError as error:
            self.trouble = error.strerror or str(error)
        else:
            self.trouble = ""
