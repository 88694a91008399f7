"""From a rule's expressions to source that reads their values off a call.

The source goes into functions with the parameters of the watched one, so the interpreter itself
binds the arguments: no signature is walked while the program runs. Values that cannot change
afterwards are kept as they are; everything else is rendered at once into a bounded copy.
"""

from __future__ import annotations

import ast
import builtins
import copy
import fnmatch
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Final

from dytopo_autotrace.collect.faults import is_for_the_program
from dytopo_autotrace.collect.settle import MAX_BITS, REDACTED, cut
from dytopo_autotrace.collect.span import FAILED, MISSING, RESERVED
from dytopo_autotrace.rules.expressions import (
    FUNCTIONS,
    GIVE_ITERATORS,
    ITERATING,
    TYPES,
    Expression,
)
from dytopo_autotrace.rules.model import Capture

OURS: Final = "__dytopo_"
"""Prefix of our own names in generated code: parameters of the host's can have any other name."""

UNCHANGING: Final = frozenset({int, float, bool, str, type(None)})
_MAX_DEPTH = 4
_MAX_ITEMS = 100
_CHARACTERS_OF_NO_TEXT = 8
_MAX_WHOLE = 100_000

Reader = Callable[..., tuple[Any, ...]]
"""Reads captured values: `read(result, error, last, *args, **kwargs)` with a function's own parameters."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How a function takes its arguments, and how to hand them on, read off its code object."""

    names: frozenset[str]
    order: tuple[str, ...]
    """The names in the order of their parameters."""
    header: str
    """The parameters as source, without defaults: what is generated gets the function's own."""
    arguments: str
    """The call that hands all of them on."""
    positional: str
    """The same as a tuple of what is handed on by position, and as a dict of the rest."""
    named: str

    @classmethod
    def of(cls, function: FunctionType) -> Parameters:
        code = function.__code__
        by_position = code.co_varnames[: code.co_argcount]
        by_name = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        others = iter(code.co_varnames[code.co_argcount + code.co_kwonlyargcount :])
        rest = [f"*{next(others)}"] if code.co_flags & inspect.CO_VARARGS else []
        keywords = [f"**{next(others)}"] if code.co_flags & inspect.CO_VARKEYWORDS else []
        header = [*by_position]
        if code.co_posonlyargcount:
            header.insert(code.co_posonlyargcount, "/")
        header += rest or ["*"] * bool(by_name)
        order = (*by_position, *by_name, *(each.strip("*") for each in rest + keywords))
        return cls(
            names=frozenset(order),
            order=order,
            header=", ".join((*header, *by_name, *keywords)),
            arguments=", ".join((*by_position, *rest, *(f"{n}={n}" for n in by_name), *keywords)),
            positional=f"({''.join(f'{each}, ' for each in (*by_position, *rest))})",
            named=f"{{{', '.join((*(f'{n!r}: {n}' for n in by_name), *keywords))}}}",
        )


ANYTHING: Final = Parameters(
    names=frozenset(),
    order=(),
    header=f"*{OURS}args, **{OURS}kwargs",
    arguments=f"*{OURS}args, **{OURS}kwargs",
    positional=f"(*{OURS}bound, *{OURS}args)",
    named=f"{OURS}kwargs",
)
"""The parameters of a callable whose own cannot be seen; `bound` is what it is bound to, if it is."""


def value_source(
    name: str,
    expression: Expression,
    keeper: Keeper,
    *,
    parameters: frozenset[str],
    whole: bool = False,
) -> str:
    """Source that evaluates to the captured value of an expression; `whole` is not cut to its limit."""
    text = ast.unparse(_Names(expression, parameters).visit(copy.deepcopy(expression.tree)))
    if name in (EXTRACT, INJECT, HELD_BY, RAISED):
        return text
    if name in (FAILED, WHEN):
        # Whether it holds is asked now: the answer of a host's object may change.
        return f"{OURS}bool({text})"
    known_as = _known_as(name)
    if known_as and any(map(keeper.is_secret, (known_as, *_read_by(expression.tree)))):
        return repr(REDACTED)
    if whole:
        return f"{OURS}keep_whole({text})"
    value = f"{OURS}value"
    return (
        f"({value} if {OURS}type({value} := ({text})) in {OURS}unchanging else {OURS}keep({value}))"
    )


def _known_as(name: str) -> str:
    """What a captured value is called where it is shown, `""` for the number that a metric records."""
    if name.startswith(RESERVED):
        *_, last = name.split(RESERVED)
        return "" if last.isdigit() else last
    return name


