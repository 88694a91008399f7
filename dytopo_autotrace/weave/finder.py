"""Sees modules being imported: one finder, which costs a module that no rule names one look-up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Protocol

from dytopo_autotrace.collect.failures import without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.weave.frames import pass_over


class Watcher(Protocol):
    """What the finder asks, and tells, about modules; what it raises never reaches an import."""

    def wants(self, module_name: str) -> bool:
        """Whether anything is to be done to a module of this name."""

    def code_for(self, module_name: str, loader: Any) -> CodeType | None:
        """Code to execute in place of the loader's own, None to leave that to the loader."""

    def executed(self, module: ModuleType, known: Collection[str]) -> None:
        """The module's body has run to its end; `known` modules were there when it began."""

    def contain(self, where: str, fault: Exception) -> None:
        """Count what went wrong inside of us, and was kept from the host."""


class Finder:
    """Stands first on `sys.meta_path` and has the modules that its watcher wants loaded by us."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        try:
            if not self._watcher.wants(fullname):
                return None
        except Exception as fault:
            self._watcher.contain(fullname, fault)
            return None
        # The others are asked one by one: importlib's own find_spec would come back to us.
        for finder in tuple(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if find is None or isinstance(finder, Finder):
                continue
            try:
                spec: ModuleSpec | None = find(fullname, path, target)
            except BaseException as error:
                attempt(without_our_head, error)
                raise
            if spec is not None:
                try:
                    watch(spec, self._watcher)
                except Exception as fault:
                    self._watcher.contain(fullname, fault)
                return spec
        return None


pass_over(Finder.find_spec)


def watch(spec: Any, watcher: Watcher) -> Callable[[], None]:
    """Have a module watched when it executes; call what is returned to think better of it."""
    real = spec.loader
    if real is None or not hasattr(real, "exec_module"):
        return lambda: None
    from dytopo_autotrace.weave.loader import WatchedLoader  # noqa: PLC0415 - loads wrapt

    ours = spec.loader = WatchedLoader(real, watcher)

    def give_back() -> None:
        if spec.loader is ours:
            spec.loader = real

    return give_back
