"""How frames of ours are passed over: by tracebacks, and by who names the caller of a function."""

from __future__ import annotations

from types import CodeType
from typing import Any, Final

from dytopo_autotrace.collect.failures import hide

# `warnings` and `logging` pass over frames whose file name has these two words, and with them over
# ours: `stacklevel=2` in a watched function means its caller. It is not the function's own file:
# tracers and profilers that look for that would see each call twice.
FILE: Final = "<dytopo_autotrace advice, passed over as importlib._bootstrap is>"
"""The file name of everything of ours that stands between a function of the host's and its caller."""


def pass_over(function: Any, nested: str = "") -> None:
    """Have the frames of a function of ours passed over, or of one that it defines."""
    code = function.__code__
    if not nested:
        function.__code__ = _passed_over(code)
        return
    consts = tuple(
        _passed_over(const) if type(const) is CodeType and const.co_name == nested else const
        for const in code.co_consts
    )
    function.__code__ = code.replace(co_consts=consts)


def _passed_over(code: CodeType) -> CodeType:
    ours = code.replace(co_filename=FILE)
    hide(ours)
    return ours
