"""The expression language of rules: a subset of Python that reads values and can do nothing else.

The bounds guard against accidents, such as a repetition that fills the memory. Rule files are
as trusted as the program that they watch, so nothing here is a sandbox for hostile authors; but
there is no way to a dunder name, to a frame, or to a function that is not listed here.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, NoReturn

from dytopo_autotrace.errors import AutotraceError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_LENGTH: Final = 1000
"""Characters in one expression."""
MAX_DEPTH: Final = 30
"""Levels of nesting."""
MAX_LOOPS: Final = 3
"""`for`s in one expression."""
MAX_FACTOR: Final = 1_000_000
"""The largest whole number that something is multiplied by: that something may be a text."""
MAX_DIGITS: Final = 15
"""Digits that `round` may be told to keep."""
MAX_WIDTH: Final = 999
"""Width and precision in an f-string."""


class Signature(NamedTuple):
    """With how many arguments, and which keywords, something may be called."""

    fewest: int
    most: int
    keywords: frozenset[str] = frozenset()


_ANY: Final = 100  # as good as no limit

FUNCTIONS: Final = {
    "abs": Signature(1, 1),
    "all": Signature(1, 1),
    "any": Signature(1, 1),
    "bool": Signature(1, 1),
    "dict": Signature(0, 1),
    "enumerate": Signature(1, 2, frozenset({"start"})),
    "float": Signature(1, 1),
    "int": Signature(1, 1),
    "isinstance": Signature(2, 2),
    "len": Signature(1, 1),
    "list": Signature(0, 1),
    "max": Signature(1, _ANY, frozenset({"default"})),
    "min": Signature(1, _ANY, frozenset({"default"})),
    "repr": Signature(1, 1),
    "round": Signature(1, 2),
    "set": Signature(0, 1),
    "sorted": Signature(1, 1, frozenset({"reverse"})),
    "str": Signature(1, 1),
    "sum": Signature(1, 2, frozenset({"start"})),
    "tuple": Signature(0, 1),
    "type": Signature(1, 1),
    "zip": Signature(1, _ANY, frozenset({"strict"})),
}
"""The builtins that may be called; `type` only as `type(x).__name__`."""

METHODS: Final = {
    "casefold": Signature(0, 0),
    "count": Signature(1, 3),
    "endswith": Signature(1, 3),
    "find": Signature(1, 3),
    "get": Signature(1, 2),
    "index": Signature(1, 3),
    "isdigit": Signature(0, 0),
    "items": Signature(0, 0),
    "join": Signature(1, 1),
    "keys": Signature(0, 0),
    "lower": Signature(0, 0),
    "lstrip": Signature(0, 1),
    "partition": Signature(1, 1),
    "removeprefix": Signature(1, 1),
    "removesuffix": Signature(1, 1),
    "replace": Signature(2, 3),
    "rfind": Signature(1, 3),
    "rpartition": Signature(1, 1),
    "rsplit": Signature(0, 2, frozenset({"sep", "maxsplit"})),
    "rstrip": Signature(0, 1),
    "split": Signature(0, 2, frozenset({"sep", "maxsplit"})),
    "splitlines": Signature(0, 0),
    "startswith": Signature(1, 3),
    "strip": Signature(0, 1),
    "title": Signature(0, 0),
    "upper": Signature(0, 0),
    "values": Signature(0, 0),
}
"""What may be called on a value: methods of texts, mappings and lists that change nothing."""

TYPES: Final = frozenset({"bool", "dict", "float", "int", "list", "set", "str", "tuple"})
"""What `isinstance` may ask for."""

ITERATING: Final = frozenset(
    {"all", "any", "dict", "join", "list", "max", "min", "set", "sorted", "sum", "tuple"}
)
"""What goes through the one argument that it is given."""
GIVE_ITERATORS: Final = frozenset({"enumerate", "zip"})
"""What goes through all of its arguments, as iterators of our own."""
_GIVE_SEQUENCES: Final = frozenset({"list", "repr", "sorted", "str", "tuple"}) | (
    METHODS.keys()
    - {"count", "endswith", "find", "get", "index", "isdigit", "items", "keys", "rfind"}
    - {"startswith", "values"}
)

_INNARDS: Final = frozenset(
    {
        "ag_await",
        "ag_code",
        "ag_frame",
        "co_code",
        "co_consts",
        "cr_await",
        "cr_code",
        "cr_frame",
        "cr_origin",
        "f_back",
        "f_builtins",
        "f_code",
        "f_globals",
        "f_locals",
        "f_trace",
        "format",
        "format_map",
        "func_code",
        "func_globals",
        "gi_code",
        "gi_frame",
        "gi_yieldfrom",
        "mro",
        "tb_frame",
        "tb_next",
    }
)
_ELSEWHERE: Final = {"true": "True", "false": "False", "null": "None"}

_NOT_ALLOWED: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Await: ("`await`", "An expression reads what is there already."),
    ast.Lambda: ("`lambda`", "Write a comprehension."),
    ast.NamedExpr: ("`:=`", "Repeat the value, or compare with `==`."),
    ast.Starred: ("`*` before a value", "Join collections with `+`."),
    ast.Yield: ("`yield`", "An expression has one value."),
    ast.YieldFrom: ("`yield from`", "An expression has one value."),
}
_OPERATORS_NOT_ALLOWED: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.LShift: ("`<<`", "Multiply instead."),
    ast.MatMult: ("`@`", ""),
    ast.Pow: ("`**`", "Multiply instead."),
    ast.RShift: ("`>>`", "Divide with `//` instead."),
}
_STATEMENT: Final = re.compile(r"(assert|del|import|from|for|if|pass|print|raise|return|while)\b")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
# Here Python would warn, on the host's stderr, of a number that runs into a keyword: `1if x`.
_GLUED: Final = re.compile(r"\d[a-zA-Z]")


class ExpressionError(AutotraceError):
    """A text is no expression of a rule: what is wrong and where, and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".rstrip())


