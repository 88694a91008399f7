"""`check`: what each rule names, before the program runs."""

import contextlib
import sys

import pytest

from dytopo_autotrace.preflight.imported import weave
from dytopo_autotrace.preflight.model import Subject

SWARM = """
    from tools import search, made

    def plan(task): return task
    async def work(agent, task): return task
    class Worker:
        def run(self, task): pass
        @classmethod
        def make(cls): pass

    if __name__ == "__main__":
        open("ran", "w").close()
"""
TOOLS = """
    import math
    root = math.sqrt
    def search(query): pass
    def _make():
        def made(): pass
        return made
    made = _make()
"""


@pytest.fixture
def swarm(project):
    project.write("swarm.py", SWARM)
    project.write("tools.py", TOOLS)
    return project


def verdicts(document):
    return {rule["name"]: rule["verdict"] for rule in document["rules"]}


def rule_of(document, name):
    return next(rule for rule in document["rules"] if rule["name"] == name)


def places(rule):
    return {each["place"]: each["taken_by"] for each in rule["functions"]}


def test_a_match_says_what_and_where(swarm):
    """Each function that a rule matches is given with its kind, its file and its line."""
    swarm.rules('[[rule]]\nname = "w"\ntarget = ["swarm:work", "swarm:Worker.*"]\n')
    document, status = swarm.json("check", "swarm.py")

    functions = rule_of(document, "w")["functions"]
    lines = (swarm.directory / "swarm.py").read_text().splitlines()
    assert [each["kind"] for each in functions] == ["async function", "method", "class method"]
    assert all("def " in lines[each["line"] - 1] for each in functions)
    assert {each["file"].rpartition("/")[2] for each in functions} == {"swarm.py"}
    assert (status, document["ok"]) == (0, True)


@pytest.mark.parametrize("by_import", [False, True])
def test_a_rule_that_matches_nothing_fails_the_check(swarm, by_import):
    """Exit status 1, and the nearest name that there is, by source and by import alike."""
    swarm.rules('[[rule]]\nname = "slip"\ntarget = "tools:serach"\n')
    ended = swarm.run("check", *["--import"][: int(by_import)])

    assert ended.returncode == 1
    assert "slip: matches nothing" in ended.stdout
    assert "Did you mean 'search'?" in " ".join(ended.stdout.split())
    assert ended.stderr == ""


def test_a_pack_for_what_is_not_here_is_no_failure(swarm):
    """Rules of packs whose module this program does not have are named and fail nothing."""
    swarm.rules('[agent]\npacks = ["dytopo"]\n[[rule]]\ntarget = "tools:search"\n')
    document, status = swarm.json("check")

    packed = {rule["verdict"] for rule in document["rules"] if rule["pack"]}
    assert (status, packed) == (0, {"absent"})


def test_the_first_matching_rule_is_named_for_each_function(swarm):
    """A function that two rules match is given to the earlier, and the later says who took it."""
    swarm.rules(
        '[[rule]]\nname = "first"\ntarget = "swarm:plan"\n'
        '[[rule]]\nname = "some"\ntarget = "swarm:*"\n'
        '[[rule]]\nname = "none"\ntarget = "swarm:work"\n'
    )
    document, status = swarm.json("check", "swarm.py")

    assert places(rule_of(document, "some")) == {"swarm:plan": "first", "swarm:work": ""}
    assert verdicts(document) == {"first": "matched", "some": "matched", "none": "shadowed"}
    assert places(rule_of(document, "none")) == {"swarm:work": "some"}
    assert status == 0


def test_what_the_source_leaves_open_is_settled_by_importing(swarm):
    """A doubt of the source is a doubt without --import, and an answer with it."""
    swarm.rules(
        '[[rule]]\nname = "made"\ntarget = "tools:made"\n'
        '[[rule]]\nname = "c"\ntarget = "tools:root"\n'
    )
    before, status = swarm.json("check")
    after, status_after = swarm.json("check", "--import")

    assert (verdicts(before), status) == ({"made": "unsure", "c": "unsure"}, 0)
    assert (verdicts(after), status_after) == ({"made": "matched", "c": "refused"}, 1)
    (refused,) = rule_of(after, "c")["functions"]
    assert (refused["fate"], "written in C" in refused["reason"]) == ("refused", True)
    assert rule_of(after, "made")["functions"][0]["file"].endswith("tools.py")


def test_the_program_is_not_run(swarm):
    """Importing weaves the script's functions without running what its name guards."""
    swarm.rules('[[rule]]\nname = "w"\ntarget = ["__main__:work", "swarm:plan"]\n')
    document, status = swarm.json("check", "swarm.py", "--import")

    assert {each["fate"] for each in rule_of(document, "w")["functions"]} == {"woven"}
    assert status == 0
    assert not (swarm.directory / "ran").exists()


@pytest.mark.parametrize("options", [(), ("--import",)])
def test_the_main_module_depends_on_the_program(swarm, options):
    """Without a program, what rules call `__main__` is in doubt, and nobody else's is taken for it."""
    swarm.rules('[[rule]]\nname = "w"\ntarget = "__main__:work"\n')
    document, status = swarm.json("check", *options)

    assert (verdicts(document), status) == ({"w": "unsure"}, 0)
    assert "which program is started" in rule_of(document, "w")["doubts"][0]


