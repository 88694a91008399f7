"""Every key of a rule file, described once.

The loader validates by this table, and the JSON schema and the manual are generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dytopo_autotrace.rules.model import EXPORT_FORMATS, ROLES, Capture, Export, Keeping

Shape = Literal[
    "text",
    "texts",
    "role",
    "targets",
    "excludes",
    "expression",
    "expressions",
    "strings",
    "boolean",
    "integer",
    "number",
    "numbers",
    "table",
    "tables",
    "named_tables",
]
"""What a value looks like; the loader has one reader, and the schema one fragment, for each."""

IDENTIFIER: Final = r"[a-z][a-z0-9_]*"
LABEL: Final = r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
NAME: Final = r"(?!__)[^\W\d]\w*"
METRIC: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
MODULE: Final = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
OBSERVER: Final = rf"{MODULE}:[^\W\d]\w*(\.[^\W\d]\w*)*"
HEADER: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
ADDRESS: Final = r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]*):[0-9]{1,5}"
URL: Final = r"https?://[^\s/]+\S*"
ATTRIBUTE: Final = r"[a-zA-Z_][a-zA-Z0-9_.\-]*"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `pattern` is for a text as a whole, or for each name in a table of expressions."""

    name: str
    shape: Shape
    doc: str
    default: object = None
    required: bool = False
    allowed: tuple[str, ...] = ()
    """The only values, or for a role the ones that mean something to the analyzers."""
    pattern: str = ""
    minimum: float | None = None
    keys: tuple[Key, ...] = ()
    """What the table, or each of the tables, has in it."""


CAPTURE: Final = (
    Key(
        "max_length",
        "integer",
        "Characters kept of one value; what is cut off is not seen again.",
        default=Capture().max_length,
        minimum=0,
    ),
    Key(
        "redact",
        "texts",
        "Names of which no value is kept, with `*` and `?`, in any case of letters. "
        "A list here takes the place of the default one.",
        default=Capture().redact,
    ),
)

AGENT: Final = (
    Key("service", "text", "Name of the program; without it, that of the script that runs."),
    Key(
        "packs",
        "texts",
        "Rule packs shipped with dytopo-autotrace, applied after this file's own rules, in order.",
        default=(),
    ),
    Key(
        "adopt",
        "texts",
        "Modules of the program that have the classic observability names: its own spans and "
        "ours then share one tree.",
        default=(),
        pattern=MODULE,
    ),
    Key(
        "children",
        "boolean",
        "Whether Python processes that the program starts are watched too; `--no-children` says no.",
        default=True,
    ),
    Key(
        "prometheus",
        "text",
        "Where Prometheus can scrape the program while it runs: `:9464` for this machine only, "
        "`host:port` for others too, port 0 for a free one.",
        pattern=ADDRESS,
    ),
    Key(
        "stall_after",
        "number",
        "Seconds after which a call that still runs is told of on stderr; without it, when it takes "
        "far longer than the calls of its operation before it.",
    ),
    Key(
        "capture",
        "table",
        "How much is kept of the values that rules name; nothing else is kept of a call.",
        keys=CAPTURE,
    ),
)

STORE: Final = (
    Key(
        "path",
        "text",
        "Where runs are kept: a file, a ClickHouse URL, or `none`; `--store` has precedence.",
    ),
    Key(
        "keep_days",
        "integer",
        "Runs older than this are removed; 0 for no limit.",
        default=Keeping().keep_days,
        minimum=0,
    ),
    Key(
        "keep_runs",
        "integer",
        "Beyond so many runs the oldest are removed; 0 for no limit.",
        default=Keeping().keep_runs,
        minimum=0,
    ),
    Key(
        "keep_megabytes",
        "integer",
        "Beyond this size the oldest runs are removed; 0 for no limit.",
        default=Keeping().keep_megabytes,
        minimum=0,
    ),
)

_EXPORT = Export("")

EXPORT: Final = (
    Key(
        "format",
        "text",
        "What is written, by the names of `dytopo-autotrace export`.",
        required=True,
        allowed=EXPORT_FORMATS,
    ),
    Key(
        "path",
        "text",
        "The file to write, again and again; a directory, if it ends in `/`, gets one for each "
        "run. Without it `otlp` goes to a collector.",
    ),
    Key(
        "endpoint",
        "text",
        "The collector that `otlp` is sent to over HTTP; `/v1/traces` is added. Without it, "
        "OTEL_EXPORTER_OTLP_ENDPOINT or http://localhost:4318.",
        pattern=URL,
    ),
    Key(
        "headers",
        "strings",
        "What is sent to the collector besides, a key of access for instance.",
        default={},
        pattern=HEADER,
    ),
    Key(
        "every_seconds",
        "number",
        "How long records wait at most before they are written or sent; what takes long to write "
        "is written less often.",
        default=_EXPORT.every_seconds,
        minimum=0.1,
    ),
    Key(
        "content",
        "boolean",
        "Whether prompts, answers and whatever else was said go out too.",
        default=_EXPORT.content,
    ),
)

PRICE: Final = (
    Key("input", "number", "Price of a million tokens that the model reads.", required=True),
    Key("output", "number", "Price of a million tokens that it writes.", required=True),
    Key(
        "cached", "number", "Price of those that it reads from a cache; without it, as the others."
    ),
)

COST: Final = (
    Key(
        "models",
        "named_tables",
        "Prices by the model's name, which may have `*` and `?`.",
        keys=PRICE,
    ),
)

