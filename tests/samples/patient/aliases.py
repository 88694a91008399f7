"""Holds functions of another module in every way there is."""

from functools import partial

from patient import plain
from patient.plain import add, double, order
from patient.plain import add as plus

TABLE = {"add": add}
add_ten = partial(add, 10)
own = plain.add


def use(a, b, using=add):
    return using(a, b)


def use_by_name(a, b):
    return add(a, b)


__all__ = ["TABLE", "add", "add_ten", "double", "order", "own", "plus", "use", "use_by_name"]
