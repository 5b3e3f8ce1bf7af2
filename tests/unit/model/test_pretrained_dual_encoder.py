"""CLIP and its like as dual encoders: transformers' own features, and the protocol's laws."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from model.dual_encoder import (
    DualEncoder,
    files_of_dual_encoder,
    load_dual_encoder,
    reads_regions,
    region_encoder,
)
from model.errors import CheckpointError
from tests.tiny_pretrained import KINDS, MAX_TOKENS, tiny_pretrained
from tests.worlds import captions_of, made_up_picture, tiny_checkpoint

CAPTIONS = [*captions_of(3), "x", "a red circle, " * 9, captions_of(5)[0]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pretrained")
    return {kind: tiny_pretrained(place, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, DualEncoder]:
    return {kind: load_dual_encoder(folder) for kind, folder in folders.items()}


@pytest.fixture
def clip(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folders["clip"], tmp_path / "clip"))


def pictures() -> list[Image.Image]:
    return [
        made_up_picture(n).resize(size) for n, size in enumerate([(48, 48), (90, 37), (33, 70)])
    ]


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def unit(features: Any) -> torch.Tensor:
    return functional.normalize(features.pooler_output, dim=1)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_embeddings_are_the_features_of_transformers(
    kind: str, folders: dict[str, Path], encoders: dict[str, DualEncoder]
) -> None:
    encoder, network = encoders[kind], AutoModel.from_pretrained(folders[kind]).eval()
    assert isinstance(encoder, DualEncoder)
    processor = AutoImageProcessor.from_pretrained(folders[kind])
    expected = unit(network.get_image_features(**processor(pictures(), return_tensors="pt")))
    found = encoder.encode_images(pictures())
    assert found.shape == (3, encoder.dim)
    # 1e-5: the same pixels, normalised in another order of the same operations.
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    # What the documentation of each model says: SigLIP always reads the full length.
    padding = "max_length" if kind == "siglip" else True
    tokens = AutoTokenizer.from_pretrained(folders[kind])(
        CAPTIONS, padding=padding, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )
    expected = unit(network.get_text_features(**tokens))
    torch.testing.assert_close(encoder.encode_captions(CAPTIONS), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_siglip_would_see_other_captions_without_its_padding(
    folders: dict[str, Path], encoders: dict[str, DualEncoder]
) -> None:
    network = AutoModel.from_pretrained(folders["siglip"]).eval()
    short = AutoTokenizer.from_pretrained(folders["siglip"])(["x"], return_tensors="pt")
    unpadded = unit(network.get_text_features(**short))
    assert (encoders["siglip"].encode_captions(["x"]) - unpadded).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_one_alone_equals_the_same_in_any_batch_and_order(
    kind: str, encoders: dict[str, DualEncoder]
) -> None:
    encoder = encoders[kind]
    whole = encoder.encode_captions(CAPTIONS)
    assert (whole.dtype, whole.device.type, whole.requires_grad) == (torch.float32, "cpu", False)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(len(CAPTIONS)))
    for row, caption in enumerate(CAPTIONS):
        alone = encoder.encode_captions([caption])[0]
        torch.testing.assert_close(alone, whole[row], atol=1e-5, rtol=0)
    small = encoder.encode_captions(CAPTIONS, batch_size=3)
    torch.testing.assert_close(small, whole, atol=1e-5, rtol=0)

    of_pictures = encoder.encode_images(pictures())
    torch.testing.assert_close(of_pictures.norm(dim=1), torch.ones(3))
    back = encoder.encode_images(pictures()[::-1], batch_size=1).flip(0)
    torch.testing.assert_close(back, of_pictures, atol=1e-5, rtol=0)
    assert encoder.picture_transform is not None
    rows = [encoder.picture_transform(picture) for picture in pictures()]
    pixels = torch.from_numpy(np.stack(rows))
    assert pixels.dtype == torch.uint8
    torch.testing.assert_close(encoder.encode_pixels(pixels), of_pictures, atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_encoded_as_nothing(kind: str, encoders: dict[str, DualEncoder]) -> None:
    encoder = encoders[kind]
    assert encoder.encode_captions([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)
    assert encoder.truncated_captions([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_is_truncated_exactly_where_its_end_changes_nothing(
    kind: str, encoders: dict[str, DualEncoder]
) -> None:
    encoder = encoders[kind]
    growing = [" ".join(["circle"] * count) for count in range(1, 24)]
    is_cut = encoder.truncated_captions(growing)
    first = is_cut.index(True)
    assert first > 0 and all(is_cut[first:])
    embeddings = encoder.encode_captions(growing)
    changes = (embeddings[1:] - embeddings[:-1]).abs().amax(dim=1)
    assert (changes[: first - 1] > 1e-5).all()
    assert (changes[first:] < 1e-6).all()


def test_a_kept_copy_has_the_same_fingerprint_and_nothing_else_in_it(clip: Path) -> None:
    fingerprint = load_dual_encoder(clip).fingerprint
    (clip / "README.md").write_text("hello")
    (clip / "pytorch_model.bin").write_bytes(b"a pickle")
    rewrite(clip / "config.json", transformers_version="0.0.1", torch_dtype="float32")
    copy = clip.parent / "copy"
    copy.mkdir()
    for name, file in files_of_dual_encoder(clip).items():
        shutil.copy(file, copy / name)
    assert {file.name for file in copy.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert load_dual_encoder(copy).fingerprint == fingerprint


def flip_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def swap_two_words(folder: Path) -> None:
    whole = json.loads((folder / "tokenizer.json").read_text())
    words = whole["model"]["vocab"]
    words["red</w>"], words["blue</w>"] = words["blue</w>"], words["red</w>"]
    (folder / "tokenizer.json").write_text(json.dumps(whole))


def read_shorter_captions(folder: Path) -> None:
    rewrite(folder / "tokenizer_config.json", model_max_length=MAX_TOKENS - 3)


def normalise_otherwise(folder: Path) -> None:
    rewrite(folder / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])


def activate_otherwise(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_act"] = "gelu"
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change",
    [flip_a_weight, swap_two_words, read_shorter_captions, normalise_otherwise, activate_otherwise],
)
def test_whatever_changes_embeddings_changes_the_fingerprint(change: Any, clip: Path) -> None:
    before = load_dual_encoder(clip)
    change(clip)
    after = load_dual_encoder(clip)
    assert before.fingerprint != after.fingerprint
    captions = ["a red circle and a blue square and one yellow triangle on grey"]
    is_other_text = not torch.equal(
        before.encode_captions(captions), after.encode_captions(captions)
    )
    is_other_picture = not torch.equal(
        before.encode_images(pictures()), after.encode_images(pictures())
    )
    assert is_other_text or is_other_picture


def test_encoding_leaves_the_fingerprint_as_it_is(clip: Path) -> None:
    used = load_dual_encoder(clip)
    used.encode_captions(CAPTIONS)
    used.truncated_captions(CAPTIONS)
    assert used.fingerprint == load_dual_encoder(clip).fingerprint


def test_a_file_that_is_overwritten_in_place_leaves_a_loaded_network_as_it_is(clip: Path) -> None:
    encoder = load_dual_encoder(clip)
    before = encoder.encode_captions(CAPTIONS)
    place = clip / "model.safetensors"
    size = place.stat().st_size
    with place.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert torch.equal(encoder.encode_captions(CAPTIONS), before)
    assert load_dual_encoder(clip).fingerprint != encoder.fingerprint


def test_weights_stored_in_half_are_computed_in_float32(clip: Path) -> None:
    weights = load_file(clip / "model.safetensors")
    halves = {name: value.half() if value.is_floating_point() else value
              for name, value in weights.items()}  # fmt: skip
    save_file(halves, clip / "model.safetensors", metadata={"format": "pt"})
    rewrite(clip / "config.json", dtype="float16")
    halved = load_dual_encoder(clip).encode_captions(CAPTIONS)
    whole = {name: value.float() if value.is_floating_point() else value
             for name, value in halves.items()}  # fmt: skip
    save_file(whole, clip / "model.safetensors", metadata={"format": "pt"})
    rewrite(clip / "config.json", dtype="float32")
    assert torch.equal(halved, load_dual_encoder(clip).encode_captions(CAPTIONS))


def test_a_tokenizer_written_in_python_is_hashed_by_its_files(clip: Path) -> None:
    words = {"<unk>": 0, "a": 1, "red": 2, "circle": 3}
    (clip / "tokenizer.json").unlink()
    (clip / "vocab.json").write_text(json.dumps(words))
    (clip / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CTRLTokenizer", "pad_token": "<unk>", "model_max_length": 14}
    (clip / "tokenizer_config.json").write_text(json.dumps(settings))
    encoder = load_dual_encoder(clip)
    before = encoder.fingerprint
    assert encoder.truncated_captions(["a red circle", "a " * 20]) == [False, True]
    (clip / "vocab.json").write_text(json.dumps(words | {"red": 3, "circle": 2}))
    assert load_dual_encoder(clip).fingerprint != before


def test_a_hub_name_is_the_folder_that_was_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hub's own cache: files are links to blobs, and refs/main names the commit.
    store = tmp_path / "models--some--clip"
    snapshot = store / "snapshots" / ("0" * 40)
    (store / "blobs").mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folders["clip"].iterdir())):
        shutil.copy(file, store / "blobs" / str(number))
        (snapshot / file.name).symlink_to(store / "blobs" / str(number))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    fetched = load_dual_encoder("some/clip")
    assert fetched.fingerprint == load_dual_encoder(folders["clip"]).fingerprint
    assert {"config.json", "tokenizer.json"} <= set(files_of_dual_encoder("some/clip"))
    with pytest.raises(CheckpointError, match="could not be fetched from the model hub"):
        load_dual_encoder("some/other")


def test_only_hrem_reads_regions_and_that_is_said(encoders: dict[str, DualEncoder]) -> None:
    assert not reads_regions(encoders["clip"])
    with pytest.raises(CheckpointError, match=r"\(CLIP .*cannot read region features"):
        region_encoder(encoders["clip"])


def test_our_own_checkpoints_are_still_ours(tmp_path: Path) -> None:
    assert load_dual_encoder(tiny_checkpoint(tmp_path)).name.startswith("HREM")


def lose_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_the_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def lose_the_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


REFUSED = [
    (lose_the_weights, r"no model\.safetensors; weights in a pickle .* are never read"),
    (lose_a_weight, r"lack 1 of the network's, the first is text_projection\.weight"),
    (cut_the_weights, "cannot be loaded"),
    (lose_the_tokenizer, r"has no tokenizer \(one of .*tokenizer\.json"),
    (lambda f: (f / "tokenizer.json").write_text("{}"), "the tokenizer in .* cannot be loaded"),
    (lambda f: (f / "preprocessor_config.json").unlink(), r"has no preprocessor_config\.json"),
    (lambda f: rewrite(f / "preprocessor_config.json", do_resize=False), "do_resize = False"),
    (
        lambda f: rewrite(f / "preprocessor_config.json", size={"shortest_edge": 48}, crop_size=48),
        "made 48 pixels wide but its config.json says image_size 32",
    ),
    (
        lambda f: rewrite(f / "config.json", model_type="bert"),
        "of a model of type 'bert'; the ones",
    ),
    (lambda f: (f / "config.json").write_text("{}"), "neither schema_version, .* nor model_type"),
    (lambda f: (f / "config.json").write_text("{"), "damaged"),
    (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
]


@pytest.mark.parametrize(("spoil", "told"), REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(spoil: Any, told: str, clip: Path) -> None:
    spoil(clip)
    with pytest.raises(CheckpointError, match=told) as caught:
        load_dual_encoder(clip)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="the package is there")
def test_a_tokenizer_that_needs_a_package_names_it(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    siglip = Path(shutil.copytree(folders["siglip"], tmp_path / "siglip"))
    rewrite(siglip / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    with pytest.raises(CheckpointError, match=r"requires the SentencePiece library") as caught:
        load_dual_encoder(siglip)
    assert "\n" not in str(caught.value)
