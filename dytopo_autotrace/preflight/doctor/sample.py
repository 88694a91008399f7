"""A proof: small functions of each kind are woven, in a process such as the program will run in."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

from dytopo_autotrace.preflight.doctor.answer import Answer, listed
from dytopo_autotrace.preflight.imported import weave
from dytopo_autotrace.preflight.model import Subject

_MODULE: Final = "dytopo_autotrace_sample"
_SOURCE: Final = """\
import functools
def function(value): return value
async def coroutine(value): return value
class Class:
    def method(self, value): return value
@functools.cache
def decorated(value): return value
"""
_PLACES: Final = ("function", "coroutine", "Class.method", "decorated.__wrapped__")
_PATIENCE_SECONDS: Final = 30.0


def sample_answers() -> Iterator[Answer]:
    """Whether functions are woven here at all."""
    with tempfile.TemporaryDirectory(prefix="dytopo-autotrace-") as directory:
        rules = os.path.join(directory, "sample.toml")
        targets = ", ".join(f'"{_MODULE}:{name}"' for name in _PLACES)
        for path, text in (
            (os.path.join(directory, f"{_MODULE}.py"), _SOURCE),
            (rules, f'[[rule]]\nname = "sample"\ntarget = [{targets}]\n'),
        ):
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
        subject = Subject((directory, *sys.path))
        woven = weave(rules, subject, [_MODULE], _PATIENCE_SECONDS)
    done = [note for note in woven.notes if note.fate == "woven"]
    text = (
        f"{len(done)} of {len(_PLACES)} sample functions were woven in a process like a program's"
    )
    if len(done) == len(_PLACES):
        yield Answer("weaving", text)
        return
    why = [woven.trouble, *woven.faults, *(each.error for each in woven.modules)]
    why += [f"{note.place}: {note.reason}" for note in woven.notes if note.fate != "woven"]
    yield Answer("weaving", f"{text}: {listed(filter(None, why))}", "stops")
