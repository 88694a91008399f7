"""The table of keys for other readers: as a JSON schema for editors, as a table for the manual.

`python -m dytopo_autotrace.rules.schema` prints the schema as it is shipped.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace.rules import keys
from dytopo_autotrace.rules.expressions import MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dytopo_autotrace.rules.keys import Key, Shape

FILE_NAME: Final = "instrumentation.schema.json"

# Draft 7 is what the TOML language servers understand.
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_TARGET: Final = r"^[^:\s]+:[^:\s]+$"
_EXCLUDE: Final = r"^([^:\s]+:)?[^:\s]+$"
_EXPRESSION: Final = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH}
_WORDS: Final[Mapping[Shape, str]] = {
    "text": "string",
    "texts": "string or list",
    "role": "string",
    "targets": "string or list",
    "excludes": "string or list",
    "expression": "expression",
    "expressions": "table of expressions",
    "strings": "table of strings",
    "boolean": "boolean",
    "integer": "integer",
    "number": "number",
    "numbers": "list of numbers",
    "named_tables": "tables by name",
    "table": "table",
    "tables": "list of tables",
}


def schema() -> dict[str, Any]:
    """The JSON schema of a rule file."""
    return {
        "$schema": _DRAFT,
        "title": "Rule file of dytopo-autotrace",
        **_object(keys.FILE),
    }


def key_table() -> str:
    """All keys in Markdown, one table for each table of a rule file."""
    return "\n\n".join(
        f"### `{header}`\n\n{_markdown(table)}" for header, table in _tables("", keys.FILE)
    )


def _object(table: Iterable[Key]) -> dict[str, Any]:
    properties = {key.name: _property(key) for key in table}
    required = [key.name for key in table if key.required]
    described: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    return {**described, "required": required} if required else described


def _property(key: Key) -> dict[str, Any]:
    default = {} if key.default is None else {"default": _plain(key.default)}
    return {"description": key.doc, **_FRAGMENTS[key.shape](key), **default}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(key: Key) -> dict[str, Any]:
    if key.allowed:
        return {"enum": list(key.allowed)}
    if key.pattern:
        return {"type": "string", "pattern": f"^({key.pattern})$"}
    return {"type": "string", "minLength": 1}


def _one_or_more(one: dict[str, Any], fewest: int = 0) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": fewest}]}


def _role(key: Key) -> dict[str, Any]:
    return {
        "anyOf": [
            {"enum": list(key.allowed)},
            {"type": "string", "pattern": f"^({key.pattern})$"},
        ]
    }


def _expressions(key: Key) -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^({key.pattern})$"},
        "additionalProperties": _EXPRESSION,
    }


_FRAGMENTS: Final[Mapping[Shape, Callable[[Key], dict[str, Any]]]] = {
    "text": _text,
    "texts": lambda key: _one_or_more(_text(key)),
    "role": _role,
    "targets": lambda _: _one_or_more({"type": "string", "pattern": _TARGET}, 1),
    "excludes": lambda _: _one_or_more({"type": "string", "pattern": _EXCLUDE}),
    "expression": lambda _: _EXPRESSION,
    "expressions": _expressions,
    "strings": lambda key: {
        "type": "object",
        "propertyNames": {"pattern": f"^({key.pattern})$"},
        "additionalProperties": {"type": "string"},
    },
    "boolean": lambda _: {"type": "boolean"},
    "integer": lambda key: {"type": "integer", "minimum": key.minimum},
    "number": lambda key: {"type": "number", "minimum": key.minimum or 0},
    "numbers": lambda _: {"type": "array", "items": {"type": "number"}, "uniqueItems": True},
    "table": lambda key: _object(key.keys),
    "named_tables": lambda key: {"type": "object", "additionalProperties": _object(key.keys)},
    "tables": lambda key: {"type": "array", "items": _object(key.keys)},
}


def _tables(header: str, table: Iterable[Key]) -> Iterator[tuple[str, list[Key]]]:
    leaves = [key for key in table if not key.keys]
    if leaves:
        yield header, leaves
    for key in table:
        if key.keys:
            name = f"{header.strip('[]')}.{key.name}".lstrip(".")
            if key.shape == "named_tables":
                name += '."*"'
            yield from _tables(f"[[{name}]]" if key.shape == "tables" else f"[{name}]", key.keys)


def _markdown(table: Iterable[Key]) -> str:
    rows = ["| key | value | without it | |", "|---|---|---|---|"]
    rows += [
        f"| `{key.name}` | {_WORDS[key.shape]} | {_without(key)} | {_sentence(key)} |"
        for key in table
    ]
    return "\n".join(rows)


def _without(key: Key) -> str:
    if key.required:
        return "*required*"
    return "" if not key.default else f"`{json.dumps(_plain(key.default))}`"


def _sentence(key: Key) -> str:
    if not key.allowed:
        return key.doc
    values = ", ".join(f"`{value}`" for value in key.allowed)
    return f"{key.doc} {'Standard' if key.shape == 'role' else 'One of'}: {values}."


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
