"""A Python that a watched program has started, before its own program begins: it joins the run."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from typing import Any

from dytopo_autotrace.children import boot
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.carrier import parent_of
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.weave import launch, workers
from dytopo_autotrace.weave.decorators import is_disabled


def begin(said: Mapping[str, Any]) -> None:
    """Watch this process as a part of its parent's run.

    Args:
        said: what the parent said (see `children`), and `traceparent`.
    """
    if is_disabled() or _is_launcher():
        return
    if said["boot"] and said["boot"] == boot():
        # The monotonic clock is the machine's: with one anchor, times of all processes compare.
        clock.ANCHOR_NS = said["anchor_ns"]
    from dytopo_autotrace.rules.load import load  # noqa: PLC0415 - only if this is watched
    from dytopo_autotrace.run import watch  # noqa: PLC0415

    ruleset = load(said["rules"], cwd="", environ={})
    run = watch(ruleset, list(sys.argv), report="none", store=said["store"], quiet=True, joins=said)
    current.set(parent_of(said["traceparent"]) or current.get())
    run.begin()
    launch.follow(run)
    if any("multiprocessing" in word for word in sys.orig_argv):
        import multiprocessing.queues  # noqa: PLC0415 - it is about to be imported anyway
        import multiprocessing.spawn  # noqa: F401, PLC0415

        workers.before_results(run.flush)
        workers.take_parent(lambda text: current.set(parent_of(text) or current.get()))


path0 = launch.first_on_path


def make_way(path0: str | None, imported: set[str]) -> None:
    """Forget what we imported where the program, which is not on the path yet, has its own."""
    if path0 is not None:
        launch.make_way(path0, imported)


def _is_launcher() -> bool:
    """Whether this is a launcher of ours, which watches a run of its own."""
    words = sys.orig_argv
    return any(
        flag == "-m" and name.partition(".")[0] == "dytopo_autotrace"
        for flag, name in itertools.pairwise(words)
    )
