"""What the source of a program says about rules, without running any of it."""

import ast
import itertools
import re
import sys
import textwrap
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.rules.load import load
from dytopo_autotrace.rules.survey import examine, survey
from dytopo_autotrace.rules.survey.outline import Outline, WrongError

AGENTS = """
import abc, functools
from typing import Protocol
from elsewhere import helper, Base

raise SystemExit("this must not be executed")

def plain(task, *, rounds=1): pass

async def later(task, *rest, **options): yield 1

@functools.cache
def cached(n): return n

@helper
def changed(task): pass

def outer(n):
    class Inner:
        def method(self): pass
    if n:
        def nested(n): pass
    return [lambda x: x]

assigned = plain
if True:
    def conditional(a): yield a
else:
    def conditional(b): pass

class Worker:
    limit = 3
    run_it = plain

    def run(self, task): pass

    async def arun(self, task): pass

    @classmethod
    def make(cls, name): pass

    @staticmethod
    def check(name): pass

    @property
    def name(self): pass

    @helper
    def retried(self, task): pass

    def _private(self): pass

    class Part:
        def go(self): pass

class Special(Worker):
    def run(self, task, more): pass

class Foreign(Base):
    def own(self): pass

class Known(Protocol):
    def own(self): pass

@helper
class Decorated:
    def own(self): pass

Worker.added = plain
"""


@pytest.fixture
def look(tmp_path):
    """Write a project and examine one rule, given as TOML, against it."""
    root = tmp_path / "src"

    def write(name, source):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source), encoding="utf-8")
        return file

    def examine_rules(text, *, script=None, module=None, **others):
        rules = tmp_path / "rules.toml"
        if "[[rule]]" not in text:
            text = f'[[rule]]\ntarget = "{text}"\n'
        rules.write_text(textwrap.dedent(text), encoding="utf-8")
        ruleset = load(str(rules), cwd=str(tmp_path), environ={})
        assert not ruleset.faults
        script = None if script is None else str(root / script)
        return examine(ruleset, (str(root),), script, module, **others)

    write("agents.py", AGENTS)
    write("team/__init__.py", "from .lead import *")
    write("team/lead.py", "def lead(): pass")
    write("team/deep/member.py", "def follow(): pass\ndef lead(): pass")
    write("spaces/one.py", "def lead(): pass")
    examine_rules.write = write
    examine_rules.root = root
    return examine_rules


def found(result):
    return [(match.qualname, match.kind) for match in result.matched]


@pytest.mark.parametrize(
    ("target", "qualname", "kind"),
    [
        ("agents:plain", "plain", "function"),
        ("agents:later", "later", "async generator function"),
        ("agents:cached", "cached", "function"),
        ("agents:cached.__wrapped__", "cached.__wrapped__", "function"),
        ("agents:outer.<locals>.nested", "outer.<locals>.nested", "function"),
        ("agents:outer.<locals>.Inner.method", "outer.<locals>.Inner.method", "method"),
        ("agents:Worker.run", "Worker.run", "method"),
        ("agents:Worker.arun", "Worker.arun", "async method"),
        ("agents:Worker.make", "Worker.make", "class method"),
        ("agents:Worker.check", "Worker.check", "static method"),
        ("agents:Worker._private", "Worker._private", "method"),
        ("agents:Worker.Part.go", "Worker.Part.go", "method"),
        ("agents:Worker.retried.__wrapped__", "Worker.retried.__wrapped__", "method"),
        ("agents:Special.run", "Special.run", "method"),
        ("agents:Special.arun", "Special.arun", "async method"),
        ("agents:Foreign.own", "Foreign.own", "method"),
        ("agents:conditional", "conditional", "function"),
        ("team.lead:lead", "lead", "function"),
        ("team.deep.member:follow", "follow", "function"),
        ("spaces.one:lead", "lead", "function"),
    ],
)
def test_found(look, target, qualname, kind):
    """A function is found where it is defined, inherited, nested or decorated."""
    result = look(target)

    assert found(result) == [(qualname, kind)]
    assert not result.faults
    assert not result.doubts