def _read_by(tree: ast.AST) -> Iterator[str]:
    """The names of what an expression shows, whole or in part; of what is only counted or compared, none.

    What an attribute or a key is taken from is not shown: `vault.region` tells no secret.
    """
    match tree:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            yield name
        case ast.Subscript(value=value):
            yield from _read_by(value)
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
            yield name
        case ast.Call(func=ast.Name(id=name)) if name in _TELL_LITTLE:
            return
        case ast.Call(func=function, args=arguments):
            of = [function.value] if isinstance(function, ast.Attribute) else []
            for each in (*of, *arguments):
                yield from _read_by(each)
        case ast.Compare():
            return
        case ast.IfExp(body=body, orelse=orelse):
            yield from _read_by(body)
            yield from _read_by(orelse)
        case _:
            for part in ast.iter_child_nodes(tree):
                yield from _read_by(part)


_TELL_LITTLE: Final = frozenset({"bool", "isinstance", "len", "type"})

WHEN, EXTRACT, INJECT, HELD_BY, RAISED = (
    f"{RESERVED}{key}" for key in ("when", "extract", "inject", "held_by", "raised")
)
"""Names of what is read when a call begins and not kept; what comes to light is the host's own."""

LAST: Final = "last"
"""The last item of an iteration, where no parameter of the function has this name."""

_BUILTINS: Final = {name: getattr(builtins, name) for name in (*FUNCTIONS, *TYPES)}


