"""Processes that a watched program starts: each watched once, all in one trace, one store, one report."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import dytopo_autotrace
from dytopo_autotrace.children import STARTUP

OTHERS = [
    path
    for version in ("3.9", "3.10", "3.12", "3.13")
    for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if f"{sys.version_info[0]}.{sys.version_info[1]}." not in str(path)
]

METHODS = """
    import asyncio, multiprocessing, os, subprocess, sys
    from concurrent.futures import ProcessPoolExecutor

    def work(number):
        return number * number

    def by_run(*_):
        subprocess.run([sys.executable, "child.py", "1", "2"], check=True)

    def by_shell(*_):
        subprocess.run(f"{sys.executable} child.py 1 2", shell=True, check=True)

    def by_module(*_):
        subprocess.run([sys.executable, "-X", "dev", "-m", "child", "1", "2"], check=True)

    def with_environment(*_):
        subprocess.run([sys.executable, "child.py", "1", "2"], env={**os.environ, "A": "1"}, check=True)

    def by_asyncio(*_):
        async def start():
            child = await asyncio.create_subprocess_exec(sys.executable, "child.py", "1", "2")
            await child.wait()
        asyncio.run(start())

    def by_pool(method):
        with multiprocessing.get_context(method).Pool(2) as pool:
            pool.map(work, [1, 2])

    def by_executor(method):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            list(pool.map(work, [1, 2]))

    def by_process(method):
        for number in (1, 2):
            child = multiprocessing.get_context(method).Process(target=work, args=(number,))
            child.start()
            child.join()

    def by_fork(*_):
        child = os.fork()
        if not child:
            work(1)
            work(2)
            os._exit(0)
        os.waitpid(child, 0)

    def by_fork_and_exit(*_):
        child = os.fork()
        if not child:
            work(1)
            work(2)
            sys.exit(0)
        os.waitpid(child, 0)

    if __name__ == "__main__":
        globals()[sys.argv[1]](*sys.argv[2:])
"""
CHILD = """
    import sys

    def work(number):
        return number

    if __name__ == "__main__":
        for argument in sys.argv[1:]:
            work(argument)
"""
USUAL = ("by_run", "by_fork", "by_pool fork")
RARE = [
    *("by_module", "by_shell", "with_environment", "by_asyncio", "by_fork_and_exit"),
    *(
        f"{way} {method}"
        for way in ("by_pool", "by_executor", "by_process")
        for method in ("fork", "spawn", "forkserver")
        if f"{way} {method}" not in USUAL
    ),
]
WAYS = [*USUAL, *(pytest.param(way, marks=pytest.mark.slow) for way in RARE)]


@pytest.mark.parametrize("way", WAYS)
def test_a_child_is_watched_once_and_joins_the_trace(workshop, way):
    """However a child is started, its calls are in the report, each once, below the call that started it."""
    workshop.write(program=METHODS, child=CHILD)
    status, _, (said, report) = workshop.run(*way.split())
    assert (status, said) == (0, "")
    assert report["drops"] == []
    info, spans = workshop.spans()
    starter = way.split()[0]
    (above,) = [span for span in spans if span.operation == starter]
    works = [span for span in spans if span.operation == "work"]
    assert [(span.parent, span.trace) for span in works] == [(above.id, above.trace)] * 2
    assert report["span_count"] == len(spans)
    assert info.start.argv == ("program.py", *way.split())
    assert (info.status, info.end.exit_status) == ("ended", 0)
    (rule,) = [rule for rule in report["rules"] if rule["calls"]]
    assert rule["calls"] == len(spans)
    for work in works:
        assert above.start_ns <= work.start_ns <= work.end_ns <= above.end_ns


def test_what_a_child_shows_is_what_it_shows_without_us(workshop):
    """A child's output, error, status, path, arguments and environment are those of plain Python."""
    child = """
        import os, sys
        def work():
            print(sys.argv, sys.path, __name__, __file__, dict(sorted(os.environ.items())))
            print(__spec__ and (__spec__.name, type(__spec__.loader)), type(__loader__))
            print("sitecustomize" in sys.modules, len(sys.path_hooks), sys.flags, sys.orig_argv)
            raise ValueError("a child's own")
        work()
    """
    workshop.write(
        child=child,
        program="""
        import subprocess, sys, traceback
        for how in (["child.py"], ["-m", "child"], ["-Wall", "-c", "import child"], ["missing.py"]):
            done = subprocess.run([sys.executable, *how, "a"], capture_output=True, text=True)
            print(how, done)
        for missing in ("/no/such/python", "no-such-python"):
            try:
                subprocess.run([missing])
            except OSError:
                print(traceback.format_exc())
        """,
    )
    env = {"TRACEPARENT": "theirs"}
    assert workshop.run(env=env)[:2] == workshop.run(env=env, plain=True)[:2]


