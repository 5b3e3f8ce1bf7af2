"""What every source keeps, whatever its form."""

import multiprocessing
import os
import pickle
import tracemalloc
from itertools import islice

import pyarrow
import pytest

from index_builder.build import build_index
from index_builder.galleries.manifest import ColumnTypes
from index_builder.index_folder.versions import IndexFolder
from index_builder.listing.listed_source import Listing
from index_builder.sources import open_caption_source, open_image_source
from model.errors import DataError
from tests.unit.index_builder.sources.layouts import (
    listed,
    read_entry,
    write_lines,
    write_parquet,
    write_samples,
    write_table,
    write_tar,
)
from tests.worlds import made_up_picture, tiny_checkpoint

TABLES = [".jsonl", ".csv", ".parquet"]
PATHS = ["0.png", "1.png", "more/2.png", "more/deep/3.png", "wörter 4.png", "5.png"]
METADATA = {
    "year": [1984, 2001, None, 7, 0, -3],
    "score": [0.5, 2.0, 1e-7, None, -1.25, 3.5],
    "sharp": [True, False, None, True, True, False],
    "title": ["1984", 'a "quoted", one', "two\nlines", None, "größer ☂", "true"],
    "code": ["00123", "00124", "1", "2", "3", "4"],
    "nothing": [None] * 6,
}
COLUMNS = {
    "year": "integer", "score": "number", "sharp": "boolean", "title": "text", "code": "text",
    "nothing": "text",
}  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(PATHS):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        made_up_picture(number).save(place)
    return tmp_path / "photos"


@pytest.fixture
def rows():
    metadata = [
        dict(zip(METADATA, values, strict=True)) for values in zip(*METADATA.values(), strict=True)
    ]
    return [
        {"path": path, "id": f"i{place}"} | values
        for place, (path, values) in enumerate(zip(PATHS, metadata, strict=True))
    ]


@pytest.fixture
def sources(photos, rows):
    """The same pictures as a table of each kind and as shards."""
    opened = {
        ending: open_image_source(write_table(photos.parent / f"images{ending}", rows), photos)
        for ending in TABLES
    }
    return opened | {".tar": open_image_source(write_samples(photos, rows))}


def test_every_form_names_the_same_items_with_the_same_types(sources, rows):
    expected, _ = listed(sources[".jsonl"])
    assert [(entry.id, entry.path) for entry in expected] == [(r["id"], r["path"]) for r in rows]
    columns = ColumnTypes()
    for entry in expected:
        columns.add(entry.metadata)
    assert columns.types() == COLUMNS
    for ending in (".csv", ".parquet"):
        assert listed(sources[ending]) == (expected, [])
    in_shards, set_aside = listed(sources[".tar"])
    assert set_aside == []
    for entry, other in zip(in_shards, expected, strict=True):
        assert (entry.id, entry.metadata) == (other.id, other.metadata)
        assert [type(value) for value in entry.metadata.values()] == [
            type(value) for value in other.metadata.values()
        ]
        assert sources[".tar"].read(entry) == sources[".jsonl"].read(other)


@pytest.mark.parametrize("ending", TABLES)
def test_a_table_of_bare_paths_names_what_the_folder_does(photos, ending):
    from_folder, _ = listed(open_image_source(photos))
    assert sorted(PATHS) == [entry.path for entry in from_folder]
    file = write_table(photos.parent / f"bare{ending}", [{"path": path} for path in sorted(PATHS)])
    assert listed(open_image_source(file, photos)) == (from_folder, [])


def test_every_form_leads_to_the_same_gallery(sources, photos, rows, tmp_path):
    given = {"checkpoint": tiny_checkpoint(tmp_path), "batch_size": 6}
    built = {}
    for ending in (*TABLES, ".tar"):
        images = photos.parent / (f"images{ending}" if ending != ".tar" else "shards")
        root = None if ending == ".tar" else photos
        output = tmp_path / "index" / ending[1:]
        output.parent.mkdir(exist_ok=True)
        report = build_index(**given, images=images, images_root=root, output=output)
        built[ending] = (report.images, IndexFolder(output).open().images)
    names = {built[ending][0].folder for ending in TABLES}
    assert len(names) == 1 and built[".tar"][0].folder not in names
    ids = [row["id"] for row in rows]
    (_, first), (_, last) = built[".jsonl"], built[".tar"]
    assert (first.manifest.columns, first.manifest.item_list_sha256) == (
        last.manifest.columns, last.manifest.item_list_sha256
    )  # fmt: skip
    assert first.manifest.columns == COLUMNS
    assert (first.vectors(ids) == last.vectors(ids)).all()
    assert [first.thumbnail(i) for i in ids] == [last.thumbnail(i) for i in ids]
    assert last.item("i3").path == "part-001.tar/0003.png"
    assert not (last.images_root / last.item("i3").path).is_file()


