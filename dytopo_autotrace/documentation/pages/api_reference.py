"""`api-reference.md`: what modules offer, as their source says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dytopo_autotrace.documentation.markdown import Markdown, code
from dytopo_autotrace.documentation.model import Function, Module, Swarm
from dytopo_autotrace.documentation.pages import common


@dataclass(frozen=True, slots=True)
class Part:
    """Modules under a heading."""

    title: str
    modules: tuple[Module, ...]


def api_reference(swarm: Swarm, sources: str) -> str:
    """The watched modules, and this package's own public ones in short."""
    rules = {
        (each.module, each.qualname): watched.rule.name
        for watched in swarm.watched
        for each in watched.functions
    }

    def note(function: Function) -> Markdown:
        rule = rules.get((function.module, function.qualname))
        return Markdown(f"Watched by the rule {code(rule)}. " if rule else "")

    return _page(
        swarm,
        sources,
        f"{swarm.service}: API reference",
        "The public functions and classes of every module in which a rule watches something, read "
        "from the source without importing it.",
        (Part("Watched modules", swarm.modules),),
        note,
        own=swarm.own,
        remarks=[each for each in swarm.remarks if not each.startswith("No run is recorded")],
    )


def of_modules(swarm: Swarm, sources: str, title: str, modules: Sequence[Module]) -> str:
    """Modules that were asked for by name."""
    return _page(
        swarm,
        sources,
        title,
        "Read from the source without importing it.",
        (Part("Modules", tuple(modules)),),
        lambda _: Markdown(""),
    )


def _page(
    swarm: Swarm,
    sources: str,
    title: str,
    intro: str,
    parts: tuple[Part, ...],
    watched: Callable[[Function], Markdown],
    own: Sequence[Module] = (),
    remarks: Sequence[str] = (),
) -> str:
    return common.page(
        "api-reference.md.jinja",
        swarm,
        sources,
        title=title,
        intro=intro,
        parts=parts,
        watched=watched,
        own=own,
        remarks=remarks,
    )
