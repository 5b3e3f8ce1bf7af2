"""A gallery that was changed many times holds what a dictionary that was changed likewise holds."""

import numpy as np
import pytest

from index_builder.add import add_items
from index_builder.index_folder.versions import IndexFolder
from index_builder.remove import remove_items
from index_builder.vector_index import IndexRequest
from model.dual_encoder import load_dual_encoder
from model.identifiers import image_id_for_path
from tests.unit.index_builder.sources.layouts import write_lines
from tests.unit.index_builder.written_galleries import brute_force
from tests.worlds import made_up_picture

WORDS = [
    "a",
    "red",
    "blue",
    "green",
    "small",
    "large",
    "circle",
    "square",
    "star",
    "on",
    "under",
    "beside",
    "the",
    "grass",
    "water",
]


def written(path, captions):
    rows = [{"id": name, "caption": text, "length": len(text)} for name, text in captions.items()]
    return write_lines(path, rows)


def sentence(random):
    return " ".join(random.choice(WORDS, int(random.integers(3, 9))))


@pytest.mark.usefixtures("few_tuning_queries")
@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_any_chain_of_changes_is_that_of_a_dictionary(
    build, checkpoint, tmp_path, kind, exactly_only_tiny
):
    random = np.random.default_rng(7)
    source, index = tmp_path / "captions.jsonl", IndexFolder(tmp_path / "index")
    expected = {f"c{number}": sentence(random) for number in range(60)}
    build(images=None, captions=written(source, expected), index_request=IndexRequest(kind=kind))
    encoder = load_dual_encoder(checkpoint)
    compacted = 0
    for number in range(8):
        if number % 3 == 2:
            unwanted = random.choice(sorted(expected), 7, replace=False).tolist()
            report = remove_items(index.path, captions=unwanted).captions
            expected = {name: text for name, text in expected.items() if name not in unwanted}
        else:
            named = {f"c{each}": sentence(random) for each in random.integers(0, 90, 8)}
            report = add_items(index.path, captions=written(source, named), part_size=3).captions
            expected |= named
        compacted += report.is_compacted
        captions = index.open().captions
        names = list(captions.ids_of_rows(captions.rows().tolist()).values())
        assert set(names) == set(expected) and captions.manifest.index.kind == kind
        assert captions.count == len(names) == len(expected)
        items = captions.items(names)
        assert {name: items[name].caption for name in names} == expected
        assert all(item.metadata == {"length": len(item.caption)} for item in items.values())
        stored = captions.vectors(names)
        texts = [expected[name] for name in names]
        # float16 rounds to 1/2048 of a number; the exact kind keeps float32.
        tolerance = 1e-6 if kind == "exact" else 5e-4
        np.testing.assert_allclose(stored, encoder.encode_captions(texts), atol=tolerance)
        queries = encoder.encode_captions([sentence(random) for _ in range(3)]).numpy()
        for query, hits in zip(queries, captions.search(queries, 100), strict=True):
            truth = [(names[row], score) for row, score in brute_force(query, stored)]
            assert [(hit.item_id, hit.score) for hit in hits] == truth
    assert compacted


def test_each_gallery_keeps_its_precision_when_it_changes(build, checkpoint, photos, tmp_path):
    captions = {f"c{number}": f"{number} red circles" for number in range(10)}
    build(images=None, captions=written(tmp_path / "captions.jsonl", captions))
    build(precision="bfloat16")
    index = IndexFolder(tmp_path / "index")
    more = {"new": "a blue star beside the water"}
    made_up_picture(30).save(photos / "12.png")
    add_items(index.path, images=photos, captions=written(tmp_path / "captions.jsonl", more))
    remove_items(index.path, captions=[f"c{number}" for number in range(8)])
    opened = index.open()
    served = [opened.images.manifest, opened.captions.manifest]
    assert [manifest.precision for manifest in served] == ["bfloat16", "float32"]
    assert opened.captions.row_count == opened.captions.count == 3  # compacted
    rounded = load_dual_encoder(checkpoint, precision="bfloat16")
    exact = load_dual_encoder(checkpoint)
    picture = opened.images.vectors([image_id_for_path("12.png")])
    caption = opened.captions.vectors(["new"])
    # The same operations; and what float32 and bfloat16 differ by is far larger.
    same = {"atol": 1e-6, "rtol": 0}
    np.testing.assert_allclose(picture, rounded.encode_images([made_up_picture(30)]), **same)
    np.testing.assert_allclose(caption, exact.encode_captions(list(more.values())), **same)
    assert abs(picture - exact.encode_images([made_up_picture(30)]).numpy()).max() > 1e-4
    assert abs(caption - rounded.encode_captions(list(more.values())).numpy()).max() > 1e-4


def test_a_compacted_gallery_keeps_its_precision(build, tmp_path):
    captions = {f"c{number}": f"{number} red circles" for number in range(10)}
    source = written(tmp_path / "captions.jsonl", captions)
    build(images=None, captions=source, precision="bfloat16")
    index = IndexFolder(tmp_path / "index")
    assert remove_items(index.path, captions=["c1", "c2", "c3"]).captions.is_compacted
    assert index.open().captions.manifest.precision == "bfloat16"