@pytest.mark.parametrize(
    "source",
    [
        "print('once')",
        pytest.param("print('once'); 1 / 0", marks=pytest.mark.slow),
        pytest.param("import there_is_none", marks=pytest.mark.slow),
    ],
)
def test_the_users_own_sitecustomize_runs_once(workshop, source):
    """Theirs is imported as without us, in its own place, and what it raises is said as without us."""
    workshop.write(
        child="import sys; print(sys.modules['sitecustomize'].__file__, sys.path)",
        program="""
        import subprocess, sys
        print(subprocess.run([sys.executable, "child.py"], capture_output=True, text=True))
        """,
    )
    theirs = workshop.directory / "theirs"
    theirs.mkdir()
    env = {"PYTHONPATH": f"{theirs}{os.pathsep}{Path(dytopo_autotrace.__file__).parents[1]}"}
    (theirs / "sitecustomize.py").write_text(source)
    plain = workshop.run(env=env, plain=True)
    assert plain[1].count("once") == 2 * source.count("once")  # in the parent, and in the child
    watched = workshop.begin(env=env)
    assert watched.communicate(timeout=60)[0] == plain[1]


@pytest.mark.parametrize(
    "how", [["child.py"], ["-m", "child"], ["-c", "import child"]], ids="".join
)
def test_modules_of_a_childs_own_come_before_those_that_we_imported(workshop, how):
    """A child whose modules are named like standard ones gets its own, as without us."""
    workshop.write(
        json="ours = 'its json'",
        tomllib="ours = 'its tomllib'",
        child="import json, tomllib; print(json.ours, tomllib.ours)",
        program=f"""
        import os, subprocess, sys
        def main():
            subprocess.run([sys.executable, *{how}], check=True)
        os.chdir("child")
        main()
        """,
    )
    inner = workshop.directory / "child"
    inner.mkdir()
    for name in ("json", "tomllib", "child"):
        (workshop.directory / f"{name}.py").rename(inner / f"{name}.py")
    assert workshop.run()[:2] == (0, "its json its tomllib\n")


@pytest.mark.parametrize(
    "flags",
    [
        ["-I"],
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (["-E"], ["-S"], ["-X", "dev", "-sE"])
        ),
    ],
    ids="".join,
)
def test_a_child_that_looks_at_no_environment_is_left_alone(workshop, flags):
    """A Python that would not find us gets the environment that it would have got."""
    workshop.write(
        child="import os; print(sorted(os.environ))",
        program=f"""
        import subprocess, sys
        subprocess.run([sys.executable, *{flags}, "child.py"], check=True)
        """,
    )
    assert workshop.run()[:2] == workshop.run(plain=True)[:2]


