"""How a program ends, and what it prints while it does, is what plain Python makes of it."""

import dataclasses
import re
import signal
import textwrap
from pathlib import Path

import pytest

EXITS = {
    "falls off the end": "pass",
    "exit 0": "import sys; sys.exit(0)",
    "exit 3": "import sys; sys.exit(3)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit 256": "import sys; sys.exit(256)",
    "exit text": "import sys; sys.exit('too bad ü')",
    "exit object": "import sys; sys.exit([1, None])",
    "exit tuple": "import sys; sys.exit((4, 'x'))",
    "exit subclass": "class Leave(SystemExit): pass\nraise Leave(6)",
    "os._exit": "import os; print('lost'); os._exit(7)",
    "abort": "import os; os.abort()",
    "kill": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "sigterm": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "interrupt": "raise KeyboardInterrupt",
    "interrupt with text": "def f():\n    raise KeyboardInterrupt('stop')\nf()",
    "interrupt subclass": "class Stop(KeyboardInterrupt): pass\nraise Stop",
    "interrupt caught": "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    raise SystemExit(130)",
    "exit in thread": "import threading, sys; threading.Thread(target=sys.exit, args=(9,)).start()",
    "base exception": "class Odd(BaseException): pass\nraise Odd('x')",
}

RAISES = {
    "plain": """
        def inner(x):
            return 1 / x

        def outer():
            inner(
                0
            )

        outer()
        """,
    "cause": """
        def first():
            raise KeyError("first")

        def second():
            try:
                first()
            except KeyError as error:
                raise ValueError("second") from error

        try:
            second()
        except ValueError:
            raise RuntimeError("third")
        """,
    "suppressed context": """
        def first():
            raise KeyError("first")
        try:
            first()
        except KeyError:
            raise ValueError("second") from None
        """,
    "group": """
        def fail(n):
            raise ValueError(n)

        def several():
            errors = []
            for n in range(3):
                try:
                    fail(n)
                except ValueError as error:
                    errors.append(error)
            raise ExceptionGroup("several", [*errors, ExceptionGroup("inner", errors[:1])])

        several()
        """,
    "task group": """
        import asyncio

        async def fail(n):
            await asyncio.sleep(0)
            raise ValueError(n)

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(1))
                group.create_task(fail(2))

        asyncio.run(main())
        """,
    "notes": """
        def fail():
            error = ValueError("with notes")
            error.add_note("the first\\nin two lines")
            error.add_note("the second ü")
            raise error
        fail()
        """,
    "no message": "raise ValueError",
    "string that raises": """
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("no text")
        def fail():
            raise Odd
        fail()
        """,
    "name error": "def f(value):\n    return valeu\nf(1)",
    "import error": "from os import pth",
    "missing module": "import no_such_module",
    "without a stack of its own": "raise ValueError('at the top')",
    "reraised": """
        def fail():
            raise ValueError(1)
        def again():
            try:
                fail()
            except ValueError:
                raise
        try:
            again()
        finally:
            print("finally")
        """,
    "from a generator": """
        def numbers():
            yield 1
            raise ValueError("inside")
        print(list(numbers()))
        """,
    "from a callback in C": "def key(x):\n    return 1 / x\nsorted([1, 0], key=key)",
    "with stored traceback": """
        def fail():
            raise ValueError("kept")
        try:
            fail()
        except ValueError as error:
            kept = error
        raise kept
        """,
    "interleaved output": """
        import sys
        print("out, buffered")
        print("err", file=sys.stderr)
        raise ValueError("after both")
        """,
}

HOOKS = {
    "own": """
        import sys, traceback
        def unwatched_hook(kind, error, tb):
            print(kind, error, [f.name for f in traceback.extract_tb(tb)], error.__traceback__ is tb)
            print(sys.exc_info(), sys.last_value is error, sys.last_traceback is tb)
            print(getattr(sys, "last_exc", error) is error, sys.excepthook is unwatched_hook)
            print(__file__)
        sys.excepthook = unwatched_hook
        """,
    "raising": """
        import sys
        def unwatched_hook(*args):
            raise RuntimeError("of the hook")
        sys.excepthook = unwatched_hook
        """,
    "exiting": """
        import sys
        sys.excepthook = lambda *args: sys.exit(44)
        """,
    "missing": "import sys; del sys.excepthook",
    "none": "import sys; sys.excepthook = None",
    "the default in another": """
        import sys
        def unwatched_hook(*args):
            sys.stdout.write("before\\n")
            sys.__excepthook__(*args)
        sys.excepthook = unwatched_hook
        """,
}


