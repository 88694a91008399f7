"""Runs first in every Python that a watched program starts, since its folder is first on PYTHONPATH.

Whatever Python this is, and whether or not we are installed there, it takes our traces out of the
environment, lets the user's own sitecustomize run as it would have, and only then has the program
watched. No syntax here that an old Python does not know.
"""


def _tidy():
    """Make path and environment what the program's own are; what the parent said, if it did."""
    import os
    import sys

    before = set(sys.modules)
    here = os.path.dirname(__file__)
    sys.path[:] = [each for each in sys.path if each != here]
    sys.path_importer_cache.pop(here, None)
    ours, separator, theirs = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if ours == here:
        if separator:
            os.environ["PYTHONPATH"] = theirs
        else:
            del os.environ["PYTHONPATH"]
    said = os.environ.pop("DYTOPO_AUTOTRACE_CHILD", None)
    if said is None:
        return None
    import json

    said = json.loads(said)
    said["traceparent"] = os.environ.pop("TRACEPARENT", "")
    if said["their_traceparent"] is not None:
        os.environ["TRACEPARENT"] = said["their_traceparent"]
    said["imported"] = set(sys.modules) - before
    return said


def _theirs():
    """Let the user's own sitecustomize run in our place: it is imported by the same name."""
    import sys

    ours = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        # There is none, or an import in it failed: Python is silent about the first, not the second.
        sys.modules.setdefault("sitecustomize", ours)
        raise


def _watch(said):
    import sys

    if list(sys.version_info[:2]) != said["python"] or sys.prefix != said["prefix"]:
        return
    before = set(sys.modules)
    try:
        import dytopo_autotrace
    except ImportError:
        sys.path.append(said["root"])
        try:
            import dytopo_autotrace
        finally:
            sys.path.remove(said["root"])
    if dytopo_autotrace.__version__ == said["version"]:
        from dytopo_autotrace import child

        path0 = child.path0()
        child.begin(said)
        child.make_way(path0, said["imported"] | set(sys.modules) - before)


try:
    _said = _tidy()
except Exception:
    _said = None
try:
    _theirs()
finally:
    if _said is not None:
        try:
            _watch(_said)
        except Exception:
            pass
