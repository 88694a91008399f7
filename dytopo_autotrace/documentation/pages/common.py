"""What several pages have in common: links, lists and commands."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dytopo_autotrace.analyze.wording import count, seconds
from dytopo_autotrace.documentation import markdown
from dytopo_autotrace.documentation.markdown import (
    Markdown,
    code,
    paragraphs,
    prose,
    slug,
    source_link,
)
from dytopo_autotrace.documentation.model import Run, Swarm, Trouble

PROGRAM = "dytopo-autotrace"
PATHS: Final[Mapping[str, str]] = {
    "architecture": "architecture/system-overview.md",
    "troubleshooting": "operations/troubleshooting.md",
    "observability": "OBSERVABILITY.md",
    "api": "api-reference.md",
    "canvas": "overview-obsidian.canvas",
}
"""Where documents go below their directory; they link to each other by these paths."""


def page(template: str, swarm: Swarm, sources: str, **values: Any) -> str:
    """A page from its template, with what every template may use.

    Args:
        sources: the relative path from the page to the root of the sources.
    """
    return markdown.render(
        template,
        swarm=swarm,
        runs=swarm.runs,
        src=functools.partial(source_link, sources=sources),
        root=sources,
        codes=codes,
        links=functools.partial(run_names),
        doc=docstring,
        summary=first_sentence,
        secs=seconds,
        count=count,
        number=number,
        moments=moments,
        **values,
    )


def codes(values: Iterable[object], most: int = 12) -> Markdown:
    """A list of values as code."""
    shown = list(dict.fromkeys(code(value) for value in values))
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return Markdown(", ".join(shown[:most]) + more)


def run_names(runs: Sequence[Run]) -> Markdown:
    """The names of runs."""
    return codes([run.name for run in runs], 6)


def moments(runs: Sequence[Run]) -> str:
    """When runs began, in UTC: the only one, or the first and the last."""
    starts = sorted(run.started for run in runs)
    if not starts:
        return "never"
    return starts[0] if starts[0] == starts[-1] else f"{starts[0]} to {starts[-1]}"


def number(value: float | None, digits: int = 0) -> str:
    """A number with separators, a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def first_sentence(doc: str) -> Markdown:
    """The first paragraph of a docstring, on one line."""
    return prose(doc.strip().partition("\n\n")[0])


def docstring(doc: str) -> Markdown:
    """A docstring as it reads in the source: its first paragraph as text, sections below as written.

    Sections such as `Args:` lose their meaning when their lines are folded, so what comes after the
    first paragraph is a block as soon as a line of it is indented.
    """
    text = _dedent(doc)
    first, _, rest = text.partition("\n\n")
    if not rest.strip():
        return paragraphs(first)
    if any(line.startswith((" ", "\t", ">>>", "- ", "* ", "|")) for line in rest.splitlines()):
        return Markdown(f"{prose(first)}\n\n{markdown.block(rest, 'text')}")
    return paragraphs(text)


def _dedent(doc: str) -> str:
    import inspect  # noqa: PLC0415 - it is large, and used here alone

    return inspect.cleandoc(doc)


def failure_anchor(each: Trouble) -> str:
    """Where `operations/troubleshooting.md` tells of a failure."""
    return f"failure-{slug(each.title)}"


def has_routing(swarm: Swarm) -> bool:
    """Whether anything routes, as far as rules, code and runs say."""
    return bool(swarm.routing.rows) or any(
        each.role == "router" and (each.functions or each.figures) for each in swarm.components
    )


# --- Commands -------------------------------------------------------------------------------------


def report(run: Run) -> tuple[str, ...]:
    """What to paste to have a run explained."""
    return (*_before(run), _command("report", run))


def show(run: Run, spans: int = 40) -> tuple[str, ...]:
    """What to paste to have the spans of a run listed."""
    return (*_before(run), _command("show", run, f"--spans {spans}"))


def runs(run: Run) -> tuple[str, ...]:
    """What to paste, after `report`, to have the runs listed that are in the store of this one."""
    store = own_store(run) if run.source.is_file else run.source.store
    return (f"{PROGRAM} runs --store {shlex.quote(store)}" if store else f"{PROGRAM} runs",)


def export(run: Run, name: str, output: str = "-") -> str:
    """What to paste to have a run in another format."""
    source = run.source
    store = f" --store {shlex.quote(source.store)}" if source.store else ""
    return (
        f"{PROGRAM} export {shlex.quote(source.ref)}{store} --format {name} "
        f"--output {shlex.quote(output)}"
    )


def own_store(run: Run) -> str:
    """The store that a run is read into which is in a file."""
    return f"{run.name}.db"


def _before(run: Run) -> tuple[str, ...]:
    if not run.source.is_file:
        return ()
    file, store = shlex.quote(run.source.ref), shlex.quote(own_store(run))
    return (f"{PROGRAM} import {file} --store {store}",)


def _command(name: str, run: Run, options: str = "") -> str:
    if run.source.is_file:
        words = f"{PROGRAM} {name} --store {shlex.quote(own_store(run))}"
    else:
        words = f"{PROGRAM} {name} {shlex.quote(run.source.ref)}"
        if run.source.store:
            words += f" --store {shlex.quote(run.source.store)}"
    return f"{words} {options}".strip()


def relative(path: str, start: str) -> str:
    """A path as links have it."""
    return os.path.relpath(path, start).replace(os.sep, "/")
