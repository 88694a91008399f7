"""One run of a program under the launcher, from its start to the report after its end."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import TYPE_CHECKING

from dytopo_autotrace import agent
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import failures
from dytopo_autotrace.collect.metrics import metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import traces

if TYPE_CHECKING:
    from dytopo_autotrace.analyze.records import RuleState, RunRecords
    from dytopo_autotrace.rules.model import Rule, RuleSet
    from dytopo_autotrace.weave.ledger import Entry
    from dytopo_autotrace.weave.modules import Modules


class Run:
    """A program that is watched; made before it starts, told when it ends."""

    def __init__(
        self,
        installation: agent.Installation,
        argv: list[str],
        *,
        report: str = "terminal",
        out: str | None = None,
        quiet: bool = False,
    ) -> None:
        self._installation = installation
        self._argv = argv
        self._report = "none" if quiet else report
        # Settled now: programs change their working directory.
        self._out = None if out is None else os.path.abspath(out)
        self._quiet = quiet
        self._pid = os.getpid()
        self._started_ns = clock.now_ns()
        self._ended = ("returned", "", 0)

    def compile(self, source: str | bytes, filename: str, *known_as: str) -> CodeType | None:
        """The main module's code with its functions woven, None if no rule names any."""
        modules = self._installation.modules
        return modules.compile(source, filename, *known_as) if modules else None

    def begin(self) -> None:
        """The program starts now. What is registered first at exit runs last, after its own."""
        atexit.register(self.finish)
        self._started_ns = clock.now_ns()

    def ended(self, error: BaseException | None) -> None:
        """The main module has ended; threads and exit handlers may still run."""
        if isinstance(error, SystemExit):
            code = error.code
            status = code if isinstance(code, int) else int(code is not None)
            self._ended = ("SystemExit", "" if status == code else str(code), status)
        elif error is not None:
            try:
                message = str(error)
            except Exception:
                message = "<could not be read>"
            self._ended = (type(error).__qualname__, message[:1024], 1)

    def finish(self) -> None:
        """Write what was asked for and show the report; never raises."""
        if os.getpid() != self._pid:
            return  # A forked child inherits this handler; its parent reports.
        try:
            self._finish()
        except Exception as fault:
            self._say(f"no report: {type(fault).__name__}: {fault}")

    def _finish(self) -> None:
        wall_ns = clock.now_ns() - self._started_ns
        if self._installation.weaver is not None:
            self._installation.weaver.switch.on = False
        pipeline.stop()
        if self._out is not None:
            self._write(self._out)
        if self._report != "none":
            from dytopo_autotrace.analyze.records import records_to_json  # noqa: PLC0415 - on use
            from dytopo_autotrace.report import show  # noqa: PLC0415

            show(records_to_json(self.records(wall_ns / 1e9)), self._report)

    def _write(self, directory: str) -> None:
        from dytopo_autotrace.export.files import write_run  # noqa: PLC0415 - loaded on use
        from dytopo_autotrace.observability import failure_analyzer  # noqa: PLC0415

        try:
            write_run(directory, traces.all(), metrics, failure_analyzer.settled())
        except OSError as error:
            self._say(f"--out {directory}: not written: {error.strerror or error}")

    def records(self, wall_seconds: float) -> RunRecords:
        """All that this run left behind."""
        from dytopo_autotrace.analyze.records import Cost, RunRecords  # noqa: PLC0415 - on use
        from dytopo_autotrace.weave.calibrate import seconds_per_call  # noqa: PLC0415

        ruleset = self._installation.ruleset
        kind, message, status = self._ended
        running = pipeline.open_spans()
        finished = [span for spans in traces.all().values() for span in spans]
        return RunRecords(
            service=(ruleset.service if ruleset else "") or os.path.basename(self._argv[0]),
            argv=tuple(self._argv),
            started_unix_ns=clock.unix_ns(self._started_ns),
            wall_seconds=wall_seconds,
            exit_status=status,
            ended=kind,
            ended_message=message,
            now_ns=clock.now_ns(),
            spans=(*finished, *running),
            rules=tuple(rule_states(self._installation)),
            drops=drops(self._installation),
            cost=Cost(pipeline.started, seconds_per_call(), pipeline.drain_seconds),
            faults=tuple(map(str, ruleset.faults)) if ruleset else (),
            remarks=tuple(remarks(self._installation)),
        )

    def _say(self, text: str) -> None:
        if not self._quiet:
            say(text)


