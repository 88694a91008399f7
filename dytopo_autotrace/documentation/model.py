"""What the documents are made from: rules, code and runs in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dytopo_autotrace.analyze.findings import FailureGroup
from dytopo_autotrace.analyze.summary import RunSummary
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.rules.model import Rule, RuleSet

if TYPE_CHECKING:
    from dytopo_autotrace.documentation.steps import Step


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source file.

    `file` is relative to the documented program's root, or, for what is not below it, to where its
    package is installed; such a file is not linked to.
    """

    file: str
    line: int
    linked: bool = True


@dataclass(frozen=True, slots=True)
class Function:
    """A function as its source has it."""

    module: str
    qualname: str
    place: Place
    kind: str
    """Such as `method`, `async function` or `property`."""
    signature: str
    doc: str
    """The docstring, `""` for none."""

    @property
    def name(self) -> str:
        return self.qualname.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Value:
    """An attribute of a module or class that has a docstring or an annotation."""

    name: str
    place: Place
    annotation: str
    doc: str


@dataclass(frozen=True, slots=True)
class Class:
    """A class with its public methods."""

    name: str
    place: Place
    bases: tuple[str, ...]
    doc: str
    functions: tuple[Function, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """What a module offers; `fault` says why its source could not be read."""

    name: str
    file: str
    doc: str = ""
    functions: tuple[Function, ...] = ()
    classes: tuple[Class, ...] = ()
    values: tuple[Value, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """A rule, and the functions that it means in the source."""

    rule: Rule
    functions: tuple[Function, ...]
    shadowed: tuple[tuple[Function, str], ...]
    """Functions that an earlier rule takes, and its name."""
    doubts: tuple[str, ...]
    """What only running the program can tell."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a component in all documented runs."""

    calls: int
    failures: int
    cancelled: int
    p50_seconds: float
    p95_seconds: float
    total_seconds: float
    tokens: float | None


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the swarm: an agent, or what a function does."""

    key: str
    category: str
    title: str
    role: str
    agent: str
    operation: str
    rules: tuple[str, ...]
    functions: tuple[Function, ...]
    figures: Figures | None
    """None if it was not called in the documented runs."""
    says: tuple[tuple[str, str], ...] = ()
    """What an agent last said of itself: what it is, needs and offers, as far as it was captured."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls or messages from one component to another."""

    kind: Literal["calls", "messages"]
    source: str
    target: str
    count: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Edge:
    """What one agent may send to another in a round."""

    source: str
    target: str
    weight: float | None
    cut: bool = False
    """Taken out again to break a cycle."""

    @property
    def ends(self) -> tuple[str, str]:
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one run."""

    number: str
    spans: tuple[Span, ...]
    start_ns: int
    seconds: float
    goal: str
    ended: bool
    """The manager ended the run in it."""
    edges: tuple[Edge, ...] | None
    """As a router captured them, else as calls captured whom they read; None where neither did."""
    isolated: tuple[str, ...]
    agents: tuple[str, ...]
    routed: str
    """The operation that routed, `""` for none."""
    unread: int = 0
    """Entries of the captured edges that could not be read, or were cut off."""
    is_routed: bool = False
    """A router captured the edges."""
    unsaid: tuple[str, ...] = ()
    """Agents of which a call did not say whom it read, where no router did."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a run is, in the words that commands take."""

    ref: str
    """The beginning of its id in a store, or the path of the file that it is in."""
    is_file: bool = False
    store: str = ""
    """What `--store` takes, `""` for the default store."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run to document."""

    source: Source
    records: RunRecords


@dataclass(frozen=True, slots=True)
class Routing:
    """What routers were told and what came of it: values as they were captured, once each."""

    tau: tuple[str, ...]
    k_in: tuple[str, ...]
    rows: tuple[tuple[str, str, int, int, int, str, str], ...]
    """Run, round, edges, removed, isolated, density, mean similarity."""


@dataclass(frozen=True, slots=True)
class Run:
    """One documented run."""

    name: str
    """How pages call it: the beginning of its id, or its file's name."""
    source: Source
    started: str
    """In UTC."""
    started_unix_ns: int
    program: str
    summary: RunSummary
    rounds: tuple[Round, ...]
    steps: tuple[Step, ...]
    """What happened in its most telling round."""
    told_round: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The same story of failure, in however many runs it happened.

    What is said of it is a text, and the name of the run that it is true of: `""` for all.
    """

    title: str
    """What tells it from every other."""
    group: FailureGroup
    """As the run has it that had it most."""
    told: Run
    """That run."""
    runs: tuple[Run, ...]
    count: int
    of_runs: int
    agents: tuple[str, ...]
    """Of all runs, as are the rounds; whose failures most of them are first."""
    rounds: tuple[str, ...]
    deaths: tuple[str, ...]
    """Who is dead of it, in words."""
    cause: tuple[str, str]
    where: tuple[str, str]
    became: tuple[str, str]
    recoveries: tuple[str, ...]
    """What rescued it, in words, with how often."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A span as it was recorded, for people to see what a rule yields."""

    operation: str
    text: str
    withheld: int
    run: int
    """The index of its run among the documented ones."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """Everything that the documents say."""

    service: str
    content: bool
    """Whether what was said, prompts and answers, may appear."""
    ruleset: RuleSet
    rule_file: str
    watched: tuple[Watched, ...]
    modules: tuple[Module, ...]
    """The modules with a watched function, in the order of their names."""
    own: tuple[Module, ...]
    """This package's own public modules."""
    components: tuple[Component, ...]
    traffic: tuple[Traffic, ...]
    runs: tuple[Run, ...]
    """The latest first."""
    troubles: tuple[Trouble, ...]
    routing: Routing
    samples: tuple[tuple[str, Sample], ...]
    """By name of the rule."""
    remarks: tuple[str, ...]
