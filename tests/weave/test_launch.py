"""The launcher inside one process: what it tells its watch, and what it leaves behind."""

import importlib
import runpy
import sys
from dataclasses import dataclass, field

import pytest

from dytopo_autotrace.cli.programs import find_module, find_script
from dytopo_autotrace.weave import launch


@dataclass
class Watch:
    """Keeps what it is told, and compiles what it is given to compile."""

    source: str | None = None
    compiled: list[tuple] = field(default_factory=list)
    endings: list[BaseException | None] = field(default_factory=list)

    def compile(self, source, filename, *known_as):
        self.compiled.append((source, filename, *known_as))
        return None if self.source is None else compile(self.source, filename, "exec")

    def has_no_source(self, *known_as):
        self.compiled.append(known_as)

    def ended(self, error):
        self.endings.append(error)


@pytest.fixture(autouse=True)
def own_interpreter_state(monkeypatch, tmp_path):
    """What a launch changes for good is put back after the test."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def main_names():
    return vars(sys.modules["__main__"])


def test_script_is_given_to_the_watch(tmp_path):
    """The watch gets the bytes of a script, the name that tracebacks show, and what rules call it."""
    (tmp_path / "start.py").write_bytes(b"x = 1\r\n")
    watch = Watch()
    launch.run(find_script("start.py"), ["a"], watch)

    assert watch.compiled == [(b"x = 1\r\n", f"{tmp_path}/start.py", "__main__", "start")]
    assert watch.endings == [None]
    assert main_names()["x"] == 1
    assert sys.argv == ["start.py", "a"]
    assert sys.path[0] == str(tmp_path)


def test_module_is_given_to_the_watch(tmp_path):
    """The watch gets the source of a module, and both of its names."""
    (tmp_path / "part.py").write_text("x = 1\n")
    watch = Watch()
    launch.run(find_module("part"), [], watch)

    file = f"{tmp_path}/part.py"
    assert watch.compiled == [("x = 1\n", file, "__main__", "part")]
    assert main_names()["__spec__"].name == "part"
    assert sys.argv == [file]


def test_directory_is_given_to_the_watch(tmp_path):
    """Of a directory the watch gets the `__main__.py`."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("x = 1\n")
    watch = Watch()
    launch.run(find_script("app"), [], watch)

    assert watch.compiled == [("x = 1\n", f"{tmp_path}/app/__main__.py", "__main__")]


@pytest.mark.parametrize("find", ["start.py", "-m"])
def test_woven_code_is_run(tmp_path, find):
    """The code that the watch compiles runs in place of the program's own."""
    (tmp_path / "start.py").write_text("x = 'plain'\n")
    program = find_module("start") if find == "-m" else find_script(find)
    launch.run(program, [], Watch("x = 'woven'"))

    assert main_names()["x"] == "woven"


def test_without_a_watch(tmp_path):
    """Without a watch the program's own code runs."""
    (tmp_path / "start.py").write_text("x = 'plain'\n")
    launch.run(find_module("start"), [])

    assert main_names()["x"] == "plain"


@pytest.mark.parametrize("error", [SystemExit, ValueError, KeyboardInterrupt, GeneratorExit])
def test_watch_hears_the_end(tmp_path, error):
    """What ended the program reaches the watch and the caller, the same object."""
    (tmp_path / "start.py").write_text(f"raise {error.__name__}\n")
    watch = Watch()
    with pytest.raises(error) as raised:
        launch.run(find_script("start.py"), [], watch)

    assert watch.endings == [raised.value]


def test_exception_is_shown_once_and_without_us(tmp_path, monkeypatch):
    """The program's excepthook gets a traceback that begins in the program, and is put back."""
    shown = []

    def hook(*args):
        shown.append((args, sys.excepthook))

    monkeypatch.setattr(sys, "excepthook", hook)
    (tmp_path / "start.py").write_text("def f(): raise ValueError\nf()\n")
    with pytest.raises(ValueError) as raised:
        launch.run(find_script("start.py"), [])
    error = raised.value
    sys.excepthook(type(error), error, error.__traceback__)
    ((kind, value, traceback), during), *more = shown

    assert (kind, value, during, more) == (ValueError, error, hook, [])
    assert traceback is error.__traceback__
    assert [traceback.tb_lineno, traceback.tb_next.tb_lineno] == [2, 1]
    assert sys.excepthook is hook


def test_file_of_a_script_is_forgotten_at_its_end(tmp_path):
    """`__file__` goes when a script has ended, as it does under plain Python; a module keeps it."""
    (tmp_path / "start.py").write_text("was = __file__\n")
    launch.run(find_script("start.py"), [])
    assert "was" in main_names()
    assert "__file__" not in main_names()

    launch.run(find_module("start"), [])
    assert main_names()["__file__"] == main_names()["was"]


def test_runpy_is_as_it_was(tmp_path):
    """runpy is changed for one look-up only, whether that finds something or not."""
    look_up = runpy._get_module_details
    (tmp_path / "start.py").write_text("import runpy\nlook_up = runpy._get_module_details\n")
    launch.run(find_module("start"), [], Watch())
    assert main_names()["look_up"] is look_up

    with pytest.raises(launch.NotRunnableError):
        launch.run(find_module("no_such_module_at_all"), [], Watch())
    assert runpy._get_module_details is look_up


def test_modules_of_the_program_come_first(tmp_path):
    """A module that we have imported is forgotten, with its parts, if the program has its own."""
    (tmp_path / "json.py").write_text("own = True\n")
    (tmp_path / "sys.py").write_text("own = True\n")
    (tmp_path / "dytopo_autotrace").mkdir()
    (tmp_path / "dytopo_autotrace" / "__init__.py").write_text("own = True\n")
    (tmp_path / "re").mkdir()  # without an __init__.py it loses against the real one
    (tmp_path / "start.py").write_text("import json, re, sys, dytopo_autotrace\n")
    real = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] == "json"
    }
    for name in real:
        del sys.modules[name]
    try:
        importlib.import_module("json")  # after the launcher, so it is the launcher's doing
        launch.run(find_script("start.py"), [])
        program = main_names()

        assert program["json"].own
        assert program["re"].compile
        assert program["sys"] is sys
        assert not hasattr(program["dytopo_autotrace"], "own")
        assert "json.decoder" not in sys.modules
    finally:
        sys.modules.update(real)
