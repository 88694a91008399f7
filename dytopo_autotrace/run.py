"""One run of a program under the launcher, from its start to the report after its end."""

from __future__ import annotations

import atexit
import os
import random
import sys
from types import CodeType
from typing import TYPE_CHECKING

from dytopo_autotrace import account, agent
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.metrics import metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import traces

if TYPE_CHECKING:
    from dytopo_autotrace.collect.failures import FailureRecord
    from dytopo_autotrace.collect.records import Cost, RunRecords
    from dytopo_autotrace.rules.model import RuleSet
    from dytopo_autotrace.store.backlog import Backlog
    from dytopo_autotrace.store.intake import Intake
    from dytopo_autotrace.store.model import RunEnd, RunState
    from dytopo_autotrace.store.recorder import Recorder


class Run:
    """A program that is watched; made before it starts, told when it ends."""

    def __init__(
        self,
        installation: agent.Installation,
        argv: list[str],
        *,
        report: str = "terminal",
        out: str | None = None,
        store: str | None = None,
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
        self._wall_seconds = 0.0
        self._cost: Cost | None = None
        self._store = store
        self._intake: Intake | None = None
        self.id = f"{random.SystemRandom().getrandbits(128):032x}"
        self._directory = agent.working_directory()

    def compile(self, source: str | bytes, filename: str, *known_as: str) -> CodeType | None:
        """The main module's code with its functions woven, None if no rule names any."""
        modules = self._installation.modules
        return modules.compile(source, filename, *known_as) if modules else None

    def has_no_source(self, *known_as: str) -> None:
        """Say which rules cannot reach a main module that is compiled code."""
        modules = self._installation.modules
        named = modules is not None and modules.out_of_reach(*known_as)
        if named and self._report != "none":
            self._say(
                f"{self._argv[0]} is compiled code: rules on its own functions need its source"
            )

    def begin(self) -> None:
        """The program starts now. What is registered first at exit runs last, after its own."""
        atexit.register(self.finish)
        self._started_ns = clock.now_ns()
        if self._store is not None and self._installation.is_active:
            from dytopo_autotrace.store.intake import Intake  # noqa: PLC0415 - not without a store

            self._intake = Intake(self._recorder)
            pipeline.consumers.append(self._intake.take)
            pipeline.watchers.append(self._intake.tick)

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
        self._let_go()
        _keep_interrupt(self._ended[0])

    def _let_go(self) -> None:
        """Give everything back, so that the interpreter takes the program down as it would."""
        try:
            self._installation.uninstall()
        except Exception as fault:
            self._say(f"not taken out: {type(fault).__name__}: {fault}")

    def _finish(self) -> None:
        self._wall_seconds = (clock.now_ns() - self._started_ns) / 1e9
        if self._installation.weaver is not None:
            self._installation.weaver.switch.on = False
        pipeline.stop()
        account.look_for_unreached(self._installation)
        if self._intake is not None and self._intake.is_used:
            self._cost = self._measure_cost()
            self._close_store(self._intake)
        if self._out is not None:
            self._write(self._out)
        if self._report != "none":
            _flush_stdout()
            self._cost = self._cost or self._measure_cost()
            from dytopo_autotrace.collect.records import records_to_json  # noqa: PLC0415 - on use
            from dytopo_autotrace.report import show  # noqa: PLC0415

            show(records_to_json(self.records()), self._report)

    def _recorder(self, backlog: Backlog) -> Recorder:
        """Made on the background thread, where importing a database holds nobody up."""
        from dytopo_autotrace.store.location import open_writer  # noqa: PLC0415
        from dytopo_autotrace.store.model import Retention, RunStart  # noqa: PLC0415
        from dytopo_autotrace.store.process import this_process  # noqa: PLC0415
        from dytopo_autotrace.store.recorder import Recorder, Sources  # noqa: PLC0415

        start = RunStart(
            run_id=self.id,
            process=this_process(),
            started_unix_ns=clock.unix_ns(self._started_ns),
            service=self._service,
            argv=tuple(self._argv),
            script=self._argv[0],
            directory=self._directory,
        )
        sources = Sources(self._state, failure_records, metrics.families)
        ruleset = self._installation.ruleset
        keep = Retention()
        if ruleset is not None:
            said = ruleset.store
            keep = Retention(said.keep_days, said.keep_runs, said.keep_megabytes)
        return Recorder(backlog, open_writer(self._store or ""), start, sources, keep)

    def _state(self) -> RunState:
        from dytopo_autotrace.store.model import RunState  # noqa: PLC0415

        return RunState(
            rules=tuple(account.rule_states(self._installation)),
            drops=account.drops(self._installation),
            cost=self._cost,
            faults=self._faults,
            remarks=tuple(account.remarks(self._installation)),
        )

    def _close_store(self, intake: Intake) -> None:
        from dytopo_autotrace.store.model import RunEnd  # noqa: PLC0415

        kind, message, status = self._ended

        def end() -> RunEnd:
            now = clock.unix_ns(clock.now_ns())
            return RunEnd(now, self._wall_seconds, status, kind, message)

        intake.finish(end)
        intake.tick(pipeline.open_spans())
        if intake.losses():
            self._say(f"not all of this run is kept in {self._store}: {intake.trouble}")

    def _measure_cost(self) -> Cost:
        from dytopo_autotrace.collect.records import Cost  # noqa: PLC0415
        from dytopo_autotrace.weave.calibrate import seconds_per_call  # noqa: PLC0415

        return Cost(pipeline.started, seconds_per_call(), pipeline.drain_seconds)

    @property
    def _service(self) -> str:
        ruleset = self._installation.ruleset
        return (ruleset.service if ruleset else "") or os.path.basename(self._argv[0])

    @property
    def _faults(self) -> tuple[str, ...]:
        ruleset = self._installation.ruleset
        return tuple(map(str, ruleset.faults)) if ruleset else ()

    def _write(self, directory: str) -> None:
        from dytopo_autotrace.export.files import write_run  # noqa: PLC0415 - loaded on use

        try:
            write_run(directory, traces.all(), metrics, failure_records())
        except OSError as error:
            self._say(f"--out {directory}: not written: {error.strerror or error}")

    def records(self) -> RunRecords:
        """All that this run left behind."""
        from dytopo_autotrace.collect.records import RunRecords  # noqa: PLC0415 - on use

        kind, message, status = self._ended
        running = pipeline.open_spans()
        finished = [span for spans in traces.all().values() for span in spans]
        lost = self._intake.losses() if self._intake else {}
        return RunRecords(
            service=self._service,
            argv=tuple(self._argv),
            started_unix_ns=clock.unix_ns(self._started_ns),
            wall_seconds=self._wall_seconds,
            exit_status=status,
            ended=kind,
            ended_message=message,
            now_ns=clock.now_ns(),
            spans=(*finished, *running),
            rules=tuple(account.rule_states(self._installation)),
            drops={
                **account.drops(self._installation),
                **{f"spans in the store: {reason}": count for reason, count in lost.items()},
            },
            cost=self._cost,
            faults=self._faults,
            remarks=tuple(account.remarks(self._installation)),
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
    store: str | None = None,
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
    return Run(installation, argv, report=report, out=out, store=store, quiet=quiet)


def failure_records() -> list[FailureRecord]:
    """The failures so far, those marked that were recovered from."""
    from dytopo_autotrace.observability import failure_analyzer  # noqa: PLC0415

    return failure_analyzer.settled()


def _keep_interrupt(ended: str) -> None:
    """Let the interpreter still end by SIGINT: executing source text clears the flag that it keeps.

    Importing a module with dataclasses is such an execution; one that is interrupted sets the flag.
    """
    if ended == "KeyboardInterrupt":
        try:
            exec("raise KeyboardInterrupt")  # noqa: S102
        except KeyboardInterrupt:
            pass


def _flush_stdout() -> None:
    """What the program printed comes before what is said about it."""
    try:
        sys.stdout.flush()
    except Exception:
        pass


def say(text: str) -> None:
    """A line on stderr, if there still is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"dytopo-autotrace: {text}\n")
    except Exception:
        pass