FAMILY = {
    "bases.py": """
        import abc
        class Model(abc.ABC):
            @abc.abstractmethod
            def run(self, task): ...
            class Part: pass
        """,
    "parts/__init__.py": "from .near import Near\nfrom bases import Model as Exported",
    "parts/near.py": "import bases\nclass Near(bases.Model):\n    async def run(self, task): pass",
    "far.py": """
        import parts, parts.near as n
        class Far(parts.Near, object):
            def run_all(self): pass
        class Farther(Far):
            def run(self, task): pass
        class Named(n.Near):
            def run(self, task): pass
        class Again(parts.Exported):
            def run(self, task): pass
        class Stranger:
            def run(self, task): pass
        """,
    "prog.py": """
        import far
        from far import Farther as F
        class Own(F):
            def run(self, task): pass
        """,
}


@pytest.fixture
def relatives(look):
    for name, text in FAMILY.items():
        look.write(name, textwrap.dedent(text))
    return look


def test_heirs_are_found_where_imports_lead(relatives):
    """A class's method is found in it and in every heir that the program imports, by any name."""
    result = relatives("bases:Model+.run", script=str(relatives.root / "prog.py"))

    assert {(match.module, match.qualname) for match in result.matched} == {
        ("bases", "Model.run"),
        ("parts.near", "Near.run"),
        ("far", "Farther.run"),
        ("far", "Named.run"),
        ("far", "Again.run"),
        ("__main__", "Own.run"),
    }
    assert not result.faults
    assert not result.doubts


def test_heirs_by_glob_and_in_one_module(relatives):
    """A glob means methods of heirs in the class's own module too; nothing else is taken for one."""
    result = relatives("far:Far+.run*")

    assert [match.qualname for match in result.matched] == ["Far.run_all", "Farther.run"]


def test_heirs_that_are_not_found_are_a_doubt(relatives):
    """No method in any source is a doubt: heirs may be defined anywhere. No such class is a fault."""
    (doubt,) = relatives("bases:Model+.walk").doubts
    (fault,) = relatives("bases:Modle+.run").faults

    assert "defined anywhere" in doubt.why
    assert "Model" in fault.hint


def test_place(look):
    """A match says the file and the line of the `def`."""
    (match,) = look("agents:Special.arun").matched

    assert match.file == str(look.root / "agents.py")
    lines = (look.root / "agents.py").read_text().splitlines()
    assert lines[match.line - 1].strip() == "async def arun(self, task): pass"


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("agents:plian", "the module has no 'plian'.", "Did you mean 'plain'?"),
        ("agents:Worker.rnu", "Worker has no 'rnu'.", "Did you mean 'run'?"),
        ("agents:Wroker.run", "the module has no 'Wroker'.", "Did you mean 'Worker'?"),
        ("agents:Special.arnu", "Special has no 'arnu'.", "Valid: run."),
        ("agents:Known.other", "Known has no 'other'.", "Valid: own."),
        ("agents:Worker", "is a class.", "Name its methods, such as Worker.*"),
        ("agents:Worker.Part", "is a class.", "Name its methods, such as Worker.Part.*"),
        ("agents:plain.inner", "plain is a function.", "plain.<locals>."),
        ("agents:outer.<locals>.netsed", "has no def.", "'outer.<locals>.nested'"),
        ("agents:plain.__wrapped__", "has no decorators.", "Leave out .__wrapped__."),
        ("agents:helper.<locals>.f", "helper is imported from elsewhere", "where it is defined"),
        ("agents:Work*.nope", "matches no function that agents define", ""),
        ("agents:Base.*", "matches no function", ""),
        ("agent:plain", "there is no module 'agent'.", "Did you mean 'agents'?"),
        ("team.laed:lead", "there is no module 'team.laed'.", "Did you mean 'team.lead'?"),
        ("team.deep.membre:lead", "no module 'team.deep.membre'.", "'team.deep.member'?"),
        ("taem.lead:lead", "there is no module 'taem'.", "Did you mean 'team'?"),
        (
            "agents.more:f",
            "there is no module 'agents.more'.",
            "'agents' is a module, not a package.",
        ),
        ("agents.more.deep:f", "there is no module 'agents.more'.", "not a package"),
        ("team.nothing*:f", "there is no module like 'team.nothing*'.", ""),
        ("team.*:nope", "matches no function that the modules define", ""),
        ("nowhere.**:f", "there is no module like 'nowhere.**'.", ""),
    ],
)
def test_faults(look, target, message, hint):
    """What is not there, or cannot be watched, is a fault that names the nearest that is."""
    result = look(target)
    (fault,) = result.faults

    assert (fault.line, fault.key, fault.value) == (1, "rule.target", repr(target))
    assert message in fault.message
    assert hint in fault.hint
    assert not result.matched
    assert not result.doubts


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("agents:helper", "helper is imported from elsewhere"),
        ("agents:assigned", "assigned is assigned"),
        ("agents:functools.cache", "functools is an imported module"),
        ("agents:Base.run", "Base is imported from elsewhere"),
        ("agents:Worker.run_it", "Worker.run_it is assigned"),
        ("agents:Worker.added", "Worker.added is assigned"),
        ("agents:Foreign.other", "Foreign.other may be inherited from Base"),
        ("agents:Decorated.other", "Decorated has a decorator or a metaclass"),
        ("team:lead", "it has `from .lead import *`"),
        ("__main__:work", "which program is started"),
        ("sys:exit", "written in C"),
        ("broken:f", "does not compile"),
        ("dynamic:made", "calls globals()"),
        ("dynamic:made*", "calls globals()"),
        ("late:f", "assigned by a function"),
        ("extended.plugin:f", "sets its __path__"),
        ("*:run", "may mean any module"),
        ("compiled:f", "no source"),
    ],
)
def test_doubts(look, target, why):
    """What only running the program can tell is a doubt, never a fault."""
    import py_compile

    look.write("broken.py", "def f(:")
    look.write("dynamic.py", "globals()['made'] = print\ndef other(): pass")
    look.write("late.py", "def start():\n    global f\n    f = print")
    look.write("extended/__init__.py", "__path__ = ['/somewhere']")
    source = look.write("compiled.py", "def f(): pass")
    py_compile.compile(str(source), cfile=str(look.root / "compiled.pyc"))
    source.unlink()
    result = look(target)
    (doubt,) = result.doubts

    assert why in doubt.why
    assert not result.faults
    assert not result.matched


