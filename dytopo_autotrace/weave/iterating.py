"""Generators: a watched iteration is one span, and is current only while the generator itself runs.

The advice is a generator as well, and hands everything on by hand, as PEP 380 describes for `yield
from`: only so can the consumer's own span be put back at each `yield`. No item, no sent value and no
exception is held while the generator waits.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from functools import partial
from types import AsyncGeneratorType, FunctionType, GeneratorType
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import hide, without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.collect.span import END_NS, MISSING, OUTCOME, SITE, Record, Site
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.weave.capture import OURS
from dytopo_autotrace.weave.ending import end
from dytopo_autotrace.weave.frames import FILE

COUNTED: Final = ("items", "first_item_seconds", "closed_early")
"""Attributes of an iteration, the last values of its record: how many items it gave, how long the
first one took, and whether its consumer closed it before its end."""
NOTHING_COUNTED: Final = (0, MISSING, MISSING)

_STEP: Final = """if __thrown is None:
                    __held.append(__inner.send(__sent))
                else:
                    __held.append(__inner.throw(__thrown))""".replace("__", OURS)
_STEP_LATER: Final = """if __thrown is not None:
                    __held.append(await __inner.athrow(__thrown))
                elif __begun:
                    __held.append(await __inner.asend(__sent))
                else:
                    __begun = True
                    __held.append(await (__attempt(__start, __inner) or __inner.asend(None)))""".replace(
    "__", OURS
)
_STOP: Final = """except __StopIteration as __stop:
                __result = __stop.value""".replace("__", OURS)
_STOP_LATER: Final = """except __StopAsyncIteration:
                __result = None""".replace("__", OURS)

# What runs between two items of the host's. A generator may be resumed by another task, and in
# another context, each time: what is current for the consumer is looked up anew.
_LOOP: Final = """
        __held = []
        __sent = __thrown = None
        __begun = False
        __mine = __record
        if __record is not None:
            try:
                __put(__record)
                {on_start}
            except __Exception:
                __switch.missed += 1
        while True:
            try:
                {step}
            {stop}
                break
            except __BaseException as __flying:
                try:
                    __without_our_head(__flying)
                except __Exception:
                    __switch.missed += 1
                if __record is None:
                    raise
                {failed}
                try:
                    {if_current}__put(__after)
                except __Exception:
                    __switch.missed += 1
                raise
            __sent = __thrown = None
            {keep_last}
            if __record is not None:
                try:
                    __mine = __get()
                    __put(__after)
                    if not __record[-3]:
                        __record[-2] = (__now() - __record[4]) / 1e9
                    __record[-3] += 1
                except __Exception:
                    __switch.missed += 1
            try:
                __sent = yield __held.pop()
            except __BaseException as __flying:
                try:
                    __without_our_head(__flying)
                except __Exception:
                    __switch.missed += 1
                __thrown = __flying
            if __record is not None:
                try:
                    __after = __get()
                    __put(__mine)
                except __Exception:
                    __switch.missed += 1
""".replace("__", OURS)
_IF_CURRENT: Final = "if __get() is __record: ".replace("__", OURS)


def loop(*, is_async: bool, keeps_last: bool, failed: str, on_start: str = "pass") -> str:
    """Source of an iteration, for the body of an advice that has its `record` and its `inner`.

    Args:
        keeps_last: whether the last item is held until the next one, or the end.
        failed: statement that ends the record when the iteration raises.
        on_start: statement that shows the call to an observer.
    """
    return _LOOP.format(
        step=_STEP_LATER if is_async else _STEP,
        stop=_STOP_LATER if is_async else _STOP,
        on_start=on_start,
        failed=failed.replace("\n", "\n    "),
        keep_last=f"{OURS}last = {OURS}held[0]" if keeps_last else "",
        if_current=_IF_CURRENT if is_async else "",
    )


def start(theirs: AsyncGenerator[Any, Any]) -> Any:
    """Begin an asynchronous generator that nobody but our own around it knows.

    The event loop closes every generator that was begun under its hooks, and two that stand around
    one another must not both be closed at once.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _left_to_ours)
    try:
        return theirs.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _left_to_ours(theirs: AsyncGenerator[Any, Any]) -> None:
    """Ours holds it, and is finalized along with it: it closes it in the way that the loop wants."""


def note_close(record: Record, error: BaseException) -> None:
    """A consumer who wants no more items has cancelled nothing: the iteration was closed early."""
    if isinstance(error, GeneratorExit):
        record[OUTCOME] = None
        record[-1] = True


NAMES: Final[Mapping[str, Any]] = {
    "note_close": note_close,
    "attempt": attempt,
    "start": start,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
}
"""What `loop` needs besides the names that every advice has."""


# --- Generators that a function hands back ---------------------------------------------------------

_HANDED_BACK: Final = """
def make({names}):
    {async_}def advice(__inner, __record, __returned, __failed):
        __after = __get()
        __last = None
        {loop}
        __returned(__result, __last)
        try:
            {if_current}__put(__after)
        except __Exception:
            __switch.missed += 1
        {return_}
    return advice
""".replace("__", OURS)


