"""A table never overflows, and never shortens a number while a name can give way."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dytopo_autotrace.report.table import Column, layout

CELLS = st.text(st.sampled_from("abc日😀"), min_size=1, max_size=30)


@given(
    st.lists(st.tuples(CELLS, st.integers(0, 10**9)), min_size=1, max_size=6), st.integers(30, 90)
)
def test_numbers_survive_and_lines_fit(rows, width):
    """Whatever the names, each line holds its number whole and at its right end."""
    names = Column("who", tuple(name for name, _ in rows), is_name=True)
    numbers = Column("calls", tuple(str(number) for _, number in rows))
    _, *lines = layout([names, numbers], width)
    assert all(cell_len(line) <= width for line in lines)
    assert [line.split()[-1] for line in lines] == [str(number) for _, number in rows]


def test_columns_are_aligned_in_cells():
    """Wide characters do not push the next column aside."""
    names = Column("who", ("日本", "ab"), is_name=True)
    lines = layout([names, Column("n", ("1", "2"))], 40)
    assert {cell_len(line) for line in lines} == {7}


def test_expendable_columns_go_before_names_do():
    """The most expendable goes first; what must be there stays."""
    columns = [
        Column("who", ("orchestrator",), is_name=True),
        Column("p95", ("0.123",), expendable=1),
        Column("p99", ("0.456",), expendable=2),
        Column("calls", ("7",)),
    ]
    assert layout(columns, 28) == ["who             p95  calls", "orchestrator  0.123      7"]
    assert layout(columns, 21) == ["who           calls", "orchestrator      7"]


def test_columns_without_a_value_are_left_out():
    """A column of nothing says nothing."""
    assert layout([Column("who", ("x",), is_name=True), Column("errors", ("",))], 40) == [
        "who",
        "x",
    ]
