"""What the source of one module says about its functions, read in one pass without recursion."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field
from typing import Final

_DEF: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEAVES: Final = frozenset(
    {type(None), str, ast.Name}
    | {
        kind
        for base in (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop)
        for kind in base.__subclasses__()
    }
)
"""Most of a tree is these, and there is nothing to be learned from them."""
_CHILDLESS: Final = frozenset({ast.Constant, ast.Import, ast.ImportFrom, ast.Pass, ast.alias})
_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)
_TELLING: Final = frozenset(
    {
        ast.Call,
        ast.Attribute,
        ast.Constant,
        *_LOOPS,
        ast.AnnAssign,
        ast.Import,
        ast.ImportFrom,
        ast.If,
    }
)
_ENDPOINTS: Final = ("chat/completions", "/v1/messages", "/v1/responses", "/api/generate")
_LONGEST_NAME: Final = 6
"""Dotted parts kept of a called name."""


@dataclass(slots=True)
class Function:
    """A function or method, and what is in its body, its nested functions included."""

    module: str
    qualname: str
    line: int
    owner: str = ""
    """The class that it is a method of, by its plain name."""
    parameters: tuple[str, ...] = ()
    is_async: bool = False
    decorators: tuple[str, ...] = ()
    returns: str = ""
    is_stub: bool = False
    """Whether there is nothing in it: abstract, or a protocol's."""
    loops: bool = False
    calls: set[tuple[str, str]] = field(default_factory=set)
    """Receiver as it is written, `""` for a plain name; and what is called."""
    read: set[tuple[str, str]] = field(default_factory=set)
    """Names and the attributes that are read from them."""
    endpoints: set[str] = field(default_factory=set)
    """Addresses of model servers among its texts."""

    @property
    def name(self) -> str:
        return self.qualname.rpartition(".")[2]

    @property
    def place(self) -> str:
        return f"{self.module}:{self.qualname}"


@dataclass(slots=True)
class Class:
    """A class, by its plain name."""

    name: str
    bases: tuple[str, ...] = ()
    fields: set[str] = field(default_factory=set)
    """Names that its instances have: annotated, assigned to `self`, or properties."""


@dataclass(slots=True)
class Module:
    """One source file."""

    file: str
    name: str = ""
    functions: list[Function] = field(default_factory=list)
    classes: list[Class] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)
    """By the name that is bound: `module` or `module:name`."""
    imported: set[str] = field(default_factory=set)
    """Modules that are imported, absolutely; those of `from x import y` may be `x` and `x.y`."""
    is_script: bool = False
    """Whether it asks if it is the program."""


