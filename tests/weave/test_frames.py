"""Frames of ours are passed over by whatever names the caller of a function."""

import subprocess
import sys

import pytest

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
