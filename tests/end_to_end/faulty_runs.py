"""Runs a program under the launcher again and again, each time with one function of ours that raises.

    python faulty_runs.py PLAN.json

The plan has `argv`, the launcher's arguments; `directory`, where each run gets a folder of its own;
`share`, one of how many places is tried; `shift`, at which it begins; and `only`, a word that the places
have in their names. What is printed is a list of what became of each run. All runs are forks of one process, which saves their imports.
"""

import atexit
import builtins
import functools
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FunctionType

import dytopo_autotrace
from dytopo_autotrace.cli import run as command
from dytopo_autotrace.collect.failures import is_hidden
from dytopo_autotrace.weave import advice, launch

HOME = str(Path(dytopo_autotrace.__file__).parent)
PATIENCE_SECONDS = 60.0
AT_ONCE = 3
KINDS = ("Exception", "MemoryError", "RecursionError")
# They run the program: where they raise there is none.
LAUNCHER = ("weave/launch.py", "cli/run.py", "cli/programs.py", "cli/__init__.py", "errors.py")
# Borders, at which every fault below them ends.
INSTEAD = frozenset(
    {
        "attempt",  # what it calls may fail
        "Pipeline._run",  # threads of our own, which begin with it
        "Worker._run",
        "Run.finish",  # what is done at exit
        "Modules._decorate",
        "Thread.start",  # these are put in the place of the program's own, and call that
        "Thread._bootstrap",
        "ThreadPoolExecutor.submit",
        "_carried.<locals>.run",
        "Starts._fork_exec.<locals>.start",
        "Starts._posix_spawn.<locals>.start",
        "_calls.<locals>.call",
        "end_with.<locals>.advice",
    }
)
NAMES = (
    *("append", "next_id", "get", "put", "begin", "now", "close", "without_our_head"),
    *("keep", "keep_whole", "note_close"),
)
"""What generated advice calls."""


class InjectedError(Exception):
    """What the function that raises raises."""


def injected():
    """Called where a fault is to be: says so in the run's folder, and gives what to raise."""
    with open(os.path.join(FOLDER, "hit"), "a") as file:
        file.write("x")
    return ERROR("injected")


# --- Which functions run ---------------------------------------------------------------------------


def record_what_runs(file):
    """Note every function of ours that runs, and whether it ran before the program began."""
    seen = {}
    phase = ["start"]

    def profile(frame, event, _):
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(HOME):
                place = (code.co_filename, code.co_qualname, code.co_firstlineno)
                seen.setdefault(place, set()).add(phase[-1])

    def write():
        sys.setprofile(None)
        threading.setprofile(None)
        places = [[*place, sorted(phases)] for place, phases in seen.items()]
        Path(file).write_text(json.dumps(places))

    atexit.register(write)
    when_it_begins(lambda: phase.append("program"))
    threading.setprofile(profile)
    sys.setprofile(profile)


def when_it_begins(then):
    run = launch.run

    def begin(*args, **kwargs):
        then()
        run(*args, **kwargs)

    launch.run = begin


# --- Making one raise ------------------------------------------------------------------------------


def bomb(code):
    """Code that raises, to stand in the place of this."""
    is_async = bool(code.co_flags & 0x80)
    uses = "; ".join(code.co_freevars) or "pass"
    source = (
        f"def outer({', '.join(code.co_freevars)}):\n"
        f"    {'async ' if is_async else ''}def bomb(*args, **kwargs):\n"
        f"        raise __injected__()\n"
        f"        {uses}\n"
    )
    outer = _first_code(compile(source, code.co_filename, "exec"))
    made = _first_code(outer)
    return made.replace(co_name=code.co_name, co_qualname=code.co_qualname)


def _first_code(code):
    return next(const for const in code.co_consts if isinstance(const, CodeType))


def substitute(code, place):
    """The same code with the function at a place raising, None if that is not in it."""
    if (code.co_filename, code.co_qualname, code.co_firstlineno) == place:
        return bomb(code)
    consts = list(code.co_consts)
    for index, const in enumerate(consts):
        if isinstance(const, CodeType) and (inner := substitute(const, place)) is not None:
            consts[index] = inner
            return code.replace(co_consts=tuple(consts))
    return None


def functions_of_ours():
    return [
        each
        for each in gc.get_objects()
        if type(each) is FunctionType and each.__code__.co_filename.startswith(HOME)
    ]


