"""With DYTOPO_AUTOTRACE_DISABLED=1 the launcher runs the program and does nothing else."""

import json

import pytest

DISABLED = {"DYTOPO_AUTOTRACE_DISABLED": "1"}

TRACES_OF_US = """
import json, sys, threading

def work(): pass

work()
print(json.dumps({
    "finders": [getattr(finder, '__name__', type(finder).__name__) for finder in sys.meta_path],
    "hooks": [hook.__name__ for hook in sys.path_hooks],
    "threads": [thread.name for thread in threading.enumerate()],
    "main": [name for name in dir(sys.modules["__main__"])],
    "work": [type(work).__name__, work.__code__.co_filename == __file__],
    "path": sys.path,
}))
"""


@pytest.mark.parametrize("argv", [("program.py",), ("-m", "program"), ("app",)], ids=" ".join)
def test_nothing_of_ours(workplace, argv):
    """No finder, no thread, no woven function: all is as under plain Python."""
    workplace.write("program.py", TRACES_OF_US)
    workplace.write("app/__main__.py", TRACES_OF_US)

    ending = workplace.compare(*argv, env=DISABLED)

    assert json.loads(ending.text)["threads"] == ["MainThread"]


def test_what_is_imported(workplace):
    """wrapt is not imported, nor what weaves, collects or reports."""
    workplace.write("program.py", "import sys; print('\\n'.join(sys.modules))")

    modules = set(workplace.launch("program.py", env=DISABLED).text.split())

    assert not {"wrapt", "asyncio", "tomllib", "rich", "click"} & modules
    ours = {name for name in modules if name.startswith("dytopo_autotrace.")}
    assert not {f"dytopo_autotrace.{name}" for name in ("run", "report", "weave.finder")} & ours


@pytest.mark.parametrize("end", ["1/0", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_its_end(workplace, end):
    """The program ends as it does without us."""
    workplace.compare_source(f"def work():\n    {end}\nwork()", env=DISABLED)


def test_rules_are_not_read(workplace):
    """A rule file that is wrong is not looked at, not even with --strict."""
    workplace.rules.write_text("not TOML")
    workplace.write("program.py", "print('started')")
    ending = workplace.launch("program.py", options=["--strict"], env=DISABLED)

    assert (ending.status, ending.text, ending.errors) == (0, "started\n", "")
