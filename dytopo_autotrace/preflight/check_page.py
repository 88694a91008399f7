"""A check as text: one paragraph for each rule, what must be done about it beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from dytopo_autotrace.preflight.model import (
    FAILING,
    Check,
    Function,
    RuleCheck,
    RuleVerdict,
    Woven,
)
from dytopo_autotrace.report.text import clean, shorten, wrap

FUNCTIONS_SHOWN: Final = 8
_INDENT: Final = 4
_MARKS: Final[dict[RuleVerdict, str]] = {
    "matched": "ok",
    "shadowed": "!",
    "unsure": "?",
    "nothing_matched": "X",
    "refused": "X",
    "failed": "X",
    "absent": "-",
    "off": "X",
}
_WORDS: Final[dict[RuleVerdict, str]] = {
    "matched": "",
    "shadowed": "never applies: earlier rules take all that it matches",
    "unsure": "only importing or running can tell",
    "nothing_matched": "matches nothing",
    "refused": "nothing it matches can be woven",
    "failed": "weaving failed",
    "absent": "not in this program",
    "off": "switched off",
}


def page(check: Check, width: int, *, all_functions: bool = False) -> Iterator[str]:
    """Lines of at most `width` cells."""
    yield from wrap(_subject(check), width)
    if check.faults or any(not rule.pack for rule in check.rules):
        yield ""
    for fault in check.faults:
        yield from _item("X ", fault, width)
    shown = sys.maxsize if all_functions else FUNCTIONS_SHOWN
    own = [rule for rule in check.rules if not rule.pack]
    for rule in own:
        yield from _rule(rule, width, shown)
    for pack in check.packs:
        rules = [rule for rule in check.rules if rule.pack == pack]
        yield from _pack(pack, rules, width, all_functions=all_functions)
    yield from _import(check, width)
    yield ""
    yield from wrap(_conclusion(check, own), width)


def _subject(check: Check) -> str:
    rules = f"{_count(sum(not r.pack for r in check.rules), 'rule')} of {_path(check.rule_file)}"
    packs = "".join(f" and pack {name}" for name in check.packs)
    if any(check.rule_file.endswith(f"{name}.toml") for name in check.packs):
        rules, packs = "no rule file here", ", so pack " + ", ".join(check.packs)
    program = f", against {check.program}" if check.program else ""
    return f"{rules}{packs}{program}"


def _rule(rule: RuleCheck, width: int, shown: int) -> Iterator[str]:
    place = f"{_path(rule.file)}:{rule.line}" if rule.line else _path(rule.file)
    mine = [each for each in rule.functions if not each.taken_by]
    words = _WORDS[rule.verdict] or _count(len(mine), "function")
    head = f"{_MARKS[rule.verdict]:<2} {clean(rule.name)}: {words}"
    gap = width - len(head) - len(place) - 2
    yield from [f"{head}{' ' * (gap + 2)}{place}"] if gap >= 0 else wrap(head, width)
    for problem in rule.problems:
        yield from _item("X ", problem, width, indent=3)
    if not rule.functions and not rule.problems:
        yield from _item("", "target: " + ", ".join(rule.targets), width, indent=_INDENT)
    yield from _functions(mine, width, shown)
    yield from _taken([each for each in rule.functions if each.taken_by], width)
    for doubt in rule.doubts:
        yield from _item("? ", doubt, width, indent=3)


def _functions(functions: Sequence[Function], width: int, shown: int) -> Iterator[str]:
    for each in functions[:shown]:
        where = f"{_path(each.file)}:{each.line}" if each.file else ""
        fate = "" if each.fate in ("", "woven") else f" {each.fate.upper()}"
        right = f"{each.kind}{fate}"
        room = width - _INDENT - len(right) - 1
        yield f"{' ' * _INDENT}{shorten(each.place, room):<{room}} {right}"
        if where:
            yield f"{' ' * (_INDENT + 2)}{shorten(where, width - _INDENT - 2)}"
        if fate:
            yield from _item("", each.reason, width, indent=_INDENT + 2)
    if len(functions) > shown:
        yield f"{' ' * _INDENT}and {len(functions) - shown} more; --all shows them"


def _taken(functions: Sequence[Function], width: int) -> Iterator[str]:
    takers = dict.fromkeys(each.taken_by for each in functions)
    for taker in takers:
        names = [each.place for each in functions if each.taken_by == taker]
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        text = f"taken by the earlier rule {taker!r}: {', '.join(names[:6])}{more}"
        yield from _item("! ", text, width, indent=3)


def _pack(
    pack: str, rules: Sequence[RuleCheck], width: int, *, all_functions: bool
) -> Iterator[str]:
    """A pack's rules: what they match here on a line each, the others by name only."""
    yield ""
    there = [rule for rule in rules if rule.verdict != "absent"]
    yield f"pack {pack}: {len(there)} of {_count(len(rules), 'rule')} for what is here"
    for rule in there:
        if all_functions or rule.verdict in FAILING:
            yield from _rule(rule, width, sys.maxsize)
            continue
        mine = [each for each in rule.functions if not each.taken_by]
        places = [each.place for each in mine or rule.functions]
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        takers = dict.fromkeys(each.taken_by for each in rule.functions)
        told = "" if mine else f"taken by the rule {', '.join(takers)}: "
        if not places:
            told = f"{_WORDS[rule.verdict]}: {'; '.join(rule.doubts)}"
        head = f"{_MARKS[rule.verdict]:<2} {rule.name:<14} {told}"
        room = max(width - len(head) - len(more), 20)
        yield shorten(f"{head}{shorten(places[0], room) if places else ''}{more}", width)
    gone = [rule.name for rule in rules if rule.verdict == "absent"]
    if gone:
        yield from _item("-  ", f"not in this program: {', '.join(gone)}", width)


