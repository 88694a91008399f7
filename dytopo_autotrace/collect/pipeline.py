"""From the call path to the collectors: one buffer in between, drained by a background thread.

A woven call appends its record once, when it starts; that it has ended shows in the record itself.
So the buffer also knows what is running now, and the call path pays for one append only.
"""

from __future__ import annotations

import _thread
import gc
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter

from dytopo_autotrace.collect import clock, ids
from dytopo_autotrace.collect.faults import around_forks, attempt
from dytopo_autotrace.collect.holds import Holds
from dytopo_autotrace.collect.scopes import Scopes
from dytopo_autotrace.collect.span import (
    END_NS,
    ID,
    OUTCOME,
    PARENT,
    SITE,
    START_NS,
    TRACE,
    UNWATCHED,
    VOID,
    Record,
    Span,
    from_record,
)

CAPACITY = 1 << 21
"""Spans that may wait for one drain. A full buffer lets go of its oldest and the loss is counted."""

INTERVAL_SECONDS, REST_SECONDS, FILLED = 0.1, 0.02, 0.25
"""A tick every tenth of a second. One that takes long is followed by a rest as long, so that the host
has the interpreter to itself half of the time; by a short one once a quarter of the buffer is filled."""

PATIENCE_SECONDS, PATIENCE_AT_FORK = 5.0, 0.5
"""How long whoever stops the thread waits for it to end what it is doing."""

Consumer = Callable[[Sequence[Span]], None]
"""Takes the spans that finished since the last drain, in the order in which they ended."""


Watcher = Callable[[Sequence[Span]], float | None]
"""Is told, every tick of the background thread, which spans began since the last one and still run.

It may answer in how many seconds it wants to be told again, if that is sooner than usual."""


