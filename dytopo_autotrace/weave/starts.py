"""Where Python programs are started: what a child needs to join is put into its environment only.

`os.environ` stays as it is. subprocess, asyncio and multiprocessing all end in `fork_exec` or, from
Python 3.13 on, in `os.posix_spawn`; both are exchanged for a function that adds to the environment of the one
process that is started, if that is Python, or something that starts one.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dytopo_autotrace.collect.faults import around_forks, attempt
from dytopo_autotrace.weave.ledger import Ledger

_PYTHON: Final = re.compile(r"(python|pypy)\d?(\.\d+)?t?(\.exe)?")
_STARTERS: Final = frozenset(
    {
        *("sh", "bash", "dash", "zsh", "ksh"),
        *("env", "nice", "nohup", "setsid", "time", "timeout", "make", "uv", "poetry"),
    }
)
"""Programs that people start Python programs with; what they pass on is their environment."""
_OUTSIDE: Final = frozenset("IES")
"""Flags of a Python that looks at no environment, or imports no sitecustomize."""
_WITH_VALUE: Final = frozenset("WX")
_OURS: Final = __name__.partition(".")[0]
_DISABLED: Final = "DYTOPO_AUTOTRACE_DISABLED"
_ENVIRONMENT: Final = 5
"""The place of the environment among the arguments of `fork_exec`."""

Get = Callable[[str], str | None]
Additions = Callable[[Get], Mapping[str, str]]
"""Says what to add to an environment, given a way to look at it; empty to add nothing."""


class Starts:
    """Exchanges the functions that start processes.

    Args:
        additions: asked for each Python program that is started.
    """

    def __init__(self, additions: Additions) -> None:
        self.pythons = 0
        """How many Python programs were started."""
        self._additions = additions
        # A child that is forked while another thread starts a process must not find it locked.
        self._lock = threading.RLock()
        around_forks(after_in_child=self._forked)

    def put_in(self, ledger: Ledger) -> None:
        """Exchange the functions; the ledger can put them back."""
        try:
            import _posixsubprocess  # noqa: PLC0415 - not where there is none
        except ImportError:
            return
        start = self._fork_exec(_posixsubprocess.fork_exec)
        _exchange(_posixsubprocess, "fork_exec", start, ledger)
        if "subprocess" in sys.modules:
            _exchange(sys.modules["subprocess"], "_fork_exec", start, ledger)
        ledger.undo.append(lambda: _put_back(start))
        if hasattr(os, "posix_spawn"):
            _exchange(os, "posix_spawn", self._posix_spawn(os.posix_spawn), ledger)

    def _fork_exec(self, fork_exec: Any) -> Any:
        @functools.wraps(fork_exec)
        def start(*given: Any) -> Any:
            added = attempt(self._added_to_fork_exec, given) or {}
            try:
                if not added:
                    return fork_exec(*given)
                if given[_ENVIRONMENT] is not None:
                    return fork_exec(*(attempt(_with_entries, given, added) or given))
                with self._lock:
                    attempt(_put_into_environment, added)
                    try:
                        return fork_exec(*given)
                    finally:
                        attempt(_put_environment_back, added)
            except BaseException as error:
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                raise

        return start

    def _posix_spawn(self, posix_spawn: Any) -> Any:
        @functools.wraps(posix_spawn)
        def start(*given: Any, **options: Any) -> Any:
            added = attempt(self._added_to_posix_spawn, given) or {}
            try:
                if not added:
                    return posix_spawn(*given, **options)
                if given[2] is not None:
                    return posix_spawn(*given[:2], {**given[2], **added}, *given[3:], **options)
                with self._lock:
                    attempt(_put_into_environment, added)
                    try:
                        return posix_spawn(*given, **options)
                    finally:
                        attempt(_put_environment_back, added)
            except BaseException as error:
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                raise

        return start

    def _added_to_fork_exec(self, given: Sequence[Any]) -> Mapping[str, str]:
        if len(given) <= _ENVIRONMENT:
            return {}
        return self._added(given[:2], given[_ENVIRONMENT])

    def _added_to_posix_spawn(self, given: Sequence[Any]) -> Mapping[str, str]:
        if len(given) <= 2 or not (given[2] is None or isinstance(given[2], Mapping)):
            return {}
        return self._added((given[1], (given[0],)), given[2])

    def _added(self, started: Sequence[Any], env: Any) -> Mapping[str, str]:
        """What to add for a program: its arguments, where it may be found, and its environment."""
        get = _getter(env)
        if get is None or get(_DISABLED):
            return {}
        words = [os.fsdecode(word) for word in started[0]]
        is_python = _is_python(words, [os.fsdecode(path) for path in started[1]])
        if is_python is None:
            return {}
        self.pythons += is_python
        return self._additions(get)

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.pythons = 0


def _getter(env: Any) -> Get | None:
    """A way to look at an environment; None for one that is empty: whoever wants that gets that."""
    if env is None:
        return os.environ.get
    if not env:
        return None
    if isinstance(env, Mapping):
        texts = {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
    else:
        texts = dict(os.fsdecode(entry).partition("=")[::2] for entry in env)
    return texts.get


def _with_entries(given: tuple[Any, ...], added: Mapping[str, str]) -> tuple[Any, ...]:
    """Arguments of `fork_exec` with an environment that has in it what is added."""
    names = tuple(os.fsencode(f"{name}=") for name in added)
    kept = [entry for entry in given[_ENVIRONMENT] if not entry.startswith(names)]
    new = [os.fsencode(f"{name}={value}") for name, value in added.items()]
    return (*given[:_ENVIRONMENT], [*kept, *new], *given[_ENVIRONMENT + 1 :])


def _put_into_environment(added: Mapping[str, str]) -> None:
    """Have a child inherit what is added, which is not in `os.environ`."""
    for name, value in added.items():
        os.putenv(name, value)


def _put_environment_back(added: Mapping[str, str]) -> None:
    for name in added:
        before = os.environ.get(name)
        if before is None:
            os.unsetenv(name)
        else:
            os.putenv(name, before)


def _is_python(words: list[str], paths: list[str]) -> bool | None:
    """Whether a program is Python that we can join; False for one that may start such, else None."""
    path = next((each for each in paths if os.path.isfile(each)), "")
    name = os.path.basename(path)
    if path == sys.executable or _PYTHON.fullmatch(name):
        return True if _takes_us(words[1:]) else None
    if name in _STARTERS:
        return False
    if not path or name == "dytopo-autotrace":
        return None
    with open(path, "rb") as stream:
        first = stream.readline(256)
    return True if first.startswith(b"#!") and b"python" in first else None


def _takes_us(words: list[str]) -> bool:
    """Whether a Python with these arguments looks for us, and is not one of ours already."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            return os.path.basename(word) != "dytopo-autotrace"
        if word.startswith("--"):
            continue
        for place, flag in enumerate(word[1:], 2):
            value = word[place:] or (rest[0] if rest else "")
            if flag in _OUTSIDE:
                return False
            if flag == "m":
                return value.partition(".")[0] != _OURS
            if flag == "c":
                return "multiprocessing.resource_tracker" not in value
            if flag in _WITH_VALUE:
                if not word[place:]:
                    rest[:1] = []
                break
    return True


def _exchange(module: Any, name: str, new: Any, ledger: Ledger) -> None:
    old = getattr(module, name)
    setattr(module, name, new)

    def put_back() -> None:
        if getattr(module, name) is new:
            setattr(module, name, old)

    ledger.undo.append(put_back)


def _put_back(start: Any) -> None:
    """Undo what subprocess took over when it was imported after us."""
    subprocess = sys.modules.get("subprocess")
    if getattr(subprocess, "_fork_exec", None) is start:
        subprocess._fork_exec = start.__wrapped__  # type: ignore[union-attr] # noqa: SLF001 - where we put it
