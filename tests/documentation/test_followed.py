"""Links of the pages lead somewhere, commands on them run, the site builds and shows."""

import importlib.util
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dytopo_autotrace.documentation.markdown import next_fence
from tests.documentation.conftest import ROOT

DOCS = ROOT / "docs"
GENERATED = sorted((DOCS / "example-swarm").rglob("*.md"))
LINK = re.compile(r"(?<!!)\[(?:\\.|[^\[\]\\])*\]\(([^)\s]+)\)")


def lines_outside_code(file):
    fence = ""
    for line in file.read_text(encoding="utf-8").split("\n"):
        before, fence = fence, next_fence(line, fence)
        if not before and not fence:
            yield line


def anchors(file):
    """The anchors of a page's headings as GitHub makes them, and those that it has itself."""
    found = set()
    for line in lines_outside_code(file):
        found.update(re.findall(r'<a id="([^"]+)"></a>', line))
        if heading := re.match(r"#{1,6} (.+)", line):
            words = re.sub(r"[^\w\- ]", "", heading[1].strip().lower())
            found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("file", sorted(DOCS.rglob("*.md")), ids=lambda file: file.name)
def test_links_lead_somewhere(file):
    """Each relative link names a file that is there, a line that it has, or a heading of a page."""
    for line in lines_outside_code(file):
        for target in LINK.findall(re.sub(r"`[^`]*`", "``", line)):
            if target.startswith(("http://", "https://")):
                continue
            path, _, fragment = target.partition("#")
            there = (file.parent / path).resolve() if path else file
            assert there.exists(), f"{file}: {target}"
            if re.fullmatch(r"L\d+", fragment):
                assert int(fragment[1:]) <= len(there.read_text("utf-8").splitlines()), target
            elif fragment:
                assert fragment in anchors(there), f"{file}: {target}"


def commands(file):
    """The commands of a page in their order, those that were there before left out."""
    found = {}
    for block in re.findall(
        r"^```bash\n(.*?)^```$", file.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        found.update(dict.fromkeys(block.strip().split("\n")))
    return list(found)


def paste(command, cwd):
    """Run a command as a shell does, with the programs of this interpreter first."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=cwd,
        env={**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path):
    """A directory that looks like the top of the repository, to leave files in."""
    for name in ("docs", "examples", "instrumentation.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_there_are_commands_to_run():
    """The pages of the example have commands, and all of them are ours."""
    found = [command for file in GENERATED for command in commands(file)]

    assert len(found) > 20
    assert {shlex.split(each)[0] for each in found} == {"dytopo-autotrace", "python"}


@pytest.mark.slow
@pytest.mark.parametrize("file", GENERATED, ids=lambda file: file.name)
def test_commands_of_the_generated_pages_run(file, checkout):
    """Whatever can be pasted from a page ends well and says something."""
    for command in commands(file):
        done = paste(command, checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout or done.stderr, command


@pytest.mark.slow
def test_commands_of_the_quickstart_run(checkout):
    """The quickstart works as it is written; what it leaves to the reader is left out."""
    for command in commands(DOCS / "quickstart.md"):
        if command.startswith("pip ") or "your_swarm" in command:
            continue
        done = paste(command, checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
def test_a_thousand_modules_take_less_than_ten_seconds(tmp_path):
    """All documents of a repository with a thousand watched modules, in processor time."""
    source = '"""A module."""\n'
    for number in range(6):
        source += (
            f"\n\nasync def step{number}(agent: str, *, tau: float = 0.3) -> dict[str, int]:\n"
            f'    """Do step {number}.\n\n    Args:\n        agent: who.\n    """\n'
            "    return {each: 1 for each in agent}\n"
        )
    source += '\n\nclass Worker:\n    """Works."""\n\n    def act(self, what: str) -> str:\n        return what\n'
    for package in range(20):
        folder = tmp_path / "big" / f"p{package}"
        folder.mkdir(parents=True)
        for module in range(50):
            (folder / f"m{module}.py").write_text(source)
    (tmp_path / "instrumentation.toml").write_text('[[rule]]\ntarget = "big.**:*"\nrole = "tool"\n')
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = paste("dytopo-autotrace docs", tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs/api-reference.md").read_text("utf-8").count("\n### ") == 1000
    assert spent < 10, f"{spent:.1f} s"


@pytest.fixture
def site(tmp_path):
    """The pages as a site."""
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'dytopo-autotrace[site]'")
    done = paste(
        f"{shlex.quote(sys.executable)} -m mkdocs build --strict --quiet -f "
        f"{shlex.quote(str(ROOT / 'mkdocs.yml'))} -d {shlex.quote(str(tmp_path / 'site'))}",
        ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "site"


@pytest.mark.slow
def test_the_site_builds_and_a_browser_shows_it(site, tmp_path):
    """mkdocs builds it under --strict, and a browser finds text, tables and diagrams on the pages."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    for name, said in (
        ("architecture/system-overview", ("A round, as it happened", "<table>", "researcher")),
        ("operations/troubleshooting", ("Remedy:", "<table>", "tester is dead")),
        ("OBSERVABILITY", ("llm-attempt", "histogram_quantile")),
        ("api-reference", ("detect_convergence",)),
    ):
        page = site / "example-swarm" / name / "index.html"
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                *(f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for each in said:
            assert each in done.stdout, (name, each, done.stderr[-500:])
