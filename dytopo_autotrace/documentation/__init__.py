"""Living documentation: what rules, code and recorded runs say, as documents for people.

`gather` makes one frozen value of all three, `pages` are pure functions from it to text, and `write`
brings them to disk with the sections that people added. griffe and jinja2 are imported when a document
is made.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

__all__ = ["DocumentationGenerator"]

RUNS: Final = 10
"""Runs of the store that are documented unless told otherwise, the latest."""


class DocumentationGenerator:
    """The classic face: each method writes one document, from the working directory's rules, code and store.

    Where there is no store, a document says what rules and code alone tell. Sections that people added
    stay, as with the command.
    """

    @staticmethod
    async def generate_overview_canvas(
        path: str | os.PathLike[str], include_metrics: bool = True
    ) -> None:
        """Write the overview in JSON Canvas 1.0; without metrics it shows structure only."""
        await asyncio.to_thread(_overview, os.fspath(path), include_metrics=include_metrics)

    @staticmethod
    async def generate_troubleshooting_guide(path: str | os.PathLike[str]) -> None:
        """Write what failed and what was slow, how to see it, and what to do."""
        await asyncio.to_thread(_page, os.fspath(path), "troubleshooting")

    @staticmethod
    async def generate_architecture_doc(path: str | os.PathLike[str]) -> None:
        """Write what the swarm is made of and how a round goes."""
        await asyncio.to_thread(_page, os.fspath(path), "architecture")

    @staticmethod
    async def generate_observability_guide(path: str | os.PathLike[str]) -> None:
        """Write what each rule captures and yields, and what observing costs."""
        await asyncio.to_thread(_page, os.fspath(path), "observability")

    @staticmethod
    async def generate_api_reference(path: str | os.PathLike[str], module: str) -> None:
        """Write what a module or package offers, read from its source without importing it.

        A module that has an `__all__` is told of by that alone.

        Raises:
            AutotraceError: there is no source of that name.
        """
        await asyncio.to_thread(_reference, os.fspath(path), module)


def _overview(path: str, *, include_metrics: bool) -> None:
    from dytopo_autotrace.documentation import documents, here, write  # noqa: PLC0415

    swarm, root = here.swarm()
    page = documents.overview(swarm, path, root, include_metrics=include_metrics)
    write.write({path: page})


def _page(path: str, name: str) -> None:
    from dytopo_autotrace.documentation import documents, here, write  # noqa: PLC0415

    swarm, root = here.swarm()
    write.write({path: documents.alone(swarm, path, root, name)})


def _reference(path: str, module: str) -> None:
    from dytopo_autotrace.documentation import documents, here, write  # noqa: PLC0415

    swarm, root = here.swarm(runs=())
    modules = here.modules(module, root)
    write.write({path: documents.reference(swarm, path, root, module, modules)})
