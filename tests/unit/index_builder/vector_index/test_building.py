"""Files of every kind: the same bytes again, mapped, and refused where they do not match."""

import json
import shutil

import faiss
import numpy as np
import pytest

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import record_of_file
from index_builder.vector_index import IndexRequest, RowFile, build_vector_index
from index_builder.vector_index.queries import midpoints
from index_builder.vector_index.stored_rows import sample_of
from model.errors import ConfigError, GalleryIndexError
from tests.unit.index_builder.vector_index.clusters import (
    COUNT,
    DIM,
    KINDS,
    build,
    clustered_rows,
    tuning_queries,
)
from tests.unit.index_builder.written_galleries import unit_rows, write_gallery

ROWS = clustered_rows()
QUERIES = clustered_rows(5, seed=2)


def request_of(kind, factory):
    return IndexRequest(kind=None if factory else kind, factory=factory)


@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_the_same_vectors_give_the_same_bytes(built, folders, tmp_path, kind, factory):
    build(kind, factory, tmp_path)
    for name in ("index.faiss", "embeddings.f16"):
        assert (tmp_path / name).read_bytes() == (folders[kind, factory] / name).read_bytes()


@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_a_gallery_of_every_kind_opens_and_answers_as_it_was_built(built, tmp_path, kind, factory):
    request, queries = request_of(kind, factory), tuning_queries()
    folder = write_gallery(tmp_path, ROWS, index_kind=kind, index=request, queries=queries)
    index = built[kind, factory].index
    gallery = Gallery.open(folder)
    record = gallery.manifest.index
    assert (record.kind, record.query_source) == (kind, queries.source)
    assert record.search_parameters == dict(index.search_parameters)
    assert record.size_bytes == (folder / "index.faiss").stat().st_size
    for hits, answer in zip(gallery.search(QUERIES, 10), index.search(QUERIES, 10), strict=True):
        assert [hit.row for hit in hits] == list(answer.rows)
        assert [hit.score for hit in hits] == list(answer.scores)
    pages = [gallery.search(QUERIES, 10, offset) for offset in (0, 10, 20)]
    for place, whole in enumerate(gallery.search(QUERIES, 30)):
        assert [hit for page in pages for hit in page[place]] == whole
    allowed = np.arange(COUNT) % 3 == 0
    for hits in gallery.search(QUERIES, 10, allowed=allowed):
        assert len(hits) == 10 and all(hit.row % 3 == 0 for hit in hits)
    stored = gallery.vectors(["c7", "c2"])
    expected = ROWS[[7, 2]] if kind == "exact" else ROWS[[7, 2]].astype(np.float16)
    np.testing.assert_array_equal(stored, expected.astype(np.float32))
    gallery.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A gallery of each kind that is chosen by itself; not to be changed."""
    folder = tmp_path_factory.mktemp("galleries")
    return {
        kind: write_gallery(folder / kind, ROWS, index_kind=kind, queries=tuning_queries())
        for kind in ("exact", "hnsw", "ivf")
    }


@pytest.fixture
def copy(written, tmp_path):
    """Return a copy of the gallery of a kind, to be changed."""
    return lambda kind: shutil.copytree(written[kind], tmp_path / written[kind].name)


@pytest.mark.parametrize(
    ("kind", "edit", "message"),
    [
        ("ivf", {"kind": "hnsw"}, "IndexIVFScalarQuantizer but manifest.json says hnsw"),
        ("ivf", {"kind": "exact"}, "IndexIVFScalarQuantizer but manifest.json says exact"),
        ("exact", {"kind": "ivf"}, "IndexFlatIP but manifest.json says ivf"),
        ("exact", {"kind": "factory"}, "IndexFlatIP but manifest.json says factory"),
        ("hnsw", {"factory": "HNSW16,SQfp16"}, "HNSW32,SQfp16 but manifest.json says HNSW16"),
        ("ivf", {"factory": "IVF7,SQ8"}, "SQ8 but manifest.json says IVF7,SQ8"),
        ("ivf", {"factory": "nonsense"}, "factory = 'nonsense'"),
        ("ivf", {"search_parameters": {"efSearch": 9}}, "searched with .* but manifest.json says"),
        ("ivf", {"search_parameters": {"nprobe": 0}}, "edited or written by another release"),
    ],
)
def test_a_manifest_of_another_index_is_refused(copy, kind, edit, message):
    place = copy(kind) / "manifest.json"
    manifest = json.loads(place.read_text())
    manifest["index"] |= edit
    place.write_text(json.dumps(manifest))
    with pytest.raises(GalleryIndexError, match=message):
        Gallery.open(place.parent)


def test_an_index_of_another_metric_is_refused(copy):
    folder = copy("hnsw")
    other = faiss.index_factory(DIM, "HNSW32,SQfp16", faiss.METRIC_L2)
    other.add(ROWS)
    faiss.write_index(other, str(folder / "index.faiss"))
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    manifest["files"]["index.faiss"] = record_of_file(folder / "index.faiss").model_dump()
    place.write_text(json.dumps(manifest))
    with pytest.raises(GalleryIndexError, match=r"metric 1 but manifest.json says inner"):
        Gallery.open(folder)


def test_large_files_are_compared_by_length_alone(copy, monkeypatch):
    folder = copy("exact")
    content = bytearray((folder / "embeddings.f16").read_bytes())
    content[-1] ^= 1
    (folder / "embeddings.f16").write_bytes(content)
    monkeypatch.setattr("index_builder.galleries.gallery_files._HASHED_BYTES", len(content) - 1)
    Gallery.open(folder).close()
    (folder / "embeddings.f16").write_bytes(content[:-2])
    with pytest.raises(GalleryIndexError, match=r"bytes but manifest.json says"):
        Gallery.open(folder)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nonsense", "FAISS cannot make it"),
        ("IVF16,SQ8,RFlat", "re-ranks by itself"),
        ("IDMap,SQ8", "can be searched with a filter"),
        ("PQ4x4fs", "FAISS cannot filter it"),
        ("IVF4000,SQ8", "cannot train it on 1,500 vectors"),
    ],
)
def test_a_factory_string_that_cannot_be_used_is_refused(tmp_path, factory, message):
    with pytest.raises(ConfigError, match=message):
        build("factory", factory, tmp_path)


def test_a_recall_that_cannot_be_reached_is_told_once_and_recorded(tmp_path, capsys):
    far_apart = unit_rows(4000, dim=64)  # random rows: short codes say next to nothing
    record = build_vector_index(
        "factory", far_apart, folder=tmp_path, factory="IVF1,PQ1x4", target_recall=0.99
    ).record
    assert record.recall_at_10 < 0.99 == record.target_recall
    told = capsys.readouterr().err
    assert told.count("of the ten nearest rows") == 1
    assert f"finds {record.recall_at_10:.3f}" in told


@pytest.mark.parametrize(("kind", "factory"), KINDS[:4])
@pytest.mark.parametrize("count", [1, 2, 12])
def test_tiny_galleries_can_be_of_every_kind(tmp_path, kind, factory, count):
    rows = unit_rows(count)
    built = build_vector_index(kind, rows, folder=tmp_path, factory=factory)
    assert built.record.recall_at_10 == 1.0
    (answer,) = built.index.search(rows[:1], 10)
    assert answer.rows[0] == 0 and len(answer.rows) == min(10, count)


def test_midpoints_are_unit_rows_that_are_no_rows_of_the_gallery():
    rows = np.concatenate([ROWS, -ROWS])  # opposite rows have no midpoint
    queries = midpoints(rows, 200).rows
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(queries, midpoints(rows, 200).rows)
    assert np.mean((queries @ rows.T).max(axis=1) < 0.9999) > 0.95


def test_rows_of_a_file_are_those_of_the_array(tmp_path):
    (tmp_path / "rows").write_bytes(b"head" + ROWS.tobytes())
    rows = RowFile(tmp_path / "rows", "<f4", ROWS.shape, offset=4)
    for part in (
        slice(3, 9),
        slice(None),
        slice(COUNT - 2, COUNT + 9),
        slice(0, 0),
        slice(9, 1, -2),
    ):
        np.testing.assert_array_equal(rows[part], ROWS[part])
    places = np.array([5, 1, 5])
    np.testing.assert_array_equal(rows[places], ROWS[places])
    rows.release()
    np.testing.assert_array_equal(rows[places], ROWS[places])


def test_a_sample_holds_different_rows_in_row_order():
    numbered = np.arange(40_000, dtype=np.float32)[:, None]
    sample = sample_of(numbered, 1000)[:, 0]
    assert (np.diff(sample) > 0).all() and len(sample) == 1000
    assert sample.max() > 30_000
    np.testing.assert_array_equal(sample_of(numbered, 50_000), numbered)
