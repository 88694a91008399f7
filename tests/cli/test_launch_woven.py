"""The functions of the launched program are watched, and stand where they stood."""

import json

import pytest

SAY = """
def unwatched_spans():
    from dytopo_autotrace.collect.pipeline import pipeline
    from dytopo_autotrace.collect.tracing import traces
    pipeline.drain()
    return [span.operation for spans in traces.all().values() for span in spans]
"""

PROGRAM = """
import sys, traceback

def top(n):
    def inner():
        return n
    return inner()

class Worker:
    def method(self): return top(1)

    @staticmethod
    def static(): return 2

async def later(): return 3

@staticmethod
@unwatched_decorator
def decorated(): return 4

if __name__ == "__main__":
    import asyncio, json
    Worker().method(), Worker.static(), asyncio.run(later()), decorated()
    print(json.dumps(sorted(unwatched_spans())))
"""

DECORATOR = """
def unwatched_decorator(function): return function
"""


@pytest.mark.parametrize("argv", [("program.py",), ("-m", "program"), ("app",)], ids=" ".join)
def test_called_from_its_own_main_block(workplace, argv):
    """Functions, methods and nested functions that the main block calls are recorded."""
    for name in ("program.py", "app/__main__.py"):
        workplace.write(name, SAY + DECORATOR + PROGRAM)

    ending = workplace.launch(*argv)

    assert json.loads(ending.text) == [
        "Worker.method",
        "Worker.static",
        "decorated",
        "later",
        "top",
        "top.<locals>.inner",
    ]


def test_known_by_the_name_of_its_file(workplace):
    """A rule may call the launched script by its file's name, `-m` by the module's."""
    workplace.rules.write_text('[[rule]]\ntarget = ["script:work", "package.script:work"]\n')
    source = SAY + "def work(): pass\nwork()\nprint(unwatched_spans())\n"
    workplace.write("script.py", source)
    workplace.write("package/script.py", source)

    assert workplace.launch("script.py").text == "['work']\n"
    assert workplace.launch("-m", "package.script").text == "['work']\n"


def test_imported_again_by_its_name(workplace):
    """A main module that is also imported is woven in both copies, each call counted once."""
    workplace.rules.write_text('[[rule]]\ntarget = "program:work"\n')
    workplace.write(
        "program.py",
        SAY + "def work(): pass\nif __name__ == '__main__':\n"
        "    import program\n    work(); program.work()\n    print(unwatched_spans())\n",
    )

    assert workplace.launch("program.py").text == "['work', 'work']\n"
    assert workplace.launch("-m", "program").text == "['work', 'work']\n"


LINES = '''"""Doc."""
from __future__ import annotations
from helpers_of_program import *


def plain(): raise ValueError


@unwatched(
    1,
)
@unwatched(2)
def decorated(
    a=1,
):
    """Doc."""

    raise ValueError


class A:
    x = 1

    async def method(self): raise ValueError

    @property
    def prop(self):
        raise ValueError

for f in (plain, decorated, A.method, A.prop.fget):
    code = unwatched_code(f)
    print(code.co_firstlineno, code.co_name, code.co_filename == __file__, list(code.co_lines()),
          list(code.co_positions()), code.co_consts, code.co_names, code.co_flags)
'''

HELPERS = """
def unwatched(n): return lambda f: f
def unwatched_code(f):
    import inspect
    return inspect.unwrap(f).__code__
"""


def test_line_numbers(workplace):
    """Code objects have the lines, columns, constants and flags that they have without us."""
    workplace.write("helpers_of_program.py", HELPERS)

    ending = workplace.compare_source(LINES)

    assert ending.text.count("True") == 4


def test_parents_of_a_module_are_watched(workplace):
    """Functions that parent packages run while runpy looks for the module are recorded."""
    workplace.write("package/__init__.py", "from .helper import work\nwork()")
    workplace.write("package/helper.py", "def work(): pass")
    workplace.write("package/program.py", SAY + "print(unwatched_spans())")

    assert workplace.launch("-m", "package.program").text == "['work']\n"


def test_paths_are_settled_at_the_start(workplace):
    """A program that changes its working directory moves neither the rules nor the output."""
    workplace.write("rules.toml", '[[rule]]\ntarget = "__main__:work"\n')
    workplace.write(
        "program.py",
        SAY + "import os; os.chdir('/')\ndef work(): pass\nwork()\nprint(unwatched_spans())",
    )
    argv = [
        "-m",
        "dytopo_autotrace",
        "--report=none",
        "--rules=rules.toml",
        "--out=out",
        "program.py",
    ]

    assert workplace.start(argv).text == "['work']\n"
    assert any((workplace.directory / "out").iterdir())
