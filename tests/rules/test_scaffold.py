"""The rule file that one begins with: what is picked, why, and that it holds."""

import re
import shutil
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.rules.load import load_text
from dytopo_autotrace.rules.scaffold import scaffold
from dytopo_autotrace.rules.scaffold.facts import read
from dytopo_autotrace.rules.scaffold.roles import words
from dytopo_autotrace.rules.survey import examine

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def made(tmp_path):
    """Write modules and read them as a project; gives the targets of each role."""

    def make(**sources):
        for name, source in sources.items():
            file = tmp_path / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source), encoding="utf-8")
        return scaffold(str(tmp_path))

    make.root = tmp_path
    return make


def targets(scaffolded):
    """By role, the targets of the rules, which load and hold against the source."""
    ruleset = load_text(scaffolded.text, "starter.toml")
    assert not ruleset.faults
    survey = examine(ruleset, scaffolded.roots)
    assert not survey.faults
    assert {match.rule for match in survey.matched} == {rule.name for rule in ruleset.rules}
    by_role = {}
    for rule in ruleset.rules:
        by_role.setdefault(rule.role, set()).update(target.text for target in rule.targets)
    return by_role


def test_the_example_swarm(tmp_path):
    """Of the example each part is found for what it is, and nothing else is taken for a part."""
    shutil.copytree(EXAMPLES, tmp_path / "project")

    assert targets(scaffold(str(tmp_path / "project"))) == {
        "orchestrator": {"dytopo.orchestrator:run_swarm"},
        "manager": {"dytopo.orchestrator:_call_manager"},
        "router": {"dytopo.router:build_routing_result"},
        "worker": {"dytopo.orchestrator:_call_worker"},
        "llm": {"inference.llm_client:InferenceClient.chat_completion"},
    }


def test_what_is_read_from_the_example():
    """Agents, rounds and tokens are read where the source shows for certain what they are."""
    rules = {rule["role"]: rule for rule in tomllib.loads(scaffold(str(EXAMPLES)).text)["rule"]}

    assert rules["worker"]["agent"] == "agent.agent_id"
    assert rules["manager"]["attributes"] == {"round": "round_num"}
    assert rules["orchestrator"]["attributes"] == {"task": "swarm.task"}
    assert [each["value"] for each in rules["llm"]["metric"]] == [
        "result.tokens_in",
        "result.tokens_out",
    ]


def test_each_pick_says_why():
    """Beside each target stands a comment with the reasons for it."""
    text = scaffold(str(EXAMPLES)).text

    for block in text.split("[[rule]]")[1:]:
        assert re.search(r"# Why: .{10}", block.split("target")[0])
    assert "it calls _call_manager, _call_worker and" in text


CLASSES = """
    from openai import AsyncOpenAI
    from agents import function_tool

    class BaseAgent:
        def __init__(self, name): self.name = name
        async def run(self, task): raise NotImplementedError
        @property
        def run_count(self): return 1

    class Writer(BaseAgent):
        async def run(self, task): return await Model().generate(task)
        async def run_all(self, task): return await self.run(task)

    class Model:
        async def generate(self, prompt):
            return await self.client.chat.completions.create(model="m", messages=[prompt])

    @function_tool
    def weather(city): return "fine"

    class PlannerAgent(BaseAgent):
        async def plan(self, task, history): return await Model().generate(task)

    class Crew:
        async def kickoff(self, task):
            while True:
                await PlannerAgent().plan(task, [])
                await Writer().run(task)

    class ConnectionManager:
        async def run(self, task): pass
"""


def test_what_routes_messages_is_a_router_and_what_writes_one_for_it_is_not(made):
    """The verb decides: messages are what is routed, or what is built."""
    source = """
        def route_messages(agents, descriptors): return {"edges": []}
        def build_routing_prompt(agents, descriptors): return ""
        async def run(agents):
            return route_messages(agents, build_routing_prompt(agents, []))
    """
    assert targets(made(team=source))["router"] == {"team:route_messages"}