METRIC_KEYS: Final = (
    Key(
        "name",
        "text",
        "Name of the metric, as Prometheus has it.",
        required=True,
        pattern=METRIC,
    ),
    Key(
        "kind",
        "text",
        "A counter adds up, a gauge is the latest value, a histogram a distribution of them.",
        required=True,
        allowed=("counter", "gauge", "histogram"),
    ),
    Key("value", "expression", "The number to record.", required=True),
    Key(
        "labels",
        "expressions",
        "Names of labels and an expression for each.",
        default={},
        pattern=LABEL,
    ),
    Key("help", "text", "One sentence on what the metric counts."),
    Key(
        "buckets",
        "numbers",
        "Upper bounds of a histogram's buckets, ascending.",
        default=(),
    ),
)

SCOPE: Final = (
    Key(
        "opens",
        "text",
        "Name of the scope, such as `round`: a span that no function call owns.",
        required=True,
        pattern=IDENTIFIER,
    ),
    Key(
        "key",
        "expression",
        "Which one it is: a new value closes the scope before it. Read when the call begins.",
        required=True,
    ),
)

RULE: Final = (
    Key(
        "name",
        "text",
        "Name of the rule in reports; without it, the operation's or the first function's.",
    ),
    Key(
        "target",
        "targets",
        "The functions to watch: `module:qualname`, or a list of them.",
        required=True,
    ),
    Key(
        "exclude",
        "excludes",
        "Functions that the rule leaves out all the same; without a module, in any module of "
        "the target.",
        default=(),
    ),
    Key(
        "role",
        "role",
        "What the functions are to the swarm: a standard role, or a name of your own.",
        allowed=ROLES,
        pattern=IDENTIFIER,
    ),
    Key("operation", "text", "Name of the spans; without it, the qualname of the function."),
    Key("agent", "expression", "The agent that the call belongs to."),
    Key(
        "attributes",
        "expressions",
        "Names of values to keep with the span and an expression for each.",
        default={},
        pattern=ATTRIBUTE,
    ),
    Key(
        "failed_if",
        "expression",
        "When true, a call that raised nothing counts as failed.",
    ),
    Key(
        "scope",
        "table",
        "The call opens a scope under its caller's span, or continues the one that is open.",
        keys=SCOPE,
    ),
    Key(
        "stall_after",
        "number",
        "The same as in `[agent]`, for the calls of this rule.",
    ),
    Key(
        "when",
        "expression",
        "Only calls for which this is true when they begin are recorded; the others are counted.",
    ),
    Key(
        "min_seconds",
        "number",
        "Shorter calls are not kept, but counted, unless they raised something or called what is "
        "watched.",
    ),
    Key(
        "extract",
        "expression",
        "Headers that the call came with: if they have a `traceparent`, its caller is the span in it.",
    ),
    Key(
        "inject",
        "expression",
        "Headers that the call is going to send, as a mapping. They are changed: a `traceparent` is "
        "put in, so that the receiver joins the trace. One of another trace is left there.",
    ),
    Key(
        "adds_to",
        "text",
        "Operation of another rule: calls get no span of their own, but the call of that operation "
        "that runs around them gets the attributes.",
    ),
    Key(
        "held_by",
        "expression",
        "An object: the span begins with the call and goes on after it, current for what follows, "
        "until a rule with `ends` is called for the same object.",
    ),
    Key(
        "ends",
        "text",
        "Operation of a rule with `held_by`, whose span for the same object ends with this call, "
        "which gets none of its own.",
    ),
    Key("raised", "expression", "Beside `ends`: the exception that the span ended with, if any."),
    Key(
        "stream",
        "text",
        "Attribute of what the call returns that keeps a generator, as the streams of LLM clients "
        "do: the call then ends with that. The attribute is given a generator of ours around it.",
        pattern=NAME,
    ),
    Key("edges", "expression", "Of a router: who sends to whom, as (source, target, weight)."),
    Key("isolated", "expression", "Of a router: the agents without an edge."),
    Key("stats", "expression", "Of a router: its own figures, as a dict."),
    Key("receives", "expression", "The agents whose output the call reads: links to their spans."),
    Key(
        "on_start",
        "text",
        "A function of your own, `package:function`, that is shown each call when it begins.",
        pattern=OBSERVER,
    ),
    Key("on_end", "text", "The same, when the call has ended.", pattern=OBSERVER),
    Key("metric", "tables", "Numbers to record at the end of each call.", keys=METRIC_KEYS),
)

FILE: Final = (
    Key("agent", "table", "Settings for the whole program.", keys=AGENT),
    Key("cost", "table", "What models cost; others by the extra `cost`.", keys=COST),
    Key("store", "table", "Where runs are kept, and for how long.", keys=STORE),
    Key("export", "tables", "What leaves the process while it runs.", keys=EXPORT),
    Key("rule", "tables", "The rules; the first one that matches a function wins.", keys=RULE),
)

DECORATOR: Final = tuple(key for key in RULE if key.name not in {"name", "target", "exclude"})
"""What a rule can have whose target is the function that it stands at."""

TABLES: Final = {
    "[agent]": AGENT,
    "[agent.capture]": CAPTURE,
    "[[export]]": EXPORT,
    '[cost.models."*"]': PRICE,
    "[[rule]]": RULE,
    "[rule.scope]": SCOPE,
    "[[rule.metric]]": METRIC_KEYS,
}
"""The tables by their headers."""
