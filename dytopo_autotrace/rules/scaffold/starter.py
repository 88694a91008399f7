"""Writes a rule file from what a project's functions were taken for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.rules.load import available_packs, load_text
from dytopo_autotrace.rules.model import ROLES
from dytopo_autotrace.rules.scaffold.facts import Function, Module
from dytopo_autotrace.rules.scaffold.project import Project
from dytopo_autotrace.rules.scaffold.roles import Guess, words
from dytopo_autotrace.rules.survey import examine

_WIDTH: Final = 100
_TITLES: Final = {
    "orchestrator": "Runs the whole; its calls begin a new trace",
    "manager": "Decides what is done next",
    "router": "Decides who hears whom, or who is next",
    "worker": "Does a part of the task",
    "llm": "Calls of a model; tokens are counted here and nowhere else",
    "tool": "What agents use",
}
_ROUND: Final = ("round_num", "round_number", "round_index", "iteration", "turn")
_NAMES: Final = ("agent_id", "agent_name", "name", "id", "role")
_TOKENS: Final = {
    "in": ("tokens_in", "input_tokens", "prompt_tokens"),
    "out": ("tokens_out", "output_tokens", "completion_tokens"),
}
_METRIC_TO_FILL_IN: Final = """\
# Does its result say how many tokens that took? Then name them, and they are added up:
#   [[rule.metric]]
#   name = "swarm_tokens_total"
#   kind = "counter"
#   value = "result.usage.completion_tokens"
#   labels = { direction = "'out'" }
"""


@dataclass(slots=True)
class _Draft:
    """One rule to be."""

    name: str
    role: str
    guesses: list[Guess]
    is_careful: bool = False
    """Whether nothing is read from its calls, since what was found out about them did not hold."""


def starter(project: Project, guesses: Sequence[Guess], left: Sequence[Guess], name: str) -> str:
    """The text of a rule file, which loads without faults and holds against the project's source.

    Args:
        guesses: what is to have a rule.
        left: what hands on to one of these, and is mentioned.
        name: of the program.
    """
    drafts = list(_drafts(guesses))
    for _ in range(3):
        text = _text(project, drafts, left, name)
        if not _wrong(text, project, drafts):
            return text
        drafts = [draft for draft in drafts if draft.guesses]
    return _text(project, [], (), name)


def _drafts(guesses: Sequence[Guess]) -> Iterator[_Draft]:
    """One rule for all functions of one role and name."""
    taken: set[str] = set()
    for role in ROLES:
        same: dict[str, list[Guess]] = {}
        for guess in guesses:
            if guess.role == role:
                key = "decorated" if _is_decorated_tool(guess) else guess.function.name.strip("_")
                same.setdefault(key, []).append(guess)
        for key, group in same.items():
            name = role if len(same) == 1 else f"{role}-{'-'.join(words(key))}"
            while name in taken:
                name += "-more"
            taken.add(name)
            yield _Draft(name, role, group)


def _wrong(text: str, project: Project, drafts: Sequence[_Draft]) -> bool:
    """Take out of the drafts what the text's own rules have wrong; whether anything was."""
    ruleset = load_text(text, "the starter")
    found = examine(ruleset, tuple(project.roots))
    faults = (*ruleset.faults, *found.faults)
    matched = {match.target for match in found.matched}
    if not faults and all(_target(g) in matched for draft in drafts for g in draft.guesses):
        return False
    for draft in drafts:
        kept = [guess for guess in draft.guesses if _target(guess) in matched]
        draft.is_careful = draft.is_careful or len(kept) == len(draft.guesses)
        draft.guesses[:] = kept
    return True


def _is_decorated_tool(guess: Guess) -> bool:
    return guess.role == "tool" and "decorated" in " ".join(guess.why)


def _target(guess: Guess) -> str:
    # What such a decorator leaves is an object of the library's; the function is below it.
    return guess.function.place + (".__wrapped__" if _is_decorated_tool(guess) else "")


def _text(project: Project, drafts: Sequence[_Draft], left: Sequence[Guess], name: str) -> str:
    count = len(project.modules)
    lines = [
        f"# A starter, made by `dytopo-autotrace init` from {count} modules that were read, not run.",
        "# Each rule says why its functions were picked: by name, by signature, by who calls whom.",
        "# Take out what is wrong, name what is missing, and see what it reaches:",
        "#",
        "#     dytopo-autotrace check",
        "",
        "[agent]",
        f"service = {_quoted(name)}",
        f"# packs = [{', '.join(map(_quoted, available_packs()))}]  # shipped rules, asked after the ones below",
        "",
        "# [agent.capture]     # of arguments and results only what rules name is kept, and no more than this",
        "# max_length = 1024",
    ]
    role = ""
    for draft in drafts:
        is_first = draft.role != role
        if is_first:
            role = draft.role
            lines += ["", f"# --- {_TITLES[role]} ".ljust(_WIDTH - 1, "-")]
            lines += _left_out([each for each in left if each.role == role])
        lines += ["", *_rule(project, draft, is_first=is_first)]
    if not drafts:
        lines += [
            "",
            "# Nothing here looks like a part of a swarm. Name functions yourself:",
            "#",
            "# [[rule]]",
            '# target = "package.module:Class.method"',
            '# role = "worker"   # or orchestrator, manager, router, llm, tool',
        ]
    return "\n".join(lines) + "\n"


