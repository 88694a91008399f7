"""What a module's source defines, by qualname, and which of its names only running it can explain."""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dytopo_autotrace.errors import nearest
from dytopo_autotrace.rules.match import LOCALS, UNDECORATED, needs_source

MAX_HINT: Final = 200
"""Characters; a longer list of names helps nobody."""

_DEF: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSION: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

_TRANSPARENT: Final = frozenset(
    {"abstractmethod", "classmethod", "final", "no_type_check", "override", "staticmethod"}
)
"""Decorators behind which a function has the parameters of its `def`."""

_WITHOUT_METHODS: Final = frozenset(
    {"ABC", "Enum", "Generic", "IntEnum", "NamedTuple", "Protocol", "StrEnum", "TypedDict"}
)
"""Well-known base classes that have no methods of their own for a rule to name."""


class WrongError(Exception):
    """A target names what is not there, or what cannot be watched."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DoubtError(Exception):
    """Why the source does not tell what a name is."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A `def`."""

    qualname: str
    line: int
    kind: str
    """Such as `method`, `async function` or `generator method`."""
    parameters: frozenset[str]
    is_decorated: bool
    may_take_more: bool
    """Whether a decorator may have given it other parameters."""


@dataclass(slots=True)
class Scope:
    """The names of a module or of a class."""

    functions: dict[str, Definition] = field(default_factory=dict)
    classes: dict[str, Scope] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    """Names that are bound otherwise, and how."""
    is_class: bool = False
    bases: tuple[ast.expr, ...] = ()
    is_open: str = ""
    """Why it may have more names than can be seen, `""` if it has not."""

    def names(self) -> set[str]:
        return {*self.functions, *self.classes}


def hint(name: str, valid: Iterable[str]) -> str:
    """The nearest valid name, or a list of them if it is short."""
    text = nearest(name, valid)
    return text if len(text) <= MAX_HINT else ""


