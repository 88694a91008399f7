"""Finds the modules of a program by their files, as importing would, and reads each once."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from typing import Any, Final

from dytopo_autotrace.errors import nearest
from dytopo_autotrace.rules.match import is_glob
from dytopo_autotrace.rules.survey.outline import DoubtError, Outline, WrongError

MAIN: Final = "__main__"
WITHOUT_SOURCE: Final = "has no source: it is compiled, or written in C"
MAX_MODULES: Final = 2000
"""Modules that are read for one target."""


def other_finders() -> tuple[Any, ...]:
    """The finders of this process beside Python's own, which editable installs have for instance."""
    own = (BuiltinImporter, FrozenImporter, PathFinder)
    return tuple(finder for finder in sys.meta_path if finder not in own)


class Program:
    """The modules of a program.

    Args:
        search_path: where modules are looked for.
        script: the script, directory or zip file that is the main module, if there is one.
        module: the name of the main module, if it has one.
        finders: are asked for what is not on the path.
    """

    def __init__(
        self,
        search_path: tuple[str, ...],
        script: str | None,
        module: str | None,
        finders: tuple[Any, ...],
    ) -> None:
        self._path = search_path
        self._script = script
        self._module = module
        self._finders = finders
        self._outlines: dict[str, Outline | Exception] = {}

    def outline(self, name: str) -> Outline:
        """What a module defines.

        Raises:
            WrongError: there is no such module.
            DoubtError: there is one, or may be, and it has no source that can be read.
        """
        known = self._outlines.get(name)
        if known is None:
            try:
                known = self._read_main() if name in self._main_names() else self._read(name)
            except (WrongError, DoubtError) as error:
                known = error
            self._outlines[name] = known
        if isinstance(known, Exception):
            raise known
        return known

    def modules(self, pattern: str, wanted: Callable[[str], bool]) -> list[str]:
        """The names of the modules that a glob means.

        Raises:
            WrongError: there are none.
            DoubtError: there are too many to look at.
        """
        known = self._main_names() if self._script or self._module else ()
        main = [name for name in known if wanted(name)][:1]
        first, *rest = pattern.split(".")
        if not first.strip("*?"):
            if main:
                return main
            raise DoubtError("it may mean any module")
        depth = MAX_MODULES if "**" in rest else len(rest)
        found = [*main]
        for name in self._below(first, rest, depth):
            if wanted(name) and name not in found:
                found.append(name)
            if len(found) > MAX_MODULES:
                raise DoubtError(f"it means more than {MAX_MODULES} modules")
        if not found:
            raise WrongError(f"there is no module like {pattern!r}.", self._near(first))
        return found

    def names_of(self, module: str) -> tuple[str, ...]:
        """All names that rules may call a module by, in the order in which they are tried."""
        names = self._main_names()
        return names if module in names else (module,)

    def _main_names(self) -> tuple[str, ...]:
        if self._script is not None and not os.path.isdir(self._script):
            return MAIN, os.path.splitext(os.path.basename(self._script))[0]
        return (MAIN,)

    def _read_main(self) -> Outline:
        if self._module is not None:
            return self._read_module_of(self._module)
        if self._script is None:
            raise DoubtError("it depends on which program is started")
        importer = _importer(self._script)
        if importer is not None:
            return _outline(importer.find_spec(MAIN), MAIN)
        try:
            with open(self._script, "rb") as stream:
                return _parse(stream.read(), self._script)
        except OSError as error:
            raise DoubtError(f"{self._script} cannot be read: {error.strerror}") from None

    def _read_module_of(self, name: str) -> Outline:
        spec = self._spec(name)
        is_package = spec is not None and spec.submodule_search_locations is not None
        return self.outline(f"{name}.{MAIN}" if is_package else name)

    def _read(self, name: str) -> Outline:
        spec = self._spec(name)
        if spec is None:
            raise self._missing(name)
        return _outline(spec, name)

    def _spec(self, name: str) -> ModuleSpec | None:
        """Where a module is, without importing its parents; None if it is nowhere."""
        if name in sys.builtin_module_names:
            return ModuleSpec(name, None)
        where: Iterable[str] = self._path
        spec, full = None, ""
        for part in name.split("."):
            full = f"{full}.{part}" if full else part
            spec = _find(full, where)
            if spec is None and full == part:
                spec = self._ask_finders(full)
            if spec is None:
                return None
            where = spec.submodule_search_locations or ()
        return spec

    def _ask_finders(self, name: str) -> ModuleSpec | None:
        for finder in self._finders:
            try:
                spec: ModuleSpec | None = finder.find_spec(name, None)
            except Exception:
                raise DoubtError(f"{finder!r} was asked for {name} and failed") from None
            if spec is not None:
                return spec
        return None

    def _missing(self, name: str) -> Exception:
        parent = name.rpartition(".")[0]
        if not parent:
            is_main = name in (MAIN, self._module)
            if not is_main and MAIN not in self._outlines and (self._script or self._module):
                self._outline_of_main()
            main = self._outlines.get(MAIN)
            if isinstance(main, Outline) and main.changes_search_path:
                return DoubtError(f"there is no module {name!r}, unless sys.path is changed for it")
            return WrongError(f"there is no module {name!r}.", self._near(name))
        try:
            package = self.outline(parent)
        except (WrongError, DoubtError) as error:
            return error
        if package.may_extend_path:
            return DoubtError(f"{parent} may have modules elsewhere: it sets its __path__")
        return WrongError(f"there is no module {name!r}.", self._near(name))

    def _outline_of_main(self) -> None:
        try:
            self.outline(MAIN)
        except (WrongError, DoubtError):
            pass

    def _near(self, name: str) -> str:
        parent = name.rpartition(".")[0]
        where: Iterable[str] = self._path
        if parent:
            spec = self._spec(parent)
            where = (spec and spec.submodule_search_locations) or ()
            if not where:
                return f"{parent!r} is a module, not a package."
        names = {each.name for each in pkgutil.iter_modules(where)}
        near = nearest(name.rpartition(".")[2], names if parent else {*names, *self._main_names()})
        return near.replace("'", f"'{parent}." if parent else "'", 1) if "Did you" in near else ""

    def _below(self, first: str, rest: list[str], depth: int) -> Iterator[str]:
        """All modules that a glob could mean, going no deeper than it can reach."""
        if is_glob(first):
            tops = [each.name for each in pkgutil.iter_modules(self._path)]
        else:
            while rest and not is_glob(rest[0]):
                first, depth = f"{first}.{rest.pop(0)}", depth - 1
            tops = [first]
        for top in tops:
            spec = self._spec(top)
            if spec is not None:
                yield top
                yield from _children(top, spec.submodule_search_locations or (), depth)