def _left_out(left: Sequence[Guess]) -> Iterator[str]:
    if left:
        names = ", ".join(each.function.qualname for each in left[:6])
        more = f" and {len(left) - 6} more" if len(left) > 6 else ""
        text = f"Left out, because they only hand on to what is below: {names}{more}."
        yield from _comment(text)


def _rule(project: Project, draft: _Draft, *, is_first: bool) -> Iterator[str]:
    yield "[[rule]]"
    yield f"name = {_quoted(draft.name)}"
    if len(draft.guesses) == 1:
        (guess,) = draft.guesses
        yield from _comment(_because(guess))
        yield f"target = {_quoted(_target(guess))}"
    else:
        yield "target = ["
        for guess in draft.guesses:
            yield from _comment(_because(guess), indent=2)
            yield f"  {_quoted(_target(guess))},"
        yield "]"
    yield f"role = {_quoted(draft.role)}"
    if len(draft.guesses) == 1:
        yield f"operation = {_quoted(draft.guesses[0].function.name.strip('_'))}"
    if not draft.is_careful:
        yield from _readings(project, draft)
    if draft.role == "llm":
        yield from _tokens(project, draft, is_first=is_first)


def _because(guess: Guess) -> str:
    return f"Why: {'; '.join(guess.why) or 'its name'}."


def _readings(project: Project, draft: _Draft) -> Iterator[str]:
    """What is read from the calls: only what every function of the rule has for certain."""
    functions = [guess.function for guess in draft.guesses]
    agents = {_agent(project, function, draft.role) for function in functions}
    if len(agents) == 1 and (agent := agents.pop()):
        yield f"agent = {_quoted(agent)}"
    shared = set.intersection(*(set(function.parameters) for function in functions))
    attributes: dict[str, str] = {}
    for name in _ROUND:
        if name in shared:
            attributes["round"] = name
            break
    if draft.role == "orchestrator" and (task := _task(functions)):
        attributes["task"] = task
    if "model" in shared:
        attributes["model"] = "str(model)"
    if "messages" in shared:
        attributes["messages"] = "len(messages)"
    if draft.role == "tool" and "tool_name" in shared:
        attributes["tool"] = "tool_name"
    if attributes:
        pairs = ", ".join(f"{name} = {_quoted(value)}" for name, value in attributes.items())
        yield f"attributes = {{ {pairs} }}"


def _task(functions: Sequence[Function]) -> str:
    """The expression for what is to be done, `""` if nothing is sure."""
    if all("task" in function.parameters for function in functions):
        return "task"
    read = sorted(name for name, attribute in functions[0].read if attribute == "task")
    return f"{read[0]}.task" if len(functions) == 1 and read and read[0] != "self" else ""


def _agent(project: Project, function: Function, role: str) -> str:
    """The expression for whom a call belongs to, `""` if nothing is sure."""
    for name in ("agent_id", "agent_name"):
        if name in function.parameters:
            return name
    for parameter in ("agent", "worker"):
        for attribute in _NAMES:
            if (parameter, attribute) in function.read:
                return f"{parameter}.{attribute}"
    if role == "manager":
        return "'manager'"
    if role in ("worker", "tool") and function.owner and function.parameters[:1] == ("self",):
        has = project.fields_of(function.owner)
        for attribute in _NAMES:
            if attribute in has and attribute != "id":
                return f"self.{attribute}"
    return ""


def _tokens(project: Project, draft: _Draft, *, is_first: bool) -> Iterator[str]:
    results = {guess.function.returns for guess in draft.guesses}
    has = project.fields_of(results.pop()) if len(results) == 1 and not draft.is_careful else set()
    found = {
        direction: name for direction, names in _TOKENS.items() for name in names if name in has
    }
    if not found:
        if is_first:
            yield from _METRIC_TO_FILL_IN.splitlines()
        return
    functions = [guess.function for guess in draft.guesses]
    agents = {_agent(project, function, "llm") for function in functions}
    agent = agents.pop() if len(agents) == 1 else ""
    for direction, name in found.items():
        labels = f"agent = {_quoted(agent)}, " if agent else ""
        yield ""
        yield "  [[rule.metric]]"
        yield '  name = "swarm_tokens_total"'
        yield '  kind = "counter"'
        yield f"  value = {_quoted(f'result.{name}')}"
        yield f"  labels = {{ {labels}direction = {_quoted(repr(direction))} }}"


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    room = _WIDTH - indent - 2
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > room:
            yield f"{' ' * indent}# {line}"
            line = word
        else:
            line = f"{line} {word}".strip()
    if line:
        yield f"{' ' * indent}# {line}"


def _quoted(text: str) -> str:
    """A TOML string; names of the host's may be in any alphabet, and never have quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def scripts(project: Project, guesses: Iterable[Guess]) -> list[str]:
    """The files that are programs and import what leads to these functions, the nearest first."""
    wanted = {guess.function.module for guess in guesses}
    found = [
        module
        for module in project.modules
        if module.is_script
        and "." not in module.name
        and (module.name in wanted or wanted & _sources(module))
    ]
    return [os.path.relpath(module.file) for module in sorted(found, key=lambda m: len(m.file))]


def _sources(module: Module) -> set[str]:
    return {source.partition(":")[0] for source in module.imports.values()}
