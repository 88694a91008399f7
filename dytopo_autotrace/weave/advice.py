"""What runs around a watched call: the one file whose every line is paid for on each call.

The advice of a function is generated with that function's own parameters, so the interpreter binds
the arguments and the rule's expressions stand in the body as they are. It takes no lock, formats no
string and writes no log: one context variable gives the parent, the clock is read twice, one append
hands the record over. What is not a plain function gets wrapt's proxy around the same advice.
docs/design.md has the measurements that led here.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import (
    AsyncGeneratorType,
    CellType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
)
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import hide, is_hidden, outcome_of, without_our_head
from dytopo_autotrace.collect.faults import is_for_the_program
from dytopo_autotrace.collect.holds import HELD_NS
from dytopo_autotrace.collect.pipeline import Pipeline, pipeline
from dytopo_autotrace.collect.span import (
    MISSING,
    ON_START,
    OUTCOME,
    SITE,
    VALUES,
    ErrorInfo,
    Record,
)
from dytopo_autotrace.collect.tracing import begin_trace, current
from dytopo_autotrace.weave.awaitables import end_with, end_with_future, known_futures
from dytopo_autotrace.weave.borders import effects, sources
from dytopo_autotrace.weave.capture import OURS, give_defaults
from dytopo_autotrace.weave.ending import GOES_ON
from dytopo_autotrace.weave.frames import FILE
from dytopo_autotrace.weave.iterating import NAMES, follow, follow_within, loop
from dytopo_autotrace.weave.shape import Generated, Shape, innermost

# The places in a record are those of `collect.span`. The end is set last: it hands the record over.
# A coroutine may be closed from another context, so it only puts back what is still its own.
# What is ours stands in `try` blocks of its own, which cost nothing unless something is raised: deep
# in a recursion, or when the memory is full, anything can, and none of it may reach the host.
_TEMPLATE: Final = """
def make(
    __function, __entry, __exit, __again, __raised, __handed_back, __stream, __effects, {names}
):
    __when, __extract, __inject = __effects
    {async_}def advice({header}):
        __record = None{last}
        if __switch.on{when}:
            try:
                __parent = __after = __get(){extract}
                {begin}
                {entry}
                __record = [
                    __next_id(), __parent[0], __parent[2], __site, __now(), 0, None, {links}, None,
                    {values}
                ]
                __append(__record){inject}
            except __Exception:
                __record = None
                __switch.missed += 1
        {call}
        try:
            __ended = __now()
            try:
                {exit}
            finally:
                __record[5] = __ended
            {note_long}
        except __Exception:
            __switch.missed += 1
        try:
            {if_current}__put(__after)
        except __Exception:
            __switch.missed += 1
        {return_}
    return advice
