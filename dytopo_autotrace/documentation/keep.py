"""Keeps what people wrote into a generated page, between `<!-- keep: NAME -->` and `<!-- /keep: NAME -->`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.documentation.markdown import next_fence, tidy
from dytopo_autotrace.errors import AutotraceError

_MARK: Final = re.compile(r"\s*<!--\s*(/?)keep:\s*(.*?)\s*-->\s*$")
_STANDS_FOR: Final = "\0"
_HEADING: Final = re.compile(r"#{1,6} ")
_ANCHOR: Final = re.compile(r'<a id="[^"]*"></a>')


@dataclass(frozen=True, slots=True)
class Kept:
    """A section that a person wrote, with its marks, and what stood before it."""

    name: str
    lines: tuple[str, ...]
    heading: str
    """The last heading before it, `""` for none."""
    line: str
    """The last line before it that was not blank."""


def merge(generated: str, before: str, name: str) -> str:
    """The generated page with the sections of the page as it was; that page itself if only those differ.

    Args:
        name: the page's, for messages.

    Raises:
        AutotraceError: a mark has no counterpart, so it cannot be told what is to be kept.
    """
    if not before:
        return generated
    newlines = before.replace("\r\n", "\n")
    bare, sections = split(newlines, name)
    fresh, slots = split(generated, name)
    if tidy(bare) == tidy(fresh) or (sections and essence(bare) == essence(fresh)):
        missing = {slot.name for slot in slots} - {section.name for section in sections}
        if not missing:
            return before
    return _insert(generated, sections)


def essence(text: str) -> list[str]:
    """The lines that are not blank: around a section there may be more or fewer of those."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        fence = next_fence(line, fence)
        if fence or line.strip():
            lines.append(line if fence else line.rstrip())
    return lines


def split(text: str, name: str) -> tuple[str, tuple[Kept, ...]]:
    """The page without what is between the marks, and what was there.

    Raises:
        AutotraceError: a mark has no counterpart.
    """
    bare: list[str] = []
    sections: list[Kept] = []
    inside: list[str] = []
    open_name, opened_at = "", 0
    heading = line_before = fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        mark = None if fence and not open_name else _MARK.match(line)
        if open_name:
            inside.append(line)
            if mark and mark[1] and mark[2] == open_name:
                sections.append(Kept(open_name, tuple(inside), heading, line_before))
                open_name = ""
            elif mark and not mark[1]:
                raise _unmatched(name, opened_at, open_name)
        elif mark and not mark[1]:
            open_name, opened_at, inside = mark[2], number, [line]
            if any(each.name == open_name for each in sections):
                raise AutotraceError(
                    f"{name}:{number}: a second section to keep has the name {open_name!r}. "
                    "Give it another one."
                )
        elif mark:
            raise AutotraceError(
                f"{name}:{number}: <!-- /keep: {mark[2]} --> ends what no <!-- keep: {mark[2]} --> "
                "began. Add that, or take this out."
            )
        else:
            fence = next_fence(line, fence)
            if line.strip():
                line_before = line
                if not fence and _HEADING.match(line):
                    heading = line
            bare.append(line)
    if open_name:
        raise _unmatched(name, opened_at, open_name)
    return "\n".join(bare), tuple(sections)


def _insert(generated: str, sections: tuple[Kept, ...]) -> str:
    """Put sections where their slot is, else after the line they stood after, else where the page ends.

    What goes there says which heading it was under, so that nobody takes it to be about another. Until
    the page is whole a section is one line that stands for it, so that nothing is done to what is inside,
    and nothing put there.
    """
    lines = generated.split("\n")
    said: list[tuple[str, ...]] = []
    for number, section in enumerate(sections):
        said.append(section.lines)
        slot = _slot(lines, section.name)
        if slot is not None:
            lines[slot[0] : slot[1] + 1] = [f"{_STANDS_FOR}{number}"]
        else:
            at = _after(lines, section)
            if at is None:
                at = len(lines)
                said[number] = _with_origin(section)
            lines[at:at] = ["", f"{_STANDS_FOR}{number}", ""]
    whole = tidy("\n".join(lines)).split("\n")
    return "\n".join(
        "\n".join(said[int(line[1:])]) if line.startswith(_STANDS_FOR) else line for line in whole
    )


def _slot(lines: list[str], name: str) -> tuple[int, int] | None:
    marks = [(i, found) for i, line in enumerate(lines) if (found := _MARK.match(line))]
    begin = next((i for i, found in marks if not found[1] and found[2] == name), None)
    end = next((i for i, found in marks if found[1] and found[2] == name), None)
    return (begin, end) if begin is not None and end is not None else None


def _with_origin(section: Kept) -> tuple[str, ...]:
    """The lines of a section whose heading is gone: the first of them says which it was."""
    first, *rest = section.lines
    heading = _ANCHOR.sub("", section.heading.lstrip("# "))
    return (first, f"*Was under: {heading}*", "", *rest)


def _after(lines: list[str], section: Kept) -> int | None:
    """The index at which a section without a slot goes, None if its heading is gone."""
    fence = ""
    headings: list[int] = []
    free: list[int] = []
    for index, line in enumerate(lines):
        fence = next_fence(line, fence)
        if not fence:
            free.append(index)
            if _HEADING.match(line):
                headings.append(index)
    begin = next((i for i in headings if lines[i] == section.heading), None)
    if begin is None:
        return None if section.heading else len(lines)
    end = next((i for i in headings if i > begin), len(lines))
    same = [i for i in free if begin <= i < end and lines[i] == section.line]
    at = same[-1] + 1 if same else end
    following = at
    while following < len(lines) and lines[following][:1] in ("", _STANDS_FOR):
        following += 1
        if lines[following - 1]:
            at = following  # After the sections that stood there before this one.
    return at


def _unmatched(name: str, number: int, mark: str) -> AutotraceError:
    return AutotraceError(
        f"{name}:{number}: <!-- keep: {mark} --> is not ended by <!-- /keep: {mark} -->, so it "
        "cannot be told what is to be kept. Add that; nothing was written."
    )
