"""On which line of a TOML text a value stands: the standard library's parser does not say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")


class Lines:
    """The lines of one text. A path is made of keys and, in arrays, of indices."""

    def __init__(self, found: Mapping[Path, int]) -> None:
        self._found = found

    def of(self, *path: str | int) -> int | None:
        """The line of a value, or that of the nearest table around it that has one."""
        for length in range(len(path), 0, -1):
            line = self._found.get(path[:length])
            if line is not None:
                return line
        return None


def locate(text: str) -> Lines:
    """Find the lines of all values in a text that is valid TOML; in any other, of those it can."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except (IndexError, RecursionError):
        pass  # what was found until here is still right
    return Lines(scanner.found)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._arrays: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while True:
            self._skip_blank()
            if self._at >= len(self._text):
                return
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        line = self._current_line()
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        self._skip_blank()
        path = self._inside_arrays(self._key())
        self._skip_blank()
        self._at += 2 if array else 1
        if array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self.found.setdefault(path, line)
            path = (*path, self._arrays[path])
        self.found.setdefault(path, line)
        return path

    def _inside_arrays(self, key: Path) -> Path:
        path: Path = ()
        for position, part in enumerate(key):
            path = (*path, part)
            if path in self._arrays and position < len(key) - 1:
                path = (*path, self._arrays[path])
        return path

    def _pair(self, table: Path) -> None:
        line = self._current_line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.found.setdefault(path, line)
        self._skip_blank()
        self._at += 1  # the equals sign
        self._skip_blank()
        self._value(path)

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            quoted = _STRING.match(self._text, self._at)
            bare = quoted or _BARE_KEY.match(self._text, self._at)
            if bare is None:
                raise IndexError
            parts.append(bare[0][1:-1] if quoted else bare[0])
            self._at = bare.end()
            dot = _DOT.match(self._text, self._at)
            if dot is None:
                return tuple(parts)
            self._at = dot.end()

    def _value(self, path: Path) -> None:
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
                if found is None:
                    raise IndexError
                self._at = found.end()

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip_blank()
            if self._text[self._at] == "]":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self.found[*path, index] = self._current_line()
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip_blank()
            if self._text[self._at] == "}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)

    def _skip_blank(self) -> None:
        blank = _BLANK.match(self._text, self._at)
        if blank is not None:
            self._at = blank.end()

    def _current_line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
