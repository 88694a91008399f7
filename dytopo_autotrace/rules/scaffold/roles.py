"""What a function may be to a swarm: points for its name, its parameters, and who calls whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from dytopo_autotrace.rules.scaffold.facts import Function
from dytopo_autotrace.rules.scaffold.project import Project

ENOUGH: Final = 6
"""Points from which a function is taken for something."""

_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_RUN: Final = frozenset(
    [
        "act",
        "arun",
        "astep",
        "ask",
        "call",
        "chat",
        "converse",
        "execute",
        "invoke",
        "reply",
        "respond",
        "run",
        "solve",
        "start",
        "step",
        "stream",
        "think",
        "work",
        "kickoff",
        "ainvoke",
        "perform",
    ]
)
_ACTS: Final = _RUN | frozenset(
    [
        "on",
        "message",
        "messages",
        "task",
        "sync",
        "async",
        "impl",
        "turn",
        "generate",
        "response",
        "stream",
        "loop",
        "once",
        "with",
    ]
)
"""The words that a method's name may have by which an agent acts."""

_WORKS_ON: Final = frozenset(
    [
        "task",
        "messages",
        "message",
        "prompt",
        "goal",
        "input",
        "inputs",
        "query",
        "context",
        "request",
        "state",
    ]
)
_NO_WORK: Final = frozenset(
    [
        "add",
        "as",
        "build",
        "check",
        "clean",
        "clear",
        "close",
        "copy",
        "count",
        "create",
        "delete",
        "dump",
        "emit",
        "extract",
        "fetch",
        "find",
        "format",
        "from",
        "get",
        "has",
        "init",
        "is",
        "list",
        "load",
        "log",
        "make",
        "new",
        "normalize",
        "on",
        "open",
        "parse",
        "patch",
        "print",
        "read",
        "record",
        "register",
        "remove",
        "render",
        "reset",
        "resolve",
        "save",
        "serialize",
        "set",
        "setup",
        "should",
        "to",
        "track",
        "trace",
        "update",
        "validate",
        "wrap",
        "write",
    ]
)
_ASIDE: Final = frozenset(
    [
        "event",
        "events",
        "example",
        "fake",
        "helpers",
        "logger",
        "logging",
        "mock",
        "mocks",
        "prompts",
        "replay",
        "schema",
        "schemas",
        "telemetry",
        "trace",
        "tracing",
        "types",
        "usage",
        "utils",
        "validators",
    ]
)
_TOOL_DECORATORS: Final = frozenset({"tool", "function_tool", "kernel_function", "ai_function"})
_CLIENT_CALLS: Final = {
    "create": ("completions", "messages", "responses"),
    "parse": ("completions", "responses"),
    "stream": ("completions", "messages", "responses"),
    "completion": ("litellm",),
    "acompletion": ("litellm",),
    "generate_content": ("models", "model", "client"),
    "generate_content_async": ("models", "model", "client"),
    "converse": ("client", "bedrock", "_client"),
    "chat": ("ollama", "ollama_client"),
}
"""Calls of the clients that people have, by what they are called on."""


@dataclass(slots=True)
class Guess:
    """What a function is taken for, and why."""

    function: Function
    role: str
    points: int = 0
    why: list[str] = field(default_factory=list)

    def add(self, points: int, why: str) -> None:
        self.points += points
        if why:
            self.why.append(why)


def words(name: str) -> list[str]:
    """The words of a name, however they are joined."""
    return [word.lower() for word in _WORD.findall(name)]


def guess(project: Project) -> list[Guess]:
    """The functions that are likely something to a swarm, the likeliest of each role first."""
    able = [each for each in project.functions.values() if _may_be_watched(each)]
    models = _chosen(able, lambda function: _llm(function, project))
    reach = project.reaching(models)
    tools = _chosen(able, lambda function: _tool(function, project))
    found = {
        place: guess
        for place, guess in {**tools, **models}.items()
        if guess.points == max(g[place].points for g in (tools, models) if place in g)
    }
    for role in (_manager, _router, _worker):
        for place, each in _chosen(
            able,
            lambda function, role=role: role(function, project, reach),  # type: ignore[misc]
        ).items():
            if place not in found or found[place].points < each.points:
                found[place] = each
    _give_callers(found, project)
    team = {place for place, each in found.items() if each.role in ("manager", "router", "worker")}
    for place, each in _chosen(
        able, lambda function: _orchestrator(function, project, reach, team, found)
    ).items():
        if place not in found or found[place].points < each.points:
            found[place] = each
    return sorted(found.values(), key=lambda each: (-each.points, each.function.place))


