"""Makes its attributes when they are asked for."""

asked = []


def real():
    return "real"


def __getattr__(name):
    asked.append(name)
    if name == "made":
        return lambda: "made"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
