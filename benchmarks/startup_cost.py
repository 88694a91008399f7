"""What it costs to start: the time from starting a program to its end, under each launcher.

The program is empty. Every launcher runs in a directory of its own, sends nothing anywhere, and has
run before: bytecode is in a cache that all of them share.

Three rows are there for information: without the store, in which a run is kept otherwise; with a
watched function, whose module makes us import wrapt; with the report, made after the program's end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from _processes import Ended, environment, run
from _rounds import (
    Check,
    interleave,
    machine,
    median_difference,
    median_ratio,
    missing,
    quartiles,
    table,
    version,
)

BUDGET_MS = 25.0
"""What we may add to `import wrapt`."""

PYTHON = "python"
WRAPT = "python, import wrapt"
OURS = "dytopo-autotrace"
WATCHED = "dytopo-autotrace, a watched function"
STORELESS = "dytopo-autotrace, no store"
REPORT = "dytopo-autotrace, terminal report"

FILES = {
    "empty.py": "",
    "wraps.py": "import wrapt\n",
    "program.py": "import watched\n",
    "watched.py": "def function():\n    pass\n",
    "rules.toml": '[agent]\npacks = ["dytopo"]\n\n[[rule]]\ntarget = "watched:function"\n',
}


class Launcher(NamedTuple):
    """What is put before the program's name; `package` is that of a peer."""

    command: list[str]
    program: str = "empty.py"
    variables: Mapping[str, str] = {}
    package: str = ""


def launchers() -> dict[str, Launcher]:
    """Who is compared; each peer as its documentation says, with its exporters off."""
    python, tools = sys.executable, Path(sys.executable).parent
    ours = [python, "-m", "dytopo_autotrace"]
    return {
        PYTHON: Launcher([python]),
        WRAPT: Launcher([python], "wraps.py"),
        OURS: Launcher([*ours, "--report", "none"]),
        STORELESS: Launcher([*ours, "--report", "none", "--store", "none"]),
        WATCHED: Launcher([*ours, "--report", "none", "--rules", "rules.toml"], "program.py"),
        REPORT: Launcher([*ours, "--report", "terminal"]),
        # https://opentelemetry.io/docs/zero-code/python/configuration/
        "opentelemetry-instrument": Launcher(
            [str(tools / "opentelemetry-instrument"), python],
            variables={
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
            },
            package="opentelemetry-distro",
        ),
        # https://ddtrace.readthedocs.io/en/stable/configuration.html: nothing that calls home
        "ddtrace-run": Launcher(
            [str(tools / "ddtrace-run"), python],
            variables={
                "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
                "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            },
            package="ddtrace",
        ),
        # https://docs.newrelic.com/docs/apm/agents/python-agent/configuration/python-agent-configuration/:
        # developer mode is the agent without the network
        "newrelic-admin run-program": Launcher(
            [str(tools / "newrelic-admin"), "run-program", python],
            variables={"NEW_RELIC_DEVELOPER_MODE": "true", "NEW_RELIC_APP_NAME": "benchmark"},
            package="newrelic",
        ),
        # https://logfire.pydantic.dev/docs/reference/cli/
        "logfire run": Launcher(
            [str(tools / "logfire"), "run", "--no-summary"],
            variables={"LOGFIRE_SEND_TO_LOGFIRE": "false", "LOGFIRE_CONSOLE": "false"},
            package="logfire",
        ),
    }


def main() -> int:
    arguments = _arguments()
    everyone = launchers()
    present = {name: each for name, each in everyone.items() if _is_there(each)}
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as cache:
        for name, text in FILES.items():
            Path(directory, name).write_text(text)
        _make_sure_that_we_watch(directory, cache)
        samples = interleave(
            {name: partial(_start, each, directory, cache) for name, each in present.items()},
            arguments.rounds,
            warm_up=2,
        )
    print(machine())
    print(f"Milliseconds from start to end; {arguments.rounds} rounds.\n")
    print(_table(everyone, samples), end="\n\n")
    checks = _judge(everyone, samples)
    rows = [(what, f"{check.limit:.2f}", str(check)) for what, check in checks.items()]
    print(table(("target", "limit", "measured"), rows))
    return int(arguments.check and not all(check.met for check in checks.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="starts of each program (20)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


def _is_there(launcher: Launcher) -> bool:
    return not launcher.package or version(launcher.package) is not None


def _make_sure_that_we_watch(directory: str, cache: str) -> None:
    """A fault of ours lets the program run unwatched, which would look like a fast start."""
    command = launchers()[WATCHED].command
    told = run([*command, "--report", "json", "program.py"], directory, environment(cache)).stderr
    states = {rule["state"] for rule in json.loads(told)["rules"]}
    if "never_called" not in states:
        raise SystemExit(f"The function is not watched; its rule is {states}.")


def _start(launcher: Launcher, directory: str, cache: str) -> Ended:
    variables = environment(cache, **launcher.variables)
    return run([*launcher.command, launcher.program], directory, variables)


def _table(everyone: Mapping[str, Launcher], samples: Mapping[str, list[Ended]]) -> str:
    rows = []
    for name, launcher in everyone.items():
        if name not in samples:
            rows.append([name, missing(launcher.package)])
            continue
        wall = [each.wall for each in samples[name]]
        low, high = quartiles(wall)
        added = median_difference(wall, [each.wall for each in samples[PYTHON]])
        label = f"{name} {version(launcher.package)}" if launcher.package else name
        rows.append(
            [
                label,
                f"{median(wall):.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{added:+.1f}",
                f"{median(each.cpu for each in samples[name]):.1f}",
            ]
        )
    return table(("", "wall", "middle half", "added", "CPU"), rows)


def _judge(
    everyone: Mapping[str, Launcher], samples: Mapping[str, list[Ended]]
) -> dict[str, Check]:
    wall = {name: [each.wall for each in ends] for name, ends in samples.items()}
    checks = {
        "ours beyond import wrapt, ms": Check(median_difference(wall[OURS], wall[WRAPT]), BUDGET_MS)
    }
    for name in samples:
        if everyone[name].package:
            checks[f"ours / {name}"] = Check(median_ratio(wall[OURS], wall[name]), 1.0)
    return checks


if __name__ == "__main__":
    sys.exit(main())