class Outline:
    """What one module defines.

    Raises:
        SyntaxError, ValueError: the source is none.
    """

    def __init__(self, source: str | bytes, file: str) -> None:
        self.file = file
        self._top = Scope()
        self._definitions: dict[str, Definition] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The program is warned when it is compiled.
            tree = ast.parse(source, file)
        self.changes_search_path = False
        self.defines_more = ""
        """Why there may be functions that cannot be seen, `""` if there are none."""
        for statement in tree.body:
            self._visit(statement, self._top, "")
        self._look_around(tree)
        self._imports = [
            each for each in ast.walk(tree) if isinstance(each, ast.Import | ast.ImportFrom)
        ]
        self._classes = dict(_classes(self._top, ""))

    @property
    def may_extend_path(self) -> bool:
        """Whether a package may have modules elsewhere than beside its source."""
        return "__path__" in self._top.others or bool(self.defines_more)

    def functions(self) -> Iterator[tuple[str, Definition]]:
        """All functions by the names that rules may call them, those below decorators included."""
        for qualname, definition in self._definitions.items():
            if not definition.kind.endswith("property"):
                yield qualname, definition
            if definition.is_decorated:
                yield f"{qualname}.{UNDECORATED}", definition

    def classes(self) -> Iterable[tuple[str, Scope]]:
        """All classes of the module and in its classes, by qualname."""
        return self._classes.items()

    def imports(self, module: str) -> dict[str, tuple[str, str]]:
        """By the name that is bound: which module, and what of it, `""` for the module itself.

        Args:
            module: the name of this one, which relative imports start from.
        """
        found: dict[str, tuple[str, str]] = {}
        is_package = self.file.endswith("__init__.py")
        for node in self._imports:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name] = (alias.name, "")
                continue
            source = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = len(parts) - node.level + is_package
                source = ".".join(filter(None, (*parts[: max(kept, 0)], source)))
            for alias in node.names:
                found[alias.asname or alias.name] = (source, alias.name)
        return found

    def class_of(self, qualname: str) -> Scope:
        """The class of a qualname.

        Raises:
            WrongError: there is none.
            DoubtError: the source does not tell.
        """
        scope, prefix = self._top, ""
        for name in qualname.split("."):
            scope = self._class(scope, prefix, name)
            prefix += f"{name}."
        return scope

    def find(self, qualname: str) -> Definition:
        """The function of a qualname.

        Raises:
            WrongError: there is none, or it cannot be watched.
            DoubtError: the source does not tell.
        """
        if needs_source(qualname):
            return self._find_def(qualname)
        scope, prefix = self._top, ""
        *owners, last = qualname.split(".")
        for name in owners:
            scope = self._class(scope, prefix, name)
            prefix += f"{name}."
        return self._function(scope, prefix, last)

    def _find_def(self, qualname: str) -> Definition:
        plain = qualname.removesuffix(f".{UNDECORATED}")
        definition = self._definitions.get(plain)
        if definition is None:
            outermost = plain.partition(".")[0]
            if plain == qualname and outermost in self._top.others:
                how = self._top.others[outermost]
                raise WrongError(
                    f"has no def here: {outermost} is {how}.", "Name it where it is defined."
                )
            raise WrongError("has no def.", hint(plain, self._definitions))
        if plain != qualname and not definition.is_decorated:
            raise WrongError("has no decorators.", f"Leave out .{UNDECORATED}.")
        return definition

    def _class(self, scope: Scope, prefix: str, name: str) -> Scope:
        if name in scope.classes and name not in scope.others:
            return scope.classes[name]
        if name in scope.functions and name not in scope.others:
            raise WrongError(
                f"{prefix}{name} is a function.", f"What is defined in it is {name}.{LOCALS}.…"
            )
        for base in self._bases(scope, prefix, name):
            if name in base.classes:
                return base.classes[name]
        raise _absent(scope, prefix, name)

    def _function(self, scope: Scope, prefix: str, name: str) -> Definition:
        for each in self._bases(scope, prefix, name):
            if name in each.functions and name not in each.others:
                return each.functions[name]
            if name in each.classes and name not in each.others:
                raise WrongError("is a class.", f"Name its methods, such as {prefix}{name}.*")
            if name in each.others:
                raise DoubtError(f"{prefix}{name} is {each.others[name]}")
        raise _absent(scope, prefix, name)

    def _bases(self, scope: Scope, prefix: str, name: str) -> Iterator[Scope]:
        """A scope and, for a class, its base classes as far as they can be seen.

        Raises:
            DoubtError: when all are seen, if there are others.
        """
        seen: list[Scope] = []
        pending = [scope]
        unseen = ""
        while pending:
            each = pending.pop(0)
            if any(each is other for other in seen):
                continue
            seen.append(each)
            yield each
            unseen = unseen or each.is_open
            for base in each.bases:
                if isinstance(base, ast.Name) and base.id in self._top.classes:
                    pending.append(self._top.classes[base.id])
                elif not _has_no_methods(base):
                    text = ast.unparse(base)
                    unseen = unseen or f"{prefix}{name} may be inherited from {text}"
        if unseen:
            raise DoubtError(unseen)

    def _visit(self, node: ast.AST, scope: Scope, prefix: str) -> None:
        """Note what a node binds in its scope, and what is defined within it."""
        if isinstance(node, _DEF):
            definition = _definition(node, prefix, is_method=scope.is_class)
            scope.functions[node.name] = self._definitions[definition.qualname] = definition
            inner = Scope()
            for statement in node.body:
                self._visit(statement, inner, f"{definition.qualname}.{LOCALS}.")
        elif isinstance(node, ast.ClassDef):
            inner = Scope(is_class=True, bases=tuple(node.bases))
            if node.keywords or node.decorator_list:
                inner.is_open = f"{prefix}{node.name} has a decorator or a metaclass"
            scope.classes[node.name] = inner
            for statement in node.body:
                self._visit(statement, inner, f"{prefix}{node.name}.")
        elif isinstance(node, _COMPREHENSION):
            for each in ast.walk(node):
                if isinstance(each, ast.NamedExpr):
                    scope.others[each.target.id] = "assigned"
        elif isinstance(node, ast.Global):
            self._top.others.update(dict.fromkeys(node.names, "assigned by a function"))
        elif not isinstance(node, ast.Lambda):
            _bind(node, scope)
            for child in ast.iter_child_nodes(node):
                self._visit(child, scope, prefix)

    def _look_around(self, tree: ast.Module) -> None:
        """See what makes names appear without binding them."""
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(ast.Name("sys"), "path"):
                    self.changes_search_path = True
                case ast.Call(ast.Name("exec" | "globals" as name)):
                    self._top.is_open = self.defines_more = f"the module calls {name}()"
                case ast.Call(ast.Name("setattr"), [ast.Name(name), *_]) if (
                    name in self._top.classes
                ):
                    self._top.classes[name].is_open = f"the module calls setattr({name}, …)"
                case ast.Attribute(ast.Name(name), attribute, ast.Store()) if (
                    name in self._top.classes
                ):
                    self._top.classes[name].others[attribute] = "assigned"