def read(file: str, source: bytes) -> Module | None:
    """The facts of a file, None if it is no Python source that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, file)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    module = Module(file)
    pending: list[tuple[ast.AST, Function | None, Class | None, str]] = [(tree, None, None, "")]
    while pending:
        node, function, owner, prefix = pending.pop()
        for child in _children(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                if function is None:
                    inner = _function(child, owner, prefix)
                    module.functions.append(inner)
                    if owner is not None and "property" in inner.decorators:
                        owner.fields.add(child.name)
                    pending.append((child, inner, owner, prefix))
                else:
                    pending.append((child, function, owner, prefix))
            elif isinstance(child, ast.ClassDef) and function is None:
                cls = Class(child.name, tuple(map(_last, child.bases)))
                module.classes.append(cls)
                pending.append((child, None, cls, f"{prefix}{child.name}."))
            else:
                if type(child) in _TELLING:
                    _note(child, module, function, owner)
                if type(child) not in _CHILDLESS:
                    pending.append((child, function, owner, prefix))
    return module


def _children(node: ast.AST) -> list[ast.AST]:
    kind = type(node)
    if kind is ast.Module or kind is ast.ClassDef:
        return list(node.body)  # type: ignore[attr-defined]
    if kind in _DEF:
        return [*node.decorator_list, *node.body]  # type: ignore[attr-defined]
    found: list[ast.AST] = []
    for name in kind._fields:
        value = getattr(node, name, None)
        if type(value) is list:
            found += [each for each in value if type(each) not in _LEAVES]
        elif isinstance(value, ast.AST) and type(value) not in _LEAVES:
            found.append(value)
    return found


def _note(node: ast.AST, module: Module, function: Function | None, owner: Class | None) -> None:
    kind = type(node)
    if kind is ast.Call:
        name = _dotted(node.func)  # type: ignore[attr-defined]
        receiver, _, called = name.rpartition(".")
        if function is not None and called:
            function.calls.add((receiver, called))
    elif kind is ast.Attribute:
        _note_attribute(node, function, owner)  # type: ignore[arg-type]
    elif kind is ast.Constant:
        value = node.value  # type: ignore[attr-defined]
        if function is not None and type(value) is str and len(value) < 200:
            function.endpoints.update(each for each in _ENDPOINTS if each in value)
    elif kind in _LOOPS:
        if function is not None:
            function.loops = True
    elif kind is ast.AnnAssign and function is None and owner is not None:
        target = node.target  # type: ignore[attr-defined]
        if isinstance(target, ast.Name):
            owner.fields.add(target.id)
    elif kind is ast.Import:
        for alias in node.names:  # type: ignore[attr-defined]
            module.imported.add(alias.name)
            module.imports[alias.asname or alias.name.partition(".")[0]] = alias.name
    elif kind is ast.ImportFrom:
        _note_import(node, module)  # type: ignore[arg-type]
    elif kind is ast.If and function is None and owner is None:
        test = node.test  # type: ignore[attr-defined]
        if isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__":
            module.is_script = True


def _note_attribute(node: ast.Attribute, function: Function | None, owner: Class | None) -> None:
    if function is None:
        return
    if node.attr in ("create", "parse") and isinstance(node.value, ast.Attribute):
        function.calls.add((_dotted(node.value), node.attr))  # handed to something that calls it
    if not isinstance(node.value, ast.Name):
        return
    if isinstance(node.ctx, ast.Store):
        if owner is not None and node.value.id == "self":
            owner.fields.add(node.attr)
    elif node.value.id in function.parameters:
        function.read.add((node.value.id, node.attr))


def _note_import(node: ast.ImportFrom, module: Module) -> None:
    source = "." * node.level + (node.module or "")
    if not node.level:
        module.imported.add(source)
    for alias in node.names:
        if alias.name != "*":
            module.imports[alias.asname or alias.name] = f"{source}:{alias.name}"
            if not node.level:
                module.imported.add(f"{source}.{alias.name}")


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, owner: Class | None, prefix: str
) -> Function:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    decorators = tuple(map(_last, node.decorator_list))
    return Function(
        module="",
        qualname=f"{prefix}{node.name}",
        line=node.lineno,
        owner=owner.name if owner is not None else "",
        parameters=tuple(each.arg for each in every),
        is_async=isinstance(node, ast.AsyncFunctionDef),
        decorators=decorators,
        returns=_last(node.returns) if node.returns is not None else "",
        is_stub=_is_stub(node) or not {"abstractmethod", "overload"}.isdisjoint(decorators),
    )


def _is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return all(
        isinstance(each, ast.Pass)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        or (isinstance(each, ast.Raise) and "NotImplemented" in _last(each.exc))
        for each in body
    )


def _dotted(node: ast.AST | None) -> str:
    parts: list[str] = []
    while len(parts) < _LONGEST_NAME:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Name):
            parts.append(node.id)
            break
        elif isinstance(node, ast.Call | ast.Subscript | ast.Await):
            if not parts:
                return ""
            node = node.func if isinstance(node, ast.Call) else node.value
        else:
            parts.append("?")
            break
    return ".".join(reversed(parts))


def _last(node: ast.AST | None) -> str:
    """The last name in an expression such as a base class, a decorator or an annotation."""
    for _ in range(_LONGEST_NAME):
        if isinstance(node, ast.Attribute):
            return node.attr
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Constant):
            return str(node.value).rpartition(".")[2][:80]
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            return ""
    return ""