class _Names(ast.NodeTransformer):
    """Gives what the language provides a name of its own: a parameter may be called `len` as well."""

    def __init__(self, expression: Expression, parameters: frozenset[str]) -> None:
        self._provided = {"result", "error", *_BUILTINS.keys() - expression.names}
        self._provided |= {LAST} - parameters

    def visit_Name(self, node: ast.Name) -> ast.Name:
        name = OURS + node.id if node.id in self._provided else node.id
        return ast.copy_location(ast.Name(name, node.ctx), node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        node.iter = self._lasting(node.iter)
        self.generic_visit(node)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        node.comparators = [
            self._lasting(each) if isinstance(how, (ast.In, ast.NotIn)) else each
            for how, each in zip(node.ops, node.comparators, strict=True)
        ]
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if self._calls(node, GIVE_ITERATORS):
            node.args = [self._lasting(each) for each in node.args]
        elif self._calls(node, ITERATING) and (len(node.args) == 1 or self._calls(node, _SUM)):
            node.args[0] = self._lasting(node.args[0])
        self.generic_visit(node)
        return node

    def _calls(self, node: ast.expr, names: frozenset[str]) -> bool:
        match node:
            case ast.Call(func=ast.Name(id=name)):
                return name in names and name in self._provided
            case ast.Call(func=ast.Attribute(attr=name)):
                return name in names
        return False

    def _lasting(self, node: ast.expr) -> ast.expr:
        """What is about to be gone through, unless that would use it up: the host needs it afterwards."""
        if isinstance(node, (ast.GeneratorExp, ast.Constant)) or self._calls(node, GIVE_ITERATORS):
            return node
        return ast.Call(ast.Name(_LASTING, ast.Load()), [node], [])


_LASTING: Final = OURS + "lasting"
_SUM: Final = frozenset({"sum"})
"""Goes through its first argument also where it has two, unlike `max`, which then compares them."""


def _lasting(value: Any) -> Any:
    """The value, unless going through it would take its items away from the host."""
    if hasattr(type(value), "__next__"):
        raise TypeError(f"a {type(value).__name__} can be gone through only once")
    return value


def namespace(keeper: Keeper) -> dict[str, Any]:
    """The globals that `value_source` needs."""
    values = {**_BUILTINS, "unchanging": UNCHANGING, "missing": MISSING, "lasting": _lasting}
    values |= {"keep": keeper.keep, "keep_whole": keeper.keep_whole}
    return {OURS + name: value for name, value in values.items()}


def reader(
    sources: Mapping[str, str], parameters: Parameters, values: Mapping[str, Any]
) -> Callable[[FunctionType | None], Reader]:
    """Compile a reader of several values; bind it to a function to give it that one's defaults."""
    slash = "" if "/" in parameters.header.split(", ") else "/, "
    source = f"""
def read({OURS}result, {OURS}error, {OURS}last, {slash}{parameters.header}):
    return ({", ".join(sources.values())},)
"""
    module = compile(source, "<dytopo_autotrace reader>", "exec", dont_inherit=True)
    code = next(const for const in module.co_consts if isinstance(const, CodeType))
    scope = dict(values)

    def bind(function: FunctionType | None) -> Reader:
        read = FunctionType(code, scope)
        give_defaults(function, read)
        return read

    return bind


def give_defaults(function: FunctionType | None, generated: FunctionType) -> None:
    """Give a generated function the defaults of the function whose parameters it has."""
    # Only if there are any: setting them costs the function its place in the interpreter's caches.
    if function is not None and function.__defaults__:
        generated.__defaults__ = function.__defaults__
    if function is not None and function.__kwdefaults__:
        generated.__kwdefaults__ = function.__kwdefaults__


class Keeper:
    """Renders values that could change, or be large, into bounded plain copies."""

    __slots__ = ("_max_length", "_redact")

    def __init__(self, capture: Capture) -> None:
        self._max_length = capture.max_length
        self._redact = tuple(pattern.lower() for pattern in capture.redact)

    def is_secret(self, name: str) -> bool:
        lowered = name.lower()
        return any(fnmatch.fnmatchcase(lowered, pattern) for pattern in self._redact)

    def keep(self, value: Any) -> Any:
        """A plain copy of a value, with as many characters as the limit allows, all in all.

        Only the exact builtin containers are walked: anything else might do work, or be used up, by
        being iterated, so it is kept as its `repr`.
        """
        return self._keep(value, 0, [self._max_length])

    def keep_whole(self, value: Any) -> Any:
        """A plain copy of edges or of names of agents, which are of use only when none is missing.

        Up to a hundred thousand characters; numbers of other types than Python's are taken as floats.
        """
        return self._keep_edges(value, 0, [_MAX_WHOLE])

    def _keep_edges(self, value: Any, depth: int, room: list[int]) -> Any:
        kind = type(value)
        if kind is dict and depth < _MAX_DEPTH:
            return {
                self._text(key if type(key) is str else _repr(key), room): self._keep_edges(
                    item, depth + 1, room
                )
                for key, item in value.items()
            }
        if kind in _SEQUENCES and depth < _MAX_DEPTH:
            items: list[Any] = []
            for each in value:
                if room[0] <= 0:
                    items.append(f"… {len(value) - len(items)} more")
                    break
                items.append(self._keep_edges(each, depth + 1, room))
            return items
        if kind not in UNCHANGING and hasattr(kind, "__float__"):
            room[0] -= _CHARACTERS_OF_NO_TEXT
            return float(value)
        return self._keep(value, depth, room)

    def _keep(self, value: Any, depth: int, room: list[int]) -> Any:
        kind = type(value)
        if kind in UNCHANGING and kind is not str:
            room[0] -= _CHARACTERS_OF_NO_TEXT
            if kind is int and value.bit_length() > MAX_BITS:
                return f"int of {value.bit_length()} bits"
            return value
        if kind is dict or kind in _SEQUENCES:
            if depth >= _MAX_DEPTH:
                room[0] -= _CHARACTERS_OF_NO_TEXT
                return f"<{kind.__name__} of {len(value)}>"
            return self._keep_items(value, depth + 1, room)
        if kind in (bytes, bytearray):
            fits = len(value) <= room[0]
            return self._text(repr(value) if fits else f"<{len(value)} bytes>", room)
        return self._text(value if kind is str else _repr(value), room)

    def _keep_items(self, container: Any, depth: int, room: list[int]) -> Any:
        is_dict = type(container) is dict
        names: list[str] = []
        items: list[Any] = []
        for each in container.items() if is_dict else container:
            if len(items) == _MAX_ITEMS or room[0] <= 0:
                names.append("…")
                items.append(f"… {len(container) - len(items)} more")
                break
            if is_dict:
                key, item = each
                name = key if type(key) is str else _repr(key)
                names.append(self._text(name, room))
                items.append(REDACTED if self.is_secret(name) else self._keep(item, depth, room))
            elif self._is_secret_pair(each):
                items.append([self._text(each[0], room), REDACTED])
            else:
                items.append(self._keep(each, depth, room))
        return dict(zip(names, items, strict=True)) if is_dict else items

    def _is_secret_pair(self, item: Any) -> bool:
        """Whether this is one of a mapping's items, or a header, under a name that is not to be kept."""
        is_pair = type(item) in (tuple, list) and len(item) == 2
        return is_pair and type(item[0]) is str and self.is_secret(item[0])

    def _text(self, text: str, room: list[int]) -> str:
        kept = cut(text, max(0, min(room[0], self._max_length)))
        room[0] -= len(kept) + 1
        return kept


_SEQUENCES: Final = frozenset(
    {list, tuple, set, frozenset, type({}.keys()), type({}.values()), type({}.items())}
)


def _repr(value: Any) -> str:
    try:
        return str(repr(value))
    except BaseException as error:
        if is_for_the_program(error):
            raise
        return f"<{type(value).__name__}: repr raised {type(error).__name__}>"
