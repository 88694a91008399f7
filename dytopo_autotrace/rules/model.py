"""The frozen values that a rule file becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dytopo_autotrace.errors import Fault
    from dytopo_autotrace.rules.expressions import Expression

MetricKind = Literal["counter", "gauge", "histogram"]

NOT_CALLS: Final = frozenset({"scope", "blocked"})
"""Roles of spans that no call owns."""

TOPOLOGY: Final = ("edges", "isolated", "stats", "receives")
"""Keys of a rule whose values are kept whole, as attributes of the same names."""

ROLES: Final = ("orchestrator", "manager", "router", "worker", "llm", "tool")
"""The roles that the analyzers know; a rule may use others of its own."""


EXPORT_FORMATS: Final = (
    *("otlp", "otlp-metrics", "jaeger", "zipkin", "perfetto", "prometheus", "openmetrics"),
    *("classic", "csv", "parquet", "mermaid", "graphviz"),
)
"""The formats that `export/formats.py` knows; what reads rule files must not import that."""


@dataclass(frozen=True, slots=True)
class Target:
    """Functions to watch: `module:qualname`, either with globs."""

    module: str
    qualname: str
    text: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule was written; `pack` names the shipped pack, `""` for a file of the user's."""

    file: str
    line: int | None = None
    pack: str = ""

    def __str__(self) -> str:
        if self.pack:
            return f"pack {self.pack}"
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number to record at the end of each call."""

    name: str
    kind: MetricKind
    value: Expression
    labels: Mapping[str, Expression] = field(default_factory=dict, hash=False)
    help: str = ""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, ascending; empty for the default ones."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A span that no function call owns: the calls of a rule open it, one for each value of the key."""

    opens: str
    key: Expression


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with every call of the functions that the targets name."""

    name: str
    targets: tuple[Target, ...]
    origin: Origin
    exclude: tuple[Target, ...] = ()
    """An entry with an empty module is matched in the modules of `targets`."""
    role: str = ""
    operation: str = ""
    """Name of the spans, `""` for the qualname of the function that is called."""
    agent: Expression | None = None
    attributes: Mapping[str, Expression] = field(default_factory=dict, hash=False)
    failed_if: Expression | None = None
    scope: Scope | None = None
    stall_after: float = 0.0
    """Seconds after which an open call is told of; 0 for the setting of the whole program."""
    min_seconds: float = 0.0
    """Shorter calls are counted and not kept."""
    when: Expression | None = None
    """Only calls for which this holds are recorded."""
    extract: Expression | None = None
    """The headers that a call came with: its parent is the span in them."""
    inject: Expression | None = None
    """The headers that a call sends, which get its span."""
    adds_to: str = ""
    """Operation of the calls around, which get the attributes; the calls of the rule get no span."""
    held_by: Expression | None = None
    """The object whose span begins with the call, or ends with it where there is `ends`."""
    ends: str = ""
    """Operation of the span that ends with the call."""
    raised: Expression | None = None
    """The exception that it ended with."""
    stream: str = ""
    """Attribute of the result that keeps the generator with which the call ends."""
    topology: Mapping[str, Expression] = field(default_factory=dict, hash=False)
    """What tells of messages between agents, by the key of the rule: `edges`, `receives`, ..."""
    metrics: tuple[Metric, ...] = ()
    on_start: str = ""
    """`package:function`, called with each call when it begins; `on_end` when it has ended."""
    on_end: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """How much is kept of a value that a rule names, and of which names nothing is kept."""

    max_length: int = 1024
    redact: tuple[str, ...] = (
        "*api_key*",
        "*authorization*",
        "*password*",
        "*secret*",
        "*token",
    )


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where runs are kept, and for how long; 0 means without limit."""

    path: str = ""
    """`""` for the default place."""
    keep_days: int = 30
    keep_runs: int = 200
    keep_megabytes: int = 1024


@dataclass(frozen=True, slots=True)
class Export:
    """What leaves the process while it runs: to a file that is written anew, or to a collector."""

    format: str
    path: str = ""
    """A file, or a directory if it ends in `/`; `""` for a collector."""
    endpoint: str = ""
    """Where a collector listens; `""` for what the environment says."""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    every_seconds: float = 5.0
    content: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of a model cost; `cached` of those read from a cache."""

    model: str
    input: float
    output: float
    cached: float | None = None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All that was configured: the user's own rules in order, then those of the packs in order."""

    origin: Origin
    service: str = ""
    """`""` for the name of the program that runs."""
    rules: tuple[Rule, ...] = ()
    capture: Capture = field(default_factory=Capture)
    store: Keeping = field(default_factory=Keeping)
    children: bool = True
    """Whether Python processes that the program starts are watched too."""
    exports: tuple[Export, ...] = ()
    prometheus: str = ""
    """Where to listen for a scrape, `""` for nowhere."""
    prices: tuple[Price, ...] = ()
    stall_after: float = 0.0
    """Seconds after which an open span is told of; 0 for what its own history says."""
    adopt: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
