"""Times in which something held the event loop's thread, so that no agent could go on.

What a watched plain function held is known from its call (`holds`). What anything else holds, such as a
coroutine that does not await, is looked for from the background thread, which sees what each thread
executes: a loop that is in the same turn, look after look, was held there. Nothing is put into the
host's loop to find out.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FrameType
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import is_hidden
from dytopo_autotrace.collect.holds import HELD_NS, Hold
from dytopo_autotrace.collect.pipeline import Pipeline
from dytopo_autotrace.collect.span import ID, SITE, START_NS, TRACE, UNWATCHED, Site, Span

BLOCKED: Final = Site("event_loop_blocked", role="blocked")
SOON_SECONDS: Final = 0.02
"""To the next look while a loop seems to be held: so near its end is known."""
LOOP_IS_GONE_NS: Final = 60_000_000_000
"""After so long without a look at it a loop counts no more."""
ENOUGH_LOOKS: Final = 3
"""Looks that must have found a call in one place for that place to be told of."""
MOST_HELD_UP: Final = 1000
"""Calls that are named with one hold; a swarm of more is not told of each of them."""
_ASYNCIO: Final = os.sep + "asyncio" + os.sep
_RECORD: Final = "__dytopo_record"
"""The name by which generated advice knows the call's record."""
_OTHER_LOOPS: Final = ("uvloop", "trio", "curio")
"""Modules of loops that are not seen: once one is loaded, who runs on which loop is not known."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One function of the host that a turn is in, with the innermost watched call around it."""

    function: tuple[str, str]
    line: int
    call: int
    trace: int
    operation: str
    called_ns: int
    """When that call began."""

    def is_where(self, other: _Place) -> bool:
        """Whether both are in one run of a function, as far as its name and its call say."""
        return self.function == other.function and self.call == other.call

    @property
    def text(self) -> str:
        """File, line and function."""
        return f"{self.function[0]}:{self.line} in {self.function[1]}"


@dataclass(frozen=True, slots=True)
class _Turn:
    """One callback that a loop runs."""

    identity: tuple[object, object]
    """When the loop's pass began, by its own clock, and the callback's number in that pass. Plain
    values that no other turn has: they keep nothing alive, as frames and handles would."""
    pass_ns: int
    """When the pass began, 0 if that is not known."""
    places: Sequence[_Place]
    """Where it is, outermost first."""


@dataclass(slots=True)
class _Seen:
    """A turn for as long as it is found."""

    turn: _Turn
    """Its places are those that all looks found it in, as the last of them did."""
    since_ns: int
    before_ns: int
    last_ns: int
    looks: int = 1


