"""All rules that count for one run: the user's file and the packs it names.

Every fault is reported at once and nothing is raised. A bad rule is left out, so that a later
rule, a pack's for instance, may match in its stead; a file that cannot be read has no rules.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.errors import Fault, nearest
from dytopo_autotrace.rules.build import Builder, rule_from
from dytopo_autotrace.rules.find import Document, find, parse, read
from dytopo_autotrace.rules.lines import locate
from dytopo_autotrace.rules.model import Capture, Keeping, Origin, Rule, RuleSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DEFAULT_PACK", "available_packs", "load", "rule_from"]

DEFAULT_PACK: Final = "dytopo"
PACKS: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "packs")
_SUFFIX: Final = ".toml"


def load(path: str | None, *, cwd: str, environ: Mapping[str, str]) -> RuleSet:
    """Read the rule file: `path`, else what `environ` names, else the one in `cwd`, else a pack."""
    document = find(path, cwd=cwd, environ=environ)
    if document is None:
        rules, faults = _pack(DEFAULT_PACK)
        origin = Origin(_pack_file(DEFAULT_PACK), pack=DEFAULT_PACK)
        return RuleSet(origin, rules=rules, packs=(DEFAULT_PACK,), faults=faults)
    if document.faults:
        return RuleSet(Origin(document.file), faults=document.faults)
    return _ruleset(document)


def load_text(text: str, file: str) -> RuleSet:
    """Read a rule file that is not on disk yet; `file` is what faults call it."""
    document = parse(file, text.encode())
    return RuleSet(Origin(file), faults=document.faults) if document.faults else _ruleset(document)


def available_packs() -> tuple[str, ...]:
    """The names of the packs that are shipped."""
    try:
        names = os.listdir(PACKS)
    except OSError:
        return ()
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def _ruleset(document: Document) -> RuleSet:
    lines = locate(document.text)
    builder = Builder(Origin(document.file), lines, document.prefix)
    settings = builder.settings(document.values)
    faults: list[Fault] = []
    known = available_packs()
    packs: list[str] = []
    shipped: list[Rule] = []
    for position, name in enumerate(settings.get("packs", ())):
        if name not in known:
            line = lines.of(*document.prefix, "agent", "packs", position)
            message, hint = "there is no such pack.", nearest(name, known)
            faults.append(Fault(document.file, line, "agent.packs", repr(name), message, hint))
        elif name not in packs:
            packs.append(name)
            rules, pack_faults = _pack(name)
            shipped += rules
            faults += pack_faults
    own = builder.rules(document.values, shipped)
    shipped = _told_apart(own, shipped)
    return RuleSet(
        origin=Origin(document.file),
        service=settings.get("service", ""),
        rules=(*own, *shipped),
        capture=Capture(**settings.get("capture", {})),
        prices=settings.get("prices", ()),
        stall_after=settings.get("stall_after", 0.0),
        store=Keeping(**settings.get("store", {})),
        children=settings.get("children", True),
        exports=settings["exports"],
        prometheus=settings.get("prometheus", ""),
        adopt=settings.get("adopt", ()),
        packs=tuple(packs),
        faults=(*sorted(builder.faults, key=lambda fault: fault.line or 0), *faults),
    )


def _told_apart(own: Sequence[Rule], shipped: Sequence[Rule]) -> list[Rule]:
    """The rules of packs, those by a name that an earlier rule has as `pack/name`.

    Spans say by name whose they are.
    """
    taken = {rule.name for rule in own}
    found = []
    for rule in shipped:
        name = rule.name if rule.name not in taken else f"{rule.origin.pack}/{rule.name}"
        taken.add(name)
        found.append(replace(rule, name=name))
    return found


def _pack(name: str) -> tuple[tuple[Rule, ...], tuple[Fault, ...]]:
    document = read(_pack_file(name), f"pack {name}")
    if document.faults:
        return (), document.faults
    builder = Builder(Origin(document.file, pack=name), locate(document.text))
    rules = builder.rules(document.values)
    return rules, tuple(builder.faults)


def _pack_file(name: str) -> str:
    return os.path.join(PACKS, name + _SUFFIX)
