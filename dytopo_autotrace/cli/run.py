"""`run`: watch a program. Its options are read by hand, since what is imported here is imported
into the watched program: a parser's library would cost more than the rest of the start."""

from __future__ import annotations

import atexit
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

from dytopo_autotrace.cli import COMMANDS
from dytopo_autotrace.cli.programs import find_module, find_script, why_not
from dytopo_autotrace.errors import RuleFileError, UsageError, nearest
from dytopo_autotrace.weave import launch
from dytopo_autotrace.weave.decorators import is_disabled

if TYPE_CHECKING:
    from dytopo_autotrace.rules.model import Export, RuleSet
    from dytopo_autotrace.run import Run

_USAGE = """\
usage: python -m dytopo_autotrace [options] script.py [args ...]
       python -m dytopo_autotrace [options] -m package.module [args ...]

Runs a program as python would, watches the functions that rules name, and says
at the end what happened. A directory or zip file with a __main__.py is a program
too. `dytopo-autotrace run` is the same; other commands: {commands}.

options:
  --rules FILE     rule file; else DYTOPO_AUTOTRACE_RULES, instrumentation.toml or
                   [tool.dytopo-autotrace] of pyproject.toml in the working
                   directory, the dytopo pack
  --strict         do not start if a rule is wrong or names nothing
  --report KIND    none, terminal (default) or json; on stderr
  --out DIR        write trace, metrics and failures there
  --store PATH     where the run is kept: a file, or clickhouse://user@host/database;
                   default .dytopo/traces.db, none to keep nothing
  --watch-rules    read the rule file again when it changes, while the program runs
  --no-children    do not watch the Python processes that the program starts
  --export FORMAT=WHERE
                   write or send the run while it runs, as [[export]] does:
                   perfetto=run.json, otlp=http://localhost:4318; as often as
                   there are places
  --verbose, -v    the report tells every rule with its state
  --quiet, -q      nothing of ours on stderr
  --version        show the version
  --help, -h       show this

DYTOPO_AUTOTRACE_DISABLED=1 runs the program without any of this."""

_WITH_VALUE = ("--rules", "--report", "--out", "--store", "--export")
_FLAGS = (
    "--strict",
    "--watch-rules",
    "--no-children",
    "--quiet",
    "--verbose",
    "--version",
    "--help",
)
_SHORT = {"-q": "--quiet", "-v": "--verbose", "-h": "--help"}
_REPORTS = ("none", "terminal", "json")


@dataclass(slots=True)
class Options:
    """The command line, read; `program` is the script, or the module after `-m`."""

    program: str = ""
    is_module: bool = False
    args: list[str] = field(default_factory=list)
    rules: str | None = None
    report: str = "terminal"
    out: str | None = None
    store: str | None = None
    exports: list[Export] = field(default_factory=list)
    strict: bool = False
    no_children: bool = False
    watch_rules: bool = False
    quiet: bool = False
    verbose: bool = False


def main(argv: list[str]) -> None:
    options, program, watch = _ready(argv)
    try:
        launch.run(program, options.args, watch)
    except launch.NotRunnableError as error:
        if watch is not None:
            atexit.unregister(watch.finish)
        _fail(f"can't run -m {options.program}: {why_not(options.program, str(error))}")


def usage() -> str:
    """What `--help` shows."""
    return _USAGE.format(commands=", ".join(name for name in COMMANDS if name != "run"))


def parse(argv: list[str]) -> Options:
    """Read our options up to the program's name; all that follows is the program's.

    Raises:
        UsageError: an option that there is not, or one without its value.
    """
    options = Options()
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--" and rest:
            argument = rest.pop(0)
        elif argument.startswith("-m"):
            options.program = argument[2:] or (rest.pop(0) if rest else "")
            options.is_module, options.args = True, rest
            if not options.program:
                raise UsageError("-m needs the name of a module: -m package.module")
            return options
        elif argument == "-" or argument.startswith("-c"):
            raise UsageError(f"{argument[:2]} is not supported: save the program to a file.")
        elif argument.startswith("-"):
            _option(options, argument, rest)
            continue
        if not argument:
            raise UsageError("the program's name is empty. Name a script, or -m and a module.")
        options.program, options.args = argument, rest
        return options
    raise UsageError(f"there is no program to run.\n\n{usage()}")