@pytest.mark.parametrize("source", EXITS.values(), ids=EXITS)
def test_exit(workplace, source):
    """The exit status and all output are the same, however the program ends."""
    workplace.compare_source(source)


@pytest.mark.parametrize("source", [EXITS[name] for name in ("exit text", "interrupt", "exit 3")])
def test_exit_of_a_module(workplace, source):
    """The exit status is the same under `-m`, by the module and by the console script."""
    workplace.write("program.py", source)

    workplace.compare("-m", "program")
    workplace.compare("-m", "program", console=True)
    workplace.compare("program.py", console=True)


@pytest.mark.parametrize("source", RAISES.values(), ids=RAISES)
def test_uncaught(workplace, source):
    """The traceback of an uncaught exception is the same, byte for byte, and in its place."""
    ending = workplace.compare_source(source, merged=True)

    assert ending.status == 1


@pytest.mark.parametrize("name", ["plain", "cause", "interleaved output", "task group"])
def test_uncaught_in_a_module(workplace, name):
    """Under `-m`, and from a directory, the frames of runpy are there as they always are."""
    workplace.write("package/program.py", RAISES[name])
    workplace.write("app/__main__.py", RAISES[name])

    for argv in (("-m", "package.program"), ("app",)):
        for console in (False, True):
            # The console script is a script, and Python flushes stdout at the end of one.
            ending = workplace.compare(*argv, console=console, merged=not console)
            assert (ending.stdout + ending.stderr).count(b"_run_module_as_main") == 1


FAIL = "\ndef fail():\n    raise ValueError('for the hook')\nfail()\n"


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_excepthook(workplace, hook):
    """A program's own excepthook gets what it gets without us, and may fail."""
    workplace.compare_source(textwrap.dedent(hook) + FAIL)


def test_excepthook_of_a_module(workplace):
    """The same goes under `-m`."""
    workplace.write("program.py", textwrap.dedent(HOOKS["own"]) + FAIL)

    workplace.compare("-m", "program")


@pytest.mark.parametrize("argv", [("program.py",), ("-m", "program")], ids=" ".join)
def test_recursion_error(workplace, argv):
    """A RecursionError looks the same but for the number of repeated lines, a few less."""

    workplace.write("program.py", "def unwatched(n):\n    return unwatched(n + 1)\nunwatched(0)")
    plain, watched = workplace.both(*argv)

    number = re.compile(r"repeated (\d+) more")
    assert number.sub("", watched.errors) == number.sub("", plain.errors)
    few = int(number.search(plain.errors)[1]) - int(number.search(watched.errors)[1])
    assert 0 < few <= 8


IMPORTS = {
    "syntax error": "def broken(:\n    pass\n",
    "error at import": "def fail():\n    raise ValueError('at import')\nfail()\n",
    "import error": "from os import no_such_name\n",
    "missing": "import no_such_module\n",
    "exit at import": "raise SystemExit(3)",
    "partial": "import program\nfrom program import not_there\n",
    "interrupt": "raise KeyboardInterrupt",
}


@pytest.mark.parametrize("source", IMPORTS.values(), ids=IMPORTS)
def test_uncaught_at_the_import_of_a_woven_module(workplace, source):
    """An import that fails in a module that rules name shows none of our frames."""
    workplace.write("helper.py", source)
    workplace.write("package/__init__.py", "def f(): import helper\nf()")

    workplace.compare_source("def f():\n    from package import helper\nf()")


@pytest.mark.parametrize("source", IMPORTS.values(), ids=IMPORTS)
def test_module_that_fails(workplace, source):
    """Under `-m` a module that fails, or a parent of it, has the frames of runpy and none of ours."""
    workplace.write("package/__init__.py", "")
    workplace.write("package/program.py", source)
    workplace.write("parent/__init__.py", source)
    workplace.write("parent/program.py", "")
    workplace.write("program.py", "")

    workplace.compare("-m", "package.program")
    workplace.compare("-m", "parent.program")


