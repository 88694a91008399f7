"""Rules, code and runs become one frozen value, from which every page is made."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.documentation import components, recorded, troubles
from dytopo_autotrace.documentation.model import Function, Module, Recorded, Run, Swarm, Watched
from dytopo_autotrace.documentation.source import Sources
from dytopo_autotrace.rules.model import RuleSet
from dytopo_autotrace.rules.survey import Match, examine

PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PUBLIC: Final[Mapping[str, str]] = {
    "dytopo_autotrace": "__init__.py",
    "dytopo_autotrace.observability": "observability.py",
    "dytopo_autotrace.documentation": "documentation/__init__.py",
    "dytopo_autotrace.testing": "testing.py",
}
"""The modules of this package that other code imports, by the file below `PACKAGE`."""


@dataclass(frozen=True, slots=True)
class Program:
    """Where the source of the documented program is."""

    root: str
    """What links to source files are made relative to: the top of its repository."""
    search_path: tuple[str, ...]
    script: str | None = None


def gather(
    ruleset: RuleSet,
    program: Program,
    runs: Sequence[Recorded],
    *,
    content: bool = False,
    remarks: Sequence[str] = (),
) -> Swarm:
    """All that is known.

    Args:
        runs: the latest first.
        content: whether what was said, prompts and answers, may appear in the documents.
        remarks: what is to be said of the choice of runs.
    """
    sources = Sources(program.root)
    watched = _watched(ruleset, program, sources)
    reads = tuple(recorded.read(each, sources.root, content=content) for each in runs)
    told = tuple(each.run for each in reads)
    parts = components.components(watched, reads)
    return Swarm(
        service=_service(ruleset, program, told),
        content=content,
        ruleset=ruleset,
        rule_file="" if ruleset.origin.pack else sources.place(ruleset.origin.file, 1).file,
        watched=watched,
        modules=_modules(watched, sources),
        own=offered(sources),
        components=parts,
        traffic=components.traffic(parts, reads),
        runs=told,
        troubles=troubles.troubles(told),
        routing=recorded.routing(reads),
        samples=recorded.samples(reads, content=content),
        remarks=(*remarks, *_remarks(ruleset, watched, told, sources)),
    )


def offered(sources: Sources) -> tuple[Module, ...]:
    """This package's own public modules, each with what it offers."""
    return tuple(
        sources.offered(name, os.path.join(PACKAGE, file)) for name, file in PUBLIC.items()
    )


def _service(ruleset: RuleSet, program: Program, runs: Sequence[Run]) -> str:
    if ruleset.service:
        return ruleset.service
    if runs and runs[0].summary.service:
        return runs[0].summary.service
    return os.path.basename(program.script or program.root) or "the program"


def _watched(ruleset: RuleSet, program: Program, sources: Sources) -> tuple[Watched, ...]:
    # The survey looks up the user's own rules only; here those of packs are as good, and a rule of a
    # pack may have the name of one before it: numbers tell them apart.
    own = dataclasses.replace(
        ruleset,
        rules=tuple(
            dataclasses.replace(
                rule, name=str(number), origin=dataclasses.replace(rule.origin, pack="")
            )
            for number, rule in enumerate(ruleset.rules)
        ),
    )
    found = examine(own, program.search_path, program.script)
    matched: dict[str, list[Match]] = {}
    for match in found.matched:
        matched.setdefault(match.rule, []).append(match)
    doubts: dict[str, list[str]] = {}
    for doubt in found.doubts:
        doubts.setdefault(doubt.rule, []).append(f"{doubt.target}: {doubt.why}")
    watched = []
    for number, rule in enumerate(ruleset.rules):
        mine = matched.get(str(number), ())
        watched.append(
            Watched(
                rule,
                tuple(_function(each, sources) for each in mine if not each.shadowed_by),
                tuple(
                    (_function(each, sources), ruleset.rules[int(each.shadowed_by)].name)
                    for each in mine
                    if each.shadowed_by
                ),
                tuple(doubts.get(str(number), ())),
            )
        )
    return tuple(watched)


def _function(match: Match, sources: Sources) -> Function:
    return sources.function(match.module, match.qualname, match.file, match.line, match.kind)


def _modules(watched: Sequence[Watched], sources: Sources) -> tuple[Module, ...]:
    found = {
        (function.module, function.place.file)
        for each in watched
        for function in (*each.functions, *(one for one, _ in each.shadowed))
    }
    by_file: dict[str, Module] = {}
    for name, file in sorted(found):
        by_file.setdefault(file, sources.module(name, sources.path(file)))
    return tuple(sorted(by_file.values(), key=lambda module: module.name))


def _remarks(
    ruleset: RuleSet, watched: Sequence[Watched], runs: Sequence[Run], sources: Sources
) -> tuple[str, ...]:
    remarks = []
    if not runs:
        remarks.append(
            "No run is recorded, so this is what the rules and the code alone say: what there is, "
            "not how it behaves. Figures, rounds and failures appear once a run is kept."
        )
    remarks += [str(fault).replace(f"{sources.root}{os.sep}", "") for fault in ruleset.faults]
    if not any(each.functions for each in watched):
        remarks.append(
            "No rule matches a function of the sources that were read. Name the program's script "
            "or directory with --source."
        )
    return tuple(remarks)
