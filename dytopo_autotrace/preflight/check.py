"""Holds every rule against the program: by its source, and by importing it elsewhere if asked to."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dytopo_autotrace.errors import Fault
from dytopo_autotrace.preflight.model import (
    Check,
    Function,
    Note,
    RuleCheck,
    RuleVerdict,
    Subject,
    Woven,
)
from dytopo_autotrace.rules.match import is_glob
from dytopo_autotrace.rules.model import Rule, RuleSet
from dytopo_autotrace.rules.survey import Match, Survey, examine
from dytopo_autotrace.rules.survey.outline import DoubtError, WrongError
from dytopo_autotrace.rules.survey.search import Program

Key = tuple[str, str]
"""A rule's pack and name: a rule of the user's own may have the name of a pack's."""

Weave = Callable[[Sequence[str]], Woven]
"""Imports modules in a process of its own, with the rules installed, and says what came of it."""


def check(
    ruleset: RuleSet,
    subject: Subject,
    *,
    finders: Sequence[Any] = (),
    weave: Weave | None = None,
) -> Check:
    """What each rule names in a program.

    Args:
        finders: those beside the search path that are asked where a module is.
        weave: given to import the program's modules as well; the program itself is never run.
    """
    survey = examine(
        ruleset,
        subject.search_path,
        subject.script,
        subject.module,
        finders=finders,
        with_packs=True,
    )
    rules = [_by_source(rule, survey) for rule in ruleset.rules]
    woven = weave(_modules(rules, ruleset.rules, subject)) if weave is not None else None
    if woven is not None:
        rules = _by_import(rules, woven)
    return Check(
        rule_file=ruleset.origin.file,
        packs=ruleset.packs,
        program=subject.script or (f"-m {subject.module}" if subject.module else ""),
        rules=tuple(sorted((*rules, *_switched_off(ruleset.faults)), key=_in_file_order)),
        faults=tuple(str(fault) for fault in ruleset.faults if fault.rule is None),
        woven=woven,
    )


def why_missing(subject: Subject, finders: Sequence[Any] = ()) -> str:
    """Why there is no program of that name, `""` if there is one."""
    program = Program(subject.search_path, subject.script, subject.module, tuple(finders))
    try:
        program.outline("__main__")
    except WrongError as wrong:
        return f"{wrong.message} {wrong.hint}".rstrip()
    except DoubtError:
        pass
    return ""


def _in_file_order(check: RuleCheck) -> tuple[bool, int]:
    # Of packs the order is settled by which one comes first, and sorting keeps it.
    return bool(check.pack), 0 if check.pack else check.line or 0


def _by_source(rule: Rule, survey: Survey) -> RuleCheck:
    key = rule.origin.pack, rule.name
    matches = [each for each in survey.matched if (each.pack, each.rule) == key]
    doubts = [f"{each.target}: {each.why}" for each in survey.doubts if _is_of(each, key)]
    absences = [f"{each.target}: {each.why}" for each in survey.absences if _is_of(each, key)]
    problems = [_in_words(fault) for fault in survey.faults if _is_about(fault, rule)]
    functions = tuple({(each.module, each.qualname): _function(each) for each in matches}.values())
    return RuleCheck(
        name=rule.name,
        pack=rule.origin.pack,
        file=rule.origin.file,
        line=rule.origin.line,
        targets=tuple(target.text for target in rule.targets),
        verdict=_verdict(functions, doubts, is_pack=bool(rule.origin.pack)),
        functions=functions,
        problems=tuple(problems),
        doubts=(*doubts, *absences),
    )


def _is_of(each: Any, key: Key) -> bool:
    return (each.pack, each.rule) == key


def _is_about(fault: Fault, rule: Rule) -> bool:
    return (fault.file, fault.line) == (rule.origin.file, rule.origin.line)


def _in_words(fault: Fault) -> str:
    """A fault without its place, which stands beside the rule's name."""
    return f"{fault.key} = {fault.value}: {fault.message} {fault.hint}".rstrip()


def _function(match: Match) -> Function:
    place = f"{match.module}:{match.qualname}"
    return Function(place, match.kind, match.file, match.line, match.shadowed_by)


def _verdict(functions: Sequence[Function], doubts: Sequence[str], *, is_pack: bool) -> RuleVerdict:
    if any(not each.taken_by for each in functions):
        return "matched"
    if doubts:
        return "unsure"
    if functions:
        return "shadowed"
    return "absent" if is_pack else "nothing_matched"


