"""The documents as a person gets them: complete, true to their sources, and stable."""

import asyncio
import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from dytopo_autotrace.cli import docs, import_
from dytopo_autotrace.collect.records import records_to_json
from dytopo_autotrace.documentation import DocumentationGenerator, documents, here
from dytopo_autotrace.documentation.documents import CANVAS, PATHS
from dytopo_autotrace.documentation.gather import PUBLIC
from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.rules.load import load
from tests.documentation.conftest import ROOT, seen
from tests.export.sample_runs import SOFT, records, span

EXAMPLE = ROOT / "docs" / "example-swarm"
NAMES = (CANVAS, *PATHS.values())


def run(*arguments):
    """The command; with what it printed and its status."""
    return CliRunner().invoke(docs.command, list(arguments), prog_name="docs")


def texts(folder):
    return {name: (Path(folder) / name).read_text(encoding="utf-8") for name in NAMES}


def example():
    """What makes the example swarm's pages."""
    spec = importlib.util.spec_from_file_location("example_docs", ROOT / ".ci" / "example_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_swarms_pages_are_up_to_date(monkeypatch):
    """From the kept runs, the code and the rules of this repository come the pages that are in it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DYTOPO_AUTOTRACE_RULES", raising=False)
    done = run(*example().command()[1:], "--check")

    assert done.exit_code == 0, (
        f"{done.output}Make them anew: python .ci/example_docs.py --keep "
        "(without --keep if what is captured has changed)"
    )


def test_the_reference_of_this_package_is_up_to_date(monkeypatch):
    """From the code of this repository comes `docs/api-reference.md`: what is public, with signatures."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DYTOPO_AUTOTRACE_RULES", raising=False)
    name, path = "dytopo_autotrace", str(ROOT / "docs" / "api-reference.md")
    swarm, root = here.swarm(runs=())
    page = documents.reference(swarm, path, root, name, here.modules(name, root))

    assert page.change == "same", "Make it anew: python .ci/example_docs.py --keep"
    assert "async def analyze_trace(" in page.text
    modules = re.findall(r"^### `(\S+)`$", page.text, re.MULTILINE)
    assert modules == list(PUBLIC)


def test_the_example_swarms_pages_tell_of_no_machine():
    """Neither the kept runs nor the pages name the directories in which they were made."""
    for file in EXAMPLE.rglob("*.*"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"/(tmp|home|root|Users)/", text), file


def test_without_a_run_it_is_said(poets):
    """Every page is written from rules and code alone, and those that would show figures say so."""
    done = run("--runs", "0")
    assert done.exit_code == 0, done.output
    found = texts("docs")

    assert "No run is recorded" in done.output
    for name in NAMES:
        if name != PATHS["api"]:
            assert "No run is recorded" in found[name], name
    assert "async def run_swarm(task)" in found[PATHS["architecture"]]
    assert "Not measured: no run is recorded." in found[PATHS["observability"]]


def test_a_store_that_is_not_there_is_no_error_unless_asked_for(poets):
    """Without a store the code is documented; a store that was named and is missing is an error."""
    assert run().exit_code == 0
    done = run("--store", "nowhere.db")
    assert done.exit_code == 1
    assert "no store there" in done.output


def test_the_same_again_changes_no_byte(poets):
    """A second time nothing is written, and --check agrees; after a change it does not."""
    assert run("run.json").exit_code == 0
    before = texts("docs")
    times = {name: Path("docs", name).stat().st_mtime_ns for name in NAMES}

    again = run("run.json")
    assert "Nothing changed." in again.output
    assert texts("docs") == before
    assert {name: Path("docs", name).stat().st_mtime_ns for name in NAMES} == times
    assert run("run.json", "--check").exit_code == 0

    source = Path("poets.py")
    source.write_text(source.read_text("utf-8").replace('"""Run it."""', '"""Run all."""'), "utf-8")
    stale = run("run.json", "--check")
    assert stale.exit_code == 1
    assert f"docs/{PATHS['architecture']}: is stale" in stale.output
    assert texts("docs") == before


