"""Frames of ours are passed over by whatever names the caller of a function."""

import asyncio
import functools
import subprocess
import sys
import typing

import pytest

from dytopo_autotrace import traced
from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.advice import _compiled

SUBJECT = """
import asyncio, functools, logging, sys, warnings
warnings.warn("module", FutureWarning, stacklevel=2)
def tell(kind="plain", level=2):
    warnings.warn(kind, UserWarning, stacklevel=level)
    warnings.warn(kind, DeprecationWarning, stacklevel=level)
    logging.warning(kind, stacklevel=level)
def plain():
    tell("plain", 3)
async def later():
    tell("later", 3)
def items():
    tell("items", 3)
    yield 1
async def items_later():
    tell("items_later", 3)
    yield 1
def hands_items_back():
    return (tell("handed", 3) for _ in range(1))
async def _coroutine():
    tell("coroutine", 3)
def hands_coroutine_back():
    return _coroutine()
def _partial(text):
    tell(text, 3)
partial = functools.partial(_partial, "partial")
class Base:
    def method(self):
        tell("method", 3)
    @classmethod
    def __init_subclass__(cls):
        tell("subclass", 3)
"""
SCRIPT = """
import logging, sys
logging.basicConfig(format="%(filename)s:%(lineno)d %(funcName)s %(message)s", stream=sys.stdout)
import asyncio, subject
def main():
    subject.plain()
    [*subject.items()]
    [*subject.hands_items_back()]
    subject.partial()
    subject.Base().method()
    class Heir(subject.Base): pass
async def main_later():
    await subject.later()
    async for each in subject.items_later(): pass
    await subject.hands_coroutine_back()
    await asyncio.to_thread(main)
main()
asyncio.run(main_later())
"""
RULES = """
[[rule]]
target = ["subject:plain", "subject:later", "subject:items", "subject:items_later", "subject:hands*",
          "subject:partial", "subject:Base+.method", "start:main", "start:main_later"]
"""


@pytest.mark.parametrize("shown", ["default", "default::DeprecationWarning:__main__", "error"])
def test_warnings_and_log_records_name_the_same_caller(tmp_path, shown):
    """`stacklevel` leads from woven functions of every kind, and from modules, to the same line as bare."""
    (tmp_path / "subject.py").write_text(SUBJECT)
    (tmp_path / "start.py").write_text(SCRIPT)
    (tmp_path / "rules.toml").write_text(RULES)
    launcher = ["-m", "dytopo_autotrace", "--rules", "rules.toml", "--store", "none"]
    bare, woven = (
        subprocess.run(
            [sys.executable, "-W", shown, *how, "start.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for how in ([], [*launcher, "--report", "none"])
    )
    assert (woven.stdout, woven.stderr) == (bare.stdout, bare.stderr)
    assert woven.returncode == bare.returncode


CALLER = "sys._getframe(1).f_globals['__name__']"
SOURCE = f"""
import sys
def caller():
    return {CALLER}
def plain(value: "Mine" = None):
    return caller(), {CALLER}
async def later():
    return caller()
def items():
    yield caller()
def hands_back():
    return (caller() for _ in range(1))
def cached():
    return caller()
Mine = int
"""


@pytest.mark.parametrize("taken", ["__dytopo_now", "__dytopo_switch", "len"])
def test_a_woven_function_has_the_globals_of_its_own_module(taken):
    """Who asks for the globals of its caller finds the program's, one module's in each; none hides ours."""
    code = compile(SOURCE, "source.py", "exec")
    for name in ("first", "second"):
        scope = {"__name__": name, taken: None}
        exec(code, scope)
        names = ("plain", "later", "items", "hands_back", "cached")
        with capture() as seen:
            woven = {each: traced(attributes={"r": "len('x')"})(scope[each]) for each in names}
            scope.update(woven, cached=traced(functools.cache(scope["cached"])))
            assert eval("plain()", scope) == (name, name)
            assert asyncio.run(woven["later"]()) == name
            assert [*woven["items"](), *woven["hands_back"](), scope["cached"]()] == [name] * 3
        assert len(seen.spans) == 5
        assert woven["plain"].__globals__ is scope
        assert typing.get_type_hints(woven["plain"])["value"] is int
        assert scope.keys() >= {"caller", taken}
        assert not any(key.startswith("__dytopo") for key in scope if key != taken)


def test_functions_of_one_form_share_what_is_generated():
    """The advice of functions that take and keep the same things is compiled once."""
    compiled = _compiled.cache_info().misses
    with capture():
        for name in "abcdef":
            scope = {}
            exec(f"def {name}(unusual_parameter): return '{name}'", scope)
            woven = traced(scope[name])
            assert woven(1) == name
            assert woven.__code__.co_name == name
    assert _compiled.cache_info().misses <= compiled + 1
