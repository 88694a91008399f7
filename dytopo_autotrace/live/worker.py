"""A thread of our own for work that may take long, and that is never waited for without a limit."""

from __future__ import annotations

import threading
from typing import Final, Protocol

from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.collect.span import UNWATCHED, trace_anchor
from dytopo_autotrace.collect.tracing import current

AFTER_FAULT_SECONDS: Final = 5.0
"""The pause after a fault that nobody thought of."""


class Job(Protocol):
    """What a worker does. It is told of what it raised; the thread goes on."""

    def step(self) -> float:
        """Do what there is to do, and say how many seconds to pause."""

    def last(self) -> None:
        """The program has ended: do all the rest."""

    def failed(self, fault: Exception) -> None:
        """A step raised this."""


class Worker:
    """Runs a job on a daemon thread, step by step, until the program ends."""

    def __init__(self, name: str, job: Job, first_pause: float) -> None:
        self._name = name
        self._job = job
        self._first_pause = first_pause
        self._running: tuple[threading.Thread, threading.Event] | None = None
        self._leftover: threading.Thread | None = None
        self._ending = threading.Lock()
        self._is_ending = False
        self._is_done = False

    def ensure_running(self) -> None:
        """Start the thread unless it runs, or has done all it had to do."""
        if self._running is not None or self._is_ending:
            return
        if self._leftover is not None and self._leftover.is_alive():
            return  # It was to rest, and is still in the middle of something.
        wake = threading.Event()
        thread = threading.Thread(target=self._run, args=(wake,), name=self._name, daemon=True)
        self._running = thread, wake
        try:
            thread.start()
        except RuntimeError:
            self._running = None  # Out of threads, or the interpreter is shutting down.

    def _run(self, wake: threading.Event) -> None:
        # What we call on this thread is not the program's doing, even where rules name it.
        try:
            current.set(trace_anchor(UNWATCHED))
        except Exception as fault:
            self._job.failed(fault)
        pause = self._first_pause
        while not wake.wait(pause):
            try:
                pause = self._job.step()
            except Exception as fault:
                self._job.failed(fault)
                pause = AFTER_FAULT_SECONDS
        if self._is_ending:
            attempt(self._last)

    def _last(self) -> None:
        with self._ending:
            if self._is_done:
                return
            try:
                self._job.last()
            except Exception as fault:
                self._job.failed(fault)
            self._is_done = True

    def finish(self) -> None:
        """Have the thread do all the rest; returns at once."""
        self._is_ending = True
        if self._running is not None:
            self._running[1].set()

    def wait(self, patience: float) -> bool:
        """Wait until all the rest is done, and say whether it is."""
        thread = self._running[0] if self._running is not None else self._leftover
        if thread is not None and thread.is_alive():
            thread.join(patience)
        elif not self._is_done:
            # At the interpreter's end no thread can be started any more.
            anchor = current.set(trace_anchor(UNWATCHED))
            attempt(self._last)
            current.reset(anchor)
            self._is_done = True  # Also if it failed: it would again.
        return self._is_done

    def rest(self, patience: float) -> threading.Thread | None:
        """End the thread, for `ensure_running` to start another; the one that was there."""
        running, self._running = self._running, None
        if running is None:
            return None
        thread, wake = running
        wake.set()
        thread.join(patience)
        self._leftover = thread
        return thread

    def forked(self) -> None:
        """In a forked child there is no thread."""
        self._running = self._leftover = None
        self._ending = threading.Lock()
        self._is_ending = self._is_done = False
