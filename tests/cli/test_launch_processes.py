"""Processes that a program starts, forks or is, behave as they do under plain Python."""

import pytest

FORKS = {
    "exit in the child": """
        import os, sys
        def work(): pass
        work()
        pid = os.fork()
        if pid == 0:
            work()
            print("child", flush=True)
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
    "exception in the child": """
        import os
        def fail(): raise ValueError("in the child")
        pid = os.fork()
        if pid == 0:
            fail()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
    "interrupt in the child": """
        import os
        pid = os.fork()
        if pid == 0:
            raise KeyboardInterrupt
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
    "child outlives": """
        import os, sys
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
            print("child")
        else:
            print("parent", flush=True)
        """,
    "grandchild": """
        import atexit, os
        atexit.register(print, "exit handler")
        for generation in range(2):
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                break
        def work(): print(generation, flush=True)
        work()
        """,
}

POOLS = {
    "multiprocessing": """
        import multiprocessing, sys
        def square(n): return n * n
        class Point:
            def __init__(self, x): self.x = x
            def double(self): return Point(self.x * 2)
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with context.Pool(2) as pool:
                print(pool.map(square, range(4)), [p.x for p in pool.map(Point.double, [Point(3)])])
            process = context.Process(target=sys.exit, args=(5,))
            process.start(); process.join()
            print(process.exitcode)
        """,
    "executor": """
        import multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        def fail(n): return 1 / n
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                print(pool.submit(fail, 4).result())
                print(repr(pool.submit(fail, 0).exception()))
        """,
    "queue": """
        import multiprocessing, sys
        def put(queue): queue.put(__name__)
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            queue = context.Queue()
            process = context.Process(target=put, args=(queue,))
            process.start()
            print(queue.get() in ("__main__", "__mp_main__"))
            process.join()
        """,
}


@pytest.mark.parametrize("source", FORKS.values(), ids=FORKS)
def test_fork(workplace, source):
    """A forked child ends as it does without us, and says nothing of ours."""
    workplace.compare_source(source)


@pytest.mark.parametrize("name", ["exit in the child", "child outlives"])
def test_fork_gives_one_report(workplace, name):
    """A child that leaves through `sys.exit`, or by its end, leaves the report to its parent."""
    import json

    workplace.write("program.py", FORKS[name])
    argv = ["-m", "dytopo_autotrace", "--report=json", f"--rules={workplace.rules}", "program.py"]
    report = workplace.start(argv).errors

    assert json.loads(report)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("multiprocessing", "fork"),
        ("multiprocessing", "spawn"),
        ("multiprocessing", "forkserver"),
        ("executor", "spawn"),
        ("queue", "fork"),
    ],
)
def test_multiprocessing(workplace, name, method):
    """Functions and classes of the main module reach the processes of a pool, by every method."""
    ending = workplace.compare_source(POOLS[name], method)

    assert ending.status == 0


def test_multiprocessing_of_a_module(workplace):
    """Under `-m` the children import the module by its name."""
    workplace.write("package/program.py", POOLS["multiprocessing"])

    assert workplace.compare("-m", "package.program", "spawn").status == 0


def test_subprocess(workplace):
    """A child that is started by name gets the environment that it would get."""
    ending = workplace.compare_source(
        """
        import os, subprocess, sys
        print(subprocess.run([sys.executable, "-c", "import os, sys; print(sys.argv, dict(os.environ))"],
                             capture_output=True, text=True).stdout)
        """
    )

    assert ending.status == 0


ASYNC = {
    "run": """
        import asyncio
        async def step(n):
            await asyncio.sleep(0)
            return n
        async def main():
            return await asyncio.gather(*map(step, range(3)))
        print(asyncio.run(main()))
        """,
    "signal handler": """
        import asyncio, os, signal
        async def main():
            stopped = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stopped.set)
            os.kill(os.getpid(), signal.SIGUSR1)
            await stopped.wait()
            print("stopped")
        asyncio.run(main())
        """,
    "interrupt": """
        import asyncio, signal
        async def main():
            try:
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(30)
            finally:
                print("cleaned up")
        asyncio.run(main())
        """,
    "subprocess": """
        import asyncio, sys
        async def main():
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(3)")
            print(await process.wait())
        asyncio.run(main())
        """,
    "debug": """
        import asyncio
        async def main():
            print(asyncio.get_running_loop().get_debug())
        asyncio.run(main(), debug=True)
        """,
}


@pytest.mark.parametrize("source", ASYNC.values(), ids=ASYNC)
def test_asyncio(workplace, source):
    """An event loop runs, is interrupted and handles signals as ever."""
    workplace.compare_source(source)


DUNDER_MAIN = {
    "pickle": """
        import copy, pickle
        class Point:
            def __init__(self, x): self.x = x
            def double(self): return self.x * 2
            @classmethod
            def origin(cls): return cls(0)
            @staticmethod
            def one(): return 1
        def function(): return "called"
        point = pickle.loads(pickle.dumps(Point(3)))
        print(point.double(), type(point) is Point, Point.origin().x, Point.one())
        for thing in (function, Point.double, Point(2).double, Point.one, Point.origin):
            again = pickle.loads(pickle.dumps(thing))
            print(again.__qualname__, copy.deepcopy(function) is function)
        """,
    "import of itself": """
        import sys
        print(__name__)
        def f(): return __name__
        if __name__ == "__main__":
            import program
            print(f(), program.f(), program is sys.modules["__main__"])
            import __main__
            print(__main__.f is f)
        """,
    "inspection": """
        import inspect, typing
        def f(a, /, b: int = 1, *c: str, d, **e) -> bool:
            "A docstring."
        async def g(): yield 1
        def h():
            yield 1
        class C:
            def m(self): pass
        print(inspect.signature(f), typing.get_type_hints(f), f.__doc__, f.__name__, f.__qualname__)
        print(f.__module__, f.__defaults__, f.__kwdefaults__, C.m.__qualname__)
        print([inspect.getsourcelines(thing) for thing in (f, g, h, C, C.m)])
        print(inspect.isasyncgenfunction(g), inspect.isgeneratorfunction(h), inspect.isfunction(f))
        print(inspect.getmodule(f) is inspect.getmodule(C))
        """,
    "dataclass": """
        from dataclasses import dataclass, field
        from typing import Optional
        import enum, functools
        @dataclass(order=True)
        class Item:
            n: int
            rest: "list[int]" = field(default_factory=list)
            def next(self): return Item(self.n + 1)
        class Color(enum.Enum):
            RED = 1
            def lower(self): return self.name.lower()
        @functools.lru_cache
        def cached(n): return n
        @functools.singledispatch
        def kind(x): return "any"
        @kind.register
        def _(x: int): return "int"
        print(Item(1).next(), Color.RED.lower(), cached(1), cached.cache_info(), kind(1), kind(""))
        """,
}


@pytest.mark.parametrize("source", DUNDER_MAIN.values(), ids=DUNDER_MAIN)
def test_things_of_the_main_module(workplace, source):
    """Classes and functions of `__main__` pickle, can be inspected, and are found again."""
    workplace.compare_source(source)
