"""A gallery of region features: rows of an array become items without pictures."""

import numpy as np
import pytest

from index_builder.build import build_index
from index_builder.index_folder.versions import IndexFolder
from model.dual_encoder import load_dual_encoder
from model.errors import CheckpointError, ConfigError, DataError
from tests.unit.data.layouts import captions_for, made_up_regions, write_scan
from tests.worlds import tiny_checkpoint

WIDTH = 5
COUNTS = [4, 2, 1, 3, 4, 4]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), backbone=None, region_dim=WIDTH)


@pytest.fixture
def folder(tmp_path):
    ids = [f"photo-{image}" for image in range(6)]
    regions, captions = made_up_regions(6), captions_for(6, 2)
    return write_scan(tmp_path / "precomp", "test", regions, captions, ids=ids, counts=COUNTS)


@pytest.fixture
def build(checkpoint, folder, tmp_path):
    def run(**changes):
        given = {
            "checkpoint": checkpoint,
            "images": folder / "test_ims.npy",
            "captions": folder / "test_caps.txt",
            "output": tmp_path / "index",
        }
        return build_index(**{**given, **changes})

    return run


def test_items_hold_the_embeddings_of_their_regions_and_no_picture(build, checkpoint, tmp_path):
    build(batch_size=4)
    index = IndexFolder(tmp_path / "index").open()
    ids = [f"photo-{image}" for image in range(6)]
    expected = load_dual_encoder(checkpoint).encode_regions(made_up_regions(6), COUNTS)
    np.testing.assert_allclose(index.images.vectors(ids), expected.numpy(), atol=1e-6)
    item = index.images.item("photo-3")
    assert (item.row, item.path, item.width, item.height) == (3, None, None, None)
    assert index.images.thumbnail("photo-3") is None
    assert index.record.images_root is None
    index.close()


def test_captions_beside_the_array_name_its_images_in_both_conventions(build, folder, tmp_path):
    build()
    rows = np.load(folder / "test_ims.npy").repeat(2, 0)
    again = write_scan(tmp_path / "rows", "test", rows, captions_for(6, 2),
                       ids=[f"photo-{image}" for image in range(6)],
                       counts=np.repeat(COUNTS, 2))  # fmt: skip
    build(
        images=again / "test_ims.npy",
        captions=again / "test_caps.txt",
        output=tmp_path / "other",
    )
    for place in ("index", "other"):
        index = IndexFolder(tmp_path / place).open()
        assert (index.images.count, index.captions.count) == (6, 12)
        hits = index.captions.search(index.images.vectors(["photo-2"]), 12)[0]
        items = index.captions.items([hit.item_id for hit in hits])
        for item in items.values():
            assert item.caption.endswith(f"of image {item.image_id.removeprefix('photo-')}")
        index.close()


def test_the_same_array_is_found_again_and_a_changed_value_is_not(build, folder):
    first = build()
    again = build()
    assert not again.is_new_version and again.images.is_reused
    regions = np.load(folder / "test_ims.npy")
    regions[0, 3] = 9
    np.save(folder / "test_ims.npy", regions)
    changed = build()
    assert changed.is_new_version and changed.images.folder != first.images.folder
    # What is padding makes no difference, nor how much of it there is.
    regions[1, 2:] = 7
    np.save(folder / "test_ims.npy", regions)
    assert build().images.folder == changed.images.folder
    np.save(folder / "test_ims.npy", np.pad(regions, ((0, 0), (0, 2), (0, 0))))
    assert build().images.folder == changed.images.folder


def test_equal_regions_tie_exactly(build, folder, tmp_path):
    regions = np.load(folder / "test_ims.npy")
    regions[5] = regions[0]
    np.save(folder / "test_ims.npy", regions)
    build(batch_size=3)
    index = IndexFolder(tmp_path / "index").open()
    assert index.images.manifest.distinct_count == 5
    first, last = index.images.vectors(["photo-0", "photo-5"])
    np.testing.assert_array_equal(first, last)
    index.close()


def test_an_array_alone_is_a_source(build, folder):
    (folder / "test_caps.txt").unlink()
    report = build(captions=None)
    assert (report.images.count, report.captions) == (6, None)


def test_what_does_not_fit_is_told(build, folder, tmp_path):
    with pytest.raises(ConfigError, match="a region array has no pictures"):
        build(images_root=tmp_path)
    with pytest.raises(CheckpointError, match="was trained on pictures"):
        build(checkpoint=tiny_checkpoint(tmp_path))
    other = tiny_checkpoint(tmp_path / "wide", backbone=None, region_dim=WIDTH + 1)
    with pytest.raises(DataError, match=f"holds {WIDTH} values a region but this checkpoint reads"):
        build(checkpoint=other)
    (folder / "test_ims.npy").rename(folder / "test.npy")
    with pytest.raises(DataError, match=r"a region array is named \{split\}_ims\.npy"):
        build(images=folder / "test.npy", captions=None)
    regions = made_up_regions(6)
    regions[4, 0, 0] = np.nan
    np.save(folder / "test_ims.npy", regions)
    with pytest.raises(DataError, match=r"test_ims\.npy row 4: holds NaN"):
        build()
    assert not (tmp_path / "index" / "current").exists()