_MOST: Final = {"orchestrator": 3, "manager": 3, "router": 3, "worker": 8, "llm": 8, "tool": 12}
"""Functions of one role beyond which a starter says too much."""


def likeliest(guesses: Iterable[Guess], project: Project) -> tuple[list[Guess], list[Guess]]:
    """What is worth a rule, and what is left out because it only hands on to one of these.

    Calls of one role in each other would be told twice: a model's tokens, an agent's step.
    """
    by_role: dict[str, dict[str, Guess]] = {}
    for each in guesses:
        by_role.setdefault(each.role, {})[each.function.place] = each
    kept: list[Guess] = []
    left: list[Guess] = []
    for role, most in _MOST.items():
        same = by_role.get(role, {})
        chosen: list[Guess] = []
        for place, each in same.items():
            to = project.called.get(place, set()) & same.keys()
            hands_on = [
                other
                for other in to
                if place not in project.called.get(other, ())
                and (role == "llm" or same[other].function.owner == each.function.owner)
                and (role != "orchestrator" or same[other].points >= each.points)
            ]
            (left if hands_on else chosen).append(each)
        best = max((each.points for each in chosen), default=0)
        kept += [each for each in chosen if each.points * 5 >= best * 3][:most]
    return kept, left


def _may_be_watched(function: Function) -> bool:
    return not (
        function.is_stub
        or (function.name.startswith("__") and function.name != "__call__")
        or not {"property", "cached_property", "setter"}.isdisjoint(function.decorators)
    )


def _chosen(
    functions: Iterable[Function], role: Callable[[Function], Guess | None]
) -> dict[str, Guess]:
    guesses = (role(function) for function in functions)
    return {
        each.function.place: each for each in guesses if each is not None and each.points >= ENOUGH
    }


def _begun(function: Function, role: str) -> Guess:
    guess = Guess(function, role)
    aside = _ASIDE.intersection(
        word for part in function.module.split(".")[-2:] for word in words(part)
    ) | _ASIDE.intersection(words(function.owner))
    if aside:
        guess.points -= 3
    return guess


def _parameters(guess: Guess, known: Iterable[str], most: int) -> None:
    given = [name for name in guess.function.parameters if name in set(known)][:most]
    if given:
        guess.add(len(given), f"it takes {_listed(given)}")


def _class_words(function: Function, project: Project) -> list[tuple[str, set[str]]]:
    return [(name, set(words(name))) for name in project.bases_of(function.owner)]


def _is_a(function: Function, project: Project, nouns: Iterable[str]) -> str:
    """The class of a method, or a base of it, whose name ends with one of these; else `""`."""
    wanted = set(nouns)
    for name in project.bases_of(function.owner):
        if (own := words(name)) and own[-1] in wanted:
            return name
    return ""


def _llm(function: Function, project: Project) -> Guess | None:
    own = words(function.name)
    guess = _begun(function, "llm")
    called = sorted(
        f"{receiver}.{name}"
        for receiver, name in function.calls
        if name in _CLIENT_CALLS and receiver.rpartition(".")[2] in _CLIENT_CALLS[name]
    )
    if called:
        guess.add(5, f"it calls {called[0]}")
    if function.endpoints:
        guess.add(4, f"it names the endpoint {min(function.endpoints)}")
    if {"llm", "completion", "completions"} & set(own):
        guess.add(3, f"its name says {_listed([w for w in own if w in _LLM_WORDS])}")
    if _GENERATES & set(own):
        for name, its in _class_words(function, project):
            is_model = its & {"llm", "completion"} or words(name)[-1:] == ["model"]
            if is_model or {"model", "client"} <= its:
                guess.add(3, f"its class is {name}")
                break
    if not guess.points > 0:
        return None
    _parameters(guess, ("messages", "prompt", "prompts", "input"), 1)
    _parameters(guess, ("model", "temperature", "max_tokens", "tools", "stop", "stream"), 2)
    if function.is_async:
        guess.points += 1
    if own[:1] and own[0] in _NO_WORK - {"create", "get", "fetch"}:
        guess.points -= 3
    return guess


