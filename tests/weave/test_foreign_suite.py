"""A library that is woven whole passes its own tests as it does without us."""

import re
import subprocess
import sys
import zipfile

import pytest

LIBRARY, VERSION = "networkx", "3.4.2"
PARTS = (
    *("classes/tests", "utils/tests", "algorithms/tests/test_cycles.py"),
    *("algorithms/tests/test_dag.py", "algorithms/traversal", "generators/tests/test_small.py"),
)
RULES = f"""
[[rule]]
target = "{LIBRARY}.**:**"
exclude = ["{LIBRARY}.**.tests.**:**"]
"""


@pytest.mark.slow
def test_a_library_woven_whole_fails_no_test_more(tmp_path):
    """Every test of networkx that passes bare passes with every function of networkx watched."""
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    got = subprocess.run(
        [*download, "--only-binary=:all:", f"{LIBRARY}=={VERSION}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode:
        pytest.skip(f"{LIBRARY} cannot be downloaded: {got.stderr[-200:]}")
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path)
    (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
    watching = ("-m", "dytopo_autotrace", "--rules", "rules.toml", "--store", "none")
    bare = _suite(tmp_path)
    woven = _suite(tmp_path, *watching, "--report", "none")
    assert bare["passed"] > 1000
    assert woven == bare


def _suite(folder, *launcher):
    done = subprocess.run(
        [
            *(sys.executable, *launcher, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider"),
            *(f"{LIBRARY}/{part}" for part in PARTS),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    lines = done.stdout.splitlines()
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", lines[-1])}
    failed = sorted(line.split(" - ")[0] for line in lines if re.match("FAILED|ERROR", line))
    return {"passed": counts.get("passed", 0), "failed": failed}