def arm(place):
    """Have the function at a place raise from now on; a nested one once it is made again."""
    for function in functions_of_ours():
        code = substitute(function.__code__, place)
        if code is not None:
            function.__code__ = code


def arm_name(name):
    """Have what generated advice calls by a name raise."""
    generate = advice._generate

    def generated(*args):
        made = generate(*args)
        if advice.OURS + name in made.given:
            made.given[advice.OURS + name] = _raise
        return made

    advice._generate = generated


def _raise(*_, **__):
    raise injected()


# --- The runs --------------------------------------------------------------------------------------


def fork_a_run(number, prepare):
    """Start a run in a fork; in the fork this returns None, and the program is to be run."""
    global FOLDER
    folder = os.path.join(PLAN["directory"], str(number))
    os.mkdir(folder)
    child = os.fork()
    if child:
        return child, folder
    FOLDER = folder
    os.setpgid(0, 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(os.path.join(folder, name), os.O_CREAT | os.O_WRONLY), descriptor)
    os.chdir(folder)
    prepare()
    return None


def read(folder, name):
    file = Path(folder, name)
    return file.read_text(errors="replace") if file.exists() else ""


def main():
    """Fork all runs; returns in each of them, with the arguments of the launcher."""
    first = fork_a_run("places", lambda: record_what_runs("places.json"))
    if first is None:
        return PLAN["argv"]
    os.waitpid(first[0], 0)
    places = sorted(json.loads(read(first[1], "places.json")))  # in whatever order threads ran
    for file in sorted({place[0] for place in places}):
        name = os.path.relpath(file, os.path.dirname(HOME)).removesuffix(".py").replace("/", ".")
        importlib.import_module(name.removesuffix(".__init__"))
    tries = [(*place, phase) for *place, phases in places for phase in phases if fits(place)]
    tries += [("advice", name, 0, "program") for name in NAMES]
    tries = [tried for tried in tries if PLAN["only"] in name_of(tried)]
    tries = tries[PLAN["shift"] :: PLAN["share"]]
    waiting = list(enumerate(tries))
    running, results = {}, []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, tried = waiting.pop(0)
            started = fork_a_run(number, lambda tried=tried, number=number: prepare(tried, number))
            if started is None:
                return PLAN["argv"]
            running[started[0]] = (*started, number, tried, time.monotonic() + PATIENCE_SECONDS)
        child, status = os.waitpid(-1, os.WNOHANG)
        for pid, (_, folder, number, tried, deadline) in list(running.items()):
            if pid == child or time.monotonic() > deadline:
                if pid != child:
                    os.killpg(pid, signal.SIGKILL)
                    _, status = os.waitpid(pid, 0)
                del running[pid]
                results.append(
                    {
                        "place": name_of(tried),
                        "kind": KINDS[number % len(KINDS)],
                        "status": os.waitstatus_to_exitcode(status),
                        "stdout": read(folder, "stdout"),
                        "stderr": read(folder, "stderr"),
                        "hits": len(read(folder, "hit")),
                    }
                )
        time.sleep(0.005)
    json.dump(results, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


def name_of(tried):
    file, name, _, phase = tried
    return f"{file.removeprefix(HOME + '/')}:{name} ({phase})"


def fits(place):
    file, name, line = place
    if name.rpartition(".")[2].startswith("<") and not name.endswith("<lambda>"):
        return False
    path = os.path.relpath(file, HOME)
    if path in LAUNCHER or name in INSTEAD:
        return False
    return (file, name, line) not in hidden_places()


@functools.cache
def hidden_places():
    """Functions that stand in the way of a call of the program's own, and do that call."""
    codes = [each.__code__ for each in functions_of_ours()]
    return {
        (code.co_filename, code.co_qualname, code.co_firstlineno)
        for code in codes
        if is_hidden(code)
    }


def prepare(tried, number):
    global ERROR
    ERROR = {"Exception": InjectedError}.get(
        KINDS[number % len(KINDS)], getattr(builtins, KINDS[number % len(KINDS)])
    )
    builtins.__injected__ = injected
    file, name, line, phase = tried
    if file == "advice":
        arm_name(name)
    elif phase == "start":
        arm((file, name, line))
    else:
        when_it_begins(lambda: arm((file, name, line)))


PLAN = json.loads(Path(sys.argv[1]).read_text())
FOLDER = PLAN["directory"]
ERROR = InjectedError
command.main(main())