""".replace("__", OURS)
_CALL: Final = """if __record is None:
            try:
                return {await_}__function({arguments})
            except __BaseException as __flying:
                try:
                    __without_our_head(__flying)
                except __Exception:
                    __switch.missed += 1
                raise
        try:
            try:
                __put(__record)
                {on_start}
            except __Exception:
                __switch.missed += 1
            __result = {await_}__function({arguments})
        except __BaseException as __flying:
            {failed}
            try:
                {if_current}__put(__after)
            except __Exception:
                __switch.missed += 1
            raise
        {hand_back}""".replace("__", OURS)
_FAILED: Final = """try:
                __record[6] = __unread
                __ended = __now()
                try:
                    __close(__record, __flying, __raised, {positional}, {named})
                    {note}
                finally:
                    __record[5] = __ended
                {note_long}
            except __Exception:
                __switch.missed += 1""".replace("__", OURS)
_ITERATE: Final = """if __record is None:
            try:
                return (yield from __function({arguments}))
            except __BaseException as __flying:
                try:
                    __without_our_head(__flying)
                except __Exception:
                    __switch.missed += 1
                raise
        __inner = __function({arguments})
        {loop}""".replace("__", OURS)
_ITERATE_LATER: Final = """__inner = __function({arguments})
        {loop}
        if __record is None:
            return""".replace("__", OURS)
_BEGIN: Final = """if __parent is None:
                    __parent, __after = __begin(None)""".replace("__", OURS)
_BEGIN_ALWAYS: Final = "__parent, __after = __begin(__parent)".replace("__", OURS)
_LINKS: Final = "(__after[0],) if __after is not __parent else None".replace("__", OURS)
_IF_CURRENT: Final = "if __get() is __record: ".replace("__", OURS)
# A coroutine function's own result is as it is; what anything else gives may be still to come.
_HAND_BACK: Final = """if __type(__result) in __Later:
            __later = None
            try:
                __later = __handed_back(__record, __result, {positional}, {named})
                if __later is not None:
                    __put(__after)
            except __Exception:
                __switch.missed += 1
            if __later is not None:
                return __later""".replace("__", OURS)
# What is handed back is an object that keeps a generator: the call goes on until that has ended.
_STREAM: Final = """__goes_on = False
        try:
            __goes_on = __stream(__record, __result, {positional}, {named})
            if __goes_on:
                {if_current}__put(__after)
        except __Exception:
            __switch.missed += 1
        if __goes_on:
            return __result""".replace("__", OURS)
_READ: Final = """try:
                    {statements}
                except __BaseException as __flying:
                    if __is_for_the_program(__flying):
                        raise
                    {targets} = __again({names!r}, {positional}, {named}, {ended})""".replace(
    "__", OURS
)

# Where the call is current: its span can be asked for. What an observer takes is not the call's.
_ON_START: Final = """__record[{place}], = __again(({name!r},), {positional}, {named}, None, None, None)
                __record[4] = __now()""".replace("__", OURS)

# A plain function that runs where an event loop does has held that loop from its start to its end.
_NOTE_LONG: Final = f"""if {OURS}ended - {OURS}record[4] >= {HELD_NS}:
                {{indent}}{OURS}note_long({OURS}record, {OURS}ended, {OURS}held_at)"""
_NOTE: Final = f"{OURS}note_close({OURS}record, {OURS}flying)"
_UNREAD: Final = ("error", ErrorInfo("BaseException", "<could not be read>"))


LATER: Final[dict[type, Callable[..., Any]]] = {
    CoroutineType: end_with,
    GeneratorType: follow,
    AsyncGeneratorType: follow,
}
"""What a call may hand back that is still to come, and what follows it to its end."""
_HELD_BY_US: Final = 3
"""References to what was handed back: the advice's, its helper's, and that of counting them."""


@dataclass(slots=True)
class Switch:
    """Whether what was woven together still records; off for good once it is taken out.

    References that no attribute reaches keep the advice, which then only passes calls through.
    """

    on: bool = True
    missed: int = 0
    """Calls that were not recorded, or not to their end, because something of ours failed."""


def advise(function: Any, form: Shape, switch: Switch, into: Pipeline = pipeline) -> Any:
    """Put advice around one callable: the same kind of callable, recording its calls.

    Args:
        function: what the calls reach; not a descriptor such as a classmethod.
        form: what to record.
        switch: turned off when the advice is taken out.
        into: takes the records when calls start.
    """
    LATER.update(dict.fromkeys(known_futures(), end_with_future))
    if form.make is None:
        form.make = _generate(function, form, switch, into)
    bound_to = function if form.reads_directly else innermost(function)
    entry = exit_ = None
    if not form.reads_directly:
        entry, exit_ = form.reader(form.entry, bound_to), form.reader(form.exit, bound_to)

    def again(
        names: tuple[str, ...], given: tuple[Any, ...], kwargs: Mapping[str, Any], *ended: Any
    ) -> tuple[Any, ...]:
        return form.one_by_one(names, bound_to, (*ended, *given), kwargs)

    def raised(
        error: BaseException, given: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[Any]:
        names = tuple(name for name in form.exit if name in form.on_raise)
        read = iter(form.one_by_one(names, bound_to, (None, error, None, *given), kwargs))
        return [next(read) if name in form.on_raise else MISSING for name in form.exit]

    raised_or_none = raised if form.on_raise else None

    def readers(
        record: Record, given: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Callable[..., Any], Callable[[BaseException], None]]:
        def returned(result: Any, last: Any = None) -> None:
            keep_at_exit(record, again(form.exit, given, kwargs, result, None, last))

        def failed(error: BaseException) -> None:
            record[OUTCOME] = _UNREAD
            close(record, error, raised_or_none, given, kwargs)

        return returned, failed

    def stream(
        record: Record, result: Any, given: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bool:
        return follow_within(
            record, result, form.stream, *readers(record, given, kwargs), keeps_last=form.keeps_last
        )

    def handed_back(
        record: Record, theirs: Any, given: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        returned, failed = readers(record, given, kwargs)
        follows = LATER[type(theirs)]
        if follows is not end_with_future and sys.getrefcount(theirs) > _HELD_BY_US:
            return None  # The host keeps it somewhere, and is to find in there what it was given.
        if follows is follow:
            return follow(record, theirs, returned, failed, keeps_last=form.keeps_last)
        if form.stream:

            def streams_or_returned(result: Any) -> Any:
                return GOES_ON if stream(record, result, given, kwargs) else returned(result)

            return follows(record, theirs, streams_or_returned, failed)
        return follows(record, theirs, returned, failed)

    advice = form.make.around(
        function if is_plain(function) else innermost(function),
        *(function, entry, exit_, again, raised_or_none, handed_back, stream),
        effects(form, bound_to, into),
    )
    if not is_plain(function):
        from dytopo_autotrace.weave.proxy import Proxy  # noqa: PLC0415 - loads wrapt

        return Proxy(function, advice, switch)
    give_defaults(function, advice)
    return functools.update_wrapper(advice, function)


_PROXIES: Final = "dytopo_autotrace.weave.proxy"
"""The module of our proxies, by name: it is loaded when the first one is made."""


def is_plain(function: Any) -> bool:
    """Whether this is a function and nothing else: proxies of functions say that they are, too."""
    return type(function) is FunctionType


def is_advice(function: Any) -> bool:
    """Whether this is what `advise` made, and still records."""
    if type(function).__module__ == _PROXIES:
        switch = function._self_switch  # noqa: SLF001 - it is ours
    elif is_plain(function) and is_hidden(function.__code__):  # wrappers copy attributes, not code
        switch = given_to(function, "switch").cell_contents
    else:
        return False
    return bool(switch.on)


def given_to(advice: FunctionType, name: str) -> CellType:
    """Where an advice keeps what it knows by one of our names."""
    cells = advice.__closure__ or ()
    return cells[advice.__code__.co_freevars.index(OURS + name)]


def _generate(function: Any, form: Shape, switch: Switch, into: Pipeline) -> Generated:
    flags = function.__code__.co_flags if is_plain(function) else 0
    is_async = bool(flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
    site, parameters = form.site, form.parameters
    header = parameters.header
    if not is_plain(function):
        # The proxy says what is called: bound to an instance, it is another object each time.
        header = f"{OURS}function, {OURS}bound, /, {header}"
    given = {"positional": parameters.positional, "named": parameters.named}
    entries = [f"{OURS}in{index}" for index in range(len(form.entry))]
    first = VALUES + len(site.entry)
    places = [f"{OURS}record[{first + index}]" for index in range(len(form.exit))]
    on_start = "pass"
    if ON_START in site.entry:
        on_start = _ON_START.format(place=first - 1, name=ON_START, **given)
    is_whole = not is_async and not form.iterates
    failed = _FAILED.format(
        **given,
        note=_NOTE if form.iterates else "",
        note_long=_NOTE_LONG.format(indent="    ") if is_whole else "",
    )
    later = len(site.entry) - len(entries) + len(places)
    values = [*entries, *[f"{OURS}missing"] * later]
    if form.iterates:
        call = (_ITERATE_LATER if is_async else _ITERATE).format(
            arguments=parameters.arguments,
            loop=loop(
                is_async=is_async, keeps_last=form.keeps_last, failed=failed, on_start=on_start
            ),
        )
        values += ["0", f"{OURS}missing", f"{OURS}missing"]
    else:
        hand_back = "" if is_async else _HAND_BACK.format(**given)
        if form.stream:
            leave = _IF_CURRENT if is_async else ""
            hand_back += "\n        " + _STREAM.format(**given, if_current=leave)
        call = _CALL.format(
            await_="await " if is_async else "",
            arguments=parameters.arguments,
            failed=failed,
            on_start=on_start,
            if_current=_IF_CURRENT if is_async else "",
            hand_back=hand_back,
        )
    last = f"{OURS}last" if form.keeps_last else "None"
    borders = {
        key: f"\n                {text}" if text and key != "when" else text
        for key, text in sources(form).items()
    }
    ours = {
        **(NAMES if form.iterates else {}),
        "switch": switch,
        "site": site,
        "append": into.buffer.append,
        "next_id": into.next_id,
        "get": current.get,
        "put": current.set,
        "begin": begin_trace,
        "now": clock.now_ns,
        "close": close,
        "note_long": into.holds.note,
        "held_at": _where(function),
        "error": None,
        "unread": _UNREAD,
        "without_our_head": without_our_head,
        "is_for_the_program": is_for_the_program,
        "Exception": Exception,
        "BaseException": BaseException,
        "Later": LATER,
    }
    given_names = {**form.values, **{OURS + name: value for name, value in ours.items()}}
    source = _TEMPLATE.format(
        **borders,
        names=", ".join(given_names),
        async_="async " if is_async else "",
        header=header,
        last=f"\n        {OURS}last = None" if form.keeps_last else "",
        begin=_BEGIN_ALWAYS if form.starts_trace else _BEGIN,
        links=_LINKS if form.starts_trace else "None",
        entry=_read(form, form.entry, entries, "entry", "None, None, None"),
        values=", ".join(values),
        call=call,
        exit=_read(form, form.exit, places, "exit", f"{OURS}result, None, {last}"),
        note_long=_NOTE_LONG.format(indent="") if is_whole else "",
        if_current=_IF_CURRENT if is_async else "",
        return_="" if form.iterates and is_async else f"return {OURS}result",
    )
    make = _compiled(source)
    name, qualname = _names_of(function)
    code = next(const for const in make.co_consts if isinstance(const, CodeType))
    named = code.replace(
        co_name=name,
        co_qualname=qualname,
        co_flags=code.co_flags | (flags & inspect.CO_ITERABLE_COROUTINE),
    )
    hide(named)
    consts = tuple(named if const is code else const for const in make.co_consts)
    return Generated(make.replace(co_consts=consts), given_names)


@functools.lru_cache(maxsize=1024)
def _compiled(source: str) -> CodeType:
    """The code of `make`; functions that take and keep the same things share it."""
    module = compile(source, FILE, "exec", dont_inherit=True)
    return next(const for const in module.co_consts if isinstance(const, CodeType))


def _read(form: Shape, names: tuple[str, ...], targets: list[str], reader: str, ended: str) -> str:
    if not names:
        return "pass"
    parameters = form.parameters
    if form.reads_directly:
        statements = "\n                    ".join(
            f"{target} = {form.sources[name]}" for target, name in zip(targets, names, strict=True)
        )
    else:
        given = f"{ended}, *{parameters.positional}, **{parameters.named}"
        statements = f"{', '.join(targets)}, = {OURS}{reader}({given})"
    return _READ.format(
        statements=statements,
        targets=f"{', '.join(targets)},",
        names=names,
        positional=parameters.positional,
        named=parameters.named,
        ended=ended,
    )


def _names_of(function: Any) -> tuple[str, str]:
    if is_plain(function):
        return function.__code__.co_name, function.__code__.co_qualname
    return "advice", "advice"


def _where(function: Any) -> str:
    """File, line and name of a function, as far as they are known."""
    inner = innermost(function)
    if inner is None:
        return ""
    code = inner.__code__
    return f"{code.co_filename}:{code.co_firstlineno} in {code.co_name}"


def close(
    record: Record,
    error: BaseException,
    raised: Callable[..., list[Any]] | None,
    given: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Keep what is to be kept of a call that raised; its traceback goes on without our frame."""
    without_our_head(error)
    record[OUTCOME] = outcome_of(error)
    if raised is not None:
        keep_at_exit(record, raised(error, given, kwargs))


def keep_at_exit(record: Record, values: Sequence[Any]) -> None:
    """Put what an expression read when the call ended in its place in the record."""
    first = VALUES + len(record[SITE].entry)
    record[first : first + len(values)] = values
