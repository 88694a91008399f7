"""`--watch-rules`: a rule file that changes while the program runs counts from then on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from dytopo_autotrace import agent

EVERY_SECONDS: Final = 0.5


class RuleWatch:
    """Looks at the rule file from the background thread; what is wrong with it is said in one line."""

    def __init__(self, installation: agent.Installation, say: Callable[[str], None]) -> None:
        self._installation, self._say = installation, say
        ruleset = installation.ruleset
        self._file = "" if ruleset is None or ruleset.origin.pack else ruleset.origin.file
        self._seen = self._state()
        self._next = 0.0

    def look(self, _: object = None) -> None:
        """Read the file again if it has changed."""
        now = time.monotonic()
        if not self._file or now < self._next:
            return
        self._next = now + EVERY_SECONDS
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        faults = self._installation.reload()
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            self._say(f"the rules stay as they were: {faults[0]}{more}")
        else:
            self._say(f"{self._file} has changed: its rules count from now on")

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._file)
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