@pytest.mark.parametrize("env", [{}, {"DYTOPO_AUTOTRACE_DISABLED": "1", "LANG": "C"}])
def test_a_child_with_an_empty_environment_gets_that(workshop, env):
    """Nothing is put into an environment that is empty, or that says that nothing of ours may run."""
    workshop.write(
        child="import os\ndef work(): print(sorted(os.environ))\nwork()",
        program=f"""
        import subprocess, sys
        def main():
            subprocess.run([sys.executable, "child.py"], env={env}, check=True)
        main()
        """,
    )
    assert workshop.run()[:2] == workshop.run(plain=True)[:2]
    assert [span.operation for span in workshop.spans()[1]] == ["main"]


@pytest.mark.skipif(not OTHERS, reason="no other Python is here")
def test_a_child_with_another_python_starts_normally(workshop):
    """Another version tidies up after us and runs on as if nothing had been."""
    workshop.write(
        child="import os, sys; print(sys.path, dict(os.environ), 'dytopo_autotrace' in sys.modules)",
        program=f"""
        import subprocess
        for python in {list(map(str, OTHERS))}:
            print(subprocess.run([python, "child.py"], capture_output=True, text=True))
        """,
    )
    assert workshop.run()[:2] == workshop.run(plain=True)[:2]


def test_programs_that_are_not_python_get_nothing_of_ours(workshop):
    """Only what may start Python finds anything in its environment."""
    program = """
        import subprocess
        def main():
            print(subprocess.run(["printenv"], capture_output=True, text=True))
        main()
    """
    workshop.write(program=program)
    assert workshop.run()[:2] == workshop.run(plain=True)[:2]


def test_a_command_line_without_end_starts_children_all_the_same(workshop):
    """However long the program's own arguments are, its children start, and are watched."""
    workshop.write(program=METHODS, child=CHILD)
    status, _, (_, report) = workshop.run("by_run", "x" * 100_000)
    assert (status, report["span_count"]) == (0, 3)


@pytest.mark.slow
def test_os_environ_stays_the_programs_own(workshop):
    """Nothing of ours is ever in `os.environ`, nor in what the program started without us inherits."""
    workshop.write(
        child=CHILD,
        program="""
        import os, subprocess, sys
        before = dict(os.environ)
        def main():
            subprocess.run([sys.executable, "child.py", "1"], check=True)
            return os.popen("/usr/bin/printenv").read() if os.path.exists("/usr/bin/printenv") else ""
        main()
        assert dict(os.environ) == before
        """,
    )
    assert workshop.run()[0] == 0


def test_a_child_under_a_launcher_is_a_run_of_its_own(workshop):
    """`python -m dytopo_autotrace` in a child is not watched twice: it reports its own run."""
    workshop.write(
        child=CHILD,
        program="""
        import subprocess, sys
        def main():
            words = [sys.executable, "-m", "dytopo_autotrace", "--rules", "rules.toml", "-q"]
            subprocess.run([*words, "--store", "other.db", "child.py", "1", "2"], check=True)
        main()
        """,
    )
    status, _, (said, _) = workshop.run()
    assert (status, said) == (0, "")
    assert [span.operation for span in workshop.spans()[1]] == ["main"]
    workshop.store = str(workshop.directory / "other.db")
    assert [span.operation for span in workshop.spans()[1]] == ["work"] * 2


@pytest.mark.parametrize(
    ("way", "how"),
    [
        ("by_process fork", "option"),
        ("by_run", "rules"),
        pytest.param("by_run", "option", marks=pytest.mark.slow),
        pytest.param("by_process spawn", "option", marks=pytest.mark.slow),
    ],
)
def test_children_can_be_left_out(workshop, way, how):
    """`--no-children`, or `children = false`, watches this process and no other."""
    workshop.write(program=METHODS, child=CHILD)
    if how == "rules":
        rules = workshop.directory / "rules.toml"
        rules.write_text(f"[agent]\nchildren = false\n{rules.read_text()}")
    options = ["--no-children"] if how == "option" else []
    status, _, (said, report) = workshop.run(*way.split(), options=options)
    assert (status, said, report["span_count"]) == (0, "", 1)
    assert workshop.spans()[0].processes == 1


