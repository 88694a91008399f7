"""Imports a module that imports this one while it is half done."""


def first():
    return "first"


from patient import circular_b  # noqa: E402


def through():
    return circular_b.use_first()


def last():
    return "last"
