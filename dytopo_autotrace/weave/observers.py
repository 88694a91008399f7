"""A person's own observers: functions that a rule has called with a view of each call.

They run on the thread of the call, in a copy of its context, and nothing that they do reaches the
program: what they raise is caught, and one that raises or is slow is called no more.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import MappingProxyType
from typing import Any, Final, Literal

from dytopo_autotrace.collect.span import (
    ID,
    MISSING,
    PARENT,
    SITE,
    TRACE,
    UNWATCHED,
    Record,
    Site,
    trace_anchor,
)
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.errors import nearest
from dytopo_autotrace.weave.capture import Keeper

SLOW_SECONDS: Final = 0.010
"""An observer that takes longer is slow: it runs while the program waits."""
SLOW_CALLS: Final = 3
"""So many slow calls retire an observer, if they are more than one in a hundred."""
_ONE_IN: Final = 100
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ATTRIBUTE: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.\-]*")
_KINDS: Final = ("counter", "gauge", "histogram")


class Unusable(Exception):  # noqa: N818 - an answer
    """Why there is no such observer, in words for the person who wrote the rule."""


class Call:
    """What an observer sees of a call, while it is being called; nothing of it can be replaced."""

    __slots__ = ("__weakref__", "_added", "_arguments", "_error", "_keeper", "_record", "_result")

    def __init__(
        self,
        record: Record,
        arguments: Mapping[str, Any],
        result: Any,
        error: BaseException | None,
        keeper: Keeper,
    ) -> None:
        self._record, self._keeper = record, keeper
        self._arguments, self._result, self._error = MappingProxyType(arguments), result, error
        self._added: dict[str, Any] | None = {"attributes": {}, "measured": []}

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The function's arguments by the names of its parameters, `self` included."""
        return self._arguments

    @property
    def result(self) -> Any:
        """What the call returned; `None` at its start, or if it raised."""
        return self._result

    @property
    def error(self) -> BaseException | None:
        """What the call raised."""
        return self._error

    @property
    def operation(self) -> str:
        return self._site.operation

    @property
    def role(self) -> str:
        return self._site.role

    @property
    def rule(self) -> str:
        return self._site.rule

    @property
    def span_id(self) -> str:
        return f"{self._record[ID]:016x}"

    @property
    def parent_id(self) -> str | None:
        return f"{self._record[PARENT]:016x}" if self._record[PARENT] else None

    @property
    def trace_id(self) -> str:
        return f"{self._record[TRACE]:032x}"

    @property
    def _site(self) -> Site:
        site: Site = self._record[SITE]
        return site

    def set_attribute(self, name: str, value: Any) -> None:
        """Add an attribute to the span, as a bounded copy; one that the rule names stays as it is."""
        if not _ATTRIBUTE.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of an attribute.")
        self._open()["attributes"][name] = (
            "[redacted]" if self._keeper.is_secret(name) else self._keeper.keep(value)
        )

    def measure(
        self,
        name: str,
        value: float,
        kind: Literal["counter", "gauge", "histogram"] = "histogram",
        **labels: object,
    ) -> None:
        """Record a number once the call has ended, under a metric's name and labels."""
        if not _METRIC.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a metric.")
        if kind not in _KINDS:
            raise ValueError(f"{kind!r} is no kind of metric. {nearest(str(kind), _KINDS)}")
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"{name}: {number} is no finite number.")
        said = [[label, str(text)] for label, text in labels.items()]
        self._open()["measured"].append([name, kind, number, said])

    def _open(self) -> dict[str, Any]:
        if self._added is None:
            raise RuntimeError("This call was shown to an observer that has returned.")
        return self._added

    def _close(self) -> Any:
        """What was added; from now on nothing can be, and nothing of the program's is held."""
        added, self._added = self._added, None
        self._arguments, self._result, self._error = MappingProxyType({}), None, None
        return added if added and (added["attributes"] or added["measured"]) else MISSING


class Observer:
    """One function of a person's own, and how it has behaved.

    Args:
        text: `package:function`, as the rule has it.
        function: called with a `Call`.
        say: takes the line that tells of its retirement.
    """

    def __init__(
        self, text: str, function: Callable[[Call], object], say: Callable[[str], None]
    ) -> None:
        self.text = text
        self.retired = ""
        """Why it is not called any more."""
        self.left_out = 0
        """Calls that it was not shown."""
        self._function, self._say = function, say
        self._calls = self._slow = 0
        self._once = threading.Lock()

    def sees(
        self,
        result: Any,
        error: BaseException | None,
        arguments: Mapping[str, Any],
        rule: str,
        keeper: Keeper,
    ) -> Any:
        """Show the call that is current to the observer: what it adds, `MISSING` for nothing."""
        if self.retired:
            self.left_out += 1
            return MISSING
        record = current.get()
        # What an observer itself calls is not the program's doing; nor is it to be called by itself.
        if record is None or len(record) <= SITE or record[TRACE] == UNWATCHED:
            return MISSING
        if record[SITE].rule != rule:
            self.left_out += 1  # A future that ended where nothing of the call is current.
            return MISSING
        call = Call(record, arguments, result, error, keeper)
        began = time.perf_counter()
        try:
            copy_context().run(self._show, call)
        except KeyboardInterrupt:
            raise
        except BaseException as fault:
            self._retire(f"it raised {type(fault).__name__}: {_text(fault)}")
        else:
            self._calls += 1
            took = time.perf_counter() - began
            if took > SLOW_SECONDS:
                self._slow += 1
                if self._slow >= SLOW_CALLS and self._slow * _ONE_IN > self._calls:
                    self._retire(
                        f"it took more than {SLOW_SECONDS * 1e3:.0f} ms in {self._slow} of "
                        f"{self._calls} calls, the last time {took * 1e3:.0f} ms"
                    )
        return call._close()  # noqa: SLF001 - a call is closed by who shows it

    def _show(self, call: Call) -> None:
        current.set(trace_anchor(UNWATCHED))
        self._function(call)

    def _retire(self, why: str) -> None:
        if self._once.acquire(blocking=False):
            self.retired = why
            self._say(f"observer {self.text} is called no more: {why}")


def say(text: str) -> None:
    """A line on stderr, if there still is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"dytopo-autotrace: {text}\n")
    except Exception:
        pass


def _text(fault: BaseException) -> str:
    try:
        return " ".join(str(fault).split())[:200]
    except Exception:
        return "<could not be read>"


def find_observer(text: str) -> Callable[[Call], object]:
    """Import `package:function`.

    Raises:
        Unusable: there is none, with what there is instead.
    """
    module_name, _, qualname = text.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise Unusable(f"{module_name} needs {error.name}, which is not there.") from None
        raise Unusable(f"there is no module {module_name!r} on sys.path.") from None
    except BaseException as error:
        why = f"importing it raised {type(error).__name__}: {_text(error)}"
        raise Unusable(f"{module_name} cannot be used, {why}") from None
    for part in qualname.split("."):
        names = [name for name in vars(found) if not name.startswith("_")]
        found = getattr(found, part, None)
        if found is None:
            raise Unusable(f"{module_name} has no {part!r}. {nearest(part, names)}".rstrip())
    if not callable(found):
        raise Unusable(f"{text} is a {type(found).__name__}, which cannot be called.")
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        raise Unusable(f"{text} is an async function: nobody would await it; name a plain one.")
    observer: Callable[[Call], object] = found
    return observer