def test_without_a_store_the_report_says_that_children_are_missing(workshop):
    """With `--store none` children are not recorded, and the report says how many that were."""
    workshop.write(program=METHODS, child=CHILD)
    _, _, (_, report) = workshop.run("by_run", options=["--store", "none"])
    assert report["span_count"] == 1
    assert any("were not recorded: 1;" in remark for remark in report["remarks"])


def test_a_child_that_is_killed_shows_what_it_was_running(workshop):
    """The report names a child that died, and lists what it was running and for how long."""
    workshop.write(
        child="""
        import time
        def work():
            time.sleep(60)
        work()
        """,
        program="""
        import os, signal, sqlite3, subprocess, sys, time
        def unwatched_wait(store):
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    with sqlite3.connect(store) as connection:
                        if connection.execute("SELECT 1 FROM spans WHERE operation = 'work'").fetchone():
                            return
                except sqlite3.Error:
                    pass
        def main(store):
            child = subprocess.Popen([sys.executable, "child.py"])
            unwatched_wait(store)
            child.kill()
            print(child.wait())
        main(sys.argv[1])
        """,
    )
    status, out, (_, report) = workshop.run(workshop.store)
    assert (status, out) == (0, "-9\n")
    assert any("child process" in remark and "work for" in remark for remark in report["remarks"])
    assert report["span_count"] == 2


@pytest.mark.slow
def test_a_program_that_only_starts_watched_ones_tells_their_story(workshop):
    """Where nothing of the program itself is watched, the report is that of its children."""
    workshop.write(
        child=CHILD,
        program="""
        import subprocess, sys
        for number in range(3):
            subprocess.run([sys.executable, "child.py", "1", "2"], check=True)
        """,
    )
    _, _, (_, report) = workshop.run()
    info, spans = workshop.spans()
    assert report["span_count"] == len(spans) == 6
    assert info.start.argv == ("program.py",)
    assert info.status == "ended"


@pytest.mark.slow
def test_children_that_are_not_watched_leave_nothing(workshop):
    """A program and children in which no rule matches anything leave no store behind."""
    workshop.write(
        child="print('child')",
        program="import subprocess, sys; subprocess.run([sys.executable, 'child.py'], check=True)",
    )
    workshop.run()
    assert not Path(workshop.store).exists()


@pytest.mark.slow
def test_many_children_at_once_add_up(workshop):
    """Eight workers that record at once lose nothing and double nothing."""
    workshop.write(
        program="""
        import multiprocessing, sys
        def work(number):
            return number
        def main():
            with multiprocessing.get_context("fork").Pool(8) as pool:
                pool.map(work, range(4000), chunksize=50)
        main()
        """
    )
    _, _, (_, report) = workshop.run()
    assert report["span_count"] == 4001
    _, spans = workshop.spans()
    assert Counter(span.operation for span in spans) == {"work": 4000, "main": 1}


def test_the_startup_folder_has_nothing_but_the_one_module():
    """What is first on a child's path must hide no other module, whatever its Python."""
    names = {path.stem for path in Path(STARTUP).iterdir()} - {"__pycache__"}
    assert names == {"sitecustomize"}


def test_a_damaged_message_to_a_child_harms_nobody(tmp_path):
    """A child that is told nonsense runs as if it had been told nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"],
        env={"PYTHONPATH": STARTUP, "DYTOPO_AUTOTRACE_CHILD": "{", "TRACEPARENT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "DYTOPO_AUTOTRACE_CHILD" not in done.stdout


def test_sqlite_is_not_needed_by_a_child_in_which_nothing_is_watched(workshop):
    """A child in which no rule matches does not load a database library."""
    assert sqlite3.sqlite_version
    workshop.write(
        child="import sys; print('sqlite3' in sys.modules)",
        program="import subprocess, sys; subprocess.run([sys.executable, 'child.py'], check=True)",
    )
    assert workshop.run()[1] == "False\n"
