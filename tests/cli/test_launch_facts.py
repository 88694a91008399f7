"""What a program sees of itself and of its interpreter is what it sees under plain Python."""

import os
import sys
import zipfile

import pytest

FACTS = '''
"""A docstring."""
import gc, json, os, signal, sys, warnings

def unwatched_facts():
    spec, main = __spec__, sys.modules["__main__"]
    return {
        "globals": list(globals()),
        "argv": sys.argv,
        "path": sys.path,
        "file": globals().get("__file__"),
        "name": __name__,
        "doc": __doc__,
        "package": __package__,
        "cached": globals().get("__cached__"),
        "loader": [type(__loader__).__module__, type(__loader__).__qualname__],
        "loads": [getattr(__loader__, name, None) for name in ("name", "path", "archive")],
        "spec": spec and [spec.name, spec.origin, spec.parent, spec.cached, spec.has_location,
                          spec.loader is __loader__, spec.submodule_search_locations],
        "builtins": __builtins__ is sys.modules["builtins"],
        "annotations": globals().get("__annotations__"),
        "main is this": vars(main) is globals(),
        "main": repr(main),
        "flags": list(sys.flags),
        "hooks": [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
        "tracing": [sys.gettrace(), sys.getprofile()],
        "warnings": repr(warnings.filters),
        "options": [sys.warnoptions, sys._xoptions, sys.dont_write_bytecode],
        "streams": [[s.encoding, s.errors, s.line_buffering]
                    for s in (sys.stdin, sys.stdout, sys.stderr)],
        "signals": [repr(signal.getsignal(n)) for n in sorted(signal.valid_signals())
                    if "default_int_handler" not in repr(signal.getsignal(n))],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "garbage": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.callbacks],
        "place": os.getcwd(),
        "files": sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None,
        "environment": dict(os.environ),
        "debug": __debug__,
    }

print(json.dumps(unwatched_facts(), indent=1))
'''


def test_of_a_script(workplace):
    """A script has the same globals, arguments, search path and interpreter state."""
    ending = workplace.compare_source(FACTS, "--strict", "-m", "", "ä b")

    assert ending.status == 0
    assert '"--strict"' in ending.text


@pytest.mark.parametrize(
    "flags",
    [("-P",), ("-OO",), ("-W", "error"), ("-X", "dev"), ("-X", "utf8=0", "-u")],
    ids=" ".join,
)
def test_of_a_script_with_flags(workplace, flags):
    """The flags of the interpreter reach the program, and none of them makes us print anything."""
    ending = workplace.compare_source(FACTS, flags=flags)

    assert (ending.status, ending.errors) == (0, "")


@pytest.mark.parametrize(
    "env",
    [{"PYTHONSAFEPATH": "1"}, {"PYTHONWARNINGS": "error"}, {"LC_ALL": "C"}, {"PYTHONPATH": "."}],
    ids="".join,
)
def test_of_a_script_with_environment(workplace, env):
    """The interpreter's environment variables have the same effect."""
    if "PYTHONPATH" in env:
        env = {"PYTHONPATH": os.pathsep.join((".", workplace.root))}
    ending = workplace.compare_source(FACTS, env=env)

    assert (ending.status, ending.errors) == (0, "")


@pytest.mark.parametrize("path", ["./program.py", "../work/program.py", "sub/../program.py"])
def test_of_a_path_that_is_not_normal(workplace, path):
    """A path is kept as it was written in `__file__`, and resolved in `sys.path`."""
    workplace.write("sub/other.py", "")

    workplace.compare_source(FACTS)
    ending = workplace.compare(path)

    assert f"work/{path}" in ending.text


def test_of_an_absolute_path(workplace):
    """A script is found by its absolute path from any directory."""
    script = workplace.write("far/away/program.py", FACTS)

    ending = workplace.compare(script)

    assert ending.status == 0


def test_of_a_relative_path_into_another_directory(workplace):
    """The script's directory is on the path, not the working directory."""
    workplace.write("there/helper.py", "print('imported')")
    workplace.write("there/program.py", "import helper\n" + FACTS)

    ending = workplace.compare("there/program.py")

    assert ending.text.startswith("imported")


def test_of_a_symlinked_script(workplace):
    """The directory that a link leads to is on the path."""
    workplace.write("real/helper.py", "print('imported')")
    script = workplace.write("real/program.py", "import helper\n" + FACTS)
    (workplace.directory / "link").symlink_to(script)
    (workplace.directory / "links").mkdir()
    (workplace.directory / "links" / "again").symlink_to("../link")

    assert workplace.compare("link").status == 0
    assert workplace.compare("links/again").status == 0


@pytest.mark.parametrize("name", ["ünïcödé 名 with spaces.py", "no.suffix"])
def test_of_an_unusual_name(workplace, name):
    """A script may have any name."""
    workplace.write(name, FACTS)

    assert workplace.compare(name).status == 0


