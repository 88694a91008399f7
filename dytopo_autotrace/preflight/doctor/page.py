"""The doctor's answers as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dytopo_autotrace.preflight.doctor.answer import Answer, Level
from dytopo_autotrace.report.text import clean, wrap

_MARKS: Final[dict[Level, str]] = {"ok": "ok", "note": "- ", "warning": "! ", "stops": "X "}
_TOPIC: Final = 12


def page(answers: Sequence[Answer], width: int) -> Iterator[str]:
    """Lines of at most `width` cells."""
    topic = ""
    for each in answers:
        label = each.topic if each.topic != topic else ""
        topic = each.topic
        margin = _TOPIC + 3
        head = f"{label:<{_TOPIC}}{_MARKS[each.level]} "
        end = "" if each.text.endswith((".", "?")) else "."
        text = f"{each.text}{end} {each.hint}" if each.hint else each.text
        for index, line in enumerate(wrap(clean(text), width - margin)):
            yield (head if index == 0 else " " * margin) + line
    stopping = [each for each in answers if each.level == "stops"]
    warnings = sum(each.level == "warning" for each in answers)
    yield ""
    if stopping:
        topics = ", ".join(dict.fromkeys(each.topic for each in stopping))
        yield f"Something stops weaving: see X ({topics})."
    elif warnings:
        yield f"Nothing stops weaving; {warnings} warning{'' if warnings == 1 else 's'}."
    else:
        yield "Nothing stops weaving."