THREADS = {
    "exception in a thread": """
        import threading
        def work():
            raise ValueError("in a thread")
        thread = threading.Thread(target=work, name="mine")
        thread.start(); thread.join()
        print("main goes on")
        """,
    "unraisable": """
        class Odd:
            def __del__(self):
                raise ValueError("in __del__")
        Odd()
        print("main goes on")
        """,
    "exception in atexit": """
        import atexit
        def leave():
            raise ValueError("in atexit")
        atexit.register(leave)
        print("main goes on")
        """,
    "exit in atexit": "import atexit, sys; atexit.register(sys.exit, 5)",
    "never awaited": "async def f(): pass\nf()\nprint('x')",
    "exception in a task that nobody awaits": """
        import asyncio
        async def unwatched_fail():
            raise ValueError("unseen")
        async def main():
            task = asyncio.create_task(unwatched_fail())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del task
        asyncio.run(main())
        """,
    "exception in a pool": """
        from concurrent.futures import ThreadPoolExecutor
        def fail(n):
            return 1 / n
        with ThreadPoolExecutor(2) as pool:
            future = pool.submit(fail, 0)
            print(future.exception())
            future.result()
        """,
    "warning": """
        import warnings
        def unwatched_warn():
            warnings.warn("careful", UserWarning, stacklevel=2)
        unwatched_warn()
        """,
    "logged": """
        import logging
        logging.basicConfig(format="%(filename)s:%(lineno)d %(funcName)s %(message)s")
        def f():
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("logged")
        f()
        """,
}


def _without_addresses(ending):

    changing = re.compile(rb"0x[0-9a-f]+|refcount : \d+", re.IGNORECASE)
    out, err = (changing.sub(b"", text) for text in (ending.stdout, ending.stderr))
    return dataclasses.replace(ending, stdout=out, stderr=err)


@pytest.mark.parametrize("source", THREADS.values(), ids=THREADS)
def test_errors_beside_the_main_module(workplace, source):
    """What is reported from threads, finalizers, exit handlers and tasks reads the same."""
    workplace.write("program.py", source)

    plain, watched = workplace.both("program.py")
    assert _without_addresses(watched) == _without_addresses(plain)


AT_EXIT = """
    import atexit, sys, threading, logging
    atexit.register(print, "registered first")
    def late():
        import time
        main = sys.modules["__main__"]
        while not going.wait(0.01):
            pass
        print("thread", hasattr(main, "__file__"), threading.main_thread().is_alive())
    going = threading.Event()
    thread = threading.Thread(target=late)
    thread.start()
    threading._register_atexit(going.set)
    atexit.register(lambda: print("registered last", hasattr(sys.modules["__main__"], "__file__")))
    print("end of the module")
    """


@pytest.mark.parametrize("end", ["", "1/0", "raise SystemExit(4)", "raise KeyboardInterrupt"])
def test_what_runs_after_the_main_module(workplace, end):
    """Threads that outlive it and exit handlers run in the same order and see the same module."""

    ending = workplace.compare_source(textwrap.dedent(AT_EXIT) + end, merged=True)

    assert "registered first" in ending.text


def test_report_comes_after_the_programs_own_exit_handlers(workplace):
    """Our last words are the last: after those of the program's exit handlers and threads."""
    workplace.write(
        "program.py",
        """
        import atexit, sys, threading
        atexit.register(lambda: print("handler of the program", file=sys.stderr, flush=True))
        threading.Thread(target=lambda: print("thread of the program", file=sys.stderr)).start()
        def work(): pass
        work()
        """,
    )
    argv = ["-m", "dytopo_autotrace", "--report=json", f"--rules={workplace.rules}", "program.py"]
    lines = workplace.start(argv).errors.splitlines()

    assert "of the program" in lines[0]
    assert "of the program" in lines[1]
    assert len(lines) > 2