def test_every_form_of_captions_is_the_same(tmp_path):
    rows = [
        {"caption": " one, two ", "id": "c1", "image": "a/b.jpg", "lang": "en"},
        {"caption": 'said "three"', "id": "7", "image": "c.jpg", "lang": None},
        {"caption": "  ", "id": "c3", "image": "c.jpg", "lang": "de"},
        {"caption": "größer\n☂", "id": "c4", "image": "c.jpg", "lang": "de"},
    ]
    found = [
        listed(open_caption_source(write_table(tmp_path / f"captions{ending}", rows)))
        for ending in TABLES
    ]
    entries, rejected = found[0]
    assert [entry.text for entry in entries] == ["one, two", 'said "three"', "größer\n☂"]
    assert [entry.metadata["lang"] for entry in entries] == ["en", None, "de"]
    assert [(r.place, r.code) for r in rejected] == [("captions.jsonl:3", "empty")]
    assert [others for others, _ in found] == [entries] * 3
    assert [[r.place for r in others] for _, others in found[1:]] == [
        ["captions.csv:4"], ["captions.parquet row 3"]
    ]  # fmt: skip


def test_lists_of_captions_are_the_same_in_every_form(tmp_path):
    rows = [
        {"captions": ["one", "two, three"], "image_id": "a", "id": "g"},
        {"captions": [" "], "image_id": "b", "id": "h"},
    ]
    found = [
        listed(open_caption_source(write_table(tmp_path / f"captions{ending}", rows)))
        for ending in TABLES
    ]
    entries, _ = found[0]
    assert [(e.id, e.text, e.image_id) for e in entries] == [
        ("g.0", "one", "a"), ("g.1", "two, three", "a")
    ]  # fmt: skip
    assert [others for others, _ in found] == [entries] * 3
    assert [len(others) for _, others in found] == [1] * 3


def test_a_source_travels_to_another_process_and_reads_the_same_bytes_there(sources, photos):
    every = [*sources.values(), open_image_source(photos)]
    tasks = [(source, entry) for source in every for entry in listed(source)[0]]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.starmap(read_entry, tasks)
    assert there == [source.read(entry) for source, entry in tasks]
    assert len(set(there)) == len(PATHS)


def test_a_failure_to_read_travels_too(photos):
    source = open_image_source(photos)
    entry = listed(source)[0][0]
    (photos / entry.path).unlink()
    with pytest.raises(DataError) as caught:
        source.read(entry)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.rejection) == (str(caught.value), caught.value.rejection)
    assert str(copy) == "0.png: no such file"
    assert copy.rejection.code == "missing"


@pytest.mark.parametrize(
    ("name", "line"),
    [("a.jsonl", '{{"path": "{}.jpg"}}'), ("a.csv", "{}.jpg"), ("a.txt", "caption {}")],
)
def test_a_file_is_read_no_further_than_asked(tmp_path, name, line):
    """What is appended after the first entries were taken is found: it had not been read."""
    file = tmp_path / name
    header = ["path"] if name == "a.csv" else []
    file.write_text("\n".join([*header, *(line.format(n) for n in range(20_000))]) + "\n")
    opened = open_caption_source(file) if name == "a.txt" else open_image_source(file)
    entries = opened.entries()
    assert len(list(islice(entries, 3))) == 3
    with file.open("a") as end:
        end.write(line.format("last") + "\n")
    assert sum(1 for _ in entries) == 20_001 - 3


def test_shards_are_opened_only_when_their_turn_comes(tmp_path):
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", [(f"{n}.jpg", b"x") for n in range(4)])
    entries = open_image_source(tmp_path).entries()
    assert next(entries).path == "0.tar/0.jpg"
    write_tar(tmp_path / "2.tar", [("late.jpg", b"y")])
    assert [entry.path for entry in entries][-1] == "2.tar/late.jpg"