class Pipeline:
    """Moves finished spans from the buffer to the consumers, outside the call path.

    A consumer that raises is counted in `faults` and keeps being asked: the next batch may be fine.
    Everything that was started is in the buffer, open, finished or dropped.

    Args:
        capacity: how many records the buffer holds.
        next_id: where the ids of its spans come from, and of nothing else: a gap is a loss.
    """

    def __init__(
        self, capacity: int = CAPACITY, next_id: Callable[[], int] = ids.next_span_id
    ) -> None:
        self.capacity = capacity
        self.buffer: deque[Record] = deque(maxlen=capacity)
        self.next_id = next_id
        """Read once when a function is woven, so tests can swap it."""
        self.consumers: list[Consumer] = []
        self.watchers: list[Watcher] = []
        self.holds = Holds()
        self.finished = 0
        self.drain_seconds = 0.0
        """What draining has cost so far."""
        self.faults: dict[str, int] = {}
        self.brief: Counter[str] = Counter()
        """By rule: calls that were shorter than what it keeps."""
        self._open: dict[int, Record] = {}
        self._may_be_brief: dict[int, bool] = {}
        """By the id of a call that runs and is kept only if it takes long: whether it called others."""
        self._scopes = Scopes()
        self._told: frozenset[int] = frozenset()
        self._taken = self._unwatched = 0
        self._was_full = False
        self._last_id = self._id_before_first = self.next_id()
        self._is_draining = False
        self._was_running = False
        self._resume_soon = partial(attempt, self._resume)
        self._lock = threading.RLock()
        self._running: tuple[threading.Thread, threading.Event, threading.Event] | None = None
        """The background thread, what ends it, and what wakes it."""
        self._starting = threading.RLock()
        """Held while the thread is started: who stops it must not meet one that is yet to run."""
        self._waiters: deque[threading.Event] = deque()
        self._last: Callable[[], object] | None = None

    @property
    def dropped(self) -> int:
        """How many records a full buffer let go of: ids are counted, so those are the missing ones."""
        if not self._was_full:
            return 0
        return max(0, self._last_id - self._id_before_first - self._taken)

    @property
    def started(self) -> int:
        """How many calls began, as far as the last drain knows."""
        return self._taken - self._unwatched + self.dropped

    def drain(self) -> None:
        """Hand every span that has ended over to the consumers."""
        with self._lock:
            if self._is_draining:
                return  # A consumer asks a collector: what it is being given is on its way.
            self._is_draining = True
            began = time.perf_counter()
            try:
                self._drain()
            finally:
                self._is_draining = False
                self.drain_seconds += time.perf_counter() - began

    def _drain(self) -> None:
        # Whether a call has ended is looked up before the buffer is emptied: the calls below it had
        # been buffered by then, so no span is handed over before its children.
        ended = [record for record in self._open.values() if record[END_NS]]
        for record in ended:
            del self._open[record[ID]]
        self._empty_buffer(ended)
        if not ended:
            return
        self._let_go_of_brief(ended)
        # Later ones first, so that of two that end in one tick the inner one stays before the outer.
        ended.reverse()
        done = [from_record(record) for record in ended if record[OUTCOME] is not VOID]
        self._scopes.place(done)
        self.finished += len(done)
        done = [*self._scopes.closed_by(ended), *done]
        done.sort(key=_end)
        self._hand_over(done)

    def _note_callers(self, taken: Iterable[Record]) -> None:
        """Remember of calls that may be let go of whether something watched was called below them."""
        found = {record[ID]: False for record in taken if record[SITE].min_seconds}
        if not found and not self._may_be_brief:
            return
        self._may_be_brief |= found
        for record in taken:
            if record[PARENT] in self._may_be_brief:
                self._may_be_brief[record[PARENT]] = True

    def _let_go_of_brief(self, ended: Iterable[Record]) -> None:
        if not self._may_be_brief:
            return
        for record in ended:
            has_called = self._may_be_brief.pop(record[ID], True)
            if not has_called and record[OUTCOME] is None and not _is_long(record, record[END_NS]):
                record[OUTCOME] = VOID
                self.brief[record[SITE].rule] += 1

    def _hand_over(self, done: list[Span]) -> None:
        for consumer in self.consumers:
            try:
                consumer(done)
            except Exception as fault:
                self._count(f"{getattr(consumer, '__qualname__', consumer)}", fault)

    def _empty_buffer(self, ended: list[Record]) -> None:
        buffer = self.buffer
        waiting = len(buffer)
        self._was_full = self._was_full or waiting == buffer.maxlen
        taken: list[Record] = []
        try:
            # Calls go on meanwhile; who calls faster than this takes must not hold it up for ever.
            while len(taken) <= 2 * waiting:
                record = buffer.popleft()
                taken.append(record)
                if record[TRACE] == UNWATCHED:
                    self._unwatched += 1
                elif record[END_NS]:
                    ended.append(record)
                else:
                    self._open[record[ID]] = record
        except IndexError:
            pass
        if taken:
            self._taken += len(taken)
            self._scopes.opened_by(taken)
            self._note_callers(taken)
            self._last_id = max(self._last_id, *map(itemgetter(ID), taken))

    def _count(self, where: str, fault: BaseException) -> None:
        name = f"{where}: {type(fault).__name__}"
        self.faults[name] = self.faults.get(name, 0) + 1

    def open_spans(self) -> list[Span]:
        """The spans that are running now, in the order of their start."""
        self.drain()
        with self._lock:
            return sorted(self._running_spans(self._open.values()), key=_start)

    def _running_spans(self, records: Iterable[Record]) -> list[Span]:
        spans = list(map(from_record, records))
        self._scopes.place(spans)
        return [*self._scopes.running(), *spans]

    def ensure_running(self) -> None:
        """Start the background thread unless it runs; called when a trace begins, never per call."""
        if self._running is None:
            with self._starting:
                if self._running is None:
                    stop, wake = threading.Event(), threading.Event()
                    thread = threading.Thread(
                        target=self._run, args=(stop, wake), name="dytopo-autotrace", daemon=True
                    )
                    self._running = thread, stop, wake  # first, so that it can be stopped
                    try:
                        thread.start()
                    except RuntimeError:
                        # The interpreter is shutting down or out of threads: queries still drain.
                        self._running = None

    def _run(self, stop: threading.Event, wake: threading.Event) -> None:
        pause = INTERVAL_SECONDS
        while True:
            wake.wait(pause)
            if stop.is_set():
                break
            wake.clear()
            waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]
            began = time.perf_counter()
            soon: float | None = None
            try:
                self.drain()
                soon = self._tell()
            except Exception as fault:
                self._count("drain", fault)
            for waiter in waiters:
                waiter.set()
            try:
                took = time.perf_counter() - began
                pause = pause_after(took, len(self.buffer) / self.capacity)
                if soon is not None:
                    pause = min(pause, max(soon, took))
            except Exception as fault:
                self._count("pause", fault)
        if self._last is not None:
            try:
                self._close()
            except Exception as fault:
                self._count("close", fault)

    def _close(self) -> None:
        try:
            self.drain()
            self._end_scopes()
        except Exception as fault:
            self._count("drain", fault)
        self._end()

    def _end(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            try:
                last()
            except Exception as fault:
                self._count(f"{getattr(last, '__qualname__', last)}", fault)

    def flush(self, patience: float) -> None:
        """Have the background thread tick now, and wait for that, at most so many seconds."""
        self.ensure_running()
        running = self._running
        if running is None:
            return
        done = threading.Event()
        self._waiters.append(done)
        running[2].set()
        done.wait(patience)

    @property
    def has_news(self) -> bool:
        """Whether a call began or ended that the thread may not have seen."""
        try:
            return bool(self.buffer) or any(record[END_NS] for record in self._open.values())
        except RuntimeError:
            return True  # The thread is looking through them.

    def _tell(self) -> float | None:
        """Tell the watchers; the answer is how soon one of them wants to be told again."""
        if not self.watchers:
            return None
        with self._lock:
            began = time.perf_counter()
            told, now = self._told, clock.now_ns()
            # What may still turn out to be too short to be kept is not told of.
            lasting = {key: each for key, each in self._open.items() if _is_long(each, now)}
            begun = [record for key, record in lasting.items() if key not in told]
            opened = [span for span in self._running_spans(begun) if span.id not in told]
            self._told = frozenset((*lasting, *(each.id for each in self._scopes.running())))
            self.drain_seconds += time.perf_counter() - began
        wishes: list[float] = []
        for watcher in self.watchers:
            try:
                wish = watcher(opened)
                if wish is not None:
                    wishes.append(wish)
            except Exception as fault:
                self._count(f"{getattr(watcher, '__qualname__', watcher)}", fault)
        return min(wishes, default=None)

    def stop(
        self, last: Callable[[], object] | None = None, progress: Callable[[], object] = int
    ) -> bool:
        """Stop the background thread and drain what is left; False if the thread hangs.

        Args:
            last: called once no tick can follow: by the thread as the last thing that it does, by
                the caller where there is no thread.
            progress: what changes while the thread gets on; it is waited for as long as that does.
        """
        self._last = last
        thread = self._halt()
        if thread is not None:
            _wait_while_it_gets_on(thread, lambda: (self.finished, progress()))
            if thread.is_alive() and thread is not threading.current_thread():
                self._last = None
                return False
        self._close()
        return True

    def _end_scopes(self) -> None:
        """Close the scopes that no watched caller closes, now that nothing will follow."""
        with self._lock:
            ended = [] if self._open else self._scopes.end_rootless()
            if ended:
                self._hand_over(ended)

    def _halt(self) -> threading.Thread | None:
        """Have the thread end; None if there is none."""
        self._forget_to_resume()
        with self._starting:
            self._was_running = False
            running, self._running = self._running, None
        if running is None:
            return None
        thread, stop, wake = running
        stop.set()
        wake.set()
        return thread

    def clear(self) -> None:
        """Forget every span and every count."""
        with self._lock:
            self.buffer.clear()
            self._open.clear()
            self._may_be_brief.clear()
            self.holds.clear()
            self.brief.clear()
            self._scopes.clear()
            self.finished = self._taken = self._unwatched = 0
            self.drain_seconds = 0.0
            self.faults.clear()
            self._was_full = False
            self._last_id = self._id_before_first = self.next_id()

    def before_fork(self) -> None:
        """Let the thread rest: Python warns of a fork while there is another one."""
        # Since the last fork it may not have been resumed yet.
        is_resting = self._resume_soon in gc.callbacks
        thread = self._halt()
        self._was_running = is_resting or thread is not None
        if thread is not None:
            _join(thread, PATIENCE_AT_FORK)
            _wait_until_gone(thread)

    def after_fork(self) -> None:
        """In the parent all goes on, but soon: Python may look for other threads after this."""
        if self._was_running:
            gc.callbacks.append(self._resume_soon)

    def _resume(self, *_: object) -> None:
        """Start the thread again, at the first garbage collection, which calls bring about."""
        self._forget_to_resume()
        try:
            # Not from here: a collection can come while this thread holds locks of threading's own.
            _thread.start_new_thread(self._run_again, ())
        except RuntimeError:
            pass  # The interpreter is shutting down or out of threads: queries still drain.

    def _run_again(self) -> None:
        with self._starting:
            if self._was_running:
                self.ensure_running()

    def _forget_to_resume(self) -> None:
        if self._resume_soon in gc.callbacks:
            gc.callbacks.remove(self._resume_soon)

    def after_fork_in_child(self) -> None:
        """In the child what was recorded so far is the parent's, and so are the locks."""
        self._lock = threading.RLock()
        self._starting = threading.RLock()
        self._waiters = deque()
        self._is_draining = False
        self.clear()
        self._run_again()


def pause_after(seconds: float, filled: float) -> float:
    """How many seconds to rest after a tick that took so many, with that share of the buffer filled."""
    return max(INTERVAL_SECONDS - seconds, seconds if filled < FILLED else REST_SECONDS)


def _join(thread: threading.Thread, patience: float) -> None:
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join(patience)


def _wait_while_it_gets_on(thread: threading.Thread, progress: Callable[[], object]) -> None:
    seen: object = None
    while thread.is_alive() and (now := progress()) != seen:
        seen = now
        _join(thread, PATIENCE_SECONDS)


def _wait_until_gone(thread: threading.Thread) -> None:
    """Wait for the system's side of a joined thread: Python 3.12 counts that before it forks."""
    task = f"/proc/self/task/{thread.native_id}"
    for _ in range(5000):
        if thread.native_id is None or not os.path.exists(task):
            return


def _is_long(record: Record, until_ns: int) -> bool:
    least: float = record[SITE].min_seconds
    return not least or until_ns - record[START_NS] >= least * 1e9


def _end(span: Span) -> int:
    return span.end_ns


def _start(span: Span) -> int:
    return span.start_ns


pipeline = Pipeline()
"""The one pipeline of this process: woven calls, `@traced` and `TraceContext` all write to it."""

around_forks(
    before=pipeline.before_fork,
    after_in_parent=pipeline.after_fork,
    after_in_child=pipeline.after_fork_in_child,
)