@pytest.mark.parametrize(
    ("target", "qualnames"),
    [
        ("agents:Worker.*", ["run", "arun", "make", "check", "retried", "_private"]),
        ("agents:Worker.*run", ["run", "arun"]),
        ("agents:*.Part.*", ["go"]),
        ("agents:c*", ["cached", "changed", "conditional"]),
        ("agents:outer.<locals>.*", ["nested"]),
        ("agents:Worker.*.__wrapped__", ["__wrapped__"] * 4),
        ("team.**:lead", ["lead", "lead"]),
        ("team.*:lead", ["lead"]),
        ("tea?.lead:*", ["lead"]),
        ("spaces.*:*", ["lead"]),
    ],
)
def test_globs(look, target, qualnames):
    """A glob finds all functions that it matches, in all modules that it means."""
    result = look(target)

    assert sorted(name.rpartition(".")[2] for name, _ in found(result)) == sorted(qualnames)
    assert not result.faults


def test_exclude(look):
    """What a rule excludes is not matched, and a target of which nothing is left is a fault."""
    text = '[[rule]]\ntarget = ["agents:Worker.*", "agents:plain"]\nexclude = ["*.a*", "plain"]\n'
    result = look(text)

    assert "Worker.arun" not in dict(found(result))
    assert "Worker.run" in dict(found(result))
    assert [fault.value for fault in result.faults] == ["'agents:plain'"]
    assert "excluded" in result.faults[0].message


def test_shadowed(look):
    """A function that an earlier rule takes is matched, and the earlier rule is named."""
    result = look(
        '[[rule]]\nname = "first"\ntarget = "agents:plain"\n'
        '[[rule]]\nname = "second"\ntarget = "agents:*"\n'
    )

    by = {match.qualname: match.shadowed_by for match in result.matched if match.rule == "second"}
    assert by["plain"] == "first"
    assert by["cached"] == ""


EXPRESSIONS = """
[[rule]]
target = "{target}"
agent = "{agent}"
"""


@pytest.mark.parametrize(
    ("target", "expression"),
    [
        ("agents:plain", "task.name + str(rounds)"),
        ("agents:plain", "result or error"),
        ("agents:later", "rest and options and task"),
        ("agents:Worker.run", "self.name"),
        ("agents:Worker.make", "cls"),
        ("agents:Worker.check", "name"),
        ("agents:Worker.retried.__wrapped__", "[m for m in task]"),
        ("agents:Worker.*run", "task"),
        ("agents:cached", "n"),
    ],
)
def test_names_of_parameters(look, target, expression):
    """An expression may name the parameters of the def, `result` and `error`."""
    result = look(EXPRESSIONS.format(target=target, agent=expression))

    assert not result.faults
    assert not result.doubts


