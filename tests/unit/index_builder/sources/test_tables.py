"""What the formats of tables have of their own: JSON Lines, CSV, Parquet."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from index_builder.sources import open_caption_source, open_image_source
from model.errors import DataError
from model.identifiers import image_id_for_path
from tests.unit.index_builder.sources.layouts import (
    listed,
    write_csv,
    write_lines,
    write_parquet,
    write_table,
)


def metadata_of(file):
    return [entry.metadata for entry in listed(open_image_source(file))[0]]


def refusal_of(file):
    with pytest.raises(DataError) as caught:
        listed(open_image_source(file))
    return str(caught.value)


def write_column(file, values):
    """Write a CSV file with one metadata column of these cells."""
    lines = "".join(f"{n}.jpg,{value}\n" for n, value in enumerate(values))
    file.write_text("path,column\n" + lines)
    return file


# JSON Lines


def test_a_list_of_images_keeps_its_order_ids_and_metadata(tmp_path):
    rows = [{"path": "sub/c.webp", "id": "third", "year": 2020}, {"path": "./b.jpg"}]
    source = open_image_source(write_lines(tmp_path / "images.jsonl", rows))
    entries, _ = listed(source)
    assert [(entry.id, entry.path) for entry in entries] == [
        ("third", "sub/c.webp"),
        (image_id_for_path("b.jpg"), "b.jpg"),
    ]
    assert [entry.metadata for entry in entries] == [{"year": 2020}, {}]
    assert source.root == tmp_path


def test_what_is_wrong_with_every_row_is_told_once(tmp_path):
    source = tmp_path / "images.jsonl"
    rows = [{"file": "a.jpg"}] * 1200 + [{"path": "/x.jpg"}] + [{"file": "b.jpg"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, first, second = refusal_of(source).splitlines()
    told = "no `path` among its columns: file; call `file` `path` (and 1,200 more like it)"
    assert first == f"  images.jsonl:1: {told}"
    assert second.startswith("  images.jsonl:1201: ") and "more" not in second


def test_every_line_that_holds_no_row_is_told(tmp_path):
    source = tmp_path / "images.jsonl"
    lines = [
        b'\xef\xbb\xbf{"path": "../x.jpg"}', b'{"path": "/x.jpg"}', b"not json", b"[1]",
        b'{"id": "a"}', b"", b'{"path": "x.jpg", "id": "a b"}', b'{"path": "x.jpg", "n": NaN}',
        b'{"path": "good.jpg"}', b'{"path": "b\xe4r.jpg"}', b'{"path": "x.jpg", "n": 1e999}',
        rb'{"path": "x.jpg", "n": "\ud800"}', b"[" * 100_000,
    ]  # fmt: skip
    source.write_bytes(b"\n".join(lines))
    message = refusal_of(source)
    assert "has 11 problems" in message and "and 1 more" in message
    for line in (1, 2, 3, 4, 5, 7, 8, 10, 11, 12):
        assert f"images.jsonl:{line}: " in message
    assert "images.jsonl:10: not UTF-8 text" in message
    assert "images.jsonl:9" not in message


def test_pairs_of_surrogates_are_one_character(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"path": "a.jpg", "title": "\ud83d\ude00"}')
    assert metadata_of(tmp_path / "a.jsonl") == [{"title": "\U0001f600"}]


# CSV


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["1", "", "3"], [1, None, 3]),
        (["1", "2.5", "-.5"], [1.0, 2.5, -0.5]),
        (["1e3", "2", "3.25E-2"], [1000.0, 2.0, 0.0325]),
        (["true", "False", "TRUE"], [True, False, True]),
        (["", "", ""], [None, None, None]),
        (["1", "two", "3"], ["1", "two", "3"]),
        (["true", "1", "false"], ["true", "1", "false"]),
        (["00123", "00124", "1"], ["00123", "00124", "1"]),
        (["12345678901234567890", "1", "2"], ["12345678901234567890", "1", "2"]),
        (["nan", "1", "2"], ["nan", "1", "2"]),
        (["1_000", "1", "2"], ["1_000", "1", "2"]),
        (["+1", "-", "."], ["+1", "-", "."]),
        (["٣", "1", "2"], ["٣", "1", "2"]),
        ([" 1 ", "2", "3"], [1, 2, 3]),
        ([" a ", "b", "c"], [" a ", "b", "c"]),
    ],
)
def test_a_csv_column_has_the_type_that_fits_all_its_cells(tmp_path, cells, values):
    found = [row["column"] for row in metadata_of(write_column(tmp_path / "a.csv", cells))]
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


def test_csv_has_quotes_line_breaks_commas_unicode_and_a_byte_order_mark(tmp_path):
    text = (
        '\ufeffpath, title ,id\r\n"a,b.jpg","two\nlines, and ""quotes""",7\r\n'
        "\r\nwörter.jpg,☂,x\r\n"
    )
    (tmp_path / "a.csv").write_bytes(text.encode())
    entries, _ = listed(open_image_source(tmp_path / "a.csv"))
    assert [(e.path, e.id, e.metadata) for e in entries] == [
        ("a,b.jpg", "7", {"title": 'two\nlines, and "quotes"'}),
        ("wörter.jpg", "x", {"title": "☂"}),
    ]


