"""Values as JSON text: what comes back, and in which form."""

import json
import math
import sys

from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.collect.span import MISSING
from dytopo_autotrace.store.plain import from_text, text_of, text_or_bytes, to_text

ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates among them
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers().map(lambda number: number * 10**5000)
    | st.floats()
    | ANY_TEXT
    | st.just(MISSING)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(ANY_TEXT.filter(lambda key: key != "\0"), inner, max_size=4)
    ),
    max_leaves=12,
)


def as_json_has_it(value):
    """The form in which a value comes back: sequences are lists."""
    if isinstance(value, list | tuple):
        return [as_json_has_it(each) for each in value]
    if isinstance(value, dict):
        return {key: as_json_has_it(each) for key, each in value.items()}
    return value


def is_same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(VALUES)
def test_plain_values_come_back_equal(value):
    """Any plain value comes back with its type, NaN and integers of any length included."""
    assert is_same(from_text(to_text(value)), as_json_has_it(value))


@given(VALUES)
def test_text_can_be_kept_anywhere(value):
    """The text is JSON in the strict sense, and can be written as UTF-8."""
    text = to_text(value)
    text.encode()
    json.loads(text, parse_constant=lambda name: 1 / 0)


@given(ANY_TEXT)
def test_text_of_its_own_comes_back_equal(text):
    """A text column gives the text back, halves of surrogate pairs included."""
    assert text_of(text_or_bytes(text)) == text


def test_other_objects_become_their_text():
    """Sets become lists, keys text, other objects their text, and a bad `__str__` harms nobody."""

    class Bad:
        def __str__(self):
            raise RuntimeError

    assert from_text(to_text({1: {"a"}, None: 2.5, (1,): True})) == {
        "1": ["a"],
        "null": 2.5,
        "(1,)": True,
    }
    assert from_text(to_text([b"x", Bad()])) == ["b'x'", "<Bad: str raised RuntimeError>"]


def test_what_has_no_end_is_cut():
    """A list within itself, or one nested too deep, becomes text instead of a fault."""
    endless = []
    endless.append(endless)
    deep = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    assert isinstance(to_text(endless), str)
    assert isinstance(to_text(deep), str)
