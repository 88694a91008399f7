"""wrapt's proxies around callables that are no plain functions.

Loaded when the first one is needed: importing wrapt takes longer than all the rest of the start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import wrapt

from dytopo_autotrace.collect.failures import without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.weave.advice import Switch
from dytopo_autotrace.weave.frames import pass_over


def _calls(advice: Callable[..., Any]) -> Callable[..., Any]:
    """The advice in wrapt's form, for callables that are no plain functions."""

    def call(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        bound = () if instance is None else (instance,)
        try:
            return advice(wrapped, bound, *args, **kwargs)
        except BaseException as error:
            attempt(without_our_head, error)
            raise

    return call


pass_over(_calls, "call")


class BoundProxy(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """The proxy of what a class holds, bound to an instance: it pickles as bound methods do."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)


class Proxy(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """wrapt's wrapper, which also pickles and copies as what it stands for does."""

    __bound_function_wrapper__ = BoundProxy

    def __init__(self, function: Any, advice: Callable[..., Any], switch: Switch) -> None:
        super().__init__(function, _calls(advice))
        self._self_switch = switch

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        return self._or_self(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._or_self(copy.deepcopy(self.__wrapped__, memo))

    def _or_self(self, copied: Any) -> Any:
        return self if copied is self.__wrapped__ else copied