def test_places_in_a_csv_are_the_lines_where_rows_begin(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b'path,title\n"a.jpg","two\nlines"\n/b.jpg,x\nc.jpg\nd\xe4.jpg,y\ne.jpg,"open\nf.jpg,z\n'
    )
    message = refusal_of(tmp_path / "a.csv")
    assert "has 4 problems" in message
    assert "a.csv:4: `path` '/b.jpg' must be relative" in message
    assert "a.csv:5: 1 cells, but the header names 2" in message
    assert "a.csv:6: not UTF-8 text" in message
    assert "a.csv:7: not CSV from here on (unexpected end of data); is a quote open?" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column `path`; found none"),
        ("path;id\na.jpg;b\n", "seems to have semicolons between its cells; a .csv has commas"),
        ('"path";"id"\n"a.jpg";"b"\n', "seems to have semicolons between its cells"),
        ("year\tpath\n7\ta.jpg\n", "seems to have tabs between its cells"),
        ("Datei;Titel\na.jpg;b\n", "seems to have semicolons between its cells"),
        ("x,y;z\n1,2\n", "has no column `path`; found x, y;z"),
        ("path,id\n,x\n", "`path` is empty; fill it in, or take the line out"),
        ("path,x,x\na.jpg,1,2\n", "has the columns 'path', 'x', 'x'; give each a name"),
        ("path,\na.jpg,1\n", "has the columns 'path', ''; give each a name"),
        ("id\n1\n", "has no column `path`; found id"),
    ],
)
def test_a_csv_without_a_usable_header_is_one_sentence(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    assert message in refusal_of(tmp_path / "a.csv")


def test_a_header_that_cannot_be_read_is_told_as_such(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"path,gr\xf6sse\na.jpg,1\n")
    assert "a.csv:1: not UTF-8 text" in refusal_of(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b'"path\na.jpg\n')
    assert "a.csv:1: not CSV from here on" in refusal_of(tmp_path / "a.csv")


def test_ids_and_paths_in_a_csv_stay_texts(tmp_path):
    file = write_csv(tmp_path / "a.csv", [{"path": "007", "id": "007", "image_id": 7}])
    (entry,) = listed(open_image_source(file))[0]
    assert (entry.path, entry.id, entry.metadata) == ("007", "007", {"image_id": 7})
    file = write_csv(tmp_path / "b.csv", [{"caption": "1984", "image_id": "007", "id": ""}])
    (caption,) = listed(open_caption_source(file))[0]
    assert (caption.text, caption.image_id, caption.metadata) == ("1984", "007", {})


def test_captions_in_a_csv_are_a_json_list(tmp_path):
    file = write_csv(tmp_path / "a.csv", [{"captions": '["a"]'}, {"captions": "a dog"}])
    with pytest.raises(DataError, match=r"a.csv:3: `captions` of a .csv is a JSON list"):
        listed(open_caption_source(file))


# Parquet


def test_captions_in_a_csv_that_are_no_lists_are_told_the_other_column(tmp_path):
    for cell, is_hinted in (("a dog", True), ('"[""a"', False)):
        (tmp_path / "captions.csv").write_text(f"image,captions\n1.png,{cell}\n")
        with pytest.raises(DataError, match="is a JSON list of texts: not JSON") as caught:
            listed(open_caption_source(tmp_path / "captions.csv"))
        is_told = str(caught.value).endswith("; call a column of single texts `caption`")
        assert is_told is is_hinted


def test_parquet_keeps_its_types_and_lists(tmp_path):
    columns = {
        "path": pyarrow.array(["a.jpg", "b.jpg"]),
        "id": pyarrow.array([7, None], pyarrow.int64()),
        "small": pyarrow.array([1, None], pyarrow.uint8()),
        "half": pyarrow.array(np.array([0.5, np.nan], np.float16)),
        "good": [True, False],
        "tags": pyarrow.array([["x", "y"], []]),
        "weights": pyarrow.array([[0.5, float("nan")], None]),
        "kind": pyarrow.array(["u", "v"]).dictionary_encode(),
        "price": [Decimal("1.50"), None],
        "day": [date(2020, 1, 2), None],
        "taken": pyarrow.array([1, 2_000], pyarrow.timestamp("ns")),
        "zoned": pyarrow.array([datetime(2020, 1, 2, tzinfo=UTC), None]),
        "camera": [{"maker": "m", "iso": 100}, None],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    entries, _ = listed(open_image_source(tmp_path / "a.parquet"))
    assert [entry.id for entry in entries] == ["7", image_id_for_path("b.jpg")]
    assert entries[0].metadata == {
        "small": 1, "half": 0.5, "good": True, "tags": ["x", "y"], "weights": [0.5, None],
        "kind": "u", "price": 1.5, "day": "2020-01-02", "taken": "1970-01-01T00:00:00",
        "zoned": "2020-01-02T00:00:00+00:00", "camera": {"maker": "m", "iso": 100},
    }  # fmt: skip
    assert entries[1].metadata == {
        "small": None, "half": None, "good": False, "tags": [], "weights": None, "kind": "v",
        "price": None, "day": None, "taken": "1970-01-01T00:00:00.000002", "zoned": None,
        "camera": None,
    }  # fmt: skip


def test_rows_of_all_batches_come_in_order(tmp_path):
    rows = [{"path": f"{n}.jpg"} for n in range(3000)]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    entries, _ = listed(open_image_source(tmp_path / "a.parquet"))
    assert [entry.path for entry in entries] == [row["path"] for row in rows]


def test_infinity_is_a_problem_of_its_row(tmp_path):
    rows = [{"path": "a.jpg", "x": 1.0}, {"path": "b.jpg", "x": float("inf")}]
    message = refusal_of(write_parquet(tmp_path / "a.parquet", rows))
    assert "a.parquet row 2: infinity is no JSON number" in message


@pytest.mark.parametrize("value", [b"bytes", [b"bytes"], {"bytes": b"bytes"}])
def test_a_column_of_bytes_is_refused_by_name(tmp_path, value):
    message = refusal_of(write_parquet(tmp_path / "a.parquet", [{"path": "a.jpg", "raw": value}]))
    assert "column `raw` holds " in message and "leave the column out" in message


@pytest.mark.parametrize("kept", [0, 3, 60])
def test_a_damaged_parquet_file_is_one_sentence(tmp_path, kept):
    file = write_parquet(tmp_path / "a.parquet", [{"path": "a.jpg"}])
    file.write_bytes(file.read_bytes()[:kept])
    message = refusal_of(file)
    assert message.startswith(f"{file} cannot be read as Parquet: ") and "\n" not in message


def test_damage_inside_of_a_parquet_file_is_one_sentence(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", [{"path": f"{n}.jpg"} for n in range(100)])
    content = bytearray(file.read_bytes())
    content[4:40] = bytes(36)
    file.write_bytes(content)
    assert "cannot be read as Parquet: " in refusal_of(file)


def test_without_pyarrow_the_way_to_it_is_told(tmp_path, monkeypatch):
    file = write_parquet(tmp_path / "a.parquet", [{"path": "a.jpg"}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "install it with: pip install 'hrem-search[parquet]'" in refusal_of(file)


def test_a_table_without_captions_names_its_columns(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", [{"text": "a dog", "id": "x"}])
    with pytest.raises(
        DataError,
        match="has no column `caption` or `captions`; found text, id; call `text` `caption` if",
    ):
        listed(open_caption_source(file))


def test_a_file_in_another_encoding_is_one_problem_with_the_command_that_helps(tmp_path):
    for name, line in (("my photos.csv", "gr\xfcn.jpg"), ("a.jsonl", '{"path": "gr\xfcn.jpg"}')):
        lines = ["path"] * name.endswith(".csv") + [line] * 12
        (tmp_path / name).write_bytes("\n".join(lines).encode("latin1"))
        message = refusal_of(tmp_path / name)
        assert "has a problem" in message and "not UTF-8 text, as are 11 more; save" in message
        assert "iconv -f latin1 -t utf8 " in message
    (tmp_path / "my photos.csv").write_bytes("path,gr\xfcn\na.jpg,\xfc\n".encode("latin1"))
    message = refusal_of(tmp_path / "my photos.csv")
    command = message[message.index("iconv") :]
    assert subprocess.run(command, shell=True, check=True).returncode == 0
    (entry,) = listed(open_image_source(tmp_path / "utf8-my photos.csv"))[0]
    assert entry.metadata == {"gr\xfcn": "\xfc"}


# One bad value


@pytest.mark.parametrize(
    ("cells", "warning"),
    [
        (
            ["2020", "2021", "unknown", "", "2022"],
            "column n is text because of a.csv:4: 'unknown'; leave such cells empty to make it "
            "a number",
        ),
        (["?", "1.5", "2", "-", "7", "8"], "column n is text because of a.csv:2: '?' and 1 more;"),
        (["true", "false", "yes"], "of a.csv:4: 'yes'; leave such cells empty to make it true/f"),
        (["meadow", "sea", "7"], None),
        (["00123", "12345", "12346"], None),
        (["1", "2", "3"], None),
        (["1", "2", "3.5"], None),
    ],
)
def test_the_few_cells_that_make_a_column_text_are_named(tmp_path, capsys, cells, warning):
    rows = [{"path": f"{number}.jpg", "n": cell} for number, cell in enumerate(cells)]
    listed(open_image_source(write_csv(tmp_path / "a.csv", rows)))
    warned = capsys.readouterr().err
    assert warned.startswith("warning: ") and warning in warned if warning else not warned


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (
            [2020, 2021, "unknown", None, "?"],
            "column n has several types and cannot be filtered because of a.jsonl:3: 'unknown' "
            "and 1 more",
        ),
        ([1, 2.5, 3], None),
        (["a", "b", None], None),
        ([["a"], ["b"], []], None),
        ([{"a": 1}, {"b": 1}], None),
    ],
)
def test_the_few_values_that_give_a_column_several_types_are_named(
    tmp_path, capsys, values, warning
):
    rows = [{"path": f"{number}.jpg", "n": value} for number, value in enumerate(values)]
    listed(open_image_source(write_lines(tmp_path / "a.jsonl", rows)))
    warned = capsys.readouterr().err
    assert warned == (f"warning: {warning}\n" if warning else "")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_table_of_pictures_may_call_the_path_as_captions_do(tmp_path, name):
    file = write_table(tmp_path / name, [{"image": "a.jpg", "year": 2020}])
    (entry,) = listed(open_image_source(file))[0]
    assert (entry.path, entry.metadata) == ("a.jpg", {"year": 2020})
    file = write_table(tmp_path / name, [{"path": "a.jpg", "image": "b.jpg"}])
    assert "`path` and `image` both name the picture; leave one out" in refusal_of(file)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("column", ["filename", "Path", "img"])
def test_a_column_that_is_meant_as_path_is_told(tmp_path, name, column):
    file = write_table(tmp_path / name, [{"year": 2020, column: "a.jpg"}])
    assert f"year, {column}; call `{column}` `path`" in refusal_of(file)
