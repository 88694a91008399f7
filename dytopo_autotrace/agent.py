"""The composition root: wires the parts together, puts the agent in, takes it out.

`install()` needs rules; the collectors are wired when this module is imported, since `@traced` and
`TraceContext` record without it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dytopo_autotrace.collect.failures import failures
from dytopo_autotrace.collect.messages import Messages
from dytopo_autotrace.collect.metrics import metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.settle import Measurer, settle
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.collect.tracing import traces
from dytopo_autotrace.errors import RuleFileError
from dytopo_autotrace.weave.decorators import is_disabled

if TYPE_CHECKING:
    from dytopo_autotrace.errors import Fault
    from dytopo_autotrace.rules.model import RuleSet
    from dytopo_autotrace.weave.finder import Finder
    from dytopo_autotrace.weave.kinds import Weaver
    from dytopo_autotrace.weave.ledger import Ledger
    from dytopo_autotrace.weave.modules import Modules


class CallCounter:
    """How often the woven functions of each rule were called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def count(self, spans: Sequence[Span]) -> None:
        self.calls.update(span.site.rule for span in spans)


measurer = Measurer(metrics)
counter = CallCounter()
pipeline.consumers[:] = [
    settle,
    Messages().link,
    traces.add,
    measurer.measure,
    failures.add_spans,
    counter.count,
]
metrics.before_query = pipeline.drain


@dataclass(slots=True)
class Installation:
    """The agent as it is installed; `uninstall()`, or leaving a `with`, takes it out."""

    ruleset: RuleSet | None = None
    """None when the environment says that nothing of ours may run."""
    weaver: Weaver | None = None
    modules: Modules | None = None
    finder: Finder | None = None
    started_ns: int = field(default_factory=time.perf_counter_ns)
    unreached: tuple[str, ...] = ()
    """Where functions are held that were woven too late for it, once somebody has looked."""

    @property
    def is_active(self) -> bool:
        return self.weaver is not None and self.weaver.switch.on

    reloaded: list[Callable[[Ledger], object]] = field(default_factory=list)
    """Called with the new ledger when other rules have taken the place of these."""

    def reload(self) -> tuple[Fault, ...]:
        """Read the rule file again and weave by it; calls that run end under the rule they began with.

        Returns:
            What is wrong with the file: then nothing has changed.
        """
        if self.ruleset is None or not self.is_active:
            return ()
        from dytopo_autotrace.rules.load import load  # noqa: PLC0415 - loaded on use

        path = None if self.ruleset.origin.pack else self.ruleset.origin.file
        ruleset = load(path, cwd=working_directory(), environ=os.environ)
        if not ruleset.faults:
            with _reloading:
                self._exchange(ruleset)
        return ruleset.faults

    def _exchange(self, ruleset: RuleSet) -> None:
        weaver, modules, finder = self.weaver, self.modules, self.finder
        if weaver is None or modules is None or not weaver.switch.on:
            return
        new_weaver, new_modules, new_finder = _parts(ruleset)
        new_weaver.say = weaver.say
        new_weaver.switch.missed = weaver.switch.missed
        new_weaver.ledger.faults += weaver.ledger.faults
        new_modules.seen |= modules.seen
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
        weaver.switch.on = False
        modules.successor = new_modules
        weaver.ledger.take_out()
        self.ruleset, self.weaver = ruleset, new_weaver
        self.modules, self.finder = new_modules, new_finder
        _put_in(new_weaver, new_modules, new_finder)
        for tell in self.reloaded:
            tell(new_weaver.ledger)

    def uninstall(self) -> None:
        """Put everything back as it was; calls in flight finish and are recorded."""
        global _installed  # noqa: PLW0603 - the one installation of the process
        if self.weaver is None:
            return
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        self.weaver.switch.on = False
        self.weaver.ledger.take_out()
        pipeline.stop()
        if _installed is self:
            _installed = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.uninstall()


_installed: Installation | None = None


def install(
    rules: str | os.PathLike[str] | RuleSet | None = None, *, strict: bool = False
) -> Installation:
    """Weave what the rules name, in the modules that are loaded and in those still to come.

    A process has one installation: a second call takes the first one out.

    Args:
        rules: a rule file, or rules already loaded. Without it: the file that the environment
            variable DYTOPO_AUTOTRACE_RULES names, else instrumentation.toml or pyproject.toml in the
            working directory, else the dytopo pack.
        strict: raise for a rule that is wrong instead of leaving it out.

    Raises:
        RuleFileError: only with `strict`.
    """
    global _installed  # noqa: PLW0603 - the one installation of the process
    if is_disabled():
        return Installation()
    from dytopo_autotrace.rules.load import load  # noqa: PLC0415 - loaded on use
    from dytopo_autotrace.rules.model import RuleSet  # noqa: PLC0415

    if isinstance(rules, RuleSet):
        ruleset = rules
    else:
        path = None if rules is None else os.fspath(rules)
        ruleset = load(path, cwd=working_directory(), environ=os.environ)
    if strict and ruleset.faults:
        raise RuleFileError(ruleset.faults)
    if _installed is not None:
        _installed.uninstall()
    weaver, modules, finder = _parts(ruleset)
    _put_in(weaver, modules, finder)
    pipeline.ensure_running()
    _installed = Installation(ruleset, weaver, modules, finder)
    return _installed


def reload() -> tuple[Fault, ...]:
    """Have the installed agent read its rule file again; what is wrong with it, if anything is."""
    return () if _installed is None else _installed.reload()


_reloading = threading.Lock()


def _parts(ruleset: RuleSet) -> tuple[Weaver, Modules, Finder]:
    from dytopo_autotrace.rules.match import compile_rules  # noqa: PLC0415 - loaded on use
    from dytopo_autotrace.weave.finder import Finder  # noqa: PLC0415
    from dytopo_autotrace.weave.kinds import Weaver  # noqa: PLC0415
    from dytopo_autotrace.weave.ledger import Ledger  # noqa: PLC0415
    from dytopo_autotrace.weave.modules import Modules  # noqa: PLC0415

    weaver = Weaver(ruleset.capture, Ledger())
    modules = Modules(compile_rules(ruleset), weaver, frozenset(ruleset.adopt), _classic_names)
    return weaver, modules, Finder(modules)


def _put_in(weaver: Weaver, modules: Modules, finder: Finder) -> None:
    from dytopo_autotrace.weave.crossing import cross_threads  # noqa: PLC0415 - loaded on use

    # First the finder, then what is loaded: a module that another thread imports in between is
    # woven by the one or the other.
    sys.meta_path.insert(0, finder)
    modules.weave_loaded()
    cross_threads(weaver.ledger)


def uninstall() -> None:
    """Take the installed agent out, if there is one."""
    if _installed is not None:
        _installed.uninstall()


def _classic_names() -> Any:
    from dytopo_autotrace.observability import classic_names  # noqa: PLC0415 - only when adopted

    return classic_names()


def working_directory() -> str:
    """Where the program runs, `""` if that was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""  # It was deleted.