def _children(package: str, where: Iterable[str], depth: int) -> Iterator[str]:
    if depth <= 0:
        return
    places = list(where)
    names = {each.name for each in pkgutil.iter_modules(places)}
    for place in places:
        if os.path.isdir(place):  # iter_modules leaves out packages without an __init__.py
            names.update(
                each.name
                for each in os.scandir(place)
                if each.is_dir() and each.name.isidentifier()
            )
    for name in sorted(names - {"__pycache__"}):
        full = f"{package}.{name}"
        spec = _find(full, places)
        if spec is None:
            continue
        yield full
        yield from _children(full, spec.submodule_search_locations or (), depth - 1)


def _importer(path: str) -> Any:
    for hook in sys.path_hooks:
        try:
            return hook(path)
        except ImportError:
            continue
    return None


def _find(name: str, where: Iterable[str]) -> ModuleSpec | None:
    """A module among these directories and zip files; a namespace package has all its parts."""
    parts: list[str] = []
    for place in where:
        importer = pkgutil.get_importer(place)
        find = getattr(importer, "find_spec", None)
        spec: ModuleSpec | None = find(name) if find is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            parts.extend(spec.submodule_search_locations or ())
    if not parts:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = parts
    return namespace


def _outline(spec: ModuleSpec | None, name: str) -> Outline:
    if spec is not None and spec.loader is None and spec.submodule_search_locations:
        return Outline("", name)  # a namespace package: it defines nothing
    try:
        source = spec.loader.get_source(spec.name)  # type: ignore[union-attr]
    except Exception:
        source = None
    if spec is None or source is None:
        raise DoubtError(f"{name} {WITHOUT_SOURCE}")
    return _parse(source, spec.origin or name)


def _parse(source: str | bytes, file: str) -> Outline:
    try:
        return Outline(source, file)
    except SyntaxError as error:
        raise DoubtError(f"{file}:{error.lineno or 1} does not compile: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise DoubtError(f"{file} does not compile: {error}") from None