def test_a_module_as_the_program(swarm):
    """With -m the main module is reached by both of its names, and is not run either."""
    swarm.rules('[[rule]]\nname = "w"\ntarget = ["__main__:work", "swarm:plan"]\n')
    document, status = swarm.json("check", "-m", "swarm", "--import")

    fates = {each["place"]: each["fate"] for each in rule_of(document, "w")["functions"]}
    assert (fates, status) == ({"__main__:work": "woven", "swarm:plan": "woven"}, 0)
    assert not (swarm.directory / "ran").exists()


def test_a_script_that_would_run_is_not_imported(swarm):
    """Without a guard importing is running: only what the script imports is imported."""
    swarm.write("bare.py", "import tools\ndef go(): pass\ngo()\nopen('ran', 'w').close()\n")
    swarm.rules('[[rule]]\nname = "g"\ntarget = ["bare:go", "tools:search"]\n')
    document, status = swarm.json("check", "bare.py", "--import")

    fates = {each["place"]: each["fate"] for each in rule_of(document, "g")["functions"]}
    assert fates == {"bare:go": "", "tools:search": "woven"}
    assert any("would run it" in each["error"] for each in document["woven"]["modules"])
    assert status == 0
    assert not (swarm.directory / "ran").exists()


def test_a_module_that_starts_a_program_is_not_imported(swarm):
    """A script among the modules that rules name is left alone, and the line that starts it is told."""
    starts = ["asyncio.run(main())", "sys.exit(main())", "main()", "raise SystemExit(main())"]
    for number, start in enumerate(starts):
        source = "import asyncio, sys\ndef main(): open('ran', 'w').close()\n\n"
        swarm.write(f"job{number}.py", f"{source}{start}\n")
    swarm.rules('[[rule]]\nname = "j"\ntarget = "job?:main"\n')
    document, status = swarm.json("check", "--import")

    errors = [
        each["error"] for each in document["woven"]["modules"] if each["module"] != "__main__"
    ]
    assert len(errors) == len(starts)
    assert all(error.endswith("would run it: see its line 4") for error in errors)
    assert (verdicts(document), status) == ({"j": "matched"}, 0)
    assert not (swarm.directory / "ran").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nos._exit(3)", "status 3 while dies was imported"),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("raise ValueError('bad')", "ValueError: bad"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E", "E"),
    ],
)
def test_a_module_that_fails_costs_itself_only(swarm, source, said):
    """A module that raises, exits or ends the process is named with what it did."""
    swarm.write("dies.py", f"def f(): pass\n{source}\n")
    swarm.rules(
        '[[rule]]\nname = "s"\ntarget = "tools:search"\n[[rule]]\nname = "d"\ntarget = "dies:f"\n'
    )
    document, _ = swarm.json("check", "--import")

    errors = {each["module"]: each["error"] for each in document["woven"]["modules"]}
    assert said in errors["dies"]
    assert errors["tools"] == ""


def test_what_is_wrong_in_the_file_is_told_too(swarm):
    """A rule that its faults switch off is listed where it stands and fails the check."""
    swarm.rules('[[rule]]\ntarget = "tools:search"\nrole = "woker"\n')
    ended = swarm.run("check")

    assert ended.returncode == 1
    assert "switched off" in ended.stdout
    assert "Did you mean 'worker'?" in " ".join(ended.stdout.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nope.py"], "there is no such file"),
        (["swarm.py", "-m", "swarm"], "two programs"),
        (["--rules", "nope.toml"], "there is no such file"),
        (["--improt"], "--import"),
        (["-m", "swram"], "Did you mean 'swarm'?"),
    ],
)
def test_bad_usage(swarm, argv, said):
    """What is asked for and is not there ends with status 2 and says so."""
    ended = swarm.run("check", *argv)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


def test_it_fits_a_terminal(swarm):
    """No line is longer than 80 columns, whatever the names are."""
    name = "a_function_with_a_very_long_name_that_goes_on_and_on_for_longer_than_anyone_would_like"
    swarm.write("deep/er/modules.py", f"async def {name}({name}): yield 1\n")
    swarm.rules(
        f'[[rule]]\nname = "r{name}"\ntarget = "deep.er.modules:{name}"\n'
        f'[[rule]]\nname = "x"\ntarget = ["deep.er.modules:{name}x", "deep.**:*"]\n'
    )
    for options in ((), ("--import",), ("--import", "--all")):
        ended = swarm.run("check", *options)
        assert max(map(len, ended.stdout.splitlines())) <= 80
        assert "matches nothing" not in ended.stdout


def test_what_never_ends_is_ended(swarm):
    """An import that does not come back is ended after a while, with what it started."""
    source = "import subprocess, sys, time\n"
    source += "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    source += (
        "print(other.pid, file=open('pid', 'w'), flush=True)\ntime.sleep(600)\ndef f(): pass\n"
    )
    swarm.write("slow.py", source)
    subject = Subject((str(swarm.directory), *sys.path))
    with contextlib.chdir(swarm.directory):
        woven = weave(None, subject, ["tools", "slow"], patience_seconds=4)

    assert "took longer than 4 s while slow was imported" in woven.trouble
    assert [each.module for each in woven.modules] == ["tools", "slow"]
    other = int((swarm.directory / "pid").read_text())
    assert not is_running(other)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
