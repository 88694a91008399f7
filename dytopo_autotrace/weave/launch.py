"""Runs a program as `python program` would, with the functions of its main module woven.

A script is set up as CPython's main.c does it; modules, directories and zip files are handed to
`runpy`, as main.c does too. An exception that nothing catches leaves through the interpreter, which
then shows it, sets the exit code, and dies of SIGINT if need be; we only take our frames out of it.

What a program can still tell: `sys.orig_argv` and the stack (`traceback.print_stack()`, the depth at
which a RecursionError comes) have us in them, and more modules are loaded and one more thread runs
than without us.
"""

# main.c works on path names as they are written; pathlib would tidy them up.

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType, TracebackType
from typing import Any, Protocol

from dytopo_autotrace.errors import UsageError

MAIN = "__main__"


class Watch(Protocol):
    """What is told about the program; what it raises never reaches that."""

    def compile(self, source: str | bytes, filename: str, *known_as: str) -> CodeType | None:
        """The main module's code with its functions woven, None to run it as it is."""

    def has_no_source(self, *known_as: str) -> None:
        """The main module is compiled code without a source, and runs as it is."""

    def ended(self, error: BaseException | None) -> None:
        """The main module has ended; other threads and exit handlers may still run."""

    def contain(self, where: str, fault: Exception) -> None:
        """Count what went wrong inside of us, and was kept from the program."""


class NotRunnableError(UsageError):
    """What `-m` names cannot be run, in the words of runpy."""


@dataclass(frozen=True, slots=True)
class Script:
    """A file that is the program."""

    path: str
    """As it was given."""
    file: str
    """The absolute path, not normalized: what `__file__` and tracebacks show."""
    source: bytes
    code: CodeType | None
    """None if it does not compile."""
    is_compiled: bool

    @property
    def path0(self) -> str:
        """What Python puts in front of `sys.path`."""
        return path0_of(self.path)

    @property
    def known_as(self) -> tuple[str, ...]:
        return MAIN, os.path.splitext(os.path.basename(self.path))[0]


@dataclass(frozen=True, slots=True)
class Module:
    """A module, or a directory or zip file with a `__main__`, that runpy finds and runs."""

    name: str
    path: str | None = None
    """The directory or zip file as it was given, None for `-m`."""

    @property
    def path0(self) -> str | None:
        """What Python puts in front of `sys.path`, None for nothing."""
        try:
            return os.getcwd() if self.path is None else absolute(self.path)
        except FileNotFoundError:
            return None


Program = Script | Module


def read_script(path: str, source: bytes) -> Script:
    """What a file is as a program, compiled."""
    is_compiled = path.endswith(".pyc") or source[:4] == importlib.util.MAGIC_NUMBER
    file = absolute(path)
    return Script(path, file, source, _compiled(source, file, is_compiled), is_compiled)


