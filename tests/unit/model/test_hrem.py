"""Laws of the dual encoder: what must never change an embedding."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import CheckpointError, RegionFeatureError
from model.hrem import HREM
from tests.worlds import BACKBONES, captions_of, made_up_picture, tiny_hrem

CAPTIONS = [caption for number in range(4) for caption in captions_of(number)]
PICTURES = [made_up_picture(number) for number in range(6)]
# The same float32 operations on other batch shapes: the order of sums differs.
SAME = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def hrem() -> HREM:
    return tiny_hrem()


@pytest.fixture(scope="module")
def saved(hrem: HREM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    hrem.save_pretrained(folder)
    return folder


def test_hrem_is_a_dual_encoder(hrem: HREM) -> None:
    assert isinstance(hrem, DualEncoder)


def test_rows_are_unit_float32_without_gradient(hrem: HREM) -> None:
    for rows in (hrem.encode_captions(CAPTIONS), hrem.encode_images(PICTURES)):
        assert rows.dtype == torch.float32
        assert rows.device.type == "cpu"
        assert not rows.requires_grad
        assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_never_changes_an_embedding(hrem: HREM, batch_size: int) -> None:
    for encode, items in ((hrem.encode_captions, CAPTIONS), (hrem.encode_images, PICTURES)):
        together = encode(items)
        assert torch.allclose(encode(items, batch_size=batch_size), together, **SAME)


def test_both_halves_of_encode_images_make_the_whole(hrem: HREM) -> None:
    assert hrem.picture_transform is not None
    pixels = torch.from_numpy(np.stack([hrem.picture_transform(picture) for picture in PICTURES]))
    assert pixels.dtype == torch.uint8
    for batch_size in (4, 64):
        whole = hrem.encode_images(PICTURES, batch_size=batch_size)
        assert torch.equal(hrem.encode_pixels(pixels, batch_size=batch_size), whole)


def test_batch_order_never_changes_an_embedding(hrem: HREM) -> None:
    assert torch.allclose(
        hrem.encode_captions(CAPTIONS[::-1]).flip(0), hrem.encode_captions(CAPTIONS), **SAME
    )
    assert torch.allclose(
        hrem.encode_images(PICTURES[::-1]).flip(0), hrem.encode_images(PICTURES), **SAME
    )


def test_padding_never_changes_an_embedding() -> None:
    regions_only = tiny_hrem(backbone=None, region_dim=12)
    features = torch.randn(3, 5, 12)
    lengths = torch.tensor([5, 3, 1])
    expected = regions_only.encode_regions(features, lengths)
    padded = torch.full((3, 9, 12), 1e4)
    padded[:, :5] = features
    for row, length in enumerate(lengths):
        padded[row, length:] = torch.randn(9 - int(length), 12) * 100
    assert torch.allclose(regions_only.encode_regions(padded, lengths), expected, **SAME)

    token_ids, is_padding = regions_only.tokenizer.pad(regions_only.tokenizer.encode(CAPTIONS))
    wider = torch.nn.functional.pad(token_ids, (0, 7), value=5)
    wider_padding = torch.nn.functional.pad(is_padding, (0, 7), value=True)
    with torch.no_grad():
        plain = regions_only.text_encoder(token_ids, is_padding).embeddings
        assert torch.allclose(
            regions_only.text_encoder(wider, wider_padding).embeddings, plain, **SAME
        )


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_saved_and_loaded_networks_give_the_same_bits(backbone: str, tmp_path: Path) -> None:
    hrem = tiny_hrem(backbone=backbone)
    hrem.save_pretrained(tmp_path)
    loaded = HREM.from_pretrained(tmp_path)
    assert torch.equal(loaded.encode_images(PICTURES), hrem.encode_images(PICTURES))
    assert torch.equal(loaded.encode_captions(CAPTIONS), hrem.encode_captions(CAPTIONS))
    assert loaded.fingerprint == hrem.fingerprint


def test_a_changed_weight_changes_the_fingerprint(saved: Path) -> None:
    loaded = HREM.from_pretrained(saved)
    before = loaded.fingerprint
    loaded.train()
    with torch.no_grad():
        next(loaded.parameters()).add_(1)
    assert loaded.fingerprint != before


def test_encoding_leaves_a_training_network_in_training_mode(saved: Path) -> None:
    loaded = HREM.from_pretrained(saved)
    expected = loaded.encode_captions(CAPTIONS)
    loaded.train()
    assert torch.equal(loaded.encode_captions(CAPTIONS), expected)
    assert loaded.training


def test_nothing_at_all_gives_no_rows(hrem: HREM) -> None:
    assert hrem.encode_captions([]).shape == (0, hrem.dim)
    assert hrem.encode_images([]).shape == (0, hrem.dim)


def test_long_captions_are_told(hrem: HREM) -> None:
    assert hrem.truncated_captions(["a red circle", "red " * 10_000]) == [False, True]
    assert hrem.encode_captions(["red " * 10_000]).shape == (1, hrem.dim)


def test_a_region_checkpoint_says_that_it_cannot_read_pictures() -> None:
    with pytest.raises(CheckpointError, match="use encode_regions"):
        tiny_hrem(backbone=None).encode_images(PICTURES)


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((2, 3, 11), None), ((2, 3), None), ((2, 3, 12), [1, 4]), ((2, 3, 12), [0, 1])],
)
def test_wrong_region_features_are_refused(
    shape: tuple[int, ...], lengths: list[int] | None
) -> None:
    with pytest.raises(RegionFeatureError):
        tiny_hrem(backbone=None, region_dim=12).encode_regions(torch.zeros(shape), lengths)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_tensors_of_any_precision_are_encoded_and_no_gradient_flows(dtype: torch.dtype) -> None:
    network = tiny_hrem(backbone=None, region_dim=12)
    features = torch.randn(3, 5, 12).to(dtype).requires_grad_()
    encoded = network.encode_regions(features, [5, 2, 1])
    expected = network.encode_regions(features.detach().float().numpy(), [5, 2, 1])
    assert torch.equal(encoded, expected)
    assert not encoded.requires_grad


@pytest.mark.filterwarnings("error")
def test_a_read_only_memory_map_of_regions_is_encoded(tmp_path: Path) -> None:
    regions = np.random.default_rng(0).normal(size=(5, 3, 12)).astype(np.float32)
    np.save(tmp_path / "regions.npy", regions)
    network = tiny_hrem(backbone=None, region_dim=12)
    mapped = network.encode_regions(np.load(tmp_path / "regions.npy", mmap_mode="r"))
    assert torch.equal(mapped, network.encode_regions(regions))


def test_a_missing_checkpoint_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*; train one with"):
        load_dual_encoder(tmp_path / "none")


def damage(folder: Path, name: str, content: str | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", "{", "is damaged"),
        ("config.json", '{"architectures": ["BertModel"]}', "not the configuration of an HREM"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("model.safetensors", "xx", "is damaged"),
        ("tokenizer/tokenizer.json", None, "not whole"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    saved: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    damage(copy, name, content)
    with pytest.raises(CheckpointError, match=message):
        HREM.from_pretrained(copy)


def test_a_run_that_has_written_no_checkpoint_yet_says_how_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    with pytest.raises(CheckpointError, match=rf"yet: .*train --resume --output {tmp_path}"):
        HREM.from_pretrained(tmp_path)


def test_weights_of_another_size_are_refused(saved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    config = json.loads((copy / "config.json").read_text())
    config["embedding_dim"] *= 2
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit"):
        HREM.from_pretrained(copy)


def test_a_grey_picture_and_a_small_one_encode(hrem: HREM) -> None:
    assert hrem.encode_images([Image.new("RGB", (1, 1))]).isfinite().all()
