"""The loader of a watched module: the real one in every respect, except that we see it execute.

Loaded when the first watched module is imported: importing wrapt takes longer than all the rest of
the start.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from types import CodeType, ModuleType
from typing import Any

import wrapt

from dytopo_autotrace.collect.failures import without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.weave.finder import Watcher
from dytopo_autotrace.weave.frames import pass_over


class WatchedLoader(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """The real loader in every respect, except that its module is watched while it executes."""

    def __init__(self, loader: Any, watcher: Watcher) -> None:
        super().__init__(loader)
        self._self_watcher = watcher

    def exec_module(self, module: ModuleType) -> None:
        real, watcher = self.__wrapped__, self._self_watcher
        known: Collection[str] = ()
        code = None
        try:
            known = frozenset(sys.modules)
            _give_back(module, self, real)
            code = watcher.code_for(module.__name__, real)
        except Exception as fault:
            watcher.contain(module.__name__, fault)
        try:
            if code is None:
                real.exec_module(module)
            else:
                _execute(code, module)
        except BaseException as error:
            attempt(without_our_head, error)
            raise
        try:
            watcher.executed(module, known)
        except Exception as fault:
            watcher.contain(module.__name__, fault)


pass_over(WatchedLoader.exec_module)


def _give_back(module: ModuleType, ours: Any, real: Any) -> None:
    """From here on the module shows its own loader, as it would without us."""
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.loader is ours:
        spec.loader = real
    if getattr(module, "__loader__", None) is ours:
        module.__loader__ = real


def _execute(code: CodeType, module: ModuleType) -> None:
    # importlib's own helper, where there is one: its frames are left out of import tracebacks.
    bootstrap = getattr(importlib, "_bootstrap", None)
    call = getattr(bootstrap, "_call_with_frames_removed", None)
    try:
        if call is not None:
            call(exec, code, module.__dict__)
        else:
            exec(code, module.__dict__)  # noqa: S102 - a loader executes modules
    except BaseException as error:
        attempt(without_our_head, error)
        raise


pass_over(_execute)