def test_folders_are_listed_only_when_their_turn_comes(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg", "c/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    entries = open_image_source(tmp_path).entries()
    assert next(entries).path == "a/1.jpg"
    (tmp_path / "c" / "late.jpg").touch()
    (tmp_path / "b" / "1.jpg").unlink()
    (tmp_path / "b").rmdir()
    found = list(entries)
    assert (found[0].place, found[0].code) == ("b/", "unreadable")
    assert [entry.path for entry in found[1:]] == ["c/1.jpg", "c/late.jpg"]


def test_parquet_is_read_a_batch_at_a_time(tmp_path):
    count = 15_000
    rows = [{"path": f"{n}.jpg", "text": os.urandom(1000).hex()} for n in range(count)]
    file = write_parquet(tmp_path / "a.parquet", rows)
    del rows
    before = pyarrow.total_allocated_bytes()
    most = 0
    for number, _ in enumerate(open_image_source(file).entries()):
        if number % 500 == 0:
            most = max(most, pyarrow.total_allocated_bytes() - before)
    assert number == count - 1
    assert most < count * 2000 / 3


@pytest.mark.parametrize("form", [".jsonl", ".csv", ".tar"])
def test_memory_is_flat_in_the_number_of_entries(tmp_path, form):
    def peak(count):
        place = tmp_path / f"{count}{form}"
        rows = [{"path": f"{n}.jpg", "id": f"i{n}", "year": n} for n in range(count)]
        if form == ".tar":
            write_tar(place, [(f"IMG.{n}.jpg", b"x") for n in range(count)])
        else:
            write_table(place, rows)
        del rows
        tracemalloc.start()
        assert sum(1 for _ in open_image_source(place).entries()) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # what is loaded once
    assert peak(1600) < 1.5 * peak(400)


def write_listing(source, place):
    return Listing.write(place.with_suffix(".sqlite"), source.entries(), source.description)


@pytest.mark.parametrize("ending", TABLES)
def test_duplicate_ids_are_listed_with_their_places(tmp_path, ending):
    rows = [{"path": f"{n}.jpg", "id": i} for n, i in enumerate(["a", "b", "a", "c", "b", "a"])]
    with pytest.raises(DataError) as caught:
        write_listing(open_image_source(write_table(tmp_path / f"images{ending}", rows)), tmp_path)
    assert "has 2 problems" in str(caught.value)
    assert "id 'a' stands 3 times, as items 1, 3, 6\n" in str(caught.value)
    assert "id 'b' stands 2 times, as items 2, 5" in str(caught.value)
    assert "'c'" not in str(caught.value)


def test_equal_ids_in_two_shards_and_of_captions_are_duplicates_too(tmp_path):
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", [("0.jpg", b"x"), ("0.json", b'{"id": "same"}')])
    with pytest.raises(DataError, match="id 'same' stands 2 times, as items 1, 2"):
        write_listing(open_image_source(tmp_path), tmp_path)
    rows = [{"caption": "one", "id": "c"}, {"caption": "two", "id": "c"}]
    with pytest.raises(DataError, match="id 'c' stands 2 times, as items 1, 2"):
        captions = open_caption_source(write_lines(tmp_path / "captions.jsonl", rows))
        write_listing(captions, tmp_path / "captions")


@pytest.mark.parametrize("ending", TABLES)
def test_every_problem_is_told_with_its_place_and_nothing_else(tmp_path, ending):
    paths = [f"../{n}.jpg" for n in range(12)]
    paths[3] = "fine.jpg"
    file = write_table(tmp_path / f"images{ending}", [{"path": path} for path in paths])
    entries = open_image_source(file).entries()
    assert next(entries).path == "fine.jpg"
    with pytest.raises(DataError) as caught:
        next(entries)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{file} has 11 problems; correct them:"
    first = {".jsonl": "images.jsonl:1:", ".csv": "images.csv:2:"}
    assert lines[1].startswith(f"  {first.get(ending, 'images.parquet row 1:')} `path` '../0.jpg'")
    assert "fine.jpg" not in str(caught.value)
    assert (len(lines), lines[-1]) == (12, "  and 1 more")


@pytest.mark.parametrize("ending", TABLES)
def test_an_empty_source_is_one_sentence(tmp_path, ending):
    place = tmp_path / f"empty{ending}"
    if ending == ".parquet":
        columns = {"path": pyarrow.array([], pyarrow.string())}
        pyarrow.parquet.write_table(pyarrow.table(columns), place)
    else:
        place.write_text("path\n" if ending == ".csv" else "\n")
    with pytest.raises(DataError, match=f"empty{ending} names no picture; "):
        list(open_image_source(place).entries())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "does not exist; give a folder of pictures, a .jsonl"),
        (lambda place: place.mkdir(), "holds no picture; put files there"),
        (lambda place: place.write_text("x"), "cannot be read as a source; give a folder"),
    ],
)
def test_a_source_without_pictures_is_one_clear_sentence(tmp_path, make, message):
    place = tmp_path / "source"
    make(place)
    with pytest.raises(DataError, match=message):
        list(open_image_source(place).entries())
