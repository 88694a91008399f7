"""One run of a program under the launcher, from its start to the report after its end."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import CodeType
from typing import TYPE_CHECKING, Any

from dytopo_autotrace import account, agent
from dytopo_autotrace.children import Children, has_run, read_kept, together
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.faults import around_forks, attempt
from dytopo_autotrace.collect.loop_watch import LoopWatch
from dytopo_autotrace.collect.metrics import metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.stalls import Stalls
from dytopo_autotrace.collect.tracing import traces
from dytopo_autotrace.weave import workers
from dytopo_autotrace.weave.observers import say

if TYPE_CHECKING:
    from collections.abc import Collection

    from dytopo_autotrace.collect.records import Cost, RunRecords
    from dytopo_autotrace.collect.span import Span
    from dytopo_autotrace.live.outlets import Outlets
    from dytopo_autotrace.recording import Recording
    from dytopo_autotrace.rules.model import Keeping, RuleSet
    from dytopo_autotrace.store.model import RunEnd, RunStart, RunState


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
        children: bool = True,
        watch_rules: bool = False,
        joins: Mapping[str, Any] | None = None,
    ) -> None:
        self._installation = installation
        self._watches_rules = watch_rules
        self._argv = argv
        self._report = "none" if quiet else report
        # Settled now: programs change their working directory.
        self._out = None if out is None else os.path.abspath(out)
        self._quiet = quiet
        self._pid = os.getpid()
        self._started_ns = clock.now_ns()
        self._ended: tuple[str, str, int | None] = ("returned", "", 0)
        self._wall_seconds = 0.0
        self._cost: Cost | None = None
        self._store = store
        self._recording: Recording | None = None
        self._outlets: Outlets | None = None
        self.id = os.urandom(16).hex()
        self._directory = agent.working_directory()
        if installation.weaver is not None:
            installation.weaver.say = self._say
        self._joins = joins
        self._joined_ns = 0
        self._is_over = False
        if joins is not None:
            self.id = joins["run"]
            self._become_a_child()
        self._watches_children = children
        self._children: Children | None = None
        ruleset = installation.ruleset
        self._loops = LoopWatch(pipeline)
        self._stalls = Stalls(self._say, ruleset.stall_after if ruleset else 0.0)

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

    def contain(self, where: str, fault: Exception) -> None:
        """Count a fault of ours that was kept from the program."""
        weaver = self._installation.weaver
        if weaver is not None:
            weaver.ledger.faults.append(f"{where}: {type(fault).__name__}: {fault}")

    def begin(self) -> None:
        """The program starts now. What is registered first at exit runs last, after its own."""
        atexit.register(self.finish)
        self._started_ns = clock.now_ns()
        if not self._installation.is_active:
            return
        pipeline.consumers.append(self._stalls.learn)
        pipeline.consumers.append(self._loops.learn)
        pipeline.watchers.append(self._stalls.look)
        pipeline.watchers.append(self._loops.look)
        if self._watches_rules:
            from dytopo_autotrace.watch_rules import RuleWatch  # noqa: PLC0415 - only if asked for

            pipeline.watchers.append(RuleWatch(self._installation, self._say).look)
        ruleset = self._installation.ruleset
        if self._store is not None and ruleset is not None:
            self._open_recording(self._store, ruleset.store)
        if self._watches_children and self._installation.weaver is not None:
            self._children = Children(self._what_children_are_told())
            self._children.put_in(self._installation.weaver.ledger)
            self._installation.reloaded.append(self._children.put_in)
            if self._recording is not None:
                around_forks(after_in_child=self._forked)
        try:
            self._open_outlets()
        except Exception as fault:
            self._say(f"nothing is exported: {type(fault).__name__}: {fault}")

    def _become_a_child(self) -> None:
        """This process was started, or forked, by another one of the run, which makes the report."""
        self._report, self._out, self._quiet = "none", None, True
        self._joined_ns = self._started_ns = clock.now_ns()
        self._ended = ("returned", "", None)
        self._cost = None

    def _forked(self) -> None:
        """In a forked child: go on in the same run, as a process of its own."""
        try:
            if self._recording is not None and not self._is_over and self._installation.is_active:
                self._go_on_as_a_child(self._recording)
        except Exception:
            self._recording = None  # What Python would print here is not the program's.

    def _go_on_as_a_child(self, recording: Recording) -> None:
        self._pid = os.getpid()
        self._joins = self._joins or self._what_children_are_told()
        self._become_a_child()
        account.forget(self._installation)
        self._loops.start_over()
        recording.go_on_in_child()
        workers.before_exit(self.finish)
        workers.before_results(self.flush)

    def flush(self) -> None:
        """Write what a worker has recorded before its result is known."""
        if self._recording is not None:
            self._recording.flush()

    def _what_children_are_told(self) -> Mapping[str, Any]:
        """What is the same in all processes of this run; empty if children are not to join."""
        if self._joins is not None:
            return self._joins
        ruleset = self._installation.ruleset
        if self._store is None or ruleset is None:
            return {}
        return {
            "run": self.id,
            "store": self._store,
            "rules": ruleset.origin.file,
            "started": clock.unix_ns(self._started_ns),
            "service": self._service,
            "argv": self._argv,
            "directory": self._directory,
        }

    def _open_outlets(self) -> None:
        ruleset = self._installation.ruleset
        if ruleset is None:
            return
        exports, prometheus = ruleset.exports, ruleset.prometheus
        if self._joins is not None:
            # Files and the address belong to the process that began the run.
            exports, prometheus = tuple(each for each in exports if not each.path), ""
        if not exports and not prometheus:
            return
        from dytopo_autotrace.live.outlets import Outlets, Sources  # noqa: PLC0415 - not without

        sources = Sources(
            run_id=self.id,
            service=self._service,
            started_unix_ns=clock.unix_ns(self._started_ns),
            directory=self._directory,
            records=self.records,
            drops=self._drops,
            spans_of=_spans_of,
            say=self._say,
        )
        self._outlets = Outlets(sources)
        self._outlets.open(exports, prometheus)

    def ended(self, error: BaseException | None) -> None:
        """The main module has ended; threads and exit handlers may still run."""
        if isinstance(error, SystemExit):
            code = error.code
            status = _exit_status(code)
            self._ended = ("SystemExit", "" if status == code else _text(code), status)
        elif error is not None:
            self._ended = (type(error).__qualname__, _text(error), 1)

    def finish(self) -> None:
        """Write what was asked for and show the report; never raises."""
        if os.getpid() != self._pid or self._is_over:
            return  # A forked child inherits this handler; its parent reports.
        self._is_over = True
        try:
            self._finish()
        except Exception as fault:
            self._say(f"no report: {type(fault).__name__}: {fault}")
        attempt(self._let_go)
        attempt(_keep_interrupt, self._ended[0])

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
        pipeline.drain()
        self._loops.finish()
        if self._outlets is not None:
            pipeline.drain()
            self._outlets.finish()
            self._outlets.wait()  # The background thread writes meanwhile what is to be kept.
        account.look_for_unreached(self._installation)
        self._end_recording()
        if self._out is not None or self._report != "none":
            self._cost = self._cost or self._measure_cost()
        if self._out is not None:
            self._write(self._out)
        if self._report != "none":
            _flush_stdout()
            from dytopo_autotrace.collect.records import records_to_json  # noqa: PLC0415 - on use
            from dytopo_autotrace.report import show  # noqa: PLC0415

            show(records_to_json(self.records()), self._report)

    def _open_recording(self, store: str, keeping: Keeping) -> None:
        from dytopo_autotrace.recording import Recording  # noqa: PLC0415 - not without a store

        self._recording = Recording(store, self._start, self._state, keeping)

    def _start(self) -> RunStart:
        from dytopo_autotrace.store.model import RunStart  # noqa: PLC0415 - on the background thread
        from dytopo_autotrace.store.process import this_process  # noqa: PLC0415

        run = self._what_children_are_told()
        return RunStart(
            run_id=self.id,
            process=this_process(),
            started_unix_ns=run["started"],
            service=run["service"],
            argv=tuple(run["argv"]),
            script=run["argv"][0],
            directory=run["directory"],
            joined_unix_ns=clock.unix_ns(self._joined_ns) if self._joined_ns else 0,
        )

    def _state(self) -> RunState:
        from dytopo_autotrace.store.model import RunState  # noqa: PLC0415

        return RunState(
            rules=tuple(account.rule_states(self._installation)),
            prices=account.prices(self._installation),
            drops=self._drops(stored=False),
            cost=self._cost,
            faults=self._faults,
            remarks=self._remarks,
        )

    @property
    def _remarks(self) -> tuple[str, ...]:
        stalled = (f"Stalled, as told while it ran: {said}." for said in self._stalls.told.values())
        remarks = (*account.remarks(self._installation), *stalled)
        left_out = self._children.left_out if self._children is not None else 0
        if left_out:
            reason = "without a store there is no place for what they record"
            return (*remarks, f"child processes that were not recorded: {left_out}; {reason}")
        return remarks

    def _end_recording(self) -> None:
        recording = self._recording
        if recording is None:
            pipeline.stop()
            return
        pipeline.drain()
        if recording.is_used:
            self._cost = self._measure_cost()
        recording.end(self._run_end, self._only_children_wrote)
        for complaint in recording.complaints():
            self._say(complaint)

    def _run_end(self) -> RunEnd:
        from dytopo_autotrace.store.model import RunEnd  # noqa: PLC0415 - on the background thread

        kind, message, status = self._ended
        now = clock.unix_ns(clock.now_ns())
        return RunEnd(now, self._wall_seconds, status, kind, message)

    def _only_children_wrote(self) -> bool:
        """Whether a child has entered this run into the store, and this process has not."""
        if self._joined_ns or self._children is None or not self._children.may_have_written:
            return False
        store = self._store or ""
        return ("://" in store or os.path.exists(store)) and has_run(store, self.id)

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
        from dytopo_autotrace.observability import failure_analyzer  # noqa: PLC0415

        try:
            failed = failure_analyzer.settled()
            write_run(directory, traces.all(), metrics, failed, self.records())
        except OSError as error:
            self._say(f"--out {directory}: not written: {error.strerror or error}")

    def records(self) -> RunRecords:
        """All that this run left behind, or has up to now, that of its children included."""
        mine = self._own_records()
        if self._children is None or not self._children.may_have_written or self._store is None:
            return mine
        try:
            kept = read_kept(self._store, self.id)
        except Exception as fault:
            remark = f"what child processes recorded could not be read: {fault}"
            return replace(mine, remarks=(*mine.remarks, remark))
        return mine if kept is None else together(mine, kept)

    def _own_records(self) -> RunRecords:
        from dytopo_autotrace.collect.records import RunRecords  # noqa: PLC0415 - on use

        kind, message, status = self._ended if self._is_over else ("running", "", None)
        running = pipeline.open_spans()
        finished = [span for spans in traces.all().values() for span in spans]
        return RunRecords(
            service=self._service,
            argv=tuple(self._argv),
            started_unix_ns=clock.unix_ns(self._started_ns),
            wall_seconds=self._wall_seconds or (clock.now_ns() - self._started_ns) / 1e9,
            exit_status=status,
            ended=kind,
            ended_message=message,
            now_ns=clock.now_ns(),
            spans=(*finished, *running),
            prices=account.prices(self._installation),
            rules=tuple(account.rule_states(self._installation)),
            drops=self._drops(),
            cost=self._cost,
            faults=self._faults,
            remarks=self._remarks,
        )

    def _drops(self, *, stored: bool = True) -> dict[str, int]:
        """What was lost so far; the store counts its own losses itself."""
        unsent = self._outlets.losses() if self._outlets is not None else {}
        own = account.drops(self._installation)
        if self._recording is not None and (beyond := own.pop(account.BEYOND_MEMORY, 0)) and stored:
            own["spans not in this report, but in the store: the memory limit was reached"] = beyond
        return {
            **own,
            **(self._recording.losses() if stored and self._recording is not None else {}),
            **account.elsewhere("for the collector", unsent),
        }

    def _say(self, text: str) -> None:
        if not self._quiet:
            say(text)


def _exit_status(code: object) -> int:
    """What the system is told of the argument of `SystemExit`: of whole numbers the last byte."""
    if not isinstance(code, int):
        return int(code is not None)
    fits = -(1 << 63) <= code < 1 << 63
    return code & 0xFF if fits else 0xFF


def _text(value: object) -> str:
    try:
        return str(value)[:1024]
    except Exception:
        return "<could not be read>"


def watch(
    rules: str | RuleSet | None,
    argv: list[str],
    *,
    report: str = "terminal",
    out: str | None = None,
    store: str | None = None,
    strict: bool = False,
    quiet: bool = False,
    children: bool = True,
    watch_rules: bool = False,
    joins: Mapping[str, Any] | None = None,
) -> Run:
    """Install for one run of a program, and say what is wrong with the rules.

    Raises:
        RuleFileError: with `strict`, something is.
    """
    installation = agent.install(rules, strict=strict)
    if not quiet and installation.ruleset is not None:
        for fault in installation.ruleset.faults:
            say(str(fault))
    return Run(
        installation,
        argv,
        report=report,
        out=out,
        store=store,
        quiet=quiet,
        children=children and (installation.ruleset is None or installation.ruleset.children),
        watch_rules=watch_rules,
        joins=joins,
    )


def _spans_of(wanted: Collection[int] = ()) -> list[Span]:
    """The finished spans of these traces, or of all, and all that run."""
    found = traces.all().values() if not wanted else map(traces.get, wanted)
    return [*(span for spans in found for span in spans), *pipeline.open_spans()]


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