def absolute(path: str) -> str:
    """A path as Python makes it absolute: unlike os.path's, it keeps every `..`."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def importer_of(path: str) -> Any:
    """What imports from a directory or zip file, None if a path is neither."""
    for hook in sys.path_hooks:
        try:
            return hook(path)
        except ImportError:
            continue
    return None


def _loader(file: str, *, is_compiled: bool) -> Any:
    if is_compiled:
        return importlib.machinery.SourcelessFileLoader(MAIN, file)
    return importlib.machinery.SourceFileLoader(MAIN, file)


def _compiled(source: bytes, file: str, is_compiled: bool) -> CodeType | None:
    # Warnings wait until all is compiled: Python gives them again with an error (see `_ask_python`).
    with warnings.catch_warnings(record=True) as raised:
        try:
            if is_compiled:
                return _loader(file, is_compiled=True).get_code(MAIN)  # type: ignore[no-any-return]
            code = compile(source, file, "exec", dont_inherit=True)
        except Exception:
            return None
    for each in raised:
        warnings.showwarning(each.message, each.category, each.filename, each.lineno)
    return code


def run(program: Program, args: Sequence[str], watch: Watch | None = None) -> None:
    """Execute a program as `__main__`; what it raises comes out as it would without us.

    Args:
        program: what to run; our own entry in `sys.path` must be gone.
        args: `sys.argv` after the program's name.
        watch: weaves the main module and hears how it ended.

    Raises:
        NotRunnableError: the module that `-m` names cannot be run; nothing of it has been.
    """
    main = _set_up(program, args)
    try:
        if isinstance(program, Script):
            try:
                exec(_code(program, args, watch), vars(main))  # noqa: S102 - a launcher's work
            finally:
                _flush()
        else:
            import runpy  # noqa: PLC0415 - a script does without

            _weave_what_it_finds(runpy, watch)
            runpy._run_module_as_main(program.name, program.path is None)  # type: ignore[attr-defined] # noqa: SLF001 - main.c calls it, and so its frames are in tracebacks
    except (SystemExit, NotRunnableError) as error:
        _tell(watch, error)
        raise
    except BaseException as error:
        _tell(watch, error)
        _step_aside(main, program)
        raise
    _tell(watch, None)
    _tidy(main, program)


def _set_up(program: Program, args: Sequence[str]) -> ModuleType:
    sys.argv[:] = ["-m" if program.path is None else program.path, *args]
    is_container = isinstance(program, Module) and program.path is not None
    path0 = program.path0
    if path0 is not None and (is_container or not sys.flags.safe_path):
        sys.path.insert(0, path0)
        make_way(path0)
    main = ModuleType(MAIN)
    vars(main)["__loader__"] = importlib.machinery.BuiltinImporter
    if sys.version_info < (3, 14):
        vars(main)["__annotations__"] = {}
    vars(main)["__builtins__"] = builtins
    if isinstance(program, Script):
        loader = _loader(program.file, is_compiled=program.is_compiled)
        vars(main).update(__file__=program.file, __cached__=None, __loader__=loader)
    sys.modules[MAIN] = main
    return main


def first_on_path() -> str | None:
    """What Python will put in front of `sys.path` for the program that it has yet to run."""
    first = sys.argv[0] if sys.argv else ""
    if first not in ("", "-", "-c", "-m") and importer_of(absolute(first)) is not None:
        return absolute(first)
    if sys.flags.safe_path:
        return None
    return Module("").path0 if first in ("", "-", "-c", "-m") else path0_of(first)


def path0_of(path: str) -> str:
    """What Python puts in front of `sys.path` for a script."""
    return os.path.dirname(os.path.realpath(path))


def make_way(path0: str, imported: Iterable[str] = ()) -> None:
    """Forget modules that we imported where the program has others of the same name.

    Args:
        imported: their names; without them, all since the launcher was imported.
    """
    importer = importer_of(path0)
    names = list(sys.modules)
    first = next((names.index(each) for each in ("runpy", _OURS) if each in names), 0)
    for name in dict.fromkeys(each.partition(".")[0] for each in imported or names[first:]):
        spec = getattr(sys.modules[name], "__spec__", None) if name in sys.modules else None
        if importer is None or name in (MAIN, _OURS) or spec is None or not spec.has_location:
            continue
        theirs = importer.find_spec(name)
        if theirs and theirs.loader and theirs.origin != spec.origin:
            for each in names:
                if each == name or each.startswith(f"{name}."):
                    sys.modules.pop(each, None)


_OURS = __name__.partition(".")[0]


def _code(script: Script, args: Sequence[str], watch: Watch | None) -> CodeType:
    if script.code is None:
        _ask_python(script, args)
        if script.is_compiled:
            return _loader(script.file, is_compiled=True).get_code(MAIN)  # type: ignore[no-any-return]
        return compile(script.source, script.file, "exec", dont_inherit=True)
    woven = None
    if watch is not None:
        try:
            if script.is_compiled:
                watch.has_no_source(*script.known_as)
            else:
                woven = _compiled_by(watch, script.source, script.file, *script.known_as)
        except Exception as fault:
            watch.contain(script.path, fault)
    return woven or script.code


def _compiled_by(
    watch: Watch, source: str | bytes, filename: str, *known_as: str
) -> CodeType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They were given when it was compiled without us.
        return watch.compile(source, filename, *known_as)


def _ask_python(script: Script, args: Sequence[str]) -> None:
    """Become a plain Python that says what is wrong with a script that does not compile.

    `compile` words some errors in another way than the interpreter does for a file.
    """
    if os.name == "nt" or not sys.executable or not os.path.isfile(script.path):
        return  # The shell would not wait for it, or what comes from a pipe has been read.
    import subprocess  # noqa: PLC0415 - only for a script that does not compile

    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # noqa: SLF001 - as multiprocessing does
    try:
        os.execv(sys.executable, [sys.executable, *flags, script.path, *args])  # noqa: S606
    except OSError:
        return


def follow(watch: Watch) -> None:
    """In an interpreter that has yet to run its program: have the functions of its main module woven.

    A script that rules name is run by us, since Python compiles it where nothing of ours comes in;
    `-m`, directories and zip files are looked up by runpy, and so is what multiprocessing imports.
    """
    first = sys.argv[0] if sys.argv else ""
    if first in ("", "-"):
        return
    import runpy  # noqa: PLC0415 - who gets here runs a module or has functions to weave

    if first == "-m":
        _weave_what_it_finds(runpy, watch, is_launched=False)
    elif first == "-c":
        if any("multiprocessing" in word for word in sys.orig_argv):
            _weave_what_it_finds(runpy, watch, is_launched=False)
            _weave_what_it_reads(runpy, watch)
    elif importer_of(absolute(first)) is not None:
        _weave_what_it_finds(runpy, watch, is_launched=False)
    else:
        _run_in_its_place(runpy, first, watch)


def _run_in_its_place(runpy: Any, path: str, watch: Watch) -> None:
    """Have a script that rules name run by `run`, once the interpreter is ready for it.

    The interpreter asks whether the script is a directory or zip file, and would have runpy run it.
    """
    try:
        with open(path, "rb") as stream:
            script = read_script(path, stream.read())
    except OSError:
        return
    if script.code is None or script.is_compiled:
        return
    if watch.compile(script.source, script.file, *script.known_as) is None:
        return
    run_module = runpy._run_module_as_main  # noqa: SLF001 - main.c calls it

    def claim(asked: str) -> object:
        if asked != script.file:
            raise ImportError
        sys.path_hooks.remove(claim)  # type: ignore[arg-type]
        runpy._run_module_as_main = run_script  # noqa: SLF001
        return script

    def run_script(*_: object) -> None:
        runpy._run_module_as_main = run_module  # noqa: SLF001
        sys.path_importer_cache.pop(script.file, None)
        if sys.path and sys.path[0] == script.file:
            del sys.path[0]
        run(script, sys.argv[1:], watch)

    sys.path_hooks.insert(0, claim)  # type: ignore[arg-type] # it gives no finder, but is asked first


def _weave_what_it_reads(runpy: Any, watch: Watch) -> None:
    """Have runpy take the woven code of the file that it reads next: multiprocessing's main module."""
    read = runpy._get_code_from_file  # noqa: SLF001 - there is no other way in

    def read_and_weave(*given: str) -> Any:
        runpy._get_code_from_file = read  # noqa: SLF001
        found, path = read(*given), given[-1]
        code = found[0] if isinstance(found, tuple) else found
        try:
            with open(path, "rb") as stream:
                name = os.path.splitext(os.path.basename(path))[0]
                names = dict.fromkeys(("__mp_main__", MAIN, name))
                code = watch.compile(stream.read(), code.co_filename, *names) or code
        except Exception:
            return found
        return (code, *found[1:]) if isinstance(found, tuple) else code

    runpy._get_code_from_file = read_and_weave  # noqa: SLF001


