"""Programs are run twice, by plain Python and by the launcher, and must not show a difference."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import dytopo_autotrace

ROOT = str(Path(dytopo_autotrace.__file__).parents[1])
LAUNCHER = ("-m", "dytopo_autotrace")

# Whatever the program is, its functions are woven: those it runs as and those it imports.
RULES = """\
[[rule]]
target = ["__main__:**", "__main__:**.<locals>.**", "program*:**", "helper*:**", "package.**:**"]
exclude = ["unwatched*"]
"""

CONSOLE_SCRIPT = """\
import re, sys
from dytopo_autotrace.cli import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
"""
"""What an installer makes of the entry point `dytopo-autotrace = dytopo_autotrace.cli:main`."""


@dataclass(frozen=True)
class Ending:
    """What a process leaves behind for whoever started it."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def errors(self) -> str:
        return self.stderr.decode()


class Workplace:
    """A directory with programs in it, and ways to run them."""

    root = ROOT

    def __init__(self, directory: Path, rules: Path, console_script: Path, bytecode: Path) -> None:
        self.directory = directory
        self.bytecode = bytecode
        self.rules = rules
        self.console_script = console_script

    def write(self, name: str, source: str | bytes) -> Path:
        """Write a program; a text is dedented."""
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, str):
            source = textwrap.dedent(source).lstrip("\n").encode()
        file.write_bytes(source)
        return file

    def start(self, argv: Sequence[str | Path], **how: object) -> Ending:
        """Run Python and wait for its end; how is said at `begin`."""
        return self.begin(argv, **how)()  # type: ignore[arg-type]

    def begin(
        self,
        argv: Sequence[str | Path],
        *,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes | int = b"",
        merged: bool = False,
        drive: Callable[[subprocess.Popen[bytes]], None] | None = None,
    ) -> Callable[[], Ending]:
        """Start Python; what comes back waits for its end.

        Args:
            stdin: what the process can read, or a file descriptor.
            merged: whether stderr goes where stdout goes, so that the order shows.
            drive: does something to the process while it runs.
        """
        process = subprocess.Popen(
            [sys.executable, *flags, *map(str, argv)],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": ROOT,
                "PYTHONPYCACHEPREFIX": str(self.bytecode),
                **(env or {}),
            },
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        )

        endings: list[Ending] = []

        def end() -> Ending:
            if endings:
                return endings[0]
            with process:
                if drive is not None:
                    drive(process)
                given = stdin if isinstance(stdin, bytes) else None
                out, err = process.communicate(given, timeout=60)
            endings.append(Ending(process.returncode, out, err or b""))
            return endings[0]

        return end

    def launch(self, *argv: str | Path, options: Sequence[str] = (), **how: object) -> Ending:
        """Run a program under the launcher, without a report."""
        ours = [*LAUNCHER, "--report=none", f"--rules={self.rules}", *options]
        return self.start([*ours, *argv], **how)  # type: ignore[arg-type]

    def compare(self, *argv: str | Path, console: bool = False, **how: object) -> Ending:
        """Run a program both ways; the ending that both have."""
        plain, watched = self.both(*argv, console=console, **how)
        assert watched == plain
        return plain

    def both(
        self, *argv: str | Path, console: bool = False, **how: object
    ) -> tuple[Ending, Ending]:
        """Run a program under plain Python and under the launcher, side by side."""
        options = ["--report=none", f"--rules={self.rules}"]
        ours = [self.console_script, "run"] if console else LAUNCHER
        plain = self.begin(argv, **how)  # type: ignore[arg-type]
        watched = self.begin([*ours, *options, *argv], **how)  # type: ignore[arg-type]
        try:
            return plain(), watched()
        finally:
            watched()

    def compare_source(self, source: str | bytes, *args: str, **how: object) -> Ending:
        """Run a script with this source both ways; the ending that both have."""
        self.write("program.py", source)
        return self.compare("program.py", *args, **how)


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Python keeps compiled modules, so that none appear beside the programs."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def workplace(tmp_path: Path, bytecode: Path) -> Workplace:
    """An empty directory to run programs in."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    console_script = tmp_path / "bin" / "dytopo-autotrace"
    console_script.parent.mkdir()
    console_script.write_text(CONSOLE_SCRIPT)
    directory = tmp_path / "work"
    directory.mkdir()
    return Workplace(directory, rules, console_script, bytecode)