@dataclass(frozen=True, slots=True)
class Expression:
    """A validated expression.

    `tree` compiles as the body of an `ast.Expression` or `ast.Lambda`. `names` are its free names:
    parameters of the function, `self`, `result`, `error`. Builtins that it calls are not in them.
    """

    text: str
    tree: ast.expr = field(compare=False, repr=False)
    names: frozenset[str] = field(compare=False)

    def instead_of(self, name: str, known: Iterable[str]) -> str:
        """What to write where a name is none of those that are known."""
        if isinstance(self.tree, ast.Name):
            return f"{nearest(name, known)} For the text itself write \"'{name}'\"."
        return nearest(name, known)


def parse(text: str) -> Expression:
    """Validate an expression; raises `ExpressionError`, and nothing else, for any other text."""
    stripped = text.strip()
    if not stripped:
        raise ExpressionError(
            "is empty.", "Write a Python expression, in quotes once more for a text: \"'x'\"."
        )
    if len(stripped) > MAX_LENGTH:
        raise ExpressionError(
            f"has {len(stripped)} characters, {MAX_LENGTH} are the most.", "Read less of the value."
        )
    try:
        tree = _syntax(stripped)
        checker = _Checker(stripped)
        checker.check(tree, frozenset(), 1)
    except (RecursionError, MemoryError):
        raise ExpressionError("is nested too deeply.", "Read less of the value.") from None
    return Expression(text, tree, checker.free_names())


def _syntax(text: str) -> ast.expr:
    for escape in _ESCAPE.finditer(text):
        if escape[1] not in "\\'\"nrtxuU":
            raise ExpressionError(
                f"`{escape[0]!s}` at character {escape.start() + 1} is no escape that is allowed.",
                "Write a backslash twice to mean itself.",
            )
    try:
        if _GLUED.search(text):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(text, mode="eval").body
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        where = f" at character {error.offset}" if error.offset else ""
        raise ExpressionError(
            f"is not a Python expression: {error.msg}{where}.", _syntax_hint(text)
        ) from None
    except ValueError as error:  # null bytes, lone surrogates, numbers with thousands of digits
        raise ExpressionError(f"is not a Python expression: {error}.") from None


def _syntax_hint(text: str) -> str:
    if _STATEMENT.match(text):
        return "Statements are not allowed: write the value itself."
    for other, python in (
        ("&&", "and"),
        ("||", "or"),
        ("!", "not"),
        ("?", "a if condition else b"),
    ):
        if other in text:
            return f"In Python this is `{python}`."
    return ""


