"""The folders are the architecture: imports go the way that the journey of a call allows."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dytopo_autotrace"

ALLOWED = {
    "rules": set(),
    "collect": set(),
    "weave": {"rules", "collect"},
    "store": {"collect"},
    "analyze": {"collect"},
    "report": {"collect", "analyze"},
    "export": {"collect", "analyze"},
    "live": {"rules", "collect", "analyze", "store", "export"},
    "importing": {"collect", "analyze", "export"},
    "preflight": {"rules", "weave", "collect", "store", "report", "agent"},
    "documentation": {"rules", "collect", "store", "analyze", "export"},
}
"""What each folder may import of ours, besides `errors`. The composition root and the commands, which
wire the folders together, may import anything."""

# The classic collector writes its own files: `await metrics.export_prometheus(path)`.
KNOWN = {("collect", "export")}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield (parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path, *, at_import_time):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_import_time else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dytopo_autotrace"):
            base = node.module.split(".")[1:]
            for alias in node.names:
                yield (*base, alias.name), tuple(base)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("dytopo_autotrace."):
                    name = tuple(alias.name.split(".")[1:])
                    yield name, name


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_a_folder_imports_only_what_is_before_it(folder):
    """No folder imports from one that comes after it in the journey of a call."""
    for name, path in modules():
        if name[:1] != (folder,):
            continue
        for target, _ in imports(path, at_import_time=False):
            top = target[0]
            if top in (folder, "errors", "__version__") or (folder, top) in KNOWN:
                continue
            assert top in ALLOWED[folder], f"{path.name} imports {'.'.join(target)}"


def test_there_are_no_import_loops():
    """Following imports at import time, no module leads back to itself."""
    known = dict(modules())
    edges = {}
    for name, path in known.items():
        targets = set()
        for target, base in imports(path, at_import_time=True):
            targets.add(target if target in known else base)
        edges[name] = {each for each in targets if each in known and each != name}
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, " -> ".join(".".join(each) for each in (*open_, name))
        if name in done:
            return
        open_.append(name)
        for each in sorted(edges[name]):
            visit(each)
        open_.pop()
        done.add(name)

    for name in sorted(edges):
        visit(name)


def test_the_watched_process_imports_the_standard_library_and_wrapt():
    """Nothing that a host would have to install is imported by what runs inside of it."""
    inside = ("rules", "weave", "collect", "store")
    for name, path in modules():
        if name[:1] and name[0] not in inside and len(name) > 1:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for each in names:
                assert each.split(".")[0] not in {"rich", "click", "jinja2", "griffe"}, (
                    f"{path}: {each}"
                )
