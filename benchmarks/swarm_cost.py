"""What watching costs a whole program: the example swarm with and without us, in turn.

Wall time and processor time (user and system) are each given three times, since they answer
different questions:

  process    from the program's start to its end: what somebody waits who runs it;
  swarm      the run of the swarm, taken inside the program: what watching costs while it works;
  the rest   starting and ending: what we cost once, however long the program runs.

The target is for the wall time of the swarm. Of the whole process it would say little: with a
program that is long enough, start-up is any percentage one likes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from _processes import environment, run
from _rounds import Check, interleave, machine, median_difference, quartiles, table

LIMIT_PERCENT = 1.0
"""What watching may add to the wall time of the swarm."""

HERE = Path(__file__).parent
PROGRAM = str(HERE / "_swarm.py")
RULES = str(HERE.parent / "instrumentation.toml")
WITHOUT = [sys.executable]
WITH = [sys.executable, "-m", "dytopo_autotrace", "--rules", RULES]


class Sample(NamedTuple):
    """One run, in milliseconds."""

    process: float
    swarm: float
    process_cpu: float
    swarm_cpu: float

    @property
    def rest(self) -> float:
        return self.process - self.swarm

    @property
    def rest_cpu(self) -> float:
        return self.process_cpu - self.swarm_cpu


ROWS = {
    "wall, process": lambda sample: sample.process,
    "wall, swarm": lambda sample: sample.swarm,
    "wall, the rest": lambda sample: sample.rest,
    "CPU, process": lambda sample: sample.process_cpu,
    "CPU, swarm": lambda sample: sample.swarm_cpu,
    "CPU, the rest": lambda sample: sample.rest_cpu,
}


def main() -> int:
    arguments = _arguments()
    program = [PROGRAM, "--latency-scale", str(arguments.latency_scale)]
    agent = [*WITH, "--store", arguments.store] if arguments.store else WITH
    with tempfile.TemporaryDirectory() as directory:
        samples = interleave(
            {
                "without": partial(_sample, [*WITHOUT, *program], directory),
                "with": partial(_sample, [*agent, "--report", "none", *program], directory),
            },
            arguments.runs,
        )
        cost = _own_account([*agent, "--report", "json", *program], directory)
    bare, ours = samples["without"], samples["with"]
    print(machine())
    print(
        f"Milliseconds, and percent of the time without; {arguments.runs} runs each.\n"
        f"Latency of the model: times {arguments.latency_scale:g}.\n"
    )
    rows = [
        _row(name, [of(each) for each in bare], [of(each) for each in ours])
        for name, of in ROWS.items()
    ]
    print(table(("", "without", "with", "added", "middle half", "percent"), rows), end="\n\n")
    print("The agent's own account of one run:")
    print(f"{cost['calls']} calls recorded, {cost['seconds_per_call'] * 1e9:.0f} ns each", end=" ")
    print(f"by its calibration, {cost['seconds'] * 1e3:.2f} ms in all;")
    print(f"draining took {cost['drain_seconds'] * 1e3:.2f} ms, beside the program.\n")
    added = _percent([each.swarm for each in bare], [each.swarm for each in ours])
    check = Check(added, LIMIT_PERCENT)
    row = ("added to the swarm's wall time, percent", f"{check.limit:.2f}", str(check))
    print(table(("target", "limit", "measured"), [row]))
    return int(arguments.check and not check.met)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="runs with and runs without (10)")
    parser.add_argument(
        "--latency-scale", type=float, default=1.0, help="multiplies the model's latency (1.0)"
    )
    parser.add_argument("--store", help="option of the agent: `none` keeps nothing of the run")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the target is missed")
    return parser.parse_args()


def _sample(command: Sequence[str], directory: str) -> Sample:
    ended = run(command, directory, environment(directory))
    lines = ended.stderr.splitlines()
    if len(lines) > 1:
        # A fault of ours lets the program run unwatched, and says so.
        raise SystemExit(ended.stderr)
    took = json.loads(lines[0])
    return Sample(ended.wall, took["wall"] * 1e3, ended.cpu, took["cpu"] * 1e3)


def _own_account(command: Sequence[str], directory: str) -> dict[str, Any]:
    """What the report says of the agent's own cost."""
    said = run(command, directory, environment(directory)).stderr
    _, _, report = said.partition("\n")  # the first line is the program's own
    return json.loads(report)["cost"]


def _row(name: str, bare: Sequence[float], ours: Sequence[float]) -> list[str]:
    low, high = quartiles([one - other for one, other in zip(ours, bare, strict=True)])
    return [
        name,
        f"{median(bare):.1f}",
        f"{median(ours):.1f}",
        f"{median_difference(ours, bare):+.1f}",
        f"{low:+.1f} to {high:+.1f}",
        f"{_percent(bare, ours):+.2f}",
    ]


def _percent(bare: Sequence[float], ours: Sequence[float]) -> float:
    """The median of the differences within each round, in percent."""
    return median((one - other) / other * 100 for one, other in zip(ours, bare, strict=True))


if __name__ == "__main__":
    sys.exit(main())