@pytest.mark.parametrize(
    ("target", "expression", "message", "hint"),
    [
        ("agents:plain", "tsak", "names 'tsak', which is no parameter of plain.", "'task'"),
        ("agents:plain", "self.name", "names 'self'", "Valid: error, last, result, rounds, task."),
        ("agents:Worker.make", "self.name", "no parameter of Worker.make.", "Valid: cls"),
        ("agents:Worker.*run", "n", "no parameter of Worker.run and 1 more.", "Valid:"),
        ("agents:Worker.retried.__wrapped__", "n", "no parameter of Worker.retried.", "Valid:"),
        ("agents:Special.arun", "more", "no parameter of Worker.arun.", "Valid:"),
    ],
)
def test_names_of_no_parameters(look, target, expression, message, hint):
    """An expression that names something else is a fault, once for all functions of the rule."""
    (fault,) = look(EXPRESSIONS.format(target=target, agent=expression)).faults

    assert (fault.key, fault.value) == ("rule.agent", repr(expression))
    assert message in fault.message
    assert hint in fault.hint


def test_names_that_a_decorator_may_add(look):
    """Behind a decorator that is not known, another parameter is a doubt."""
    result = look(EXPRESSIONS.format(target="agents:changed", agent="more"))

    assert not result.faults
    assert "decorators" in result.doubts[0].why


def test_all_expressions_are_checked(look):
    """Attributes, failed_if, and values and labels of metrics are looked at like `agent`."""
    result = look("""
        [[rule]]
        target = "agents:plain"
        attributes = { one = "a", two = "task" }
        failed_if = "b"
          [[rule.metric]]
          name = "x_total"
          kind = "counter"
          value = "c"
          labels = { d = "d" }
        """)

    assert {fault.key for fault in result.faults} == {
        "rule.attributes.one",
        "rule.failed_if",
        "rule.metric.value",
        "rule.metric.labels.d",
    }


def test_main_script(look):
    """The script that is started is `__main__`, and goes by its file's name."""
    look.write("start.py", "def main(): pass")

    for target in ("__main__:main", "start:main", "__main__:*", "sta*:main"):
        assert found(look(target, script="start.py")) == [("main", "function")]
    assert "Did you mean 'main'" in look("__main__:mian", script="start.py").faults[0].hint


def test_main_module(look):
    """The module that is started is `__main__`; of a package it is its `__main__.py`."""
    look.write("team/__main__.py", "def start(): pass")

    assert found(look("__main__:lead", module="team.lead")) == [("lead", "function")]
    assert found(look("__main__:start", module="team")) == [("start", "function")]
    assert found(look("team.__main__:start", module="team")) == [("start", "function")]


def test_main_directory_and_zip(look):
    """A directory or zip file that is started has its `__main__.py` for `__main__`."""
    import zipfile

    look.write("app/__main__.py", "def start(): pass")
    with zipfile.ZipFile(look.root / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "def start(): pass")

    for script in ("app", "app.zip"):
        assert found(look("__main__:start", script=script)) == [("start", "function")]


def test_main_that_changes_the_search_path(look):
    """If the script touches `sys.path`, a module that is not found yet is a doubt."""
    look.write("start.py", "import sys\nsys.path.insert(0, 'plugins')")
    result = look("plugin:f", script="start.py")

    assert not result.faults
    assert "sys.path" in result.doubts[0].why


def test_module_in_a_zip_file(look, tmp_path):
    """A module on the path may be in a zip file."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "library.zip", "w") as archive:
        archive.writestr("library/__init__.py", "def f(): pass")
        archive.writestr("library/part.py", "def g(): pass")
    rules = tmp_path / "zip.toml"
    rules.write_text('[[rule]]\ntarget = ["library:f", "library.part:g", "library.part:h"]\n')
    ruleset = load(str(rules), cwd=str(tmp_path), environ={})
    result = examine(ruleset, (str(tmp_path / "library.zip"),))

    assert [name for name, _ in found(result)] == ["f", "g"]
    assert len(result.faults) == 1


def test_other_finders_are_asked(look):
    """A module that is nowhere on the path may be known to a finder, as editable installs are."""
    import importlib.util

    file = look.write("../elsewhere/editable.py", "def f(): pass")

    class Finder:
        def find_spec(self, name, path=None):
            if name == "editable":
                return importlib.util.spec_from_file_location(name, file)
            if name == "fails":
                raise RuntimeError
            return None

    assert found(look("editable:f", finders=(Finder(),))) == [("f", "function")]
    assert look("other:f", finders=(Finder(),)).faults
    assert look("fails:f", finders=(Finder(),)).doubts


def test_packs_are_not_examined(look):
    """The rules of a pack name libraries that need not be there."""
    result = look('[agent]\npacks = ["dytopo"]\n[[rule]]\ntarget = "agents:plain"\n')

    assert [match.rule for match in result.matched] == ["plain"]
    assert not result.faults


def test_nothing_is_imported(look):
    """Neither the modules that rules name nor their parents are imported."""
    before = set(sys.modules)
    look('[[rule]]\ntarget = ["agents:plain", "team.deep.member:follow", "team.**:*"]\n')

    assert not {name for name in set(sys.modules) - before if name.startswith(("agents", "team"))}


def test_no_warnings_of_the_source(look):
    """The compiler's warnings about the program are left to the program."""
    look.write("odd.py", "def f(): return '\\d' is 1")

    assert found(look("odd:f")) == [("f", "function")]


