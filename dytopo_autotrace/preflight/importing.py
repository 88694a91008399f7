"""The process that imports a program's modules with the rules woven in; it never runs the program.

What it finds goes to a file line by line, so that a module that ends the process, or never comes to an
end, costs only what would have come after it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any, Final

MAIN: Final = "__main__"
AS_A_CHILD: Final = "__mp_main__"
"""What multiprocessing calls the main module in a process where it must not run."""

Tell = Callable[..., None]


def main(request: Mapping[str, Any]) -> None:
    """Install, import, tell; ends the process without waiting for threads that imports started."""
    with open(request["answer"], "a", encoding="utf-8") as stream:

        def tell(kind: str, /, **values: object) -> None:
            stream.write(json.dumps([kind, values]) + "\n")
            stream.flush()

        _tell_all(request, tell)
    os._exit(0)


def _tell_all(request: Mapping[str, Any], tell: Tell) -> None:
    from dytopo_autotrace import agent  # noqa: PLC0415 - sys.path is right by now
    from dytopo_autotrace.rules.load import load  # noqa: PLC0415

    # What rules call `__main__` is the program, not this process's own main module.
    ours = sys.modules.pop(MAIN, None)
    ruleset = load(request["rules"], cwd=agent.working_directory(), environ=os.environ)
    installation = agent.install(ruleset)
    modules, weaver = installation.modules, installation.weaver
    assert modules is not None  # noqa: S101 - None only if the environment disables us
    assert weaver is not None  # noqa: S101
    if ours is not None:
        sys.modules[MAIN] = ours
    sys.argv = [request["script"] or request["module"] or ""]
    _import_program(request, modules.compile, tell)
    for name in request["modules"]:
        _try(name, lambda name=name: _import(name), tell)  # type: ignore[misc]
    for entry in tuple(weaver.ledger.entries):
        about = _describe(entry.place, weaver.ledger.original_of)
        tell(
            "note",
            rule=entry.rule,
            place=entry.place,
            fate=entry.fate,
            reason=entry.reason,
            **about,
        )
    for fault in weaver.ledger.faults:
        tell("fault", text=fault)
    tell("end")


def _try(name: str, action: Callable[[], object], tell: Tell) -> None:
    tell("begin", module=name)
    try:
        action()
    except BaseException as error:  # whatever it does, the next one is another matter
        tell("module", module=name, error=_in_words(error))
    else:
        tell("module", module=name)


class _WouldRunError(Exception):
    """Importing a module would run a program."""

    def __str__(self) -> str:
        return str(self.args[0])


def _import(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    try:
        loader: Any = spec.loader if spec is not None else None
        tree = _parsed(loader.get_source(name), name)
    except Exception:
        tree = None  # Importing it says better what is wrong with it.
    line = _line_that_runs(tree) if tree is not None else 0
    if line:
        raise _WouldRunError(f"it was not imported, which would run it: see its line {line}")
    importlib.import_module(name)


def _parsed(source: str | bytes, file: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, file)


def _line_that_runs(tree: ast.Module) -> int:
    """Where a module starts an event loop, or its own `main`, when it is imported; 0 for nowhere."""
    has_main = any(getattr(each, "name", "") == "main" for each in tree.body)
    for statement in tree.body:
        if isinstance(statement, ast.Expr | ast.Raise | ast.Assign):
            for node in ast.walk(statement):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    if called in _STARTERS or (has_main and called == "main"):
                        return statement.lineno
    return 0


_STARTERS: Final = frozenset({"asyncio.run", "anyio.run", "trio.run"})


def _in_words(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, _WouldRunError):
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")[:300]


def _import_program(
    request: Mapping[str, Any], compile_woven: Callable[..., CodeType | None], tell: Tell
) -> None:
    """Import the main module if it takes care not to run then, else what it imports at its top."""
    path, name = request["script"], request["module"]
    if path is None and name is None:
        return
    try:
        source, file, own_name = _main_source(path, name)
    except Exception as error:
        tell("module", module=MAIN, error=_in_words(error))
        return
    if source is None:
        tell("module", module=MAIN, error="it has no source that can be read")
        return
    try:
        tree = _parsed(source, file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        tell("module", module=MAIN, error=_in_words(error))
        return
    if not _is_guarded(tree):
        tell(
            "module",
            module=MAIN,
            error='it was not imported, which would run it: it has no `if __name__ == "__main__"`',
        )
        for each in _imports(tree):
            if each not in request["modules"]:
                _try(each, lambda each=each: _import(each), tell)  # type: ignore[misc]
        return
    known_as = tuple(dict.fromkeys((MAIN, own_name))) if own_name else (MAIN,)
    code = compile_woven(source, file, *known_as) or compile(source, file, "exec", 0, True)
    _try(MAIN, lambda: _execute(code, file, name), tell)


def _main_source(path: str | None, name: str | None) -> tuple[Any, str, str]:
    """Source, file and the other name of the main module; no source if it has none."""
    if name is not None:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name = f"{name}.{MAIN}"
            spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec is not None else None
        return loader.get_source(name), loader.get_filename(name), name
    assert path is not None  # noqa: S101 - one of the two is the program
    for hook in sys.path_hooks:
        try:
            finder = hook(path)
        except ImportError:
            continue
        spec = finder.find_spec(MAIN)
        loader = spec.loader if spec is not None else None
        return loader.get_source(MAIN), loader.get_filename(MAIN), ""
    with open(path, "rb") as stream:
        file = os.path.abspath(path)
        return stream.read(), file, os.path.splitext(os.path.basename(path))[0]


def _is_guarded(tree: ast.Module) -> bool:
    """Whether the module asks for its name before it runs, or does nothing but define."""
    for statement in tree.body:
        if isinstance(statement, ast.If) and "__name__" in {
            each.id for each in ast.walk(statement.test) if isinstance(each, ast.Name)
        }:
            return True
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return all(
        isinstance(statement, harmless)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in tree.body
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.module


def _execute(code: CodeType, file: str, name: str | None) -> None:
    module = ModuleType(AS_A_CHILD)
    module.__file__ = file
    module.__package__ = name.rpartition(".")[0] if name else ""
    # Dataclasses and pickle look a class's module up by its name.
    sys.modules[AS_A_CHILD] = module
    exec(code, module.__dict__)  # noqa: S102 - as multiprocessing does with the main module


def _describe(place: str, original_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Kind, file and line of the function at a place, as far as attributes lead to it."""
    module_name, _, qualname = place.partition(":")
    value: Any = sys.modules.get(AS_A_CHILD if module_name == MAIN else module_name)
    is_method = False
    for part in qualname.removesuffix(".__wrapped__").split("."):
        is_method = isinstance(value, type)
        try:
            value = inspect.getattr_static(value, part)
        except AttributeError:
            return {}
    raw = original_of(value)
    kind = "method" if is_method else "function"
    if isinstance(raw, classmethod | staticmethod):
        kind = f"{type(raw).__name__.removesuffix('method')} method"
        raw = raw.__func__
    try:
        function = inspect.unwrap(raw)
    except (ValueError, AttributeError):
        function = raw
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return {"kind": type(raw).__name__}
    generates = (
        "generator " if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR) else ""
    )
    is_async = code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
    return {
        "kind": f"{'async ' if is_async else ''}{generates}{kind}",
        "file": code.co_filename,
        "line": code.co_firstlineno,
    }
