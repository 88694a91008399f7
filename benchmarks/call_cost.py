"""What a watched call costs: ours beside wrapt alone and beside other tracers, two values captured.

Each contestant lives in a process of its own; all of them run in every round. Background work competes
with the program for the interpreter, so there are three numbers:

  burst      wall time of a call when some thousand come at once and then nothing for a while,
             as in a program that mostly waits: background work is done in between;
  sustained  wall time of a call in a loop that never pauses, with the background thread at work;
  CPU        processor time per call of the whole process in that loop, until all is handed over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _calls import BATCH, KINDS
from _contestants import CONTESTANTS, OURS, PEERS, WRAPT
from _rounds import Check, interleave, machine, median_ratio, missing, table, version

WRAPT_LIMIT = 2.5
"""Ours at most so many times an empty wrapt wrapper."""
PEER_LIMIT = 0.25
"""Ours at most this share of the fastest peer."""

ENVIRONMENT = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}
MEASURES = ("burst", "sustained", "CPU")
Samples = Mapping[str, Mapping[str, list[float]]]
"""Measure -> contestant -> nanoseconds per call, round by round."""


def main() -> int:
    arguments = _arguments()
    if arguments.contestant:
        _compete(arguments.contestant)
        return 0
    absent = [peer for peer in PEERS if not version(peer)]
    print(machine())
    print(
        f"Nanoseconds per call; {arguments.rounds} bursts of {arguments.burst} calls, "
        f"{arguments.sustained_rounds} loops of {arguments.seconds} s.\n"
    )
    competitors = {name: Competitor(name) for name in CONTESTANTS if name not in absent}
    samples = {}
    try:
        for kind in KINDS:
            samples[kind] = _measure(kind, competitors, arguments)
            print(_table(kind, samples[kind], absent), end="\n\n", flush=True)
    finally:
        for competitor in competitors.values():
            competitor.dismiss()
    judged = {kind: _judge(each) for kind, each in samples.items()}
    print(_targets(judged))
    met = all(check.met for checks in judged.values() for check in checks.values())
    return int(arguments.check and not met)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60, help="rounds of bursts (60)")
    parser.add_argument("--burst", type=int, default=1000, help="calls in a burst (1000)")
    parser.add_argument("--sustained-rounds", type=int, default=5, help="rounds of loops (5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a loop (0.5)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(
    kind: str, competitors: Mapping[str, Competitor], arguments: argparse.Namespace
) -> Samples:
    def ask(how: str, amount: float) -> dict[str, Callable[[], Any]]:
        return {name: partial(each.ask, kind, how, amount) for name, each in competitors.items()}

    bursts = interleave(ask("burst", arguments.burst), arguments.rounds, warm_up=3)
    loops = interleave(ask("sustained", arguments.seconds), arguments.sustained_rounds)
    return {
        "burst": {name: [wall for wall, _ in each] for name, each in bursts.items()},
        "sustained": {name: [wall for wall, _ in each] for name, each in loops.items()},
        "CPU": {name: [cpu for _, cpu in each] for name, each in loops.items()},
    }


class Competitor:
    """The process in which one contestant waits for its turn."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--contestant", name],
            env={**os.environ, **ENVIRONMENT},
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, kind: str, how: str, amount: float) -> tuple[float, float]:
        """Nanoseconds per call of wall time and of processor time."""
        self._process.stdin.write(json.dumps([kind, how, amount]) + "\n")
        self._process.stdin.flush()
        return tuple(json.loads(self._process.stdout.readline()))

    def dismiss(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _compete(name: str) -> None:
    """Measure whenever the standard input says so."""
    # What a contestant prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    flush = CONTESTANTS[name]()
    import _calls

    with asyncio.Runner() as runner:
        for line in sys.stdin:
            kind, how, amount = json.loads(line)
            call = getattr(_calls, f"{kind}_batch")
            batch = partial(_drive, runner, call) if kind == "coroutine" else call
            answers.write(json.dumps(_time(batch, how, amount, flush)) + "\n")
            answers.flush()


def _drive(runner: asyncio.Runner, call: Callable[[], Any]) -> None:
    runner.run(call())


def _time(
    batch: Callable[[], object], how: str, amount: float, flush: Callable[[], object]
) -> tuple[float, float]:
    batch()  # Whatever the pause has cooled down.
    flush()
    cpu, started, calls = time.process_time_ns(), time.perf_counter_ns(), 0
    end = started + amount * 1e9 if how == "sustained" else None
    while calls < amount if end is None else time.perf_counter_ns() < end:
        batch()
        calls += BATCH
    wall = time.perf_counter_ns() - started
    flush()
    return wall / calls, (time.process_time_ns() - cpu) / calls


def _table(kind: str, samples: Samples, absent: list[str]) -> str:
    rows = []
    for name in samples["burst"]:
        row = [name if name not in PEERS else f"{name} {version(name)}"]
        for measure in MEASURES:
            values = samples[measure][name]
            row += [f"{median(values):.0f}", f"{median_ratio(values, samples[measure][WRAPT]):.2f}"]
        rows.append(row)
    rows += [[peer, missing(peer)] for peer in absent]
    return table((kind, "burst", "/wrapt", "sustained", "/wrapt", "CPU", "/wrapt"), rows)


def _judge(samples: Samples) -> dict[str, Check]:
    """The ratios that have a target, by what they are ratios of."""
    checks = {}
    for measure, times in samples.items():
        peers = [name for name in PEERS if name in times]
        for ours in OURS:
            ratio = median_ratio(times[ours], times[WRAPT])
            checks[f"{measure}: {ours} / wrapt"] = Check(ratio, WRAPT_LIMIT)
            if peers:
                fastest = min(peers, key=lambda name: median(times[name]))
                ratio = median_ratio(times[ours], times[fastest])
                checks[f"{measure}: {ours} / {fastest}"] = Check(ratio, PEER_LIMIT)
    return checks


def _targets(judged: Mapping[str, Mapping[str, Check]]) -> str:
    """All ratios that have a target; a dash where another peer was the fastest."""
    names = dict.fromkeys(name for checks in judged.values() for name in checks)
    rows = []
    for name in names:
        checks = [judged[kind].get(name) for kind in judged]
        limit = next(check.limit for check in checks if check)
        rows.append([name, f"{limit:.2f}", *(str(check) if check else "-" for check in checks)])
    return table(("target", "limit", *judged), rows)


if __name__ == "__main__":
    sys.exit(main())