def test_of_a_compiled_script(workplace):
    """A `.pyc` file is run as it is, under any name."""
    import py_compile

    script = workplace.write("program.py", FACTS)
    py_compile.compile(str(script), cfile=str(workplace.directory / "program.pyc"))
    py_compile.compile(str(script), cfile=str(workplace.directory / "compiled"))

    assert workplace.compare("program.pyc").status == 0
    assert workplace.compare("compiled").status == 0


@pytest.mark.parametrize("flags", [(), ("-P",)], ids=["plain", "safe path"])
@pytest.mark.parametrize("path", ["app", "./app", "app/"])
def test_of_a_directory(workplace, path, flags):
    """A directory with a `__main__.py` is on the path itself, with -P as well."""
    workplace.write("app/helper.py", "print('imported')")
    workplace.write("app/__main__.py", "import helper\n" + FACTS)

    ending = workplace.compare(path, "x", flags=flags)

    assert ending.text.startswith("imported")


def test_of_a_zip_file(workplace):
    """A zip file with a `__main__.py` is run, whatever its name."""
    for name in ("app.zip", "app.pyz", "app.py"):
        with zipfile.ZipFile(workplace.directory / name, "w") as archive:
            archive.writestr("helper.py", "print('imported')")
            archive.writestr("__main__.py", "import helper\n" + FACTS)

        assert workplace.compare(name, "x").text.startswith("imported")


@pytest.mark.parametrize("flags", [(), ("-P",)], ids=["plain", "safe path"])
def test_of_a_module(workplace, flags):
    """`-m module` has a spec, and the working directory on the path."""
    workplace.write("program.py", FACTS)

    env = {"PYTHONPATH": os.pathsep.join((workplace.root, str(workplace.directory)))}
    ending = workplace.compare("-m", "program", "-x", flags=flags, env=env)

    assert '"name": "__main__"' in ending.text


def test_of_modules_in_packages(workplace):
    """Parents are imported first, while `sys.argv[0]` is still `-m`."""
    workplace.write("package/__init__.py", "import sys; print(sys.argv, __name__, __spec__.name)")
    workplace.write("package/sub/__init__.py", "import sys; print(sys.argv[0])")
    workplace.write("package/sub/__main__.py", "from . import helper\n" + FACTS)
    workplace.write("package/sub/helper.py", "print(__name__)")
    workplace.write("names/space.py", FACTS)

    for name in ("package.sub", "package.sub.__main__", "package.sub.helper", "names.space"):
        assert workplace.compare("-m", name, "argument").status == 0


def test_of_a_module_that_its_package_imports(workplace):
    """runpy's warning about a module that is there already comes once, as it does without us."""
    workplace.write("package/__init__.py", "import package.program")
    workplace.write("package/program.py", FACTS)

    assert "RuntimeWarning" in workplace.compare("-m", "package.program").errors


@pytest.mark.parametrize("argv", [("program.py",), ("-m", "program"), ("app",)], ids=" ".join)
def test_of_the_console_script(workplace, argv):
    """`dytopo-autotrace run` is the same as `python -m dytopo_autotrace`."""
    workplace.write("program.py", FACTS)
    workplace.write("app/__main__.py", FACTS)

    assert workplace.compare(*argv, "x", console=True).status == 0


def test_in_a_read_only_directory(workplace):
    """Nothing is written to where the program is."""
    workplace.write("program.py", FACTS)
    workplace.write("helper.py", "")
    before = sorted(workplace.directory.rglob("*"))
    workplace.directory.chmod(0o555)
    try:
        ending = workplace.compare("program.py", env={"PYTHONPYCACHEPREFIX": ""})
    finally:
        workplace.directory.chmod(0o755)

    assert ending.status == 0
    assert sorted(workplace.directory.rglob("*")) == before


def test_in_a_directory_that_is_gone(workplace):
    """A program whose working directory was deleted runs."""
    script = workplace.write("program.py", "import sys; print(sys.path, sys.argv)")
    gone = 'rm -r "$PWD"; exec "$0" "$@"'
    endings = []
    for launcher in ((), ("-m", "dytopo_autotrace", "--report=none")):
        place = workplace.directory / "gone"
        place.mkdir()
        import subprocess

        endings.append(
            subprocess.run(
                ["sh", "-c", gone, sys.executable, *launcher, str(script)],
                cwd=place,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": workplace.root},
                capture_output=True,
                check=False,
            )
        )
    plain, watched = endings

    assert (plain.returncode, plain.stdout) == (watched.returncode, watched.stdout)
    assert watched.stderr == b""


def test_of_modules_with_names_of_the_standard_library(workplace):
    """What lies beside the script wins over a standard module that we have imported before."""
    for name in ("random", "difflib", "tomllib", "statistics", "fnmatch", "uuid"):
        workplace.write(f"app/{name}.py", f"print('own {name}')")
    workplace.write(
        "app/program.py",
        "import random, difflib, tomllib, statistics, fnmatch, uuid; print(random.__file__)",
    )

    ending = workplace.compare("app/program.py")

    assert ending.text.count("own ") == 6