def _classes(scope: Scope, prefix: str) -> Iterator[tuple[str, Scope]]:
    for name, inner in scope.classes.items():
        yield f"{prefix}{name}", inner
        yield from _classes(inner, f"{prefix}{name}.")


def _absent(scope: Scope, prefix: str, name: str) -> Exception:
    if name in scope.others:
        return DoubtError(f"{prefix}{name} is {scope.others[name]}")
    where = prefix.removesuffix(".") or "the module"
    return WrongError(f"{where} has no {name!r}.", hint(name, scope.names()))


def _has_no_methods(base: ast.expr) -> bool:
    if isinstance(base, ast.Subscript):
        base = base.value
    name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
    known = getattr(builtins, name, None)
    return (
        name in _WITHOUT_METHODS
        or name == "object"
        or (isinstance(known, type) and issubclass(known, BaseException))
    )


def _bind(node: ast.AST, scope: Scope) -> None:
    match node:
        case ast.Name(name, ast.Store()):
            scope.others[name] = "assigned"
        case ast.Import(names):
            for alias in names:
                bound = alias.asname or alias.name.partition(".")[0]
                scope.others[bound] = "an imported module"
        case ast.ImportFrom(module, names, level):
            source = "." * level + (module or "")
            for alias in names:
                if alias.name == "*":
                    scope.is_open = f"it has `from {source} import *`"
                else:
                    scope.others[alias.asname or alias.name] = f"imported from {source}"
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            scope.others[name] = "assigned"
        case ast.MatchStar(str(name)) | ast.MatchMapping(rest=str(name)):
            scope.others[name] = "assigned"


def _definition(
    node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str, *, is_method: bool
) -> Definition:
    names = [_name_of(decorator) for decorator in node.decorator_list]
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return Definition(
        qualname=prefix + node.name,
        line=node.lineno,
        kind=_kind(node, names, is_method=is_method),
        parameters=frozenset(each.arg for each in every),
        is_decorated=bool(names),
        may_take_more=not _TRANSPARENT.issuperset(names),
    )


def _name_of(decorator: ast.expr) -> str:
    return ast.unparse(decorator).rpartition(".")[2]


def _kind(
    node: ast.FunctionDef | ast.AsyncFunctionDef, decorators: list[str], *, is_method: bool
) -> str:
    for name in ("property", "cached_property", "setter", "deleter", "getter"):
        if name in decorators and is_method:
            return "cached property" if name == "cached_property" else "property"
    kind = "method" if is_method else "function"
    for name in ("classmethod", "staticmethod"):
        if name in decorators:
            kind = f"{name[:-6]} method"
    generates = "generator " if _yields(node) else ""
    return ("async " if isinstance(node, ast.AsyncFunctionDef) else "") + generates + kind


def _yields(function: ast.AST) -> bool:
    pending = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, (*_DEF, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return False
