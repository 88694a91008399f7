"""What cannot be done is said in one clear message: what, where, and what to do instead."""

import os
import socket

import pytest


def complaint(workplace, *argv, **how):
    """The message of a start that ends with status 2, each line begun by our name."""
    ending = workplace.start(["-m", "dytopo_autotrace", *argv], **how)
    lines = ending.errors.splitlines()

    assert (ending.status, ending.stdout) == (2, b"")
    assert all(line.startswith("dytopo-autotrace: ") or not line for line in lines)
    assert "Traceback" not in ending.errors
    return "\n".join(line.removeprefix("dytopo-autotrace: ") for line in lines)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["progrm.py"], ["'progrm.py'", "no such file", "Did you mean 'program.py'?"]),
        (["sub/helper.py"], ["'sub/helper.py'", "Did you mean 'helpers.py'?"]),
        (["no/such/directory/x.py"], ["there is no directory", "no/such/directory"]),
        (["shwo"], ["'shwo'", "no such file", "Did you mean 'show'?"]),
        (["python", "program.py"], ["'python'", "leave it out"]),
        (["python3.12", "-m", "program"], ["leave it out"]),
        (["dangling"], ["link to 'nowhere.py'"]),
        (["empty"], ["can't find '__main__' in 'empty'", "__main__.py", "name a script"]),
        (["sub"], ["can't find '__main__' in 'sub'", "It has helpers.py"]),
        (["tool"], ["'tool' is no Python script", "byte 3 is null"]),
        (["socket"], ["can't open file 'socket'", "Name a Python script"]),
        (["--", "--strange.py"], ["'--strange.py'", "no such file"]),
        (["-m"], ["-m needs the name of a module"]),
        (["-m", "program.py"], ["that is a file", "Leave out -m: program.py"]),
        (["-m", "progrm"], ["there is no module 'progrm'", "Did you mean 'program'?"]),
        (["-mprogrm"], ["there is no module 'progrm'"]),
        (["-m", "package.helprs"], ["Did you mean 'package.helpers'?"]),
        (["-m", "pakage.helpers"], ["Did you mean 'package'?"]),
        (["-m", "package"], ["has no __main__", "package.helpers"]),
        (["-m", "sub"], ["has no __main__", "sub.helpers"]),
        (["-m", "math"], ["can't run -m math", "math"]),
        (["-m", "package.helpers.deeper"], ["'package.helpers' is a module"]),
        (["-m", ".helpers"], ["-m .helpers"]),
        (["-m", "pack age"], ["Did you mean 'package'?"]),
        ([], ["no program to run", "usage: python -m dytopo_autotrace"]),
        (["--quiet"], ["no program to run"]),
        (["run"], ["no program to run"]),
        ([""], ["name is empty"]),
        (["-"], ["- is not supported", "save the program to a file"]),
        (["-c", "print(1)"], ["-c is not supported"]),
        (["--reprt", "none", "program.py"], ["no option '--reprt'", "Did you mean '--report'?"]),
        (["-z", "program.py"], ["no option '-z'", "Options of the program come after"]),
        (["--rules"], ["--rules needs a value"]),
        (["--rules", "--strict", "program.py"], ["--rules needs a value"]),
        (["--out=", "program.py"], ["--out needs a value"]),
        (["--report", "treminal", "program.py"], ["'treminal'", "Did you mean 'terminal'?"]),
        (["--report=html", "program.py"], ["'html'", "Valid: ", "json, none, terminal"]),
        (["--strict=yes", "program.py"], ["--strict has no value", "leave out =yes"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_line(workplace, argv, parts):
    """A command line that asks for what is not there is answered with what is."""
    workplace.write("program.py", "print('started')")
    workplace.write("package/__init__.py", "")
    workplace.write("package/helpers.py", "")
    workplace.write("sub/helpers.py", "")
    workplace.write("tool", b"\x7fEL\0F")
    (workplace.directory / "empty").mkdir()
    (workplace.directory / "dangling").symlink_to("nowhere.py")
    place = os.open(workplace.directory, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        # The path of a socket must be short.
        listener.bind(f"/proc/self/fd/{place}/socket")
        message = complaint(workplace, *argv)
    os.close(place)

    for part in parts:
        assert part in message
    assert len(message) < 300 or "usage:" in message


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="has no permissions as POSIX has them")
def test_file_that_may_not_be_read(workplace):
    """A script without permission to read is said to be that."""
    script = workplace.write("program.py", "")
    script.chmod(0)
    if os.access(script, os.R_OK):
        pytest.skip("this user may read everything")

    assert "Permission denied" in complaint(workplace, "program.py")


def test_zip_without_main(workplace):
    """A zip file that is no program is told from one that is."""
    import zipfile

    with zipfile.ZipFile(workplace.directory / "app.zip", "w") as archive:
        archive.writestr("helper.py", "")

    assert "can't find '__main__' in 'app.zip'" in complaint(workplace, "app.zip")


def test_nothing_is_reported_of_a_module_that_is_not_there(workplace):
    """A module that cannot be run leaves the message alone, without a report of nothing."""
    message = complaint(workplace, f"--rules={workplace.rules}", "--report=terminal", "-m", "nope")

    assert len(message.splitlines()) == 1


def test_help_and_version(workplace):
    """--help and --version answer on stdout and run nothing."""
    from dytopo_autotrace import __version__

    shown = workplace.start(["-m", "dytopo_autotrace", "--help", "program.py"])
    version = workplace.start(["-m", "dytopo_autotrace", "run", "--version"])

    assert (shown.status, shown.errors) == (0, "")
    assert all(
        option in shown.text for option in ("--rules", "--strict", "--report", "--out", "-m")
    )
    assert version.text == f"{__version__}\n"


@pytest.mark.parametrize("command", ["runs", "show", "delete", "export", "import"])
def test_other_commands(workplace, command):
    """Every command that the usage names answers to --help."""
    shown = workplace.start(["-m", "dytopo_autotrace", command, "--help"])

    assert (shown.status, shown.errors) == (0, "")
    assert shown.text.startswith(f"Usage: dytopo-autotrace {command}")


RULE_FILES = {
    "missing": None,
    "not TOML": b"[[rule]\nx",
    "not UTF-8": b"[[rule]]\nname = '\xe9'\n",
    "directory": "a directory",
    "unreadable": "a socket",
    "unknown key": b"[[rule]]\ntarget = 'a:b'\ntraget = 'a:c'\n",
}


@pytest.fixture(params=RULE_FILES.values(), ids=RULE_FILES)
def bad_rules(request, workplace):
    """A rule file that cannot be used."""
    file = workplace.directory / "bad.toml"
    if request.param is None:
        workplace.write("bads.toml", "")
    elif request.param == "a directory":
        file.mkdir()
    elif request.param == "a socket":
        file.symlink_to("/proc/self/mem")
    else:
        file.write_bytes(request.param)
    return file


def test_bad_rule_file_does_not_stop_the_program(workplace, bad_rules):
    """With a rule file that cannot be used the program runs, and the fault is said once."""
    workplace.write("program.py", "print('started')")
    argv = ["-m", "dytopo_autotrace", "--report=none", f"--rules={bad_rules}", "program.py"]
    ending = workplace.start(argv)

    assert (ending.status, ending.text) == (0, "started\n")
    assert len(ending.errors.splitlines()) == 1
    assert ending.errors.startswith(f"dytopo-autotrace: {bad_rules}")


def test_bad_rule_file_is_fatal_with_strict(workplace, bad_rules):
    """With --strict the same file keeps the program from starting."""
    workplace.write("program.py", "print('started')")

    message = complaint(workplace, "--strict", f"--rules={bad_rules}", "program.py")

    assert str(bad_rules) in message
    assert "--strict" in message.splitlines()[-1]


def test_quiet(workplace):
    """--quiet says nothing of a rule file either."""
    workplace.write("program.py", "print('started')")
    ending = workplace.start(["-m", "dytopo_autotrace", "-q", "--rules=nope.toml", "program.py"])

    assert (ending.status, ending.text, ending.errors) == (0, "started\n", "")


def test_rule_that_names_nothing_is_fatal_with_strict(workplace):
    """With --strict a rule whose function is not there keeps the program from starting."""
    workplace.rules.write_text('[[rule]]\ntarget = "program:wrok"\n')
    workplace.write("program.py", "def work(): pass\nprint('started')\nwork()")

    message = complaint(workplace, "--strict", f"--rules={workplace.rules}", "program.py")

    assert f"{workplace.rules}:1" in message
    assert "Did you mean 'work'?" in message


@pytest.mark.parametrize("argv", [("program.py",), ("-m", "package.program")], ids=" ".join)
def test_right_rules_pass_strict(workplace, argv):
    """With --strict and rules that all name something, the program starts."""
    source = "def work(n): return n\nprint('started')\nwork(1)"
    workplace.write("program.py", source)
    workplace.write("package/program.py", source)
    workplace.rules.write_text('[[rule]]\ntarget = "__main__:work"\nattributes = { n = "n" }\n')
    ending = workplace.launch(*argv, options=["--strict"])

    assert (ending.status, ending.text, ending.errors) == (0, "started\n", "")


def test_closed_stderr(workplace):
    """Without a stderr our messages go nowhere, least of all to stdout."""
    workplace.write("program.py", "print('started')")
    command = 'exec "$0" "$@" 2>&-'
    import subprocess
    import sys

    for argv in (["--rules=nope.toml", "program.py"], ["--nope"]):
        run = subprocess.run(
            ["sh", "-c", command, sys.executable, "-m", "dytopo_autotrace", "--report=none", *argv],
            cwd=workplace.directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            capture_output=True,
            check=False,
        )
        assert run.stdout in (b"", b"started\n")