def test_what_people_wrote_stays(poets):
    """A section in a page and a node in the canvas survive a change of the code."""
    run("run.json")
    page = Path("docs", PATHS["troubleshooting"])
    mine = "<!-- keep: on-call -->\nAsk Ada.\n<!-- /keep: on-call -->"
    page.write_text(
        page.read_text("utf-8").replace("## What failed\n", f"## What failed\n\n{mine}\n")
    )
    canvas = Path("docs", CANVAS)
    drawn = json.loads(canvas.read_text("utf-8"))
    drawn["nodes"].append(
        {"id": "mine", "type": "text", "x": -999, "y": 0, "width": 50, "height": 50, "text": "?"}
    )
    canvas.write_text(json.dumps(drawn), encoding="utf-8")
    assert run("run.json", "--check").exit_code == 0

    rules = Path("instrumentation.toml")
    rules.write_text(rules.read_text("utf-8").replace('"poets"', '"bards"', 1), encoding="utf-8")
    assert run("run.json").exit_code == 0
    assert f"## What failed\n\n{mine}\n" in page.read_text("utf-8")
    assert "# bards" in page.read_text("utf-8")
    assert "mine" in {each["id"] for each in json.loads(canvas.read_text("utf-8"))["nodes"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_somebody_elses_is_never_overwritten(poets, name):
    """A document that was written by hand is left alone, and so are all others."""
    file = Path("docs", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# Mine\n", encoding="utf-8")
    done = run()

    assert done.exit_code == 1
    assert "was not generated by dytopo-autotrace" in done.output
    assert [each for each in Path("docs").rglob("*") if each.is_file()] == [file]


def test_docstrings_and_names_come_out_as_they_are_written(poets):
    """Markdown, HTML, pipes, backticks and letters beyond ASCII in the source are shown, not obeyed."""
    from markdown_it import MarkdownIt

    run("--runs", "0")
    text = Path("docs", PATHS["api"]).read_text("utf-8")
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    shown, tags = seen(reader.render(text))

    assert "A team of poets | that *rhymes* <b>well</b>." in shown
    assert "Order `what`, and <script>alert(1)</script> | nothing else." in shown
    assert "what: *anything*." in shown
    assert "What `they` all ask for." in shown
    assert "def order(self, what: str = 'a|b', *more, **others) -> str" in shown
    assert "poets.Café" in shown
    assert not {"script", "b"} & set(tags)
    rules = Path("docs", PATHS["observability"]).read_text("utf-8")
    assert "what or '|'" in seen(reader.render(rules))[0]


def test_what_was_said_is_shown_only_when_asked_for(poets):
    """Tasks, goals and messages stay out of the documents unless --content is given."""
    run("run.json")
    assert "Write a poem" not in "".join(texts("docs").values())
    run("run.json", "--content")
    assert "Write a poem" in "".join(texts("docs").values())


def test_everything_wrong_in_the_rule_file_is_on_the_page(poets):
    """A fault in the rules is said where the rules are documented, and harms nothing."""
    with Path("instrumentation.toml").open("a", encoding="utf-8") as rules:
        rules.write('\n[[rule]]\ntarget = "poets:run_swarm"\nrole = "woker"\n')
    assert run("--runs", "0").exit_code == 0

    assert "woker" in Path("docs", PATHS["observability"]).read_text("utf-8")


async def test_the_classic_generator_writes_the_same_pages(poets):
    """Each classic method writes what the command writes, for a reader of the same directory."""
    run()
    base = Path("classic")
    await DocumentationGenerator.generate_overview_canvas(base / CANVAS)
    await DocumentationGenerator.generate_troubleshooting_guide(base / PATHS["troubleshooting"])
    await DocumentationGenerator.generate_architecture_doc(str(base / PATHS["architecture"]))
    await DocumentationGenerator.generate_observability_guide(base / PATHS["observability"])
    await DocumentationGenerator.generate_api_reference(base / PATHS["api"], "poets")
    commanded, classic = texts("docs"), texts(base)

    for name in (CANVAS, *list(PATHS.values())[:3]):
        assert classic[name] == commanded[name], name
    assert "poets.run_swarm" in classic[PATHS["api"]]


async def test_a_canvas_without_metrics_has_none(poets):
    """`include_metrics=False` leaves the figures out and keeps the structure."""
    await DocumentationGenerator.generate_overview_canvas("c.canvas", include_metrics=False)
    text = (poets / "c.canvas").read_text("utf-8")

    assert "not called" not in text
    assert "run\\\\_swarm" in text


async def test_a_module_that_is_not_there_is_said(poets):
    """The reference of a module without source is an error that says what to give."""
    with pytest.raises(AutotraceError, match="no source of a module"):
        await DocumentationGenerator.generate_api_reference("x.md", "no_such_module")


async def test_the_reference_of_a_package_has_its_modules():
    """A package is documented with the public modules below it, wherever Python finds it."""
    names = [module.name for module in here.modules("dytopo_autotrace.analyze", str(ROOT))]

    assert "dytopo_autotrace.analyze.timing" in names
    assert names == sorted(names)


def test_each_rule_of_the_example_is_told():
    """Every rule of the rule file, and every one of a pack that matches, has its section with a sample."""
    text = (EXAMPLE / PATHS["observability"]).read_text("utf-8")
    rules = load("instrumentation.toml", cwd=str(ROOT), environ={}).rules
    told = set(re.findall(r"^### <a [^>]*></a>Rule (\S+)$", text, re.MULTILINE))

    assert {rule.name for rule in rules if not rule.origin.pack} <= told
    assert {"manager", "worker", "router", "llm-attempt"} <= told
    # What the rule file's own rules take, a pack's rule of the same name has no call of.
    own = {name for name in told if "/" not in name}
    assert text.count("A real one") >= len(own)


def test_the_example_is_explained():
    """The pages say who the agents are, how a round goes, what fails, and what to do."""
    overview = (EXAMPLE / PATHS["architecture"]).read_text("utf-8")
    trouble = (EXAMPLE / PATHS["troubleshooting"]).read_text("utf-8")

    for agent in ("researcher", "designer", "developer", "tester", "reviewer", "manager"):
        assert re.search(rf"^\| \[?`{agent}`", overview, re.MULTILINE)
    assert "sequenceDiagram" in overview
    assert overview.count("flowchart LR") >= 2
    assert "Observed: tau (the least similarity that makes an edge) `0.3`" in overview
    assert "tester is dead: all 7 worker calls failed" in trouble
    assert "a retry of" in trouble
    assert "**Remedy:**" in trouble


def recorded(name, program, *roles):
    """A run of a program in the store of the working directory, with a call for each role."""
    spans = [span(i, f"call{i}", i, i + 1, role=role) for i, role in enumerate(roles, 1)]
    number = int(name)
    kept = replace(records(spans, argv=(program, "--secret", name)), started_unix_ns=number * 10**9)
    Path(f"{name}.json").write_text(records_to_json(kept), encoding="utf-8")
    done = CliRunner().invoke(import_.command, [f"{name}.json"])
    assert done.exit_code == 0, done.output


def test_a_script_that_ran_in_between_takes_nothing_over(poets):
    """The documented program is that of the latest run of a swarm; what is left out is said, or chosen."""
    recorded("1", "swarm.py", "orchestrator", "worker")
    recorded("2", "swarm.py", "orchestrator")
    recorded("3", "tools/warm_up.py", "tool")

    assert run().exit_code == 0
    page = Path("docs", PATHS["architecture"]).read_text("utf-8")
    assert "What ran: `swarm.py`." in page
    assert "1 run of tools/warm\\_up.py is left out" in page
    assert "2 recorded runs" in page

    assert run("--program", "warm_up.py").exit_code == 0
    page = Path("docs", PATHS["architecture"]).read_text("utf-8")
    assert "What ran: `tools/warm_up.py`." in page
    assert "2 runs of swarm.py are left out" in page

    missing = run("--program", "nothing.py")
    assert missing.exit_code == 1
    assert "swarm.py, tools/warm_up.py" in missing.output


def test_a_number_of_runs_below_none_is_refused(poets):
    """`--runs -3` is a slip of the hand, and writes nothing."""
    assert run("--runs", "-3").exit_code == 2
    assert not Path("docs").exists()


def test_a_canvas_drawn_by_hand_is_left_alone(poets):
    """A canvas in which no node is ours is somebody's own, however much it looks like one of ours."""
    file = Path("docs", CANVAS)
    file.parent.mkdir()
    mine = {"id": "mine", "type": "text", "x": 0, "y": 0, "width": 9, "height": 9, "text": "!"}
    file.write_text(json.dumps({"nodes": [mine], "edges": []}), encoding="utf-8")
    before = file.read_text("utf-8")

    assert "was not generated" in run().output
    assert file.read_text("utf-8") == before
    file.write_text('{"nodes": [], "edges": []}', encoding="utf-8")
    assert run().exit_code == 0


def test_a_page_that_goes_elsewhere_links_to_what_is_there(poets):
    """No page has a link to a document that nobody has made."""
    write = DocumentationGenerator.generate_architecture_doc
    page = Path("wiki/pages/arch.md")
    asyncio.run(write(page))
    alone = page.read_text("utf-8")
    asyncio.run(DocumentationGenerator.generate_observability_guide("wiki/OBSERVABILITY.md"))
    asyncio.run(write(page))
    beside = page.read_text("utf-8")

    assert not re.search(r"\]\(\.\./[^)]*\.(md|canvas)", alone)
    assert set(re.findall(r"\]\(\.\./([\w-]+\.md)", beside)) == {"OBSERVABILITY.md"}


def test_a_program_that_ran_as_a_module_is_watched_as_one(poets):
    """What can be pasted to watch a run starts the program as it was started."""
    recorded("1", "poets.tour", "orchestrator")
    run()

    assert "--rules instrumentation.toml -m poets.tour\n" in Path(
        "docs", PATHS["observability"]
    ).read_text("utf-8")


def test_functions_of_one_name_are_told_apart(poets):
    """Where a rule means the same method of several classes, each is shown with its class."""
    Path("poets.py").write_text(
        "class Ada:\n    def act(self):\n        'Reckon.'\n"
        "class Bob:\n    @property\n    def name(self): ...\n"
        "    @staticmethod\n    def act():\n        'Build.'\n",
        encoding="utf-8",
    )
    Path("instrumentation.toml").write_text(
        '[[rule]]\ntarget = "poets:*.act"\nrole = "worker"\noperation = "act"\n', encoding="utf-8"
    )
    run()
    page = Path("docs", PATHS["architecture"]).read_text("utf-8")
    reference = Path("docs", PATHS["api"]).read_text("utf-8")

    assert "`Ada.act` ([`poets.py:2`](../../poets.py#L2)): Reckon." in page
    assert "Behind `act` is one or more of [`Ada.act`]" in page
    lines = {int(line) for line in re.findall(r"poets\.py#L(\d+)", page + reference)}
    source = Path("poets.py").read_text("utf-8").split("\n")
    assert all(source[line - 1].strip().startswith(("def ", "class ")) for line in lines - {1})


def test_the_checklist_is_of_the_worst_run(poets):
    """A dead agent of an earlier run is not met by a later run that went well."""
    lost = {"status": "error", "error": SOFT}
    for name, how in (("1", lost), ("2", {})):
        calls = [
            span(n, "act", n, n + 0.5, parent=1, role="worker", agent="ada", **how) for n in (2, 3)
        ]
        kept = records([span(1, "run", 0, 9, role="orchestrator"), *calls])
        kept = replace(kept, started_unix_ns=int(name) * 10**9)
        Path(f"{name}.json").write_text(records_to_json(kept), encoding="utf-8")
    run("1.json", "2.json")
    page = Path("docs", PATHS["troubleshooting"]).read_text("utf-8")

    assert "| Dead agents | none | ada (`1`) | **missed** |" in page
    assert re.search(r"the model's \| \d+%, run[^|]*\| not known \|", page)
    assert "isolated every agent" not in page
    assert "Routing isolates everyone" not in page
