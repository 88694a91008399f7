"""Looks at everything that decides whether a program here is watched, and says what is in the way."""

from __future__ import annotations

from collections.abc import Mapping

from dytopo_autotrace.preflight.doctor.answer import Answer
from dytopo_autotrace.preflight.doctor.configuration import (
    rule_answers,
    source_answers,
    store_answers,
)
from dytopo_autotrace.preflight.doctor.interpreter import (
    extra_answers,
    flag_answers,
    python_answers,
    wrapt_answers,
)
from dytopo_autotrace.preflight.doctor.neighbours import neighbour_answers
from dytopo_autotrace.preflight.doctor.sample import sample_answers
from dytopo_autotrace.preflight.doctor.surroundings import surrounding_answers
from dytopo_autotrace.rules.load import load

__all__ = ["Answer", "is_stopped", "look"]


def look(
    rules: str | None, store: str | None, *, cwd: str, environ: Mapping[str, str]
) -> tuple[Answer, ...]:
    """All answers, for a program that is started here, by this interpreter.

    Args:
        rules: the rule file as it would be given to the launcher.
        store: the store as it would be given to the launcher.
    """
    ruleset = load(rules, cwd=cwd, environ=environ)
    return (
        *python_answers(),
        *wrapt_answers(),
        *rule_answers(ruleset, rules, cwd=cwd, environ=environ),
        *source_answers(ruleset, cwd),
        *store_answers(store or ruleset.store.path, cwd),
        *sample_answers(),
        *neighbour_answers(environ),
        *surrounding_answers(environ),
        *flag_answers(environ),
        *extra_answers(),
    )


def is_stopped(answers: tuple[Answer, ...]) -> bool:
    """Whether anything keeps functions from being woven."""
    return any(each.level == "stops" for each in answers)
