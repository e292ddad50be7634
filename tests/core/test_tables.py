"""The schema of tables: that files are checked against it, that types survive, and that it is written down."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memrnn.core.files import load_table, save_table
from memrnn.core.tables import (
    TABLES,
    Table,
    document,
    integer,
    label_rows,
    number,
    or_empty,
    parse,
    text,
    truth,
)

ROOT = Path(__file__).parents[2]
KINDS = {
    "cell": text("name"),
    "seed": integer("1", "number"),
    "value": or_empty(number("steps", "what is measured")),
    "learned": truth("whether it has"),
}
TABLE = Table("network", ("cell", "seed"), KINDS)
FRAME = pd.DataFrame({"cell": ["gru", "lstm"], "seed": [0, 12], "value": [0.5, np.nan], "learned": [True, False]})
ONE = Table("value", (), {"x": number("1", "")})


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_float32_survives_a_table(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    save_table(path, pd.DataFrame({"x": np.array(values, np.float32)}), ONE._replace(key=()))
    assert (load_table(path, ONE).x.to_numpy(np.float32) == np.array(values, np.float32)).all()


def test_a_table_comes_back_in_the_order_of_the_schema(tmp_path):
    save_table(tmp_path / "t.csv", FRAME[["learned", "value", "seed", "cell"]], TABLE)
    assert (tmp_path / "t.csv").read_text() == "cell,seed,value,learned\ngru,0,0.5,True\nlstm,12,,False\n"
    pd.testing.assert_frame_equal(load_table(tmp_path / "t.csv", TABLE), FRAME)


def test_a_gzipped_copy_is_read_alike(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv.gz", index=False)
    pd.testing.assert_frame_equal(load_table(tmp_path / "t.csv.gz", TABLE, sealed=False), FRAME)
    whole = (tmp_path / "t.csv.gz").read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"t\.csv\.gz: expected a CSV table with columns cell, seed"):
        load_table(tmp_path / "t.csv.gz", TABLE, sealed=False)


@pytest.mark.parametrize("name", ["NA", "007", "None", "nan", "1e3", "True", "a, b", "-0", "", '"x" '])
def test_text_stays_text_whatever_it_looks_like(tmp_path, name):
    table = Table("name", ("name",), {"name": or_empty(text("a name"))})
    save_table(tmp_path / "t.csv", pd.DataFrame({"name": ["plain", name]}), table)
    found = load_table(tmp_path / "t.csv", table)
    assert found.name.fillna("").tolist() == ["plain", name]
    assert found.name.isna().tolist() == [False, name == ""]


def test_types_do_not_depend_on_the_values(tmp_path):
    """Whole numbers in a column of numbers are floats; a truth that may be empty tells apart False and nothing."""
    kinds = {"n": number("1", ""), "i": or_empty(integer("1", "")), "t": or_empty(truth("")), "b": truth("")}
    table = Table("row", ("n",), kinds)
    save_table(tmp_path / "t.csv", pd.DataFrame({"n": [1, 2], "i": [3, 4], "t": [True, False], "b": True}), table)
    found = load_table(tmp_path / "t.csv", table)
    assert found.dtypes.astype(str).to_dict() == {"n": "float64", "i": "float64", "t": "boolean", "b": "bool"}
    save_table(tmp_path / "t.csv", pd.DataFrame({"n": [1, 2], "i": [3, None], "t": [None, False], "b": True}), table)
    found = load_table(tmp_path / "t.csv", table)
    assert found.i.isna().tolist() == [False, True]
    assert found.t.isna().tolist() == [True, False] and not found.t[1]


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        (integer("1", ""), ["0", "-3", "4.0"], ["", "0.5", "nan", "inf", "x", "1e300", "99999999999999999999"]),
        (or_empty(integer("1", "")), ["", "7"], ["0.5"]),
        (number("1", ""), ["0", "1e-9", "-0.5"], ["", "nan", "inf", "-Infinity", "x", "True"]),
        (truth(""), ["True", "False"], ["", "true", "1"]),
        (or_empty(truth("")), ["", "True"], ["yes"]),
        (text(""), ["a", "1"], [""]),
    ],
)
def test_types_of_columns(column, good, bad):
    def told(*values):
        content = "\n".join(["other,x", *(f"{at},{value}" for at, value in enumerate(values))]) + "\n"
        return parse(content.encode(), Table("row", ("other",), {"x": column}))[1]

    assert told(*good) == []
    for value in bad:
        found = f"found {value or 'nothing'} in row {len(good) + 1}"
        assert told(*good, value) == [f"column x: expected {column.kind} in every row, {found}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a CSV table with columns cell, seed, value, learned, found FileNotFoundError"),
        (b"", "expected a CSV table with columns cell, seed, value, learned, found EmptyDataError"),
        (b"cell,value,learned,more\na,1,True,1\n", "lacks the columns seed; found cell, value, learned, more"),
        (b"cell,seed,value,learned\n", "the table has no rows"),
        (b"cell,seed,value,learned\na,1,2,True\na,1,2,True,4\n", "found ParserError"),
        (b"cell,seed,value,learned\na,1,2,True,4\n", "rows have more cells than the table has columns"),
        (b"cell,seed,value,learned\na,1,2\n", "column learned: expected truth in every row, found nothing in row 1"),
        (b"\xff\xfe\x00\x81", "found UnicodeDecodeError"),
        (b"cell,seed,value,learned\na,1,2,True\na,1,3,True\n", "1 rows are there twice, the first is cell=a, seed=1"),
        (
            b"cell,seed,value,learned\na,x,y,True\n",
            r"column seed: expected integer.* found x in row 1; column value: expected number.* found y in row 1",
        ),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, message):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_table(path, TABLE, sealed=False)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(("Delete the file and run again.", "Run the stage that writes it."))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="value"), "lacks the columns value"),
        (FRAME.assign(extra=1), "has the columns extra, which memrnn.core.tables does not know"),
        (FRAME.assign(seed=0.5), "column seed: expected integer"),
        (FRAME.assign(cell=["gru", None]), "column cell: expected text in every row, found nothing in row 2"),
        (pd.concat([FRAME, FRAME]), "2 rows are there twice"),
        (FRAME[:0], "the table has no rows"),
    ],
)
def test_what_breaks_the_schema_is_not_written(tmp_path, frame, message):
    with pytest.raises(ValueError, match=message):
        save_table(tmp_path / "t.csv", frame, TABLE)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    table = TABLE._replace(may_be_without_rows=True)
    save_table(tmp_path / "t.csv", FRAME[:0], table)
    found = load_table(tmp_path / "t.csv", table)
    assert found.empty
    pd.testing.assert_series_equal(found.dtypes, FRAME.dtypes)


def test_rows_are_labelled_once():
    rows = pd.DataFrame({"phase": ["control", "centroid"], "seed": [0, 0], "speed": [1.0, 2.0]})
    meta = {"dataset": "digits", "cell": "gru", "curriculum": "vocu", "seeds": [0], "phase": "trained"}
    labelled = label_rows(rows, meta)
    assert list(labelled.columns) == ["dataset", "cell", "curriculum", "phase", "seed", "speed"]
    assert labelled.phase.tolist() == ["control", "centroid"]  # a row's own word counts
    assert set(labelled.dataset) == {"digits"}
    assert list(rows.columns) == ["phase", "seed", "speed"]


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_what_it_is(name):
    table = TABLES[name]
    assert set(table.key) <= set(table.columns)
    for column in table.columns.values():
        assert column.meaning
        assert bool(column.unit) == (column.kind in ("integer", "number"))


def test_docs_tables_is_made_from_the_schema():
    """If not: python -m memrnn.core.tables > docs/tables.md"""
    assert (ROOT / "docs" / "tables.md").read_text() == document()
