"""The benchmark of precisions: every side encodes the same items, and recall is a service's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.encoding_precision import (
    EncodingPrecisionBenchmark,
    Items,
    Network,
    RandomClip,
    made_up_items,
    measure_recall,
    measure_speed,
    sides_of,
)
from model.command_line import run_command
from model.data.captioned_images import CaptionedImages
from model.data.jsonl import load_jsonl
from model.dual_encoder import load_dual_encoder
from model.inputs.pictures import open_picture
from model.metrics import evaluate_retrieval
from tests.worlds import tiny_checkpoint, tiny_hrem, write_world

_TOWER = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def images(world: Path) -> CaptionedImages:
    return load_jsonl(world / "images", world / "captions.jsonl", None)


@pytest.fixture(scope="module")
def items(images: CaptionedImages) -> Items:
    transform = tiny_hrem().picture_transform
    assert transform is not None
    pixels = np.stack([transform(open_picture(path)) for path in images.image_paths])
    return Items(torch.from_numpy(pixels), list(dict.fromkeys(images.caption_texts)))


@pytest.mark.parametrize("kind", ["hrem", "clip"])
def test_every_side_encodes_the_same_items_and_none_as_float32_does(
    kind: str, items: Items
) -> None:
    network: Network = tiny_hrem()
    if kind == "clip":
        network = RandomClip(vision_config=_TOWER, text_config=_TOWER, projection_dim=12)
        items = made_up_items(4)
    sides = sides_of(network)
    assert any("dynamic" in type(module).__module__ for module in sides["int8"].modules())
    assert {p.dtype for p in sides["bfloat16 weights"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in sides["bfloat16"].parameters()} == {torch.float32}
    for lines in measure_speed(sides, items, rounds=1, batch_size=4).values():
        assert list(lines) == ["float32", "bfloat16", "bfloat16 weights", "int8"]
        assert lines["float32"].over_float32 == 1
        assert lines["float32"].least_cosine == pytest.approx(1, abs=1e-6)
        assert lines["float32"].alone < 1e-5
        assert all(0.99 < lines[side].least_cosine < 1 - 1e-6 for side in list(lines)[1:])


def test_what_is_in_int8_leaves_transformer_layers_alone() -> None:
    quantised = sides_of(tiny_hrem())["int8"]
    layers = [m for m in quantised.modules() if isinstance(m, nn.TransformerEncoderLayer)]
    assert layers and all(type(layer.linear1) is nn.Linear for layer in layers)


def test_bfloat16_is_what_a_build_makes(tmp_path: Path, items: Items) -> None:
    folder = tiny_checkpoint(tmp_path)
    side = sides_of(tiny_hrem())["bfloat16"]
    built = load_dual_encoder(folder, precision="bfloat16")
    assert torch.equal(side.encode_captions(items.captions), built.encode_captions(items.captions))
    assert torch.equal(side.encode_pixels(items.pixels), built.encode_pixels(items.pixels))


def test_recall_is_that_of_float32_queries_in_a_gallery_of_the_other_side(
    items: Items, images: CaptionedImages
) -> None:
    ours, other = tiny_hrem(), tiny_hrem(seed=1)
    found = measure_recall({"float32": ours, "bfloat16": other}, items, images)
    owner = torch.from_numpy(images.caption_image)

    def rows(network: Network) -> tuple[torch.Tensor, torch.Tensor]:
        pictures = network.encode_pixels(items.pixels)
        return pictures, network.encode_captions(images.caption_texts)

    (pictures, captions), (other_pictures, other_captions) = rows(ours), rows(other)
    assert found["float32"].report == evaluate_retrieval(pictures, captions, owner)
    assert found["float32"].kept_fraction == 1
    report = found["bfloat16"].report
    of_images = evaluate_retrieval(pictures, other_captions, owner)
    of_captions = evaluate_retrieval(other_pictures, captions, owner)
    assert report.image_to_text == of_images.image_to_text
    assert report.text_to_image == of_captions.text_to_image
    assert 0 < found["bfloat16"].kept_fraction < 1


def test_the_command_prints_speed_and_recall_of_a_checkpoint(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--checkpoint", str(tiny_checkpoint(tmp_path)), "--rounds", "1"]
    assert run_command("benchmark", EncodingPrecisionBenchmark, command) == 2
    assert "give both of them or neither" in capsys.readouterr().err
    command += ["--data", str(world), "--split", "train"]
    assert run_command("benchmark", EncodingPrecisionBenchmark, [*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["speed"]) == ["pictures", "captions"]
    assert printed["recall"]["bfloat16"]["report"]["image_count"] == 8
    assert run_command("benchmark", EncodingPrecisionBenchmark, command) == 0
    table = capsys.readouterr().out
    assert "hits kept" in table and "bfloat16 weights" in table