class _Faults:
    """Where an iteration that was handed back counts what it could not count."""

    missed = 0


def follow(
    record: Record,
    theirs: Any,
    returned: Callable[..., None],
    raised: Callable[[BaseException], None],
    *,
    keeps_last: bool = False,
) -> Any:
    """A generator that does what theirs does, and ends the record when that ends.

    Args:
        record: of a call that is over, but for this.
        theirs: the generator, or asynchronous generator, that the call returned.
        returned: reads what is kept of the result and the last item.
        raised: reads what is kept of an exception.
        keeps_last: whether the last item is wanted.

    Returns:
        `None` if somebody else iterates over theirs already.
    """
    is_async = type(theirs) is AsyncGeneratorType
    if not (_is_untouched_later(theirs) if is_async else _is_untouched(theirs)):
        return None
    handed_back_ns = clock.now_ns()
    record += NOTHING_COUNTED
    record[SITE] = _counting(record[SITE])

    def failed(error: BaseException) -> None:
        try:
            raised(error)
        finally:
            note_close(record, error)

    # The advice stands between the program and its generator: what it calls must not fail.
    at_end = partial(attempt, end, record, returned), partial(attempt, end, record, failed)
    frame = theirs.ag_frame if is_async else theirs.gi_frame
    advice = _handed_back(is_async=is_async, keeps_last=keeps_last)
    # With their globals: what is asked for its caller's finds what it would find without us.
    theirs_too = FunctionType(advice.__code__, frame.f_globals, closure=advice.__closure__)
    ours = theirs_too(theirs, record, *at_end)
    ours.__name__, ours.__qualname__ = theirs.__name__, theirs.__qualname__

    def gone(reference: weakref.ref[Any]) -> None:
        _waiting.discard(reference)
        if not record[END_NS]:
            record[END_NS] = handed_back_ns  # Nobody asked for an item: the call was all there was.

    _waiting.add(weakref.ref(ours, partial(attempt, gone)))
    return ours


def follow_within(
    record: Record,
    keeper: Any,
    attribute: str,
    returned: Callable[..., None],
    raised: Callable[[BaseException], None],
    *,
    keeps_last: bool,
) -> bool:
    """End the record with the generator that an object keeps, in the place of which ours is put.

    Args:
        keeper: what the call returned, the stream of an LLM client for instance.
        attribute: of the object itself; nothing of the host's runs to read it.

    Returns:
        False if there is no such generator, or somebody else has it too.
    """
    try:
        names = object.__getattribute__(keeper, "__dict__")
    except AttributeError:
        return False
    if type(names.get(attribute)) not in ITERATES:
        return False
    if sys.getrefcount(names[attribute]) > _HELD_BY_KEEPER:
        return False
    ours = follow(record, names[attribute], returned, raised, keeps_last=keeps_last)
    if ours is None:
        return False
    names[attribute] = ours
    return True


_HELD_BY_KEEPER: Final = 2
"""References to a generator that an object keeps: its own, and that of counting them."""

_waiting: set[weakref.ref[Any]] = set()
"""Keeps the references alive that tell of generators which nobody iterated over."""


@functools.cache
def _handed_back(*, is_async: bool, keeps_last: bool) -> FunctionType:
    ours = {
        **NAMES,
        "get": current.get,
        "put": current.set,
        "now": clock.now_ns,
        "switch": _Faults,
        "without_our_head": without_our_head,
        "Exception": Exception,
        "BaseException": BaseException,
    }
    source = _HANDED_BACK.format(
        names=", ".join(OURS + name for name in ours),
        async_="async " if is_async else "",
        loop=loop(is_async=is_async, keeps_last=keeps_last, failed=f"{OURS}failed({OURS}flying)"),
        if_current=_IF_CURRENT if is_async else "",
        return_="" if is_async else f"return {OURS}result",
    )
    scope: dict[str, Any] = {}
    exec(compile(source, FILE, "exec", dont_inherit=True), scope)  # noqa: S102
    advice: FunctionType = scope["make"](*ours.values())
    hide(advice.__code__)
    return advice


@functools.cache
def _counting(site: Site) -> Site:
    return replace(site, exit=(*site.exit, *COUNTED))


def _is_untouched(theirs: Any) -> bool:
    return inspect.getgeneratorstate(theirs) == inspect.GEN_CREATED


def _is_untouched_later(theirs: Any) -> bool:
    state = getattr(inspect, "getasyncgenstate", None)
    if state is not None:
        return bool(state(theirs) == "AGEN_CREATED")
    import opcode  # noqa: PLC0415 - Python 3.11 only

    frame = theirs.ag_frame
    made = opcode.opmap["RETURN_GENERATOR"]
    return frame is not None and frame.f_code.co_code[frame.f_lasti] == made


ITERATES: Final = frozenset({GeneratorType, AsyncGeneratorType})
"""What `follow` follows."""
