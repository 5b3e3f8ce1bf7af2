"""A filter fits exactly what its words say, whatever the values are."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index_builder.galleries.items import Item, ItemStore
from index_builder.lookups.column_store import ColumnStore
from index_builder.lookups.column_writing import ROWS_AT_ONCE, write_columns
from index_builder.lookups.filter_checks import FilterError, filter_problems
from index_builder.lookups.filters import And, Comparison, Not, Or, positive
from index_builder.writing.item_writing import ItemWriter
from tests.unit.index_builder.filter_worlds import COLUMNS, filters, fits, rows, types_of
from tests.unit.index_builder.written_galleries import caption_items, open_gallery, unit_rows

COUNT = 40


def written_columns(folder: Path, metadata, types=None) -> ColumnStore:
    """The columns of items with this metadata."""
    for old in folder.iterdir():
        old.unlink()
    writer = ItemWriter(folder / "items.sqlite")
    writer.add(Item(f"c{row}", row, metadata=each) for row, each in enumerate(metadata))
    writer.finish()
    items = ItemStore(folder / "items.sqlite")
    write_columns(folder / "columns.sqlite", items, types or types_of(metadata))
    items.close()
    return ColumnStore(folder / "columns.sqlite", len(metadata))


# Columns keep their type even where no value was drawn that tells it.
anchor = {
    "flag": True, "year": 1, 'si"ze': 0.5, "na'me; DROP TABLE columns": "x", "flags": [True],
    "counts": [1], "weights": [0.5], "tags é": ["x"],
}  # fmt: skip


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(metadata=st.lists(rows, max_size=12), wanted=st.lists(filters, min_size=1, max_size=8))
def test_a_filter_fits_what_its_plain_reading_fits(tmp_path, metadata, wanted):
    metadata = [*metadata, anchor]
    store = written_columns(tmp_path, metadata)
    assert types_of(metadata) == COLUMNS
    for each in wanted:
        assert filter_problems(each, COLUMNS) == []
        expected = [fits(each, values) for values in metadata]
        assert store.matching(positive(each)).tolist() == expected, each
    store.close()


@given(wanted=filters, values=rows)
def test_the_form_without_not_says_the_same_and_is_the_form_of_itself(wanted, values):
    form = positive(wanted)
    assert fits(form, values) == fits(wanted, values)
    assert positive(form) == form
    assert positive(Not(Not(wanted))) == form
    if isinstance(wanted, And | Or):
        assert positive(type(wanted)(wanted.parts[::-1])) == form


YEAR_IS_2010 = Comparison("year", "eq", 2010)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (YEAR_IS_2010, [0]),
        (Comparison("year", "ne", 2010), [1]),
        (Not(YEAR_IS_2010), [1]),
        (Comparison("year", "in", (2010, 2011)), [0, 1]),
        (Comparison("year", "in", ()), []),
        (Comparison("year", "not_in", ()), [0, 1]),
        (Comparison("year", "not_in", (2011,)), [0]),
        (Comparison("year", "eq", None), [2, 3]),
        (Comparison("year", "ne", None), [0, 1]),
        (Not(Comparison("year", "eq", None)), [0, 1]),
        (Not(Comparison("year", "lt", 2011)), [1]),
        (Not(And((YEAR_IS_2010, Comparison("tags", "eq", "a")))), [1, 3]),
        (Or((YEAR_IS_2010, Comparison("year", "eq", None))), [0, 2, 3]),
        (Comparison("tags", "eq", "a"), [0]),
        (Comparison("tags", "ne", "a"), [1, 3]),
        (Comparison("tags", "in", ("b", "c")), [0, 3]),
        (Comparison("tags", "not_in", ("b",)), [1, 3]),
        (Comparison("tags", "eq", None), [2]),
        (And(()), [0, 1, 2, 3]),
        (Or(()), []),
    ],
)
def test_missing_values_and_lists_are_read_as_documented(tmp_path, wanted, expected):
    metadata = [
        {"year": 2010, "tags": ["a", "b"]}, {"year": 2011, "tags": []}, {"year": None},
        {"tags": ["c", None]},
    ]  # fmt: skip
    store = written_columns(tmp_path, metadata)
    assert np.flatnonzero(store.matching(positive(wanted))).tolist() == expected
    store.close()


def test_runs_of_rows_that_cross_the_borders_of_pieces_are_whole(tmp_path):
    count = 3 * ROWS_AT_ONCE + 5
    values = np.random.default_rng(0).integers(0, 50, count)
    store = written_columns(tmp_path, [{"year": int(value)} for value in values])
    for wanted in (Comparison("year", "gte", 20), Comparison("year", "eq", 7)):
        found = store.matching(wanted)
        np.testing.assert_array_equal(found, values >= 20 if wanted.value == 20 else values == 7)
    store.close()


def test_the_same_items_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written_columns(tmp_path / name, [anchor, {"year": 5}, {}]).close()
        contents.append((tmp_path / name / "columns.sqlite").read_bytes())
    assert contents[0] == contents[1]


TYPES = {"flag": "boolean", "year": "integer", "size": "number", "name": "text",
         "tags": "text_list", "other": "json"}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "operator", "value", "code", "message"),
    [
        ("nobody", "eq", 1, "unknown_column", "no metadata column 'nobody'.*there are flag, name"),
        ("row", "eq", 1, "unknown_column", "no metadata column"),
        ("year) OR 1=1 --", "eq", 1, "unknown_column", "no metadata column"),
        ("other", "eq", None, "wrong_type", "'other' is a json column.*cannot be compared"),
        ("year", "eq", True, "wrong_type", "'year' is an integer column.*a number, found True"),
        ("size", "lt", False, "wrong_type", "'size' is a number column: expected a number"),
        ("flag", "eq", 1, "wrong_type", "'flag' is a boolean column: expected true or false"),
        ("flag", "lt", True, "wrong_type", "takes eq, ne, in and not_in, not lt"),
        ("year", "eq", "2010", "wrong_type", "expected a number, found '2010'"),
        ("year", "gte", None, "wrong_type", "nothing is before or after null"),
        ("size", "eq", float("nan"), "wrong_type", "expected a number, found nan"),
        pytest.param(
            "size", "eq", 10**5000, "wrong_type", "found a number of 16,610 bits", id="long"
        ),
        ("name", "eq", 5, "wrong_type", "'name' is a text column: expected a text, found 5"),
        ("name", "eq", "\ud800", "wrong_type", "expected a text"),
        ("name", "in", "abc", "wrong_type", "in takes a list of values, found 'abc'"),
        ("name", "eq", ("a",), "wrong_type", "expected a text"),
        ("name", "in", tuple("abc" * 400), "too_many_values", "1,200 values; at most 1,000"),
        ("tags", "gt", "a", "wrong_type", "'tags' is a list of text values: it takes eq"),
        ("tags", "eq", 1, "wrong_type", "expected a text, found 1"),
        ("tags", "in", ("a", None), "wrong_type", "null is no value of a list"),
    ],
)
def test_what_a_column_cannot_be_asked_is_told_with_its_place(
    column, operator, value, code, message
):
    place = ("and", 0, column, operator)
    (problem,) = filter_problems(And((Comparison(column, operator, value, place),)), TYPES)
    assert problem.code == code
    assert problem.place[: len(place) - 1] == place[:-1]
    with pytest.raises(FilterError, match=message):
        raise FilterError([problem])


def test_every_problem_is_told_at_once_and_says_where():
    wanted = And(
        (
            Comparison("year", "in", (1, "x", 2, True), ("and", 0, "year", "in")),
            Or((Comparison("nobody", "eq", 1, ("and", 1, "or", 0, "nobody", "eq")),)),
        )
    )
    problems = filter_problems(wanted, TYPES)
    assert [(each.where, each.code) for each in problems] == [
        ("and[0].year.in[1]", "wrong_type"),
        ("and[0].year.in[3]", "wrong_type"),
        ("and[1].or[0].nobody", "unknown_column"),
    ]


@pytest.fixture
def gallery(tmp_path):
    years = [2000 + row % 4 for row in range(COUNT)]
    opened = open_gallery(tmp_path, unit_rows(COUNT), caption_items(COUNT, year=years))
    yield opened
    opened.close()


def test_a_search_with_a_filter_is_brute_force_over_what_it_fits(gallery):
    query = unit_rows(1, seed=3)
    mask = gallery.matching(Comparison("year", "gte", 2002))
    assert mask.count == COUNT // 2
    (everything,) = gallery.search(query, COUNT)
    (found,) = gallery.search(query, COUNT, allowed=mask)
    assert [hit.row for hit in found] == [hit.row for hit in everything if hit.row % 4 >= 2]
    assert gallery.matching(None) is None


def test_filters_that_say_the_same_share_a_mask_and_old_ones_are_forgotten(gallery, monkeypatch):
    first = Comparison("year", "eq", 2000)
    second = Comparison("year", "ne", None)
    mask = gallery.matching(And((first, second)))
    assert gallery.matching(Not(Or((Not(second), Not(first))))) is mask
    assert gallery.matching(first) is not mask
    monkeypatch.setattr(gallery._filters, "_most_kept", 2)
    for year in range(5):
        gallery.matching(Comparison("year", "lt", year))
    assert len(gallery._filters._kept) == 2
    assert gallery.matching(And((first, second))) is not mask


def test_a_filter_that_cannot_be_used_is_refused_by_the_gallery(gallery):
    with pytest.raises(FilterError, match=r"no metadata column 'yaer'"):
        gallery.matching(Comparison("yaer", "eq", 1))


def test_a_filter_at_work_keeps_nobody_from_looking_items_up(gallery):
    """The columns are held by somebody; items are found all the same, filters wait."""
    found = []
    with gallery._columns._file.reading():
        threads = [
            threading.Thread(target=lambda: found.append(gallery.item("c3").id)),
            threading.Thread(target=lambda: found.append(gallery.matching(YEAR_IS_2010).count)),
        ]
        for thread in threads:
            thread.start()
        threads[0].join(10)
        assert found == ["c3"]
    threads[1].join(10)
    assert found == ["c3", 0]


def test_many_threads_get_the_same_rows(gallery):
    expected = {
        year: gallery.matching(Comparison("year", "eq", year)).count for year in range(1999, 2005)
    }
    gallery._filters._kept.clear()
    wrong = []

    def ask():
        for year, count in expected.items():
            if gallery.matching(Comparison("year", "eq", year)).count != count:
                wrong.append(year)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_columns_are_summed_up_without_what_was_removed(tmp_path):
    metadata = [
        {"year": 1990, "kind": "a", "flag": True, "tags": ["x", "y"]},
        {"year": 2000, "kind": "b", "tags": ["y"]},
        {"year": 2010, "kind": "c", "tags": []},
    ]
    store = written_columns(tmp_path, metadata)
    whole = store.summaries(None, most_values=3)
    assert (whole["year"].minimum, whole["year"].maximum) == (1990, 2010)
    assert whole["kind"].values == ("a", "b", "c")
    assert whole["flag"].values == (True,)
    assert whole["tags"].values == ("x", "y")
    assert store.summaries(None, most_values=2)["kind"].values is None
    less = store.summaries(np.array([False, True, True]), most_values=3)
    assert (less["year"].minimum, less["year"].maximum) == (2000, 2010)
    assert less["kind"].values == ("b", "c")
    assert less["flag"].values == ()
    assert less["tags"].values == ("y",)
    store.close()


def test_integers_that_no_column_can_hold_make_it_json():
    assert types_of([{"n": 2**63}]) == {"n": "json"}
    assert types_of([{"n": [2**63]}, {"n": [1]}]) == {"n": "json"}
    assert types_of([{"n": -(2**63)}, {"n": 2**63 - 1}]) == {"n": "integer"}
