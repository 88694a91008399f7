"""Text of any kind as Markdown that shows it as it is, on GitHub and in mkdocs.

Every value that a template puts out goes through `prose`, unless it is `Markdown` already: forgetting
to escape is not possible, forgetting to say that something is Markdown shows at once.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from dytopo_autotrace.errors import AutotraceError

if TYPE_CHECKING:
    import jinja2

    from dytopo_autotrace.documentation.model import Place

INSTALL: Final = "pip install 'dytopo-autotrace[docs]'"

_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]]")
_ENTITIES: Final = re.compile(r"[&<|~$]|^[>=]")
_EMOJI: Final = re.compile(r":(?=(?:[a-zA-Z_+-][\w+-]*|100|1234):)")
_LINE_START: Final = re.compile(r"^([-+#])|^(\d{1,9})([.)])(?=\s|$)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_RUNS: Final = re.compile(r"`+")
_WORDS: Final = re.compile(r"[^a-z0-9]+")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def prose(value: object) -> Markdown:
    """A value as one paragraph: white space folded, everything that means something escaped."""
    if isinstance(value, Markdown):
        return value
    text = " ".join(clean(value).split())
    text = _SPECIAL.sub(r"\\\g<0>", text)
    text = _ENTITIES.sub(lambda found: f"&#{ord(found[0])};", text)
    text = _EMOJI.sub("&#58;", text)
    return Markdown(_LINE_START.sub(_at_start, text))


def paragraphs(value: object) -> Markdown:
    """A longer text: its paragraphs kept, everything in them escaped."""
    parts = re.split(r"\n\s*\n", clean(value).replace("\r\n", "\n").strip())
    return Markdown("\n\n".join(prose(part) for part in parts))


def code(value: object) -> Markdown:
    """A value as code within a line, also within a table."""
    text = " ".join(clean(value).split())
    if not text:
        return Markdown("")
    if not re.search(r"[`|]", text):
        return Markdown(f"`{text}`")
    # Backticks inside backticks and pipes in tables are read differently from place to place.
    escaped = re.sub(r"[^\w\s]", lambda found: f"&#{ord(found[0])};", text)
    return Markdown(f"<code>{escaped.replace('_', '&#95;')}</code>")


def block(value: object, language: str = "") -> Markdown:
    """A value as a block of code that nothing in it can end."""
    text = "\n".join(clean(line) for line in str(value).replace("\r\n", "\n").split("\n"))
    longest = max((len(run) for run in _RUNS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{text.strip(chr(10))}\n{fence}")


def link(label: Markdown, target: str) -> Markdown:
    """A link to a relative path, with or without a `#fragment`."""
    path, mark, fragment = target.partition("#")
    address = quote(path, safe="/:.-_~") + (f"#{quote(fragment, safe='-_.~')}" if mark else "")
    return Markdown(f"[{label}]({address})")


def source_link(place: Place, sources: str, label: str = "") -> Markdown:
    """A link to a line of source, or only its name where there is nothing to link to.

    Args:
        sources: the relative path from the page to the root of the sources.
    """
    shown = code(label or f"{place.file}:{place.line}")
    if not place.linked:
        return shown
    base = "" if sources in ("", ".") else f"{sources}/"
    return link(shown, f"{base}{place.file}#L{place.line}")


def short(place: Place) -> str:
    """A line of source without its directories, for where there is little room."""
    return f"{place.file.rpartition('/')[2]}:{place.line}"


def slug(heading: str) -> str:
    """The name of an anchor that is the same wherever the page is read: letters, digits, dashes.

    What has other letters than ASCII's is told apart by a digest.
    """
    words = _WORDS.sub("-", heading.lower()).strip("-")
    if heading.isascii() and words:
        return words
    digest = hashlib.sha256(heading.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{words}-{digest}".lstrip("-")


def anchored(name: str) -> Markdown:
    """A place to link to, to stand in a heading: who makes a page makes anchors of headings in many ways."""
    return Markdown(f'<a id="{name}"></a>')


def clean(value: object) -> str:
    """A value as text without characters that no page can show."""
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return _CONTROL.sub("\ufffd", text)


@functools.cache
def _environment() -> jinja2.Environment:
    try:
        import jinja2  # noqa: PLC0415 - of the extra
    except ImportError as error:
        raise AutotraceError(f"The documents need jinja2. Install it: {INSTALL}") from error
    here = os.path.dirname(os.path.abspath(__file__))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.join(here, "templates")),
        autoescape=False,  # noqa: S701 - Markdown is not HTML: `finalize` escapes
        finalize=prose,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(code=code, block=block, prose=prose, paragraphs=paragraphs)
    environment.globals.update(link=link, anchored=anchored)
    return environment


def render(template: str, **values: Any) -> str:
    """A page from the template of this name: no runs of blank lines, one newline at the end."""
    text = _environment().get_template(template).render(**values)
    return tidy(text)


def tidy(text: str) -> str:
    """No white space at the end of lines, one blank line at most outside of blocks of code."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        fence = next_fence(line, fence)
        bare = line if fence else line.rstrip()
        if bare or fence or (lines and lines[-1]):
            lines.append(bare)
    return "\n".join(lines).strip("\n") + "\n"


def next_fence(line: str, fence: str) -> str:
    """The fence of the block of code that is open after this line, `""` for none."""
    found = _FENCE.match(line) if "```" in line or "~~~" in line else None
    if found is None:
        return fence
    if not fence:
        return found[1]
    closes = found[1].startswith(fence) and not found[2].strip()
    return "" if closes else fence


def _at_start(found: re.Match[str]) -> str:
    return f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}"
