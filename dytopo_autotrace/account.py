"""What a run must tell about itself: what became of each rule, what was lost, what is odd."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from dytopo_autotrace import agent
from dytopo_autotrace.collect import faults
from dytopo_autotrace.collect.failures import failures
from dytopo_autotrace.collect.metrics import metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import traces

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import ModelPrice, RuleState
    from dytopo_autotrace.rules.model import Rule, RuleSet
    from dytopo_autotrace.weave.ledger import Entry
    from dytopo_autotrace.weave.modules import Modules


BEYOND_MEMORY: Final = "spans: the memory limit was reached"
"""They are not in what the process knows of itself, but in its store if it has one."""


def drops(installation: agent.Installation) -> dict[str, int]:
    """What was lost on the way, by reason; nothing that was not."""
    weaver = installation.weaver
    counted = {
        "calls: a fault of ours, contained": weaver.switch.missed if weaver else 0,
        "spans: the buffer was full": pipeline.dropped,
        BEYOND_MEMORY: traces.dropped,
        "failures: the memory limit was reached": failures.dropped,
        **{
            f"fault of ours in {name}": count
            for counted in (pipeline.faults, faults.contained)
            for name, count in counted.items()
        },
        **{
            f"times that a call was not shown to observer {each.text}": each.left_out
            for each in (weaver.observers.values() if weaver else ())
        },
    }
    return {reason: count for reason, count in counted.items() if count}


def elsewhere(where: str, losses: Mapping[str, int]) -> dict[str, int]:
    """Spans that did not get to where they were to be kept, worded as the other losses."""
    return {f"spans {where}: {reason}": count for reason, count in losses.items()}


def prices(installation: agent.Installation) -> tuple[ModelPrice, ...]:
    """What models cost, as the rule file says."""
    from dytopo_autotrace.collect.records import ModelPrice  # noqa: PLC0415 - at the end of a run only

    known = installation.ruleset.prices if installation.ruleset else ()
    return tuple(ModelPrice(each.model, each.input, each.output, each.cached) for each in known)


def remarks(installation: agent.Installation) -> Iterator[str]:
    """What a reader of the report should know about what it was made from."""
    if installation.weaver is None:
        return
    for form in installation.weaver.shapes.values():
        for name, count in form.unreadable.items():
            yield f"rule {form.site.rule}: {name} could not be read in {count} calls"
    for observer in installation.weaver.observers.values():
        if observer.retired:
            yield f"observer {observer.text} was called no more: {observer.retired}"
    yield from metrics.remarks()
    for name, count in agent.measurer.unmeasured.items():
        yield f"{name}: {count:,} {'value was' if count == 1 else 'values were'} no number"
    yield from installation.unreached
    for fault in installation.weaver.ledger.faults:
        yield f"a fault of ours, contained: {fault}"


def forget(installation: agent.Installation) -> None:
    """In a forked child: what was counted so far is the parent's."""
    agent.counter.calls.clear()
    agent.measurer.unmeasured.clear()
    if installation.weaver is not None:
        installation.weaver.switch.missed = 0
        for form in installation.weaver.shapes.values():
            form.unreadable.clear()
            form.passed_by = 0


def look_for_unreached(installation: agent.Installation) -> None:
    """Find out who holds bare functions; takes a moment, so it is done once the program has ended."""
    if installation.weaver is None:
        return
    if not any(entry.fate == "woven" for entry in installation.weaver.ledger.entries):
        return  # What was put in for no rule's sake has no calls to be seen.
    try:
        from dytopo_autotrace.weave.unreached import held_elsewhere  # noqa: PLC0415 - once

        found = held_elsewhere(installation.weaver.ledger)
    except Exception as fault:
        # A program may have taken its interpreter apart.
        why = type(fault).__name__
        installation.unreached = (f"who holds bare functions was not to be found out: {why}",)
        return
    if found is None:
        installation.unreached = ("too much is alive to look for references to bare functions",)
        return
    installation.unreached = tuple(
        f"{held.function} is also held by {held.holder}: calls from there are not seen"
        for held in found
    )


def rule_states(installation: agent.Installation) -> Iterator[RuleState]:
    """What became of each rule."""
    from dytopo_autotrace.collect.records import RuleState  # noqa: PLC0415 - loaded on use

    ruleset, weaver, modules = installation.ruleset, installation.weaver, installation.modules
    if ruleset is None or weaver is None or modules is None:
        return
    calls = agent.counter.calls
    entries: dict[str, list[Entry]] = {}
    for entry in weaver.ledger.entries:
        entries.setdefault(entry.rule, []).append(entry)
    passed_by = Counter[str]()
    for form in weaver.shapes.values():
        passed_by[form.site.rule] += form.passed_by
    own = {rule.name for rule in ruleset.rules if not rule.origin.pack}
    for rule in ruleset.rules:
        is_stood_in_for = rule.origin.pack and rule.name.rpartition("/")[2] in own
        if is_stood_in_for and not entries.get(rule.name):
            continue  # The user's rule of that name took what the pack's is for, or had nothing to take.
        passed, brief = passed_by[rule.name], pipeline.brief[rule.name]
        condition, woven, reason = _condition(
            rule, entries.get(rule.name, ()), modules, calls[rule.name] + passed + brief
        )
        is_instead = bool(rule.adds_to or rule.ends)
        left_out = ", ".join(
            f"{number:,} {'call' if number == 1 else 'calls'} left out by `{key}`"
            for number, key in ((0 if is_instead else passed, "when"), (brief, "min_seconds"))
            if number
        )
        yield RuleState(
            name=rule.name,
            target=", ".join(target.text for target in rule.targets),
            origin=str(rule.origin),
            state=condition,  # type: ignore[arg-type]
            woven=woven,
            calls=calls[rule.name] + (passed if is_instead else 0),
            reason=reason,
            left_out=left_out,
        )
    yield from _switched_off(ruleset)


def _condition(
    rule: Rule, entries: Sequence[Entry], modules: Modules, calls: int
) -> tuple[str, int, str]:
    woven = sum(each.fate == "woven" for each in entries)
    if woven:
        return ("woven" if calls else "never_called"), woven, _left_out(entries)
    for fate in ("refused", "failed", "nothing_matched"):
        for entry in entries:
            if entry.fate == fate:
                return fate, 0, f"{entry.place}: {entry.reason}"
    if any(modules.names(module, rule) for module in modules.seen):
        return "nothing_matched", 0, "The module was imported; `check` says what it has."
    return "never_imported", 0, ""


def _left_out(entries: Sequence[Entry]) -> str:
    """What a rule that is woven in one place came to in others, `""` if it is woven in all."""
    others = [each for each in entries if each.fate != "woven"]
    if not others:
        return ""
    first, more = others[0], len(others) - 1
    return f"{first.place}: {first.reason}" + (f" And {more} more." if more else "")


def _switched_off(ruleset: RuleSet) -> Iterator[RuleState]:
    from dytopo_autotrace.collect.records import RuleState  # noqa: PLC0415 - loaded on use

    for index in sorted({fault.rule for fault in ruleset.faults if fault.rule is not None}):
        faults = [fault for fault in ruleset.faults if fault.rule == index]
        yield RuleState(
            name=f"rule {index + 1} of {os.path.basename(faults[0].file)}",
            target="",
            origin=f"{faults[0].file}:{faults[0].line}",
            state="off",
            reason="; ".join(f"{fault.key}: {fault.message} {fault.hint}" for fault in faults),
        )