def _weave_what_it_finds(runpy: Any, watch: Watch | None, *, is_launched: bool = True) -> None:
    """Have runpy take the woven code of the module that it looks up next."""
    look_up = runpy._get_module_details  # noqa: SLF001 - as pdb does

    def look_up_and_weave(name: str, error: type[Exception] = ImportError) -> Any:
        runpy._get_module_details = look_up  # noqa: SLF001
        try:
            name, spec, code = look_up(name, error)
        except BaseException as fault:
            if is_launched and error is runpy._Error and type(fault) is error:  # noqa: SLF001
                raise NotRunnableError(str(fault)) from None
            if fault.__traceback__ is not None:
                fault.__traceback__ = fault.__traceback__.tb_next
            raise
        return name, spec, (watch and _woven(spec, watch)) or code

    runpy._get_module_details = look_up_and_weave  # noqa: SLF001


def _woven(spec: importlib.machinery.ModuleSpec, watch: Watch) -> CodeType | None:
    loader: Any = spec.loader
    if type(loader).__module__ == "dytopo_autotrace.weave.loader":
        spec.loader = loader = loader.__wrapped__
    try:
        source, filename = loader.get_source(spec.name), loader.get_filename(spec.name)
    except Exception:
        return None
    if source is None:
        return None
    try:
        return _compiled_by(watch, source, filename, *dict.fromkeys((MAIN, spec.name)))
    except Exception as fault:
        watch.contain(spec.name, fault)
        return None


def _tell(watch: Watch | None, error: BaseException | None) -> None:
    if watch is not None:
        try:
            watch.ended(error)
        except Exception as fault:
            watch.contain("the end of the program", fault)


def _flush() -> None:
    # As the interpreter does when a script has ended, before it shows an exception.
    for name in ("stderr", "stdout"):
        try:
            getattr(sys, name).flush()
        except Exception:
            pass


def _step_aside(main: ModuleType, program: Program) -> None:
    """Have the exception that is leaving shown without our frames, once it has left."""
    is_missing = not hasattr(sys, "excepthook")
    theirs = sys.__excepthook__ if is_missing else sys.excepthook

    def show(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.excepthook = theirs
        if is_missing:
            del sys.excepthook
            print("sys.excepthook is missing", file=sys.stderr)  # noqa: T201 - Python's words
        error.__traceback__ = sys.last_traceback = rest = _beyond_us(traceback)
        try:
            theirs(kind, error, rest)
        except BaseException as fault:
            if fault.__traceback__ is not None:
                fault.__traceback__ = fault.__traceback__.tb_next
            raise
        finally:
            _tidy(main, program)

    sys.excepthook = show


def _beyond_us(traceback: TracebackType | None) -> TracebackType | None:
    step = traceback
    while step is not None and step.tb_frame.f_code is not run.__code__:
        step = step.tb_next
    if step is None:
        return traceback
    while step is not None and step.tb_frame.f_code.co_filename == __file__:
        step = step.tb_next
    return step


def _tidy(main: ModuleType, program: Program) -> None:
    # As the interpreter does when a script has ended.
    if isinstance(program, Script):
        for name in ("__file__", "__cached__"):
            vars(main).pop(name, None)