def _option(options: Options, argument: str, rest: list[str]) -> None:
    name, equals, value = argument.partition("=")
    name = _SHORT.get(name, name)
    if name in _WITH_VALUE:
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else ""
        if not value:
            raise UsageError(f"{name} needs a value: {name}=VALUE. See --help.")
        if name == "--report" and value not in _REPORTS:
            raise UsageError(
                f"--report {value!r}: there is no such kind. {nearest(value, _REPORTS)}"
            )
        if name == "--export":
            options.exports.append(_export(value))
        else:
            setattr(options, name[2:], value)
    elif name in _FLAGS and not equals:
        if name in ("--version", "--help"):
            _print_and_exit(name)
        setattr(options, name[2:].replace("-", "_"), True)
    elif name in _FLAGS:
        raise UsageError(f"{name} has no value: leave out {equals}{value}")
    else:
        hint = nearest(name, (*_WITH_VALUE, *_FLAGS, "-m"))
        raise UsageError(f"no option {name!r}. {hint} Options of the program come after its name.")


def _export(value: str) -> Export:
    from dytopo_autotrace.rules.model import EXPORT_FORMATS, Export

    name, _, where = value.partition("=")
    if name not in EXPORT_FORMATS:
        raise UsageError(
            f"--export {value}: there is no format {name!r}. {nearest(name, EXPORT_FORMATS)}"
        )
    is_sent = name == "otlp" and (not where or where.startswith(("http://", "https://")))
    if not is_sent and (not where or "://" in where):
        raise UsageError(
            f"--export {value}: say which file, --export {name}=FILE. "
            "Only otlp is sent to a collector, --export otlp=http://host:4318."
        )
    return Export(name, endpoint=where) if is_sent else Export(name, path=where)


def _print_and_exit(name: str) -> NoReturn:
    from dytopo_autotrace import __version__

    print(__version__ if name == "--version" else usage())
    sys.exit(0)


def _ready(argv: list[str]) -> tuple[Options, launch.Program, Run | None]:
    """All that can fail before the program starts."""
    try:
        options = parse(argv)
        find = find_module if options.is_module else find_script
        program = find(options.program)
        return options, program, _watch(options, program)
    except RuleFileError as error:
        _fail("\n".join(map(str, error.faults)) + "\nnot started, because of --strict")
    except UsageError as error:
        # What is no file may have been meant as a command.
        meant = nearest(argv[0], COMMANDS) if argv and argv[0].isalpha() else ""
        _fail(f"{error} {meant}" if meant.startswith("Did") else str(error))


def _watch(options: Options, program: launch.Program) -> Run | None:
    if isinstance(program, launch.Script) and program.code is None:
        return None
    try:
        if is_disabled():
            return None
        from dytopo_autotrace.run import watch

        ruleset = _rules(options, program)
        if options.exports:
            ruleset = replace(ruleset, exports=(*ruleset.exports, *options.exports))
        run = watch(
            ruleset,
            [options.program, *options.args],
            report=_report(options),
            out=options.out,
            store=_store(options.store or ruleset.store.path),
            quiet=options.quiet,
            children=not options.no_children,
            watch_rules=options.watch_rules,
        )
        run.begin()
        return run
    except RuleFileError:
        raise
    except Exception as fault:
        # The program comes first, unless --strict asks for the opposite.
        message = f"this run is not watched: {type(fault).__name__}: {fault}"
        if options.strict:
            raise UsageError(message) from fault
        if not options.quiet:
            _say(message)
        return None


def _report(options: Options) -> str:
    is_for_people = options.report == "terminal"
    return "verbose" if options.verbose and is_for_people else options.report


def _store(asked: str) -> str | None:
    from dytopo_autotrace.store.location import locate

    try:
        return locate(asked, os.getcwd())
    except FileNotFoundError:
        return None  # The working directory is gone, and with it the place for a store.


def _rules(options: Options, program: launch.Program) -> RuleSet:
    from dytopo_autotrace.rules.load import load

    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = ""  # Python starts in a directory that was deleted, and so do we.
    ruleset = load(options.rules, cwd=cwd, environ=os.environ)
    if options.strict:
        from dytopo_autotrace.rules.survey import survey
        from dytopo_autotrace.rules.survey.search import other_finders

        path0 = () if program.path0 is None else (program.path0,)
        found = survey(
            ruleset,
            (*path0, *sys.path),
            script=program.path,
            module=options.program if options.is_module else None,
            finders=other_finders(),
        )
        if ruleset.faults or found:
            raise RuleFileError((*ruleset.faults, *found))
    return ruleset


def _say(message: str) -> None:
    if sys.stderr is None:
        return  # print would take stdout for it
    for line in message.splitlines():
        print(f"dytopo-autotrace: {line}" if line else "", file=sys.stderr)


def _fail(message: str) -> NoReturn:
    _say(message)
    sys.exit(2)