UNUSUAL = {
    "closes stderr": "import sys; sys.stderr.close(); 1/0",
    "closes stdout": "import sys; print('x'); sys.stdout.close()",
    "closes both": "import os; os.close(1); os.close(2); print('x')",
    "no stderr": "import sys; sys.stderr = None; 1/0",
    "no streams": "import sys; sys.stdout = sys.stderr = sys.stdin = None; print('x'); 1/0",
    "own streams": """
        import io, sys
        sys.stdout = sys.stderr = io.StringIO()
        import atexit
        atexit.register(lambda kept=sys.stdout: sys.__stdout__.write(kept.getvalue()))
        print("kept"); 1/0
        """,
    "stream without flush": """
        import sys
        class Writer:
            def write(self, text): sys.__stdout__.write(text.upper())
        sys.stdout = sys.stderr = Writer()
        print("kept"); 1/0
        """,
    "counts flushes": """
        import sys
        class Stream:
            flushed = 0
            def write(self, text): sys.__stdout__.write(text)
            def flush(self): self.flushed += 1
        sys.stdout = Stream()
        import atexit
        atexit.register(lambda stream=sys.stdout: print(stream.flushed))
        """,
    "deletes its module": "import sys; del sys.modules['__main__']; print(__name__); 1/0",
    "replaces its module": """
        import sys, types
        sys.modules["__main__"] = types.ModuleType("other")
        def f(): return __name__
        print(f(), __file__)
        """,
    "clears modules": "import sys; sys.modules.clear(); print('x')",
    "changes directory": "import os; os.chdir('/'); import json; print(os.getcwd()); 1/0",
    "changes argv and path": "import sys; sys.argv.clear(); sys.path.clear(); print(sys.argv)",
    "own finder": """
        import sys
        class Finder:
            def find_spec(self, *args): return None
        sys.meta_path.insert(0, Finder())
        import helper
        """,
    "no finders": "import sys; sys.meta_path.clear(); print(len(sys.meta_path)); import helper",
    "profile": """
        import sys
        calls = []
        def unwatched_profile(frame, event, arg):
            if frame.f_code.co_filename == __file__:
                calls.append((event, frame.f_code.co_name, frame.f_lineno))
        def work(n): return n + 1
        sys.setprofile(unwatched_profile)
        work(1); work(2)
        sys.setprofile(None)
        print(calls)
        """,
    "profile to the end": """
        import sys
        def unwatched_profile(frame, event, arg):
            pass
        sys.setprofile(unwatched_profile)
        1/0
        """,
    "trace": """
        import sys
        lines = []
        def unwatched_trace(frame, event, arg):
            if frame.f_code.co_filename == __file__:
                lines.append((event, frame.f_lineno))
                return unwatched_trace
        def work(n):
            n += 1
            return n
        sys.settrace(unwatched_trace)
        work(1)
        sys.settrace(None)
        print(lines)
        """,
    "frames of its own": """
        import inspect, sys
        def work():
            frame = sys._getframe()
            return [f.function for f in inspect.stack() if f.filename == __file__], frame.f_lineno
        print(work())
        """,
    "random numbers": """
        import random
        random.seed(7)
        def work(): return random.random()
        print([work() for _ in range(3)])
        """,
    "garbage": "import gc; gc.disable(); print(gc.isenabled(), gc.garbage)",
    "nothing at all": "",
    "interactive": "print(input('name? '), input())",
    "reads stdin": "import sys; print(sys.stdin.read().upper())",
    "bytes on stdout": "import sys; sys.stdout.buffer.write(bytes(range(256)))",
}


@pytest.mark.parametrize("source", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual(workplace, source):
    """A program that takes its interpreter apart gets what it gets without us."""
    workplace.write("helper.py", "print('helper')")

    workplace.write("program.py", source)

    plain, watched = workplace.both("program.py", stdin=b"first\nsecond\n")
    assert _without_addresses(watched) == _without_addresses(plain)


def test_sigint_from_outside(workplace):
    """Ctrl-C ends the process by SIGINT, as a shell expects, with the traceback of the program."""

    def interrupt(process):
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)

    workplace.write(
        "program.py",
        """
        import time
        def work():
            print("ready", flush=True); time.sleep(30)
        work()
        """,
    )
    for argv in (("program.py",), ("-m", "program")):
        # The signal may come in either half of the line; without carets that does not show.
        ending = workplace.compare(*argv, flags=("-X", "no_debug_ranges"), drive=interrupt)
        assert ending.status == -signal.SIGINT
        assert ending.errors.rstrip().endswith("KeyboardInterrupt")


def test_sigterm_from_outside(workplace):
    """SIGTERM ends the process at once, unless the program handles it."""

    def terminate(process):
        process.stdout.readline()
        process.terminate()

    wait = "import time; print('ready', flush=True); time.sleep(30)"
    handle = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"

    assert workplace.compare_source(wait, drive=terminate).status == -signal.SIGTERM
    assert workplace.compare_source(handle + wait, drive=terminate).status == 9


def test_broken_pipe(workplace):
    """A reader that goes away is noticed at the same place."""

    def go_away(process):
        process.stdout.readline()
        process.stdout.close()
        process.stdout = Path("/dev/null").open("rb")  # noqa: SIM115 - Popen closes it

    source = "import sys\nfor n in range(200000): print(n)\n"

    assert "BrokenPipeError" in workplace.compare_source(source, drive=go_away).errors
