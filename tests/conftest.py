"""What all tests share: a sample program, and the duty to leave nothing behind."""

import importlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings

from dytopo_autotrace import agent, testing
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.weave import decorators
from dytopo_autotrace.weave.finder import Finder

# Few examples by default, so that the suite is run often; more by HYPOTHESIS_PROFILE=thorough.
settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_xdist_auto_num_workers(config):
    """More than there are cores: many tests start programs and wait for them."""
    return 3 * (os.cpu_count() or 1) // 2


def pytest_configure():
    # A shell starts what runs in the background without SIGINT, and the programs would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


SAMPLES = Path(__file__).parent / "samples"
SAMPLE_PACKAGES = ("patient", "nowhere")


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Fail a test that leaves a finder, a patch or a thread behind; empty the collectors."""
    threads = set(threading.enumerate())
    yield
    left = []
    if agent._installed is not None:
        left.append("an installed agent")
        agent.uninstall()
    finders = [finder for finder in sys.meta_path if isinstance(finder, Finder)]
    for finder in finders:
        sys.meta_path.remove(finder)
    left += ["a finder on sys.meta_path" for _ in finders]
    left += ["a patch" for _ in decorators.ledger.undo]
    testing.clear()
    current.set(None)  # a context keeps its trace, and all tests share one
    for thread in set(threading.enumerate()) - threads:
        thread.join(1)
        if thread.is_alive():
            left.append(f"thread {thread.name!r}")
    if left:
        pytest.fail(f"left behind: {', '.join(left)}")


@pytest.fixture
def load(monkeypatch):
    """Import modules of the sample program, afresh in every test."""
    _forget()
    monkeypatch.syspath_prepend(str(SAMPLES))
    yield importlib.import_module
    _forget()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Write modules, by file name and source, and put them on the path."""
    names = []
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**sources):
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
            names.append(name)
        importlib.invalidate_caches()
        return tmp_path

    yield write
    for name in names:
        sys.modules.pop(name, None)


def _forget():
    for name in [*sys.modules]:
        if name.partition(".")[0] in SAMPLE_PACKAGES:
            del sys.modules[name]