def watch(
    rules: str | RuleSet | None,
    argv: list[str],
    *,
    report: str = "terminal",
    out: str | None = None,
    strict: bool = False,
    quiet: bool = False,
) -> Run:
    """Install for one run of a program, and say what is wrong with the rules.

    Raises:
        RuleFileError: with `strict`, something is.
    """
    installation = agent.install(rules, strict=strict)
    if not quiet and installation.ruleset is not None:
        for fault in installation.ruleset.faults:
            say(str(fault))
    return Run(installation, argv, report=report, out=out, quiet=quiet)


def say(text: str) -> None:
    """A line on stderr, if there still is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"dytopo-autotrace: {text}\n")
    except Exception:
        pass


def drops(installation: agent.Installation) -> dict[str, int]:
    """What was lost on the way, by reason; nothing that was not."""
    weaver = installation.weaver
    counted = {
        "calls: a fault of ours, contained": weaver.switch.missed if weaver else 0,
        "spans: the buffer was full": pipeline.dropped,
        "spans: the memory limit was reached": traces.dropped,
        "failures: the memory limit was reached": failures.dropped,
        **{f"metrics: {reason}": count for reason, count in metrics.losses().items()},
        **{f"metric {name}: no number": n for name, n in agent.measurer.unmeasured.items()},
        **{f"fault of ours in {name}": count for name, count in pipeline.faults.items()},
    }
    return {reason: count for reason, count in counted.items() if count}


def remarks(installation: agent.Installation) -> Iterator[str]:
    """What a reader of the report should know about what it was made from."""
    if installation.weaver is None:
        return
    for form in installation.weaver.shapes.values():
        for name, count in form.unreadable.items():
            yield f"rule {form.site.rule}: {name} could not be read in {count} calls"
    for fault in installation.weaver.ledger.faults:
        yield f"a fault of ours, contained: {fault}"


def rule_states(installation: agent.Installation) -> Iterator[RuleState]:
    """What became of each rule."""
    from dytopo_autotrace.analyze.records import RuleState  # noqa: PLC0415 - loaded on use

    ruleset, weaver, modules = installation.ruleset, installation.weaver, installation.modules
    if ruleset is None or weaver is None or modules is None:
        return
    calls = agent.counter.calls
    entries: dict[str, list[Entry]] = {}
    for entry in weaver.ledger.entries:
        entries.setdefault(entry.rule, []).append(entry)
    own = {rule.name for rule in ruleset.rules if not rule.origin.pack}
    for rule in ruleset.rules:
        if rule.origin.pack and rule.name in own:
            continue  # The user's rule of that name stands in for the pack's.
        condition, woven, reason = _condition(
            rule, entries.get(rule.name, ()), modules, calls[rule.name]
        )
        yield RuleState(
            name=rule.name,
            target=", ".join(target.text for target in rule.targets),
            origin=str(rule.origin),
            state=condition,  # type: ignore[arg-type]
            woven=woven,
            calls=calls[rule.name],
            reason=reason,
        )
    yield from _switched_off(ruleset)


def _condition(
    rule: Rule, entries: Sequence[Entry], modules: Modules, calls: int
) -> tuple[str, int, str]:
    woven = sum(each.fate == "woven" for each in entries)
    if woven:
        return ("woven" if calls else "never_called"), woven, ""
    for fate in ("refused", "failed", "nothing_matched"):
        for entry in entries:
            if entry.fate == fate:
                return fate, 0, f"{entry.place}: {entry.reason}"
    if any(modules.names(module, rule) for module in modules.seen):
        return "nothing_matched", 0, "the module was imported, but has no such function"
    return "never_imported", 0, "its module was not imported"


def _switched_off(ruleset: RuleSet) -> Iterator[RuleState]:
    from dytopo_autotrace.analyze.records import RuleState  # noqa: PLC0415 - loaded on use

    for index in sorted({fault.rule for fault in ruleset.faults if fault.rule is not None}):
        faults = [fault for fault in ruleset.faults if fault.rule == index]
        yield RuleState(
            name=f"rule {index + 1} of {os.path.basename(faults[0].file)}",
            target="",
            origin=f"{faults[0].file}:{faults[0].line}",
            state="off",
            reason="; ".join(f"{fault.key}: {fault.message} {fault.hint}" for fault in faults),
        )
