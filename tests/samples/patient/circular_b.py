"""Takes a name of a module that is half done."""

from patient.circular_a import first


def use_first():
    return first()