def _import(check: Check, width: int) -> Iterator[str]:
    woven: Woven | None = check.woven
    if woven is None:
        return
    yield ""
    good = sum(not each.error for each in woven.modules)
    count = sum(note.fate == "woven" for note in woven.notes)
    yield f"by import: {_count(good, 'module')} imported, {_count(count, 'function')} woven"
    for each in woven.modules:
        if each.error:
            yield from _item("? ", f"{each.module}: {each.error}", width)
    for fault in woven.faults:
        yield from _item("X ", f"a fault of ours: {fault}", width)
    if woven.trouble and not any(each.error == woven.trouble for each in woven.modules):
        yield from _item("X ", woven.trouble, width)


def _conclusion(check: Check, own: Sequence[RuleCheck]) -> str:
    wrong = [rule.name for rule in own if rule.is_wrong]
    unsure = sum(rule.verdict == "unsure" for rule in check.rules)
    if wrong or check.faults:
        what = f"{_count(len(wrong), 'rule')} to correct: {', '.join(wrong)}." if wrong else ""
        what = what or "The rule file must be corrected."
    else:
        what = "All rules match." if own and not unsure else "Nothing is wrong."
    if unsure and check.woven is None:
        what += f" {_count(unsure, 'rule')} in doubt: --import tells."
    if wrong and not check.program:
        what += " Is a rule for the script? Name it: dytopo-autotrace check SCRIPT"
    return what


def _item(mark: str, text: str, width: int, indent: int = 0) -> Iterator[str]:
    margin = indent + len(mark)
    for index, line in enumerate(wrap(clean(text), width - margin)):
        yield (" " * indent + mark if index == 0 else " " * margin) + line


def _path(file: str) -> str:
    """A path as short as it can be said from here."""
    try:
        relative = os.path.relpath(file)
    except (ValueError, OSError):  # on another drive; the working directory is gone
        return file
    return relative if not relative.startswith("..") else file


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