_GENERATES: Final = frozenset(
    [
        "create",
        "generate",
        "complete",
        "chat",
        "call",
        "acall",
        "acreate",
        "invoke",
        "ainvoke",
        "response",
        "stream",
        "agenerate",
    ]
)
_LLM_WORDS: Final = ("llm", "chat", "completion", "completions")


def _tool(function: Function, project: Project) -> Guess | None:
    guess = _begun(function, "tool")
    marks = sorted(_TOOL_DECORATORS.intersection(function.decorators))
    if marks:
        guess.add(7, f"it is decorated with @{marks[0]}")
    own = words(function.name)
    if "tool" in own or "tools" in own:
        verbs = _RUN | {"use", "tool", "tools", "all", "function", "functions"}
        if own and own[0] in _RUN | {"use"} and verbs.issuperset(own):
            guess.add(5, "its name says that it calls a tool")
    for name, its in _class_words(function, project):
        if name != function.owner and "tool" in its and own and set(own) <= _RUN | {"forward"}:
            guess.add(6, f"its class is {name}")
            break
    if guess.points <= 0:
        return None
    _parameters(guess, ("tool_call", "tool_name", "tool", "arguments", "args", "tool_calls"), 1)
    return guess


def _manager(function: Function, project: Project, reach: set[str]) -> Guess | None:
    guess = _begun(function, "manager")
    own = words(function.name)
    nouns = ("manager", "supervisor", "planner", "leader", "coordinator", "director", "moderator")
    verbs = _RUN | {"plan", "decide", "delegate", "assign", "select", "next", "review", "evaluate"}
    named = [word for word in own if word in nouns]
    if named and own[0] not in nouns and own[0] in verbs:
        guess.add(5, f"its name says {_listed(named)}")
    elif own and own[0] in ("plan", "decide", "delegate", "supervise", "replan"):
        guess.add(3, f"its name says {own[0]}")
    for name, its in _class_words(function, project):
        said = sorted(its.intersection(nouns))
        if said and own and own[0] in verbs and not its & _THINGS:
            guess.add(3, f"its class is {name}")
            break
    if guess.points <= 0:
        return None
    _works(guess, reach)
    _parameters(
        guess,
        (
            "round_num",
            "round",
            "history",
            "round_history",
            "agents",
            "agent_map",
            "team",
            "task",
            "messages",
            "progress",
            "goal",
        ),
        2,
    )
    return guess


_THINGS: Final = frozenset(
    [
        "memory",
        "connection",
        "context",
        "session",
        "state",
        "cache",
        "event",
        "task",
        "db",
        "database",
        "file",
        "config",
        "prompt",
        "callback",
        "tool",
        "mcp",
        "token",
        "resource",
        "lifecycle",
    ]
)
"""What managers manage that are no managers of agents."""


_ROUTES: Final = _RUN | frozenset(
    [
        "route",
        "router",
        "routing",
        "handoff",
        "build",
        "select",
        "choose",
        "pick",
        "next",
        "compute",
        "decide",
        "dispatch",
        "determine",
        "assign",
    ]
)
_ABOUT_ROUTES: Final = frozenset(
    [
        "catalog",
        "config",
        "definition",
        "format",
        "labels",
        "message",
        "messages",
        "prompt",
        "prompts",
        "schema",
    ]
)


