"""Finished spans that wait for the store: bounded, and counted when they cannot be kept."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from dytopo_autotrace.collect.span import Span

MAX_WAITING: Final = 1 << 21
"""Spans that may wait while the store takes them, however slowly: as many as the pipeline holds."""


class Backlog:
    """Filled by whichever thread drains the pipeline, emptied by the background thread."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        """Spans that were given up, by reason."""
        self.waiting = self.in_hand = 0
        """How many wait, and how many of those that `next` gave are not settled."""
        self.closed_for = ""
        """The reason why nothing is taken any more, `""` while it is."""
        self._queue: deque[Sequence[Span]] = deque()
        self._lock = threading.Lock()

    def take(self, spans: Sequence[Span]) -> None:
        """Take finished spans; a consumer of the pipeline."""
        with self._lock:
            if self.closed_for:
                self.drops[self.closed_for] += len(spans)
            elif self.waiting + len(spans) > MAX_WAITING:
                self.drops["store_behind"] += len(spans)
            else:
                self._queue.append(spans)
                self.waiting += len(spans)

    def next(self, limit: int) -> Sequence[Span]:
        """The oldest that wait, at most so many, to be settled by `kept`, `back` or `drop`."""
        with self._lock:
            chunk = self._take(limit)
            self.in_hand = len(chunk)
            return chunk

    def _take(self, limit: int) -> list[Span]:
        chunk: list[Span] = []
        while self._queue and len(chunk) < limit:
            spans = self._queue.popleft()
            room = limit - len(chunk)
            if len(spans) > room:
                self._queue.appendleft(spans[room:])
            chunk.extend(spans[:room])
        self.waiting -= len(chunk)
        return chunk

    def kept(self) -> None:
        """What `next` gave is written."""
        self.in_hand = 0

    def back(self, spans: Sequence[Span]) -> None:
        """Put what `next` gave in front again: it could not be written now."""
        with self._lock:
            self.in_hand = 0
            if spans:
                self._queue.appendleft(spans)
                self.waiting += len(spans)

    def drop(self, reason: str) -> None:
        """Give up what `next` gave."""
        with self._lock:
            self.drops[reason] += self.in_hand
            self.in_hand = 0

    def lose(self, count: int, reason: str) -> None:
        """Count spans that were given up elsewhere."""
        with self._lock:
            self.drops[reason] += count

    def shed(self, limit: int, reason: str) -> None:
        """Give up the oldest that wait, down to a limit."""
        with self._lock:
            if self.waiting > limit:
                self.drops[reason] += len(self._take(self.waiting - limit))

    def give_up(self, reason: str) -> None:
        """Take nothing any more, and give up all that is not known to be written."""
        self.drop(reason)
        self.close(reason)

    def close(self, reason: str) -> None:
        """Take nothing any more, and give up what waits."""
        with self._lock:
            self.closed_for = reason
        self.shed(0, reason)

    def forked(self) -> None:
        """In a forked child: what waits, and the lock, are the parent's."""
        self._lock = threading.Lock()
        self._queue.clear()
        self.waiting = self.in_hand = 0
        self.drops.clear()
        self.closed_for = "store_closed"
