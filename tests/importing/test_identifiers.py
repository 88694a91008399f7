"""Foreign ids as numbers."""

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.importing.identifiers import SPAN_BITS, TRACE_BITS, number, renumbered


@given(st.integers(1, 2**128 - 1))
def test_hex_is_the_number_it_spells(value):
    """In either case of letters, with leading zeros or without, as a UUID or as base64 of its bytes."""
    digits = f"{value:032x}"
    assert number(digits, TRACE_BITS) == value
    assert number(digits.upper(), TRACE_BITS) == value
    assert number(f"{value:x}", TRACE_BITS) == value
    assert number(str(uuid.UUID(digits)), TRACE_BITS) == value
    assert number(base64.b64encode(value.to_bytes(16)).decode(), TRACE_BITS) == value


@given(st.text() | st.integers() | st.integers(2**64, 2**200).map("{:x}".format))
def test_whatever_is_written_is_some_number_of_that_width(written):
    """The same each time, and none is written as 0 unless it is empty or all zeros."""
    found = number(written, SPAN_BITS)
    assert 0 <= found < 2**SPAN_BITS
    assert number(written, SPAN_BITS) == found


@pytest.mark.parametrize("nothing", [None, "", "  ", "0" * 16, 0, True, [], {}])
def test_no_id_is_zero(nothing):
    """What formats write for no parent, and what is no id at all."""
    assert number(nothing, SPAN_BITS) == 0


def test_wide_and_wordy_ids_stay_apart():
    """Ids that do not fit become others, and two that differ do not become the same."""
    wide = [f"{value:032x}" for value in range(2**100, 2**100 + 50)]
    words = [f"run-{index}-step" for index in range(50)]
    assert len({number(each, SPAN_BITS) for each in [*wide, *words]}) == 100
    assert renumbered(1, 5) != renumbered(2, 5) != 5