def _router(function: Function, project: Project, reach: set[str]) -> Guess | None:
    guess = _begun(function, "router")
    own = words(function.name)
    if {"request", "scope", "path"}.intersection(function.parameters):
        return None  # of a web server
    if not own or own[0] not in _ROUTES:
        return None
    # What routes messages is a router; what builds the message for one is not.
    if own[-1] in _ABOUT_ROUTES and own[0] not in {"route", "dispatch"}:
        return None
    if {"route", "router", "routing", "handoff", "handoffs"} & set(own):
        guess.add(4, "its name says that it routes")
    elif {"select", "next", "choose", "pick"} & set(own) and {"speaker", "agent", "speakers"} & set(
        own
    ):
        guess.add(4, "its name says that it chooses who is next")
    for name, its in _class_words(function, project):
        if its & {"router", "dispatcher", "selector"} and own[0] in _RUN | {"route", "select"}:
            guess.add(3, f"its class is {name}")
            break
    if guess.points <= 0:
        return None
    _parameters(
        guess,
        (
            "agents",
            "agent_ids",
            "descriptors",
            "candidates",
            "edges",
            "messages",
            "participants",
            "last_speaker",
            "speaker",
            "agent",
            "thread",
            "outputs",
        ),
        2,
    )
    if function.place in reach:
        guess.add(2, "its calls lead to a model")
    return guess


def _worker(function: Function, project: Project, reach: set[str]) -> Guess | None:
    guess = _begun(function, "worker")
    own = words(function.name)
    named = [word for word in own if word in ("worker", "agent", "agents", "subagent")]
    if named and own[0] in _RUN and function.place in reach:
        guess.add(4, f"its name says {_listed(named)}")
    kind = _is_a(function, project, ("agent", "worker", "assistant", "specialist", "actor"))
    if kind and own and _ACTS.issuperset(own):
        guess.add(4, f"its class is {kind}")
        guess.points += not function.name.startswith("_")
    if guess.points <= 0:
        return None
    _works(guess, reach)
    _parameters(guess, ("agent", "worker", "agent_id", "agent_name"), 1)
    _parameters(guess, _WORKS_ON, 1)
    return guess


def _works(guess: Guess, reach: set[str]) -> None:
    if guess.function.place in reach:
        guess.add(2, "its calls lead to a model")
    if guess.function.is_async:
        guess.points += 1
    if words(guess.function.name)[0] in _NO_WORK - {"on"}:
        guess.points -= 3


def _orchestrator(
    function: Function,
    project: Project,
    reach: set[str],
    team: set[str],
    found: dict[str, Guess],
) -> Guess | None:
    guess = _begun(function, "orchestrator")
    own = words(function.name)
    nouns = {
        "swarm",
        "crew",
        "team",
        "workflow",
        "conversation",
        "groupchat",
        "orchestrator",
        "society",
        "rounds",
        "pipeline",
        "flow",
        "debate",
    }
    if (
        own
        and own[0] in _RUN | {"orchestrate", "initiate"}
        and (nouns & set(own) or own[0] in ("kickoff", "orchestrate"))
    ):
        guess.add(4, "its name says that it runs the whole")
    for name, its in _class_words(function, project):
        if its & nouns and own and own[0] in _RUN:
            guess.add(4, f"its class is {name}")
            break
    called = sorted(project.called.get(function.place, set()) & team - {function.place})
    roles = {found[place].role for place in called}
    if len(called) > 1:
        names = [project.functions[place].name for place in called]
        guess.add(3 + (len(roles) > 1), f"it calls {_listed(names[:4])}")
    if guess.points <= 0:
        return None
    if function.loops and called:
        guess.add(1, "and does so in a loop")
    if function.place in reach:
        guess.add(2, "its calls lead to a model")
    if function.is_async:
        guess.points += 1
    _parameters(guess, ("swarm", "task", "agents", "team", "inputs", "max_rounds"), 1)
    if own and own[0] in _NO_WORK:
        guess.points -= 3
    return guess


def _give_callers(found: dict[str, Guess], project: Project) -> None:
    """Who calls two of a team is a reason for each of them."""
    for place, each in found.items():
        if each.role == "llm":
            continue
        for caller in sorted(project.callers.get(place, ())):
            others = project.called.get(caller, set()) & found.keys() - {place}
            if {found[other].role for other in others} - {each.role, "llm", "tool"}:
                each.add(1, f"{project.functions[caller].name} calls it beside others of the team")
                break


def _listed(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} and {unique[-1]}"