class LoopWatch:
    """Records a span of the role `blocked` for each time that a loop's thread was held."""

    def __init__(
        self,
        pipeline: Pipeline,
        now_ns: Callable[[], int] = clock.now_ns,
        frames: Callable[[], Mapping[int, FrameType]] = sys._current_frames,  # noqa: SLF001
    ) -> None:
        self._pipeline = pipeline
        self._now_ns = now_ns
        self._frames = frames
        self._turns: dict[int, _Seen] = {}
        self._loops: dict[int, int] = {}
        """When each thread was last seen to run a loop."""
        self._pending: list[Hold] = []
        """Told one look later: by then all is known of the calls that were open meanwhile."""
        self._open: dict[int, Span] = {}
        self._ended: list[Span] = []
        """Calls of coroutine functions: those that run, and those that ended of late."""
        self._exact: list[Hold] = []
        self._looked_ns = 0
        self._trace = 0

    def learn(self, spans: Sequence[Span]) -> None:
        """A consumer of the pipeline: these calls have ended."""
        running = self._open
        for span in spans:
            if span.site.awaits:
                running.pop(span.id, None)
                self._ended.append(span)

    def look(self, opened: Sequence[Span]) -> float | None:
        """A watcher of the pipeline; asks to be told sooner while a loop seems to be held."""
        if opened:
            self._trace = opened[-1].trace
            ended = {span.id for span in self._ended}
            for span in opened:
                if span.site.awaits and span.id not in ended:
                    self._open[span.id] = span
        if not self._trace:
            return None
        now = self._now_ns()
        mine = threading.get_ident()
        turns = {
            thread: _turn(frame, self._loops, thread, now)
            for thread, frame in self._frames().items()
            if thread != mine
        }
        # After the look: what a call noted before its turn ended is there once that is seen.
        self._take_exact()
        self._tell(self._looked_ns)
        seen = self._turns
        for thread in (*seen, *(each for each in turns if each not in seen)):
            self._see(thread, turns.get(thread), now)
        self._forget(now)
        self._looked_ns = now
        is_held = any(each.looks > 1 for each in seen.values())
        return SOON_SECONDS if is_held else None

    def start_over(self) -> None:
        """Forget what was open: this process was forked, and its parent's loops do not run here."""
        for known in (self._turns, self._loops, self._open):
            known.clear()
        self._pending, self._ended, self._exact = [], [], []

    def finish(self) -> None:
        """The program has ended, and all that it did has been drained."""
        self._take_exact()
        for thread in list(self._turns):
            self._let_go(thread, self._now_ns())
        self._tell(None)

    def _see(self, thread: int, turn: _Turn | None, now: int) -> None:
        known = self._turns.get(thread)
        if known is not None:
            if turn is not None and known.turn.identity == turn.identity:
                known.looks += 1
                known.last_ns = now
                known.turn = replace(turn, places=_shared(known.turn.places, turn.places))
                return
            self._let_go(thread, now)
        if turn is not None:
            since = _since(turn, now)
            # Before the look before, it may have been another turn of the same pass.
            began = max(turn.pass_ns, self._looked_ns) if turn.pass_ns else now
            self._turns[thread] = _Seen(turn, since, max(since - began, 0), now)

    def _take_exact(self) -> None:
        for noted in self._pipeline.holds.take():
            seen = self._turns.get(noted.thread)
            places = [each for each in seen.turn.places if each.call == noted.call] if seen else []
            hold = noted
            if seen is not None and places:
                # A single look may have met anything that it calls for a moment.
                place = places[-1] if seen.looks >= ENOUGH_LOOKS else places[0]
                hold = replace(noted, where=place.text, looks=seen.looks)
            self._exact.append(hold)
            self._pending.append(hold)

    def _let_go(self, thread: int, now: int) -> None:
        seen = self._turns.pop(thread)
        place = seen.turn.places[-1]
        exact = [(each.start_ns, each.end_ns) for each in self._exact if each.thread == thread]
        for start, end in _without(seen.since_ns, seen.last_ns, exact):
            if end - start >= HELD_NS:
                before = seen.before_ns if start == seen.since_ns else 0
                after = now - end if end == seen.last_ns else 0
                self._pending.append(
                    Hold(
                        *(thread, start, end, place.call, place.trace or self._trace),
                        operation=place.operation,
                        where=place.text,
                        is_exact=False,
                        looks=seen.looks,
                        before_ns=before,
                        after_ns=after,
                    )
                )

    def _tell(self, until_ns: int | None) -> None:
        """Record the holds that ended by then, or all."""
        later = []
        for hold in self._pending:
            if until_ns is not None and hold.end_ns > until_ns:
                later.append(hold)
            else:
                self._record(hold)
        self._pending = later

    def _record(self, hold: Hold) -> None:
        pipeline = self._pipeline
        span = Span(pipeline.next_id(), hold.call, hold.trace, BLOCKED, hold.start_ns)
        span.metadata = {
            "where": hold.where,
            "operation": hold.operation,
            "thread": hold.thread,
            "exact": hold.is_exact,
            "looks": hold.looks,
            "before_ns": hold.before_ns,
            "after_ns": hold.after_ns,
        }
        span.links = self._held_up(hold)
        span.status, span.end_ns = "success", hold.end_ns
        started, ended = hold.start_ns, hold.end_ns
        pipeline.buffer.append(
            [span.id, hold.call, hold.trace, BLOCKED, started, ended, None, span.links, span]
        )

    def _held_up(self, hold: Hold) -> tuple[int, ...]:
        """Calls that could not go on: those of coroutine functions, where they have but one loop."""
        since = hold.start_ns - 2 * HELD_NS
        others = any(t != hold.thread and at >= since for t, at in self._loops.items())
        if hold.thread not in self._loops or others or any(m in sys.modules for m in _OTHER_LOOPS):
            return ()
        known = {span.id: span for span in (*self._open.values(), *self._ended)}
        found = []
        for span in known.values():
            start, end = span.start_ns, span.end_ns or sys.maxsize
            if start <= hold.start_ns and end >= hold.end_ns:
                found.append(span.id)
            elif end > hold.start_ns and start < hold.end_ns and not _is_below(span, hold, known):
                return ()  # It went on meanwhile, so there is another loop.
        return tuple(found) if len(found) <= MOST_HELD_UP else ()

    def _forget(self, now: int) -> None:
        """Let go of what no hold that is still to be told can concern."""
        holds = (*self._pending, *self._exact)
        seen = self._turns.values()
        self._exact = [
            each for each in self._exact if any(each.end_ns >= one.since_ns for one in seen)
        ]
        oldest = min(
            *(self._looked_ns, now),
            *(each.start_ns for each in holds),
            *(each.since_ns for each in seen),
        )
        self._ended = [each for each in self._ended if each.end_ns >= oldest]
        gone = [each for each, at in self._loops.items() if now - at > LOOP_IS_GONE_NS]
        for thread in gone:
            del self._loops[thread]