def test_classes_of_a_framework(made):
    """Roles are seen in class names, base classes, decorators and calls of known clients."""
    assert targets(made(team=CLASSES)) == {
        "orchestrator": {"team:Crew.kickoff"},
        "manager": {"team:PlannerAgent.plan"},
        "worker": {"team:Writer.run"},
        "llm": {"team:Model.generate"},
        "tool": {"team:weather.__wrapped__"},
    }


def test_nothing_is_told_twice(made):
    """Of model calls in each other the innermost has the rule, and the outer is named as left out."""
    result = made(
        models="""
        class Client:
            def chat_completion(self, messages, model): return self.post("/v1/chat/completions")
            def post(self, url): pass
        def call_llm(messages, model, temperature): return Client().chat_completion(messages, model)
        """
    )

    assert targets(result) == {"llm": {"models:Client.chat_completion"}}
    assert "hand on to what is below: call_llm." in result.text


def test_names_are_those_that_imports_use(made):
    """Packages with and without `__init__.py`, below `src` too, have the names they are imported by."""
    worker = "async def run_worker(agent, task): return call_llm(task)\n"
    made(
        src__pkg__deep__work=worker,
        space__part__jobs=worker,
        app="import space.part.jobs\nimport pkg.deep.work\n",
        llm="def call_llm(prompt, model, temperature): return 'chat/completions'\n",
    )
    (made.root / "src" / "pkg" / "__init__.py").touch()
    result = scaffold(str(made.root))

    assert targets(result)["worker"] == {"pkg.deep.work:run_worker", "space.part.jobs:run_worker"}


def test_nothing_is_executed(made):
    """Reading a project runs none of it, and imports none of it."""
    before = set(sys.modules)
    made(boom="raise SystemExit('executed')\n", other="import boom\n")

    assert set(sys.modules) - before <= {name for name in sys.modules if "dytopo" in name}


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:",
        b"\0\0",
        b"\xff\xfe\xfa",
        b"# coding: nonsense\n",
        b"x = " + b"(" * 3000 + b")" * 3000,
        b"x = " + b"-" * 50_000 + b"1",
        b"x = '" + b"a" * 2_000_000 + b"'",
        b"",
    ],
    ids=["syntax", "null", "bytes", "coding", "nested", "unary", "huge", "empty"],
)
def test_odd_files_are_left_out(tmp_path, source):
    """A file that is no source that can be read costs itself only."""
    (tmp_path / "odd.py").write_bytes(source)
    (tmp_path / "fine.py").write_text("def call_llm(prompt, model, stop): 'x'; return 1\n")
    result = scaffold(str(tmp_path))

    assert targets(result) == {"llm": {"fine:call_llm"}} or result.unread


NAMES = st.sampled_from(
    ["run", "agent", "Agent", "llm", "plan", "route", "tool", "é", "_", "select_speaker", "x" * 90]
)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(NAMES, NAMES, st.booleans(), st.lists(NAMES, max_size=3, unique=True)), max_size=8
    )
)
def test_what_is_written_always_holds(tmp_path_factory, functions):
    """Whatever the functions are called, the starter loads without faults and matches."""
    root = tmp_path_factory.mktemp("project")
    lines = []
    for name, owner, is_method, parameters in functions:
        indent = "    " if is_method else ""
        if is_method:
            lines.append(f"class {owner}(Agent, Tool):")
        lines.append(f"{indent}async def {name}({', '.join(parameters)}):")
        lines.append(f"{indent}    return self.client.chat.completions.create() or {name}.task")
    (root / "m.py").write_text("\n".join(lines), encoding="utf-8")

    targets(scaffold(str(root)))


@given(st.text() | st.binary())
def test_reading_never_raises(source):
    """Any text and any bytes are facts or no facts."""
    read("any.py", source if isinstance(source, bytes) else source.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("_call_manager", ["call", "manager"]),
        ("GroupChatManager", ["group", "chat", "manager"]),
        ("OpenAIChatModel", ["open", "ai", "chat", "model"]),
        ("LLM2", ["llm", "2"]),
        ("__x__", ["x"]),
    ],
)
def test_words(name, parts):
    """Names fall into the words that a person reads in them."""
    assert words(name) == parts