class _Checker:
    """Walks a tree once: refuses what is not allowed and collects the names."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._names: set[str] = set()
        self._called: set[str] = set()
        self._loops = 0

    def free_names(self) -> frozenset[str]:
        both = sorted(self._names & self._called)
        if both:
            raise ExpressionError(
                f"uses `{both[0]}` both as a function and as a parameter.",
                "Only one of them can be meant.",
            )
        return frozenset(self._names)

    def check(self, node: ast.AST, bound: frozenset[str], depth: int) -> None:
        """Check a node and all below it, where the names in `bound` are variables of loops."""
        if depth > MAX_DEPTH:
            self._refuse(node, "is nested too deeply", "Read less of the value.")
        kind = type(node)
        handler = self._handlers.get(kind)
        if handler is None:
            what, hint = _NOT_ALLOWED.get(kind, (f"{kind.__name__}", ""))
            self._refuse(node, f"{what} is not allowed", hint)
        handler(self, node, bound, depth + 1)

    def _all(self, nodes: Iterable[ast.AST | None], bound: frozenset[str], depth: int) -> None:
        for node in nodes:
            if node is not None:
                self.check(node, bound, depth)

    def _refuse(self, node: ast.AST, message: str, hint: str = "") -> NoReturn:
        raise ExpressionError(f"{message}{self._where(node)}.", hint)

    def _where(self, node: ast.AST) -> str:
        lines = self._text.splitlines(keepends=True)
        line, column = getattr(node, "lineno", 0), getattr(node, "col_offset", -1)
        if not 0 < line <= len(lines) or column < 0:
            return ""
        before = lines[line - 1].encode("utf-8", "replace")[:column].decode("utf-8", "replace")
        return f" at character {sum(map(len, lines[: line - 1])) + len(before) + 1}"

    def _constant(self, node: ast.Constant, _bound: frozenset[str], _depth: int) -> None:
        if node.value is not None and not isinstance(node.value, (str, int, float)):
            self._refuse(
                node,
                f"a constant of type {type(node.value).__name__} is not allowed",
                "Numbers, texts, True, False and None are.",
            )

    def _name(self, node: ast.Name, bound: frozenset[str], _depth: int) -> None:
        if node.id.startswith("__"):
            self._refuse(node, f"the name `{node.id}` is not allowed", "It belongs to Python.")
        if node.id in _ELSEWHERE:
            self._refuse(node, f"`{node.id}` is no Python", f"Write {_ELSEWHERE[node.id]}.")
        if node.id not in bound:
            self._names.add(node.id)

    def _attribute(self, node: ast.Attribute, bound: frozenset[str], depth: int) -> None:
        if node.attr == "__name__" and self._is_type_call(node.value, bound):
            self._called.add("type")
            self._all(node.value.args, bound, depth)  # type: ignore[attr-defined]
            return
        if node.attr.startswith("__") or node.attr in _INNARDS:
            self._refuse(
                node,
                f"the attribute `{node.attr}` is not allowed",
                "It belongs to Python; `type(x).__name__` is the one exception.",
            )
        self.check(node.value, bound, depth)

    def _is_type_call(self, node: ast.expr, bound: frozenset[str]) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "type"
            and "type" not in bound
            and len(node.args) == 1
            and not node.keywords
        )

    def _subscript(self, node: ast.Subscript, bound: frozenset[str], depth: int) -> None:
        # Python warns, on the host's stderr, when it compiles an index that can never work.
        if not _can_have_parts(node.value):
            self._refuse(node, "a part of a literal is not allowed", "Write the part itself.")
        if isinstance(node.value, (ast.List, ast.Tuple, ast.ListComp)) and not _can_index(
            node.slice
        ):
            self._refuse(node, "this index is not a whole number", "Lists have whole-number ones.")
        self._all((node.value, node.slice), bound, depth)

    def _slice(self, node: ast.Slice, bound: frozenset[str], depth: int) -> None:
        self._all((node.lower, node.upper, node.step), bound, depth)

    def _unary(self, node: ast.UnaryOp, bound: frozenset[str], depth: int) -> None:
        self.check(node.operand, bound, depth)

    def _binary(self, node: ast.BinOp, bound: frozenset[str], depth: int) -> None:
        what, hint = _OPERATORS_NOT_ALLOWED.get(type(node.op), ("", ""))
        if what:
            self._refuse(node, f"{what} is not allowed", hint)
        self._all((node.left, node.right), bound, depth)
        if isinstance(node.op, ast.Mod) and _is_sequence(node.left):
            self._refuse(node, "`%` on a text is not allowed", "Write an f-string.")
        if isinstance(node.op, ast.Mult):
            if _is_sequence(node.left) or _is_sequence(node.right):
                self._refuse(node, "repeating a text or list is not allowed")
            if _size(node) > MAX_FACTOR:
                self._refuse(
                    node,
                    f"a whole number above {MAX_FACTOR} is not allowed as a factor",
                    "Write it with an exponent, such as 1e9: that cannot repeat a text by mistake.",
                )

    def _boolean(self, node: ast.BoolOp, bound: frozenset[str], depth: int) -> None:
        self._all(node.values, bound, depth)

    def _compare(self, node: ast.Compare, bound: frozenset[str], depth: int) -> None:
        operands = (node.left, *node.comparators)
        self._all(operands, bound, depth)
        for left, operator, right in zip(operands, node.ops, node.comparators, strict=False):
            if isinstance(operator, (ast.Is, ast.IsNot)) and not (
                _is_reference(left) and _is_singleton(right)
            ):
                self._refuse(
                    node, "`is` asks only for None, True or False", "Compare with `==` or `!=`."
                )

    def _conditional(self, node: ast.IfExp, bound: frozenset[str], depth: int) -> None:
        self._all((node.test, node.body, node.orelse), bound, depth)

    def _display(
        self, node: ast.Tuple | ast.List | ast.Set, bound: frozenset[str], depth: int
    ) -> None:
        self._all(node.elts, bound, depth)

    def _dict(self, node: ast.Dict, bound: frozenset[str], depth: int) -> None:
        if None in node.keys:
            self._refuse(node, "`**` before a value is not allowed", "Join mappings with `|`.")
        self._all((*node.keys, *node.values), bound, depth)

    def _text_with_values(self, node: ast.JoinedStr, bound: frozenset[str], depth: int) -> None:
        self._all(node.values, bound, depth)

    def _value_in_text(self, node: ast.FormattedValue, bound: frozenset[str], depth: int) -> None:
        self.check(node.value, bound, depth)
        if node.format_spec is None:
            return
        parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else ()
        if not all(isinstance(part, ast.Constant) for part in parts):
            self._refuse(node, "a format that is itself computed is not allowed", "Write it out.")
        spec = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        if any(int(number) > MAX_WIDTH for number in re.findall(r"[0-9]+", spec)):
            self._refuse(node, f"a format wider than {MAX_WIDTH} is not allowed")
        if not spec.isascii():
            self._refuse(node, "a format with other than ASCII characters is not allowed")

    def _comprehension(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp,
        bound: frozenset[str],
        depth: int,
    ) -> None:
        self._loops += len(node.generators)
        if self._loops > MAX_LOOPS:
            self._refuse(node, f"has more than {MAX_LOOPS} `for`", "Read less of the value.")
        targets = [self._targets(loop.target) for loop in node.generators]
        inner = bound.union(*targets)
        for position, loop in enumerate(node.generators):
            if loop.is_async:
                self._refuse(node, "`async for` is not allowed", "Write `for`.")
            self.check(loop.iter, inner if position else bound, depth)
            self._all(loop.ifs, inner, depth)
        if isinstance(node, ast.DictComp):
            self._all((node.key, node.value), inner, depth)
        else:
            self.check(node.elt, inner, depth)

    def _targets(self, node: ast.expr) -> set[str]:
        names = node.elts if isinstance(node, (ast.Tuple, ast.List)) else [node]
        for each in names:
            if not isinstance(each, ast.Name) or each.id.startswith("__"):
                self._refuse(node, "the variables of a `for` are plain names")
        return {each.id for each in names if isinstance(each, ast.Name)}

    def _lone_generator(self, node: ast.GeneratorExp, _bound: frozenset[str], _depth: int) -> None:
        self._refuse(
            node, "a generator expression has no value of its own", "Write [...] or list(...)."
        )

    def _call(self, node: ast.Call, bound: frozenset[str], depth: int) -> None:
        function = node.func
        if isinstance(function, ast.Name):
            name = function.id
            if name not in FUNCTIONS or name in bound:
                self._refuse(node, f"`{name}` cannot be called", nearest(name, FUNCTIONS))
            if name == "type":
                self._refuse(
                    node, "`type(x)` is not allowed on its own", "Write `type(x).__name__`."
                )
            self._called.add(name)
            signature = FUNCTIONS[name]
        elif isinstance(function, ast.Attribute):
            name = function.attr
            if name not in METHODS:
                self._refuse(node, f"the method `{name}` cannot be called", nearest(name, METHODS))
            self.check(function.value, bound, depth)
            signature = METHODS[name]
        else:
            self._refuse(node, "only a function or method can be called")
        self._arguments(node, name, signature)
        if name == "isinstance":
            self.check(node.args[0], bound, depth)
            self._types(node.args[1], bound)
            return
        if name == "round" and len(node.args) == 2 and not _is_digits(node.args[1]):
            self._refuse(node, f"`round` keeps up to {MAX_DIGITS} digits, written as a number")
        for value in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(value, ast.GeneratorExp) and name in ITERATING:
                self._comprehension(value, bound, depth)
            else:
                self.check(value, bound, depth)

    def _arguments(self, node: ast.Call, name: str, signature: Signature) -> None:
        fewest, most, keywords = signature
        for keyword in node.keywords:
            if keyword.arg is None:
                self._refuse(node, "`**` in a call is not allowed", "Write the arguments out.")
            if keyword.arg not in keywords:
                self._refuse(
                    node,
                    f"`{name}` takes no `{keyword.arg}` here",
                    nearest(keyword.arg, keywords),
                )
        count = len(node.args)
        if not fewest <= count <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            self._refuse(node, f"`{name}` takes {wanted} arguments here, not {count}")

    def _types(self, node: ast.expr, bound: frozenset[str]) -> None:
        for each in node.elts if isinstance(node, ast.Tuple) else (node,):
            if not isinstance(each, ast.Name) or each.id not in TYPES or each.id in bound:
                self._refuse(
                    node,
                    "`isinstance` cannot ask for this",
                    f"It can for {', '.join(sorted(TYPES))}; compare type(x).__name__ for others.",
                )
            self._called.add(each.id)

    _handlers: ClassVar[dict[type[ast.AST], Callable[..., None]]] = {
        ast.Attribute: _attribute,
        ast.BinOp: _binary,
        ast.BoolOp: _boolean,
        ast.Call: _call,
        ast.Compare: _compare,
        ast.Constant: _constant,
        ast.Dict: _dict,
        ast.DictComp: _comprehension,
        ast.FormattedValue: _value_in_text,
        ast.GeneratorExp: _lone_generator,
        ast.IfExp: _conditional,
        ast.JoinedStr: _text_with_values,
        ast.List: _display,
        ast.ListComp: _comprehension,
        ast.Name: _name,
        ast.Set: _display,
        ast.SetComp: _comprehension,
        ast.Slice: _slice,
        ast.Subscript: _subscript,
        ast.Tuple: _display,
        ast.UnaryOp: _unary,
    }


def _can_have_parts(node: ast.expr) -> bool:
    if isinstance(node, (ast.List, ast.Tuple, ast.Dict)):
        return True
    is_literal = isinstance(node, (ast.JoinedStr, ast.Set, ast.SetComp))
    return not is_literal and any(isinstance(part, ast.Name) for part in ast.walk(node))


def _can_index(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int)
    return isinstance(node, (ast.Slice, ast.Name, ast.Attribute, ast.Subscript, ast.Call))


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def _is_reference(node: ast.expr) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, (ast.Name, ast.Attribute, ast.Call))


def _is_digits(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= MAX_DIGITS


def _is_sequence(node: ast.expr) -> bool:
    """Whether a value is a text or a list for certain; of a name nobody can say."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, str)
        case ast.JoinedStr() | ast.List() | ast.Tuple() | ast.ListComp():
            return True
        case ast.BinOp(left=left, right=right):
            return _is_sequence(left) or _is_sequence(right)
        case ast.IfExp(body=left, orelse=right):
            return _is_sequence(left) or _is_sequence(right)
        case ast.BoolOp(values=values):
            return any(map(_is_sequence, values))
        case ast.Subscript(value=value, slice=ast.Slice()):
            return _is_sequence(value)
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in _GIVE_SEQUENCES
        case _:
            return False


def _size(node: ast.expr) -> int:
    """An upper bound of the whole number that a constant part comes to; 1 for anything else."""
    match node:
        case ast.Constant(value=int(value)):
            return max(abs(value), 1)
        case ast.UnaryOp(operand=operand):
            return _size(operand) + 1
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            return _size(left) * _size(right)
        case ast.BinOp(left=left, right=right):
            return _size(left) + _size(right)
        case _:
            return 1