def _is_below(span: Span, hold: Hold, known: Mapping[int, Span]) -> bool:
    at: Span | None = span
    while at is not None and at.parent != hold.call:
        at = known.get(at.parent)
    return at is not None and hold.call != 0


def _without(start: int, end: int, taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of a stretch."""
    for low, high in sorted(taken):
        if low > start:
            yield start, min(low, end)
        start = max(start, high)
        if start >= end:
            return
    yield start, end


def _turn(frame: FrameType, loops: dict[int, int], thread: int, now: int) -> _Turn | None:
    """The callback that a thread's loop runs; None if it runs no loop, or the loop waits for work."""
    inner: list[FrameType] = []
    at: FrameType | None = frame
    while at is not None:
        code = at.f_code
        if code.co_name == "_run_once" and _ASYNCIO in code.co_filename:
            break
        inner.append(at)
        at = at.f_back
    if at is None:
        return None
    loops[thread] = now
    if not inner or inner[-1].f_code.co_name != "_run" or not _is_asyncio(inner[-1]):
        return None
    known = at.f_locals
    identity = known.get("end_time"), known.get("i")
    if None in identity:
        return None
    places = list(_places(inner))
    return _Turn(identity, _pass_ns(known, now), places) if places else None


def _places(inner: Sequence[FrameType]) -> Iterator[_Place]:
    """The host's own functions and the outermost of any, outermost first."""
    operation, call, trace, called = "", 0, 0, 0
    is_first = True
    for each in reversed(inner):
        code = each.f_code
        if is_hidden(code):
            # Reading the variables of a frame may keep them until it ends, as arguments are anyway;
            # an iteration would so keep its items.
            record: Any = None if code.co_flags & _GENERATORS else each.f_locals.get(_RECORD)
            if isinstance(record, list) and record[TRACE] != UNWATCHED:
                operation, call, trace = record[SITE].operation, record[ID], record[TRACE]
                called = record[START_NS]
        elif not _is_asyncio(each) and (is_first or not _is_library(code.co_filename)):
            is_first = False
            function = code.co_filename, code.co_name
            yield _Place(function, each.f_lineno or 0, call, trace, operation, called)


def _since(turn: _Turn, now: int) -> int:
    """Since when the turn goes on, as far as is sure: a call of it that began in this pass did so in it."""
    began = (each.called_ns for each in turn.places if turn.pass_ns)
    return min([now, *(each for each in began if each >= turn.pass_ns)])


def _shared(known: Sequence[_Place], found: Sequence[_Place]) -> Sequence[_Place]:
    """The places that two looks at one turn share; the outermost is the turn's own."""
    count = 0
    for one, other in zip(known, found, strict=False):
        if not one.is_where(other):
            break
        count += 1
    return found[: max(count, 1)]


def _pass_ns(known: Mapping[str, Any], now: int) -> int:
    """When the pass began on the clock of spans, 0 where the loop has a clock of its own."""
    base = sys.modules.get("asyncio.base_events")
    theirs = getattr(type(known.get("self")), "time", None)
    if base is None or theirs is not base.BaseEventLoop.time or not _ONE_CLOCK:
        return 0
    if type(time.monotonic) is not BuiltinFunctionType:
        return 0
    began = known["end_time"] * 1e9
    return int(began) if 0 < began <= now else 0


_GENERATORS: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_ONE_CLOCK: Final = (
    time.get_clock_info("monotonic").implementation
    == time.get_clock_info("perf_counter").implementation
)


def _is_asyncio(frame: FrameType) -> bool:
    return _ASYNCIO in frame.f_code.co_filename


def _is_library(filename: str) -> bool:
    return filename.startswith("<") or f"{os.sep}lib{os.sep}python" in filename
