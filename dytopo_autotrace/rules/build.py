"""From the values of a TOML table to rules, by the table of keys; what is wrong becomes a fault."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from dytopo_autotrace.errors import Fault, nearest
from dytopo_autotrace.rules import keys as described
from dytopo_autotrace.rules.expressions import Expression, ExpressionError, parse
from dytopo_autotrace.rules.match import TargetError, is_glob, parse_target
from dytopo_autotrace.rules.model import (
    NOT_CALLS,
    ROLES,
    TOPOLOGY,
    Export,
    Metric,
    Origin,
    Price,
    Rule,
    Scope,
    Target,
)

if TYPE_CHECKING:
    from dytopo_autotrace.rules.keys import Key
    from dytopo_autotrace.rules.lines import Lines, Path

T = TypeVar("T")

AUTOMATIC_METRIC: Final = "dytopo_operation_duration_seconds"
"""Every rule records it already."""

_NAMED: Final = frozenset({"name", "target", "exclude"})
_INSTEAD: Final = {
    "adds_to": _NAMED | {"adds_to", "attributes"},
    "ends": _NAMED | {"ends", "held_by", "raised"},
    "held_by": _NAMED
    | {"held_by", "role", "operation", "agent", "attributes", "when", "stall_after"},
}
"""Keys with which a call is not itself a span, and what a rule may have beside them."""

_AT_START: Final = ("when", "extract", "inject", "held_by", "raised")
"""Keys of a rule that are read when the call begins, and not kept."""

_SHOWN: Final = 60  # characters of a value in a fault
_KINDS: Final = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a float"),
    (Mapping, "a table"),
    (list, "an array"),
)


def rule_from(
    name: str, values: Mapping[str, Any], origin: Origin
) -> tuple[Rule | None, tuple[Fault, ...]]:
    """The rule of a decorator: the keys of a `[[rule]]` without name and targets.

    Returns:
        The rule, `None` if anything is wrong with it, and what is wrong.
    """
    builder = Builder(origin)
    rule = builder.rule(values, (), None, keys=described.DECORATOR, name=name)
    return rule, tuple(builder.faults)


class Builder:
    """Reads the values of one file and collects its faults."""

    def __init__(self, origin: Origin, lines: Lines | None = None, prefix: Path = ()) -> None:
        self.faults: list[Fault] = []
        self._origin = origin
        self._lines = lines
        self._prefix = prefix
        self._index: int | None = None
        self._declared: dict[str, tuple[Metric, Origin]] = {}

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings in `[agent]` that are right, those in `[store]` as `store`, and `exports`."""
        others = {name: value for name, value in values.items() if name != "rule"}
        read = self._table(others, described.FILE, ())
        exports = tuple(self._exports(read.get("export", ())))
        cost = read.get("cost", {}).get("models", {})
        return {
            **read.get("agent", {}),
            "store": read.get("store", {}),
            "exports": exports,
            "prices": tuple(Price(model, **price) for model, price in cost.items()),
        }

    def _exports(self, tables: Sequence[Mapping[str, Any]]) -> Iterator[Export]:
        """The tables of `[[export]]` that are right, and that write over no other."""
        taken: set[tuple[str, str]] = set()
        for position, table in enumerate(tables):
            path: Path = ("export", position)
            export = self._export(table, path)
            if export is None:
                continue
            is_directory = export.path.endswith("/")
            place = (export.path, export.format if is_directory else "")
            if export.path and place in taken:
                self._fault(
                    (*path, "path"),
                    export.path,
                    "is written by an earlier table too.",
                    "Each needs a file of its own.",
                )
                continue
            taken.add(place)
            yield export

    def _export(self, values: Mapping[str, Any], path: Path) -> Export | None:
        """One of `[[export]]`, `None` if anything is wrong with it."""
        before = len(self.faults)
        read = self._table(values, described.EXPORT, path)
        is_file = "path" in values
        if is_file:
            for name in ("endpoint", "headers"):
                if name in values:
                    self._fault(
                        (*path, name),
                        None,  # A header may be a secret.
                        "is for a collector, and this goes to a file.",
                        "Leave out path, or make two tables of it.",
                    )
        elif read.get("format", "otlp") != "otlp":
            self._fault(
                (*path, "path"),
                None,
                f"is missing: {read['format']} is written to a file.",
                "Only otlp is sent to a collector.",
            )
        return None if len(self.faults) > before else Export(**read)

    def rules(self, values: Mapping[str, Any], others: Iterable[Rule] = ()) -> tuple[Rule, ...]:
        """The rules that are right, and whose metrics agree with those of the other rules."""
        tables = values.get("rule", [])
        if not self._is_array_of_tables(tables, ("rule",)):
            return ()
        for rule in others:
            self._declare(rule, ())
        names = [table.get("name") for table in tables]
        taken = {name for name in names if isinstance(name, str)}
        unseen = set(taken)
        rules: list[Rule] = []
        for index, (name, table) in enumerate(zip(names, tables, strict=True)):
            path: Path = ("rule", index)
            built = self.rule(table, path, index)
            if isinstance(name, str):
                if name not in unseen:
                    self._fault((*path, "name"), name, "names an earlier rule too.", "Rename it.")
                    continue
                unseen.remove(name)
            if built is None or not self._declare(built, path):
                continue
            if name is None:
                built = dataclasses.replace(built, name=_unused(built.name, taken))
                taken.add(built.name)
            rules.append(built)
        self._index = None
        return tuple(rules)

    def _declare(self, rule: Rule, path: Path) -> bool:
        """Whether the rule's metrics are of the kind that the same names have elsewhere."""
        declared = dict(self._declared)
        for position, metric in enumerate(rule.metrics):
            first, where = declared.setdefault(metric.name, (metric, rule.origin))
            for key in ("kind", "buckets"):
                wanted, value = getattr(first, key), getattr(metric, key)
                if value != wanted:
                    self._fault(
                        (*path, "metric", position, key),
                        value,
                        f"{metric.name!r} has {_shown(wanted)} in {where}.",
                        "A metric is the same wherever it is recorded.",
                    )
                    return False
        self._declared = declared
        return True

    def rule(
        self,
        values: Mapping[str, Any],
        path: Path,
        index: int | None,
        *,
        keys: Sequence[Key] = described.RULE,
        name: str = "",
    ) -> Rule | None:
        """One rule, `None` if anything is wrong with it; `name` is for one that has none."""
        before = len(self.faults)
        self._index = index
        read = self._table(values, keys, path)
        metrics = tuple(
            metric
            for position, table in enumerate(read.get("metric", ()))
            if (metric := self._metric(table, (*path, "metric", position))) is not None
        )
        for taken in set(TOPOLOGY) & read.keys() & read.get("attributes", {}).keys():
            self._fault((*path, "attributes", taken), None, f"`{taken}` is a key of the rule too.")
        for key in _AT_START:
            if key in read:
                self._is_early(read[key], (*path, key), "it is read when the call begins")
        self._check_instead(read, path)
        if "raised" in read and "ends" not in read:
            self._fault((*path, "raised"), None, "has no meaning without ends.", "Leave it out.")
        if "extract" in read and read.get("role") == "orchestrator":
            self._fault(
                (*path, "extract"),
                read["extract"].text,
                "is of no use: a call of the role orchestrator begins a trace of its own.",
                "Give the rule another role.",
            )
        scope = self._scope(read.get("scope"), (*path, "scope"))
        if len(self.faults) > before:
            return None
        targets: tuple[Target, ...] = read.get("target", ())
        operation = read.get("operation", "")
        return Rule(
            name=read.get("name") or name or operation or _name_of(targets[0]),
            targets=targets,
            origin=Origin(self._origin.file, self._line(path), self._origin.pack),
            exclude=read.get("exclude", ()),
            role=read.get("role", ""),
            operation=operation,
            agent=read.get("agent"),
            attributes=read.get("attributes", {}),
            failed_if=read.get("failed_if"),
            scope=scope,
            stall_after=read.get("stall_after", 0.0),
            **{key: read.get(key) for key in _AT_START},
            min_seconds=read.get("min_seconds", 0.0),
            adds_to=read.get("adds_to", ""),
            ends=read.get("ends", ""),
            stream=read.get("stream", ""),
            topology={name: read[name] for name in TOPOLOGY if name in read},
            metrics=metrics,
            on_start=read.get("on_start", ""),
            on_end=read.get("on_end", ""),
        )

    def _scope(self, read: Mapping[str, Any] | None, path: Path) -> Scope | None:
        if read is None or len(read) < len(described.SCOPE):
            return None  # what is missing is a fault already
        key: Expression = read["key"]
        if not self._is_early(key, (*path, "key"), "a scope opens when the call begins"):
            return None
        return Scope(read["opens"], key)

    def _check_instead(self, read: Mapping[str, Any], path: Path) -> None:
        """Faults of a rule whose calls are no spans: what it cannot have, and what comes too late."""
        instead = next((key for key in _INSTEAD if key in read), "")
        if not instead:
            return
        for key in sorted(read.keys() - _INSTEAD[instead]):
            self._fault((*path, key), None, f"has no meaning beside {instead}.", "Leave it out.")
        for key, each in {**read.get("attributes", {}), "": read.get("agent")}.items():
            if each is not None:
                where = (*path, "attributes", key) if key else (*path, "agent")
                self._is_early(each, where, "it is read when the call begins")
        if instead == "ends" and "held_by" not in read:
            self._fault((*path, "held_by"), None, "is missing.", "Whose span ends with the call?")

    def _is_early(self, expression: Expression, path: Path, why: str) -> bool:
        """Whether an expression can be read when the call begins."""
        late = expression.names & {"result", "error"}
        if late:
            self._fault(
                path,
                expression.text,
                f"names {min(late)!r}, but {why}.",
                "Name a parameter of the function.",
            )
        return not late

    def _metric(self, values: Mapping[str, Any], path: Path) -> Metric | None:
        before = len(self.faults)
        read = self._table(values, described.METRIC_KEYS, path)
        name, kind = read.get("name"), read.get("kind")
        if name == AUTOMATIC_METRIC:
            self._fault((*path, "name"), name, "is recorded by every rule already.", "Rename it.")
        if read.get("buckets") and kind not in (None, "histogram"):
            self._fault((*path, "buckets"), values["buckets"], f"a {kind} has no buckets.")
        if kind == "histogram" and "le" in read.get("labels", {}):
            self._fault(
                (*path, "labels", "le"), None, "every histogram has this label.", "Rename it."
            )
        if len(self.faults) > before:
            return None
        return Metric(
            name=read["name"],
            kind=read["kind"],
            value=read["value"],
            labels=read.get("labels", {}),
            help=read.get("help", ""),
            buckets=read.get("buckets", ()),
        )

    def _table(self, values: Mapping[str, Any], keys: Sequence[Key], path: Path) -> dict[str, Any]:
        """The values that are right, by key; each of the others has become a fault."""
        by_name = {key.name: key for key in keys}
        read: dict[str, Any] = {}
        for name, value in values.items():
            key = by_name.get(name)
            if key is None:
                self._fault(
                    (*path, name), value, "there is no such key here.", _right_key(name, by_name)
                )
                continue
            result = self._readers[key.shape](self, key, value, (*path, name))
            if result is not None:
                read[name] = result
        for key in keys:
            if key.required and key.name not in values:
                self._fault((*path, key.name), None, "is missing.", key.doc)
        return read

    def _text(self, key: Key, value: Any, path: Path) -> str | None:
        if not self._is(str, "a string", value, path):
            return None
        text: str = value
        if not text.strip() or not text.isprintable():
            self._fault(path, value, "is empty or has characters that cannot be printed.")
        elif key.allowed and text not in key.allowed:
            self._fault(path, value, "is not one of the values.", nearest(text, key.allowed))
        elif key.pattern and not re.fullmatch(key.pattern, text):
            if key.pattern == described.URL and "://" not in text:
                said = "does not begin with http:// or https://."
                self._fault(path, value, said, f"Write http://{text}")
            else:
                self._fault(path, value, "has characters that cannot be there.", key.doc)
        else:
            return text
        return None

    def _texts(self, key: Key, value: Any, path: Path) -> tuple[str, ...] | None:
        return self._each(self._text, key, value, path)

    def _role(self, key: Key, value: Any, path: Path) -> str | None:
        if not self._is(str, "a string", value, path):
            return None
        role: str = value
        if role in ROLES:
            return role
        if role in NOT_CALLS:
            self._fault(path, value, "is the role of spans that no call owns.", "Choose another.")
            return None
        # A role that only looks like a standard one is a slip that no analyzer would notice.
        close = [] if self._origin.pack else _resembling(role)
        if close:
            self._fault(
                path,
                value,
                "looks like a standard role and is none.",
                f"Did you mean {close[0]!r}? A role of your own needs a name less like it.",
            )
        elif not re.fullmatch(key.pattern, role):
            self._fault(
                path,
                value,
                "is no role.",
                f"Standard ones: {', '.join(ROLES)}. "
                "One of your own has lower-case letters, digits and `_`.",
            )
        else:
            return role
        return None

    def _target(self, _key: Key, value: Any, path: Path) -> Target | None:
        return self._target_or_part(value, path, module_optional=False)

    def _exclude(self, _key: Key, value: Any, path: Path) -> Target | None:
        return self._target_or_part(value, path, module_optional=True)

    def _target_or_part(self, value: Any, path: Path, *, module_optional: bool) -> Target | None:
        if not self._is(str, "a string", value, path):
            return None
        try:
            return parse_target(value, module_optional=module_optional)
        except TargetError as error:
            self._fault(path, value, error.message, error.hint)
            return None

    def _targets(self, key: Key, value: Any, path: Path) -> tuple[Target, ...] | None:
        if value == []:
            self._fault(path, value, "names no function.", key.doc)
            return None
        return self._each(self._target, key, value, path)

    def _excludes(self, key: Key, value: Any, path: Path) -> tuple[Target, ...] | None:
        return self._each(self._exclude, key, value, path)

    def _each(
        self, reader: Callable[[Key, Any, Path], T | None], key: Key, value: Any, path: Path
    ) -> tuple[T, ...] | None:
        if isinstance(value, str):
            one = reader(key, value, path)
            return None if one is None else (one,)
        if not self._is(list, "a string or an array of strings", value, path):
            return None
        read = [reader(key, each, (*path, index)) for index, each in enumerate(value)]
        right = tuple(each for each in read if each is not None)
        return right if len(right) == len(read) else None

    def _expression(self, _key: Key, value: Any, path: Path) -> Expression | None:
        if not isinstance(value, str):
            self._fault(
                path, value, f"must be a string, not {_kind(value)}.", "Expressions have quotes."
            )
            return None
        try:
            return parse(value)
        except ExpressionError as error:
            self._fault(path, value, error.message, error.hint)
            return None

    def _expressions(self, key: Key, value: Any, path: Path) -> dict[str, Expression] | None:
        if not self._is(Mapping, "a table of names and expressions", value, path):
            return None
        read: dict[str, Expression] = {}
        for name, each in value.items():
            if isinstance(each, Mapping):
                self._fault((*path, name), each, "is a table.", "Put a name with dots in quotes.")
            elif not re.fullmatch(key.pattern, name):
                self._fault((*path, name), each, f"{name!r} cannot be a name here.", _names(key))
            elif (expression := self._expression(key, each, (*path, name))) is not None:
                read[name] = expression
        return read

    def _strings(self, key: Key, value: Any, path: Path) -> dict[str, str] | None:
        if not self._is(Mapping, "a table of names and strings", value, path):
            return None
        before = len(self.faults)
        for name, each in value.items():
            # Never the value: it may be a secret.
            if not re.fullmatch(key.pattern, name):
                self._fault((*path, name), None, f"{name!r} cannot be a name here.")
            elif not isinstance(each, str):
                self._fault((*path, name), None, f"must be a string, not {_kind(each)}.")
            elif not each.isprintable():
                self._fault((*path, name), None, "has characters that cannot be sent.")
        return None if len(self.faults) > before else dict(value)

    def _boolean(self, _key: Key, value: Any, path: Path) -> bool | None:
        return bool(value) if self._is(bool, "true or false", value, path) else None

    def _number(self, key: Key, value: Any, path: Path) -> float | None:
        if type(value) not in (int, float):
            self._fault(path, value, f"must be a number, not {_kind(value)}.")
        elif not (key.minimum or 0) <= value <= sys.float_info.max:
            self._fault(path, value, f"must be at least {key.minimum or 0}, and finite.")
        else:
            return float(value)
        return None

    def _integer(self, key: Key, value: Any, path: Path) -> int | None:
        if isinstance(value, bool) or not self._is(int, "an integer", value, path):
            if isinstance(value, bool):
                self._fault(path, value, "must be an integer, not a boolean.")
            return None
        number: int = value
        if key.minimum is not None and number < key.minimum:
            self._fault(path, value, f"must be at least {key.minimum}.")
            return None
        return number

    def _numbers(self, _key: Key, value: Any, path: Path) -> tuple[float, ...] | None:
        if not self._is(list, "an array of numbers", value, path):
            return None
        numbers = [
            each for each in value if type(each) in (int, float) and abs(each) <= sys.float_info.max
        ]
        if len(numbers) != len(value) or sorted(set(numbers)) != value:
            self._fault(path, value, "must be finite numbers, each larger than the one before.")
            return None
        return tuple(map(float, numbers))

    def _named_tables(self, key: Key, value: Any, path: Path) -> dict[str, Any] | None:
        if not self._is(Mapping, "a table of tables", value, path):
            return None
        before = len(self.faults)
        read = {name: self._settings(key, each, (*path, name)) for name, each in value.items()}
        return None if len(self.faults) > before else read

    def _settings(self, key: Key, value: Any, path: Path) -> dict[str, Any] | None:
        if isinstance(value, list):
            self._fault(path, value, "is an array of tables.", f"Write [{_dotted(path)}].")
            return None
        if not self._is(Mapping, "a table", value, path):
            return None
        return self._table(value, key.keys, path)

    def _tables(self, _key: Key, value: Any, path: Path) -> list[Mapping[str, Any]] | None:
        return value if self._is_array_of_tables(value, path) else None

    def _is_array_of_tables(self, value: Any, path: Path) -> bool:
        if isinstance(value, Mapping):
            name = _dotted(path)
            self._fault(
                path, value, "is one table, not an array of them.", f"Write [[{name}]], twice [ ]."
            )
            return False
        if not self._is(list, "an array of tables", value, path):
            return False
        right = True
        for index, each in enumerate(value):
            if not self._is(Mapping, "a table", each, (*path, index)):
                right = False
        return right

    _readers: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "text": _text,
        "texts": _texts,
        "role": _role,
        "targets": _targets,
        "excludes": _excludes,
        "expression": _expression,
        "expressions": _expressions,
        "strings": _strings,
        "boolean": _boolean,
        "integer": _integer,
        "number": _number,
        "numbers": _numbers,
        "named_tables": _named_tables,
        "table": _settings,
        "tables": _tables,
    }

    def _is(self, kind: type, wanted: str, value: Any, path: Path) -> bool:
        if isinstance(value, kind):
            return True
        self._fault(path, value, f"must be {wanted}, not {_kind(value)}.")
        return False

    def _fault(self, path: Path, value: Any, message: str, hint: str = "") -> None:
        self.faults.append(
            Fault(
                file=self._origin.file,
                line=self._line(path),
                key=_dotted(path),
                value="" if value is None else _shown(value),
                message=message,
                hint=hint,
                rule=self._index,
            )
        )

    def _line(self, path: Path) -> int | None:
        if self._lines is None:
            return self._origin.line
        return self._lines.of(*self._prefix, *path)


def _dotted(path: Path) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _kind(value: Any) -> str:
    return next((word for kind, word in _KINDS if isinstance(value, kind)), "a date or time")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python is willing to write
        return "a very large number"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _right_key(name: str, valid: Mapping[str, Key]) -> str:
    hint = nearest(name, valid)
    elsewhere = [header for header, keys in described.TABLES.items() if name in _of(keys)]
    return f"It belongs in {elsewhere[0]}." if elsewhere and "Did you" not in hint else hint


def _of(keys: Iterable[Key]) -> list[str]:
    return [key.name for key in keys]


def _name_of(target: Target) -> str:
    return target.text if is_glob(target.qualname) else target.qualname


def _names(key: Key) -> str:
    return "Names here have letters, digits and `_`" + (
        ", `.` and `-`." if key.pattern == described.ATTRIBUTE else " and do not begin with `__`."
    )


def _unused(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _resembling(role: str) -> list[str]:
    import difflib  # noqa: PLC0415 - only for roles that are not standard

    return difflib.get_close_matches(role.lower(), ROLES, n=1, cutoff=0.8)
