"""The SCAN layout: both row conventions, padding, ids, and every kind of wrong file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.data.captioned_images import CaptionedImages
from model.data.scan import load_scan, open_scan_images
from model.errors import DataError
from model.inputs.regions import ImageRegions, RegionBatch
from tests.unit.data.layouts import REGION_DIM, captions_for, made_up_regions, write_scan

FIXTURE = Path(__file__).parents[2] / "parity" / "fixtures" / "scan" / "f30k_precomp"


def regions_of(images: CaptionedImages) -> ImageRegions:
    assert images.regions is not None
    return images.regions


def read_all(images: CaptionedImages) -> RegionBatch:
    return regions_of(images).read(np.arange(len(images)))


def assert_same(left: CaptionedImages, right: CaptionedImages) -> None:
    assert left.image_ids == right.image_ids
    assert left.captions == right.captions
    assert left.splits == right.splits
    np.testing.assert_array_equal(read_all(left).features, read_all(right).features)
    np.testing.assert_array_equal(read_all(left).counts, read_all(right).counts)


@pytest.mark.parametrize("each", [1, 2, 5])
def test_one_row_an_image_and_one_row_a_caption_are_the_same_data_set(
    tmp_path: Path, each: int
) -> None:
    regions, captions = made_up_regions(6), captions_for(6, each)
    an_image = load_scan(write_scan(tmp_path / "a", "test", regions, captions))
    a_caption = load_scan(write_scan(tmp_path / "b", "test", regions.repeat(each, 0), captions))
    assert_same(an_image, a_caption)
    assert [len(own) for own in an_image.captions] == [each] * 6
    assert an_image.image_ids[2] == "test-2"


def test_rows_of_captions_may_be_of_another_number_for_every_image(tmp_path: Path) -> None:
    repeats = [1, 4, 2, 3]
    captions = captions_for(10, 1)
    rows = made_up_regions(4).repeat(repeats, 0)
    images = load_scan(write_scan(tmp_path, "dev", rows, captions))
    assert [len(own) for own in images.captions] == repeats
    assert images.caption_texts == tuple(captions)
    np.testing.assert_array_equal(read_all(images).features, made_up_regions(4))


def test_images_are_told_apart_across_the_pieces_that_are_read_at_once(tmp_path: Path) -> None:
    rows = made_up_regions(300)[:, :1].repeat([1 + i % 3 for i in range(300)], 0)
    images = load_scan(write_scan(tmp_path, "dev", rows, captions_for(len(rows), 1)))
    assert [len(own) for own in images.captions] == [1 + i % 3 for i in range(300)]


def test_rows_of_captions_that_share_only_their_first_or_last_region_are_other_images(
    tmp_path: Path,
) -> None:
    rows = made_up_regions(4)
    rows[1, 0] = rows[0, 0]
    rows[2, -1] = rows[1, -1]
    rows[3, [0, -1]] = rows[2, [0, -1]]  # the regions between are not compared
    images = load_scan(write_scan(tmp_path, "dev", rows, captions_for(4, 1)))
    assert [len(own) for own in images.captions] == [1, 1, 2]


def test_the_recorded_data_set_loads_in_both_conventions(tmp_path: Path) -> None:
    recorded = load_scan(FIXTURE)
    rows = np.load(FIXTURE / "test_ims.npy").repeat(5, 0)
    captions = (FIXTURE / "test_caps.txt").read_text().splitlines()
    again = load_scan(write_scan(tmp_path, "test", rows, captions))
    assert len(recorded) == 60 and len(recorded.caption_texts) == 300
    assert regions_of(recorded).region_dim == 40
    assert_same(recorded, again)


def test_rows_of_zeros_at_the_end_are_padding_and_those_between_are_not(tmp_path: Path) -> None:
    regions = made_up_regions(3)
    regions[0, 2:] = 0
    regions[1, 1] = 0
    images = load_scan(write_scan(tmp_path, "test", regions, captions_for(3)))
    assert read_all(images).counts.tolist() == [2, 4, 4]
    assert read_all(images).is_padding.tolist()[0] == [False, False, True, True]


def test_counts_decide_what_is_padding_and_it_comes_back_as_zeros(tmp_path: Path) -> None:
    regions = made_up_regions(3)
    regions[2, 1:] = np.nan  # nobody looks at padding
    images = load_scan(write_scan(tmp_path, "test", regions, captions_for(3), counts=[4, 2, 1]))
    batch = read_all(images)
    assert batch.counts.tolist() == [4, 2, 1]
    assert not batch.features[batch.is_padding].any()
    np.testing.assert_array_equal(batch.features[~batch.is_padding], regions[~batch.is_padding])


def test_splits_of_other_region_counts_are_joined_with_padding(tmp_path: Path) -> None:
    write_scan(tmp_path, "dev", made_up_regions(2, 3), captions_for(2))
    write_scan(tmp_path, "train", made_up_regions(3, 6, seed=1), captions_for(3))
    images = load_scan(tmp_path)
    assert images.splits == ("dev", "dev", "train", "train", "train")
    batch = regions_of(images).read(np.array([4, 0]))
    assert batch.counts.tolist() == [6, 3]
    np.testing.assert_array_equal(batch.features[0], made_up_regions(3, 6, seed=1)[2])
    np.testing.assert_array_equal(batch.features[1, :3], made_up_regions(2, 3)[0])


def test_a_subset_reads_its_own_rows(tmp_path: Path) -> None:
    images = load_scan(write_scan(tmp_path, "test", made_up_regions(5), captions_for(5)))
    part = images.subset([3, 1])
    np.testing.assert_array_equal(read_all(part).features, made_up_regions(5)[[3, 1]])
    assert part.captions == (images.captions[3], images.captions[1])


def test_only_the_wanted_splits_are_opened(tmp_path: Path) -> None:
    write_scan(tmp_path, "test", made_up_regions(2), captions_for(2))
    (tmp_path / "train_ims.npy").write_bytes(b"damaged")
    assert set(load_scan(tmp_path, ["test", "testall"]).splits) == {"test"}
    with pytest.raises(DataError, match=r"no region array of split dev; found test, train"):
        load_scan(tmp_path, ["dev"])


def test_the_values_are_mapped_and_not_read_at_loading(tmp_path: Path) -> None:
    images = load_scan(write_scan(tmp_path, "test", made_up_regions(4), captions_for(4)))
    assert isinstance(regions_of(images).files[0].array, np.memmap)


@pytest.mark.parametrize("rows_each", [1, 3])
def test_ids_lie_beside_the_array_one_an_image_or_one_a_row(tmp_path: Path, rows_each: int) -> None:
    regions = made_up_regions(3).repeat(rows_each, 0)
    ids = [f"photo-{image}" for image in range(3)]
    for lines in (ids, [item_id for item_id in ids for _ in range(rows_each)]):
        folder = write_scan(tmp_path, "test", regions, captions_for(3), ids=lines)
        assert load_scan(folder).image_ids == tuple(ids)


def test_ids_of_another_number_are_told_and_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path, "test", made_up_regions(3), captions_for(3), ids=["a", "b"])
    assert load_scan(tmp_path).image_ids == ("test-0", "test-1", "test-2")
    assert "2 ids for 3 images" in capsys.readouterr().err


def test_an_array_without_captions_has_an_image_a_row(tmp_path: Path) -> None:
    write_scan(tmp_path, "test", made_up_regions(3), [])
    (tmp_path / "test_caps.txt").unlink()
    images = open_scan_images(tmp_path / "test_ims.npy")
    assert images.captions is None
    assert len(images.image_ids) == 3
    with pytest.raises(DataError, match=r"there is no .*test_caps\.txt"):
        load_scan(tmp_path)


def with_line(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "test_caps.txt").write_text(text)


def with_array(array: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "test_ims.npy", array)


def with_counts(*counts: float) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "test_counts.npy", np.array(counts))


def with_ids(*ids: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "test_ids.txt").write_text("\n".join(ids))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (with_line("one\ntwo\nthree\nfour\nfive\n"), r"5 captions but test_ims\.npy has 2 rows"),
        (with_line("one\n"), r"1 captions but test_ims\.npy has 2 rows"),
        (with_line(""), r"0 captions"),
        (with_line("one\n\nthree\nfour\n"), r"line 2 is empty"),
        (lambda f: (f / "test_caps.txt").write_bytes(b"\xff\n" * 4), r"not UTF-8"),
        (with_array(np.ones((2, 5), np.float32)), r"shape \(2, 5\); expected \(image, region"),
        (with_array(np.ones((0, 4, 5), np.float32)), r"none of them 0"),
        (with_array(np.ones((2, 4, 5), np.int64)), r"holds int64; expected float32"),
        (with_array(np.array([None, {}], dtype=object)), r"no whole \.npy array"),
        (lambda f: (f / "test_ims.npy").write_bytes(b"\x93NUMPY"), r"no whole \.npy array"),
        (with_counts(1, 2, 3), r"of shape \(3,\); expected one whole number for each of the 2"),
        (with_counts(1.0, 2.0), r"holds float64"),
        (with_counts(0, 2), r"counts from 0 to 2; .* 1 to 4 regions"),
        (with_counts(1, 5), r"counts from 1 to 5"),
        (with_ids("a", "a"), r"an id stands twice"),
        (with_ids("a", "b/c"), r"'b/c' is not allowed"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_sentence(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    write_scan(tmp_path, "test", made_up_regions(2), captions_for(2, 2))
    assert len(load_scan(tmp_path)) == 2
    damage(tmp_path)
    with pytest.raises(DataError, match=said) as told:
        load_scan(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "row 1: holds NaN"), (np.inf, "row 1: holds NaN or infinity")]
)
def test_values_are_checked_when_their_rows_are_read(
    tmp_path: Path, value: float, said: str
) -> None:
    regions = made_up_regions(3)
    regions[1, 2, 0] = value
    images = load_scan(write_scan(tmp_path, "test", regions, captions_for(3)))
    regions_of(images).read(np.array([0, 2]))
    with pytest.raises(DataError, match=said):
        regions_of(images).read(np.array([0, 1]))


def test_an_image_without_a_real_region_is_named(tmp_path: Path) -> None:
    regions = made_up_regions(3)
    regions[2] = 0
    images = load_scan(write_scan(tmp_path, "test", regions, captions_for(3)))
    with pytest.raises(DataError, match=r"test_ims\.npy row 2: every region is zero"):
        read_all(images)


def test_arrays_of_other_widths_are_not_joined(tmp_path: Path) -> None:
    write_scan(tmp_path, "dev", made_up_regions(2), captions_for(2))
    write_scan(tmp_path, "train", made_up_regions(2)[..., :3], captions_for(2))
    with pytest.raises(DataError, match=f"regions of {REGION_DIM} values but train_ims.npy of 3"):
        load_scan(tmp_path)


def test_one_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    for split in ("test", "testall"):
        write_scan(tmp_path, split, made_up_regions(2), captions_for(2), ids=["a", "b"])
    with pytest.raises(DataError, match="an id stands in two splits of test, testall"):
        load_scan(tmp_path)
    assert load_scan(tmp_path, ["test"]).image_ids == ("a", "b")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["test_ims.npy", "test_caps.txt", "test_ids.txt", "test_counts.npy"]),
    place=st.integers(0, 400),
    damage=st.binary(max_size=24),
    is_cut=st.booleans(),
)
def test_damaged_files_load_or_are_refused_with_a_data_error(
    tmp_path: Path, name: str, place: int, damage: bytes, is_cut: bool
) -> None:
    ids, counts = ["a", "b", "c"], [4, 2, 1]
    write_scan(tmp_path, "test", made_up_regions(3), captions_for(3), ids=ids, counts=counts)
    content = (tmp_path / name).read_bytes()
    rest = b"" if is_cut else content[place + len(damage) :]
    (tmp_path / name).write_bytes(content[:place] + damage + rest)
    try:
        images = load_scan(tmp_path)
        batch = read_all(images)
    except DataError as error:
        assert str(error)
    else:
        assert len(images.image_ids) == len(batch.features) == len(images.captions)
        assert np.isfinite(batch.features).all()
        assert all(images.captions)