def _modules(checks: Iterable[RuleCheck], rules: Iterable[Rule], subject: Subject) -> list[str]:
    """What is worth importing: where the source has matches, and what rules name outright.

    A package's `__main__` is a program, which importing would run; the main module has its own way.
    """
    script = os.path.splitext(os.path.basename(subject.script or ""))[0]
    found = [each.place.partition(":")[0] for check in checks for each in check.functions]
    named = [
        target.module
        for rule in rules
        for target in rule.targets
        if not rule.origin.pack and not is_glob(target.module)
    ]
    unique = dict.fromkeys((*found, *named))
    return [
        name
        for name in unique
        if name.rpartition(".")[2] != "__main__" and name not in (script, subject.module)
    ]


def _by_import(checks: Sequence[RuleCheck], woven: Woven) -> list[RuleCheck]:
    notes: dict[Key, list[Note]] = {}
    for note in woven.notes:
        owner = _owner(note, checks)
        if owner is not None:
            notes.setdefault((owner.pack, owner.name), []).append(note)
    imports = {each.module: each.error for each in woven.modules}
    takers = {note.place: note for note in woven.notes if note.fate != "nothing_matched"}
    return [_seen(each, notes.get((each.pack, each.name), []), takers, imports) for each in checks]


def _owner(note: Note, checks: Sequence[RuleCheck]) -> RuleCheck | None:
    named = [each for each in checks if each.name == note.rule]
    for each in named:
        if any(f.place == note.place and not f.taken_by for f in each.functions):
            return each
    return named[0] if named else None


def _seen(
    check: RuleCheck,
    notes: Sequence[Note],
    takers: Mapping[str, Note],
    imports: Mapping[str, str],
) -> RuleCheck:
    by_place = {note.place: note for note in notes}
    functions = [_with_fate(each, by_place.pop(each.place, None)) for each in check.functions]
    problems = list(check.problems)
    doubts = list(check.doubts)
    for note in by_place.values():  # what the source alone did not tell
        if note.fate == "nothing_matched":
            if not check.pack and not any(note.place in text for text in problems):
                problems.append(f"{note.place}: {note.reason}".rstrip(": "))
        else:
            functions.append(_noted(note))
    known = {each.place for each in functions}
    functions += [
        _noted(takers[target], taken_by=takers[target].rule)
        for target in check.targets
        if target in takers and target not in known
    ]
    missed = [
        f"{module}: {error}"
        for module in dict.fromkeys(target.partition(":")[0] for target in check.targets)
        if (error := imports.get(module))
    ]
    verdict = _verdict_of_import(check, functions, problems, missed, imports)
    if verdict != "unsure":
        doubts = [each for each in doubts if each.startswith("rule.") or verdict == "absent"]
    return dataclasses.replace(
        check,
        verdict=verdict,
        functions=tuple(functions),
        problems=tuple(problems),
        doubts=(*doubts, *missed),
    )


def _noted(note: Note, taken_by: str = "") -> Function:
    fate: Any = note.fate
    return Function(note.place, note.kind, note.file, note.line, taken_by, fate, note.reason)


def _with_fate(function: Function, note: Note | None) -> Function:
    if note is None or note.fate == "nothing_matched":
        return function
    fate: Any = note.fate
    return dataclasses.replace(function, fate=fate, reason=note.reason)


def _verdict_of_import(
    check: RuleCheck,
    functions: Sequence[Function],
    problems: Sequence[str],
    missed: Sequence[str],
    imports: Mapping[str, str],
) -> RuleVerdict:
    own = [each for each in functions if not each.taken_by]
    if any(each.fate == "woven" for each in own):
        return "matched"
    for fate in ("refused", "failed"):
        if own and all(each.fate == fate for each in own):
            return fate
    if functions and not own:
        return "shadowed"
    if own or check.verdict != "unsure" or missed:
        return check.verdict
    modules = [target.partition(":")[0] for target in check.targets]
    if problems or all(module in imports for module in modules):
        return "absent" if check.pack else "nothing_matched"
    return check.verdict


def _switched_off(faults: Iterable[Fault]) -> Iterable[RuleCheck]:
    by_rule: dict[int, list[Fault]] = {}
    for fault in faults:
        if fault.rule is not None:
            by_rule.setdefault(fault.rule, []).append(fault)
    for index, found in sorted(by_rule.items()):
        yield RuleCheck(
            name=f"rule {index + 1} of {os.path.basename(found[0].file)}",
            pack="",
            file=found[0].file,
            line=found[0].line,
            targets=(),
            verdict="off",
            problems=tuple(_in_words(fault) for fault in found),
        )