def test_each_file_is_read_once(look, monkeypatch):
    """However many targets name a module, its source is parsed once."""
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(
        ast, "parse", lambda *args, **how: parsed.append(args) or parse(*args, **how)
    )
    targets = 'agents:plain", "agents:Worker.*", "agents:later", "agents:Special.run'
    look(f'[[rule]]\ntarget = ["{targets}"]\n')

    assert len([args for args in parsed if str(look.root) in str(args[1:])]) == 1


def test_survey_gives_the_faults(look, tmp_path):
    """`survey` is what is wrong, and nothing else."""
    rules = tmp_path / "two.toml"
    rules.write_text('[[rule]]\ntarget = ["agents:plain", "agents:nope"]\n')
    ruleset = load(str(rules), cwd=str(tmp_path), environ={})
    faults = survey(ruleset, (str(look.root),))

    assert [fault.value for fault in faults] == ["'agents:nope'"]
    assert str(faults[0]).startswith(f"{rules}:1: rule.target = 'agents:nope': the module has no")


NAMES = st.sampled_from(["a", "b", "c", "__d", "e"])


def blocks(children):
    """Statements that define something, around statements that do."""
    body = st.lists(children, min_size=1, max_size=3)
    headers = st.one_of(
        st.builds("def {}(x, *y):".format, NAMES),
        st.builds("async def {}(x=1, /, z=2, **k):".format, NAMES),
        st.builds("@staticmethod\ndef {}():".format, NAMES),
        st.builds("class {}:".format, NAMES),
        st.sampled_from(
            ["if True:", "try:", "for i in ():", "with open('x') as f:", "while later():"]
        ),
    )
    return st.builds(_block, headers, body)


def _block(header, body):
    text = header + "\n" + textwrap.indent("\n".join(body), "    ")
    return text + ("\nfinally:\n    pass" if header == "try:" else "")


SOURCES = st.lists(
    st.recursive(
        st.sampled_from(["pass", "x = lambda: 1", "y = [i for i in ()]"]), blocks, max_leaves=12
    ),
    min_size=1,
    max_size=4,
).map("\n".join)


def code_of_functions(code):
    """Qualname and parameters of every function that compiled code defines."""
    for const in code.co_consts:
        if isinstance(const, CodeType):
            if const.co_flags & 2 and not const.co_name.startswith("<"):  # CO_NEWLOCALS: no class
                count = const.co_argcount + const.co_kwonlyargcount
                count += bool(const.co_flags & 4) + bool(const.co_flags & 8)
                yield const.co_qualname, frozenset(const.co_varnames[:count])
            yield from code_of_functions(const)


@given(SOURCES)
def test_outline_has_what_the_compiler_makes(source):
    """The functions of an outline, with their parameters, are those of the compiled module."""
    try:
        code = compile(source, "<generated>", "exec", dont_inherit=True)
    except SyntaxError:
        return
    compiled = dict(code_of_functions(code))
    outline = Outline(source, "<generated>")
    seen = {
        name: each.parameters for name, each in outline.functions() if "__wrapped__" not in name
    }

    assert seen == compiled


@given(SOURCES)
def test_every_function_of_an_outline_is_found_by_its_name(source):
    """Where no name is taken twice, a literal target finds each function that a glob may match."""
    numbers = itertools.count()
    named = re.sub(r"\b(def|class) \w+", lambda match: f"{match[1]} name{next(numbers)}", source)
    outline = Outline(named, "<generated>")

    for qualname, definition in outline.functions():
        assert outline.find(qualname) is definition
    with pytest.raises(WrongError):
        outline.find("name")
