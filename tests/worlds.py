"""Tiny made-up data and networks, the same on every machine, shared by all tests.

world = write_world(tmp_path)              # pictures and captions, a training data set
checkpoint = tiny_checkpoint(tmp_path)     # a real HREM with random weights
"""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from model.config import (
    BackboneConfig,
    FragmentLevelConfig,
    HremConfig,
    ImageEncoderConfig,
    PreprocessorConfig,
    TextEncoderConfig,
)
from model.hrem import HREM
from model.inputs.captions import CaptionTokenizer

__all__ = [
    "BACKBONES",
    "captions_of",
    "index_world",
    "made_up_picture",
    "tiny_checkpoint",
    "tiny_config",
    "tiny_hrem",
    "tiny_index",
    "write_world",
]

IMAGE_SIDE = 32
COLOURS = {
    "red": (214, 40, 40),
    "green": (60, 160, 70),
    "blue": (40, 90, 200),
    "yellow": (240, 200, 50),
}
SHAPES = ("circle", "square", "triangle")

# One small random configuration of every kind of backbone: grids, windows, class tokens.
BACKBONES: dict[str, dict[str, Any]] = {
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
    "convnext": {
        "model_type": "convnext",
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "num_stages": 2,
        "image_size": IMAGE_SIDE,
    },
    "swin": {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
        "patch_size": 4,
        "image_size": IMAGE_SIDE,
    },
    "vit": {
        "model_type": "vit",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "patch_size": 8,
        "image_size": IMAGE_SIDE,
    },
    "mobilenet_v2": {
        "model_type": "mobilenet_v2",
        "depth_multiplier": 0.25,
        "output_stride": 8,
        "finegrained_output": False,
        "image_size": IMAGE_SIDE,
        "tf_padding": False,
    },
}


def made_up_picture(number: int, *, side: int = 48) -> Image.Image:
    """Return picture `number`: one shape of one colour on a grey that differs a little."""
    colour, shape = _colour_and_shape(number)
    grey = 200 + (number * 7) % 40
    picture = Image.new("RGB", (side, side), (grey, grey, grey))
    drawn = ImageDraw.Draw(picture)
    low, high = side // 6 + number % 3, side - side // 6
    if shape == "circle":
        drawn.ellipse((low, low, high, high), fill=COLOURS[colour])
    elif shape == "square":
        drawn.rectangle((low, low, high, high), fill=COLOURS[colour])
    else:
        drawn.polygon([(side // 2, low), (low, high), (high, high)], fill=COLOURS[colour])
    return picture


def captions_of(number: int) -> list[str]:
    """Return the five captions of picture `number`."""
    colour, shape = _colour_and_shape(number)
    return [
        f"a {colour} {shape}",
        f"one {colour} {shape} on grey",
        f"a picture of a {colour} {shape}",
        f"there is a {shape} and it is {colour}",
        f"{colour} {shape} number {number}",
    ]


def write_world(
    folder: Path,
    *,
    image_count: int = 12,
    splits: tuple[str, ...] = ("train", "train", "train", "train", "dev", "test"),
) -> Path:
    """Write a data set (captions.jsonl and images/) into `folder` and return it.

    Splits are dealt out in turn; every fourth picture lies in a folder of its own.
    """
    (folder / "images" / "more").mkdir(parents=True, exist_ok=True)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(image_count):
            name = f"{'more/' if number % 4 == 3 else ''}picture-{number:02d}.png"
            made_up_picture(number).save(folder / "images" / name)
            row = {
                "image": name,
                "split": splits[number % len(splits)],
                "captions": captions_of(number),
                "number": number,
            }
            lines.write(json.dumps(row) + "\n")
    return folder


def tiny_config(
    *,
    backbone: str | None = "resnet",
    embedding_dim: int = 16,
    region_dim: int = 12,
    grid_size: int | None = None,
    is_frozen: bool = False,
    vocabulary_size: int = 0,
    max_word_count: int = 24,
) -> HremConfig:
    """Return the configuration of a tiny network with a BiGRU.

    Args:
        backbone: A key of `BACKBONES`, or None for a network of region features.
        embedding_dim: Size of an embedding, a multiple of 2.
        region_dim: Width of region features; found out where there is a backbone.
        grid_size: Average the backbone's grid to this many cells a side.
        is_frozen: The backbone is not trained.
        vocabulary_size: Of the tokenizer.
        max_word_count: Longest caption read.
    """
    level = FragmentLevelConfig(head_count=2)
    widths = {"resnet": 16, "convnext": 16, "swin": 16, "vit": 16, "mobilenet_v2": 320}
    return HremConfig(
        embedding_dim=embedding_dim,
        image=ImageEncoderConfig(
            fragments="regions" if backbone is None else "grid",
            region_dim=region_dim if backbone is None else widths[backbone],
            backbone=None
            if backbone is None
            else BackboneConfig(
                architecture=BACKBONES[backbone], grid_size=grid_size, is_frozen=is_frozen
            ),
            fragment_level=level,
        ),
        text=TextEncoderConfig(
            kind="bigru",
            word_dim=8,
            vocabulary_size=vocabulary_size,
            max_word_count=max_word_count,
            fragment_level=level,
        ),
        preprocessor=None
        if backbone is None
        else PreprocessorConfig(image_size=IMAGE_SIDE, resize="squash"),
        tokenizer="words",
    )


def tiny_hrem(*, seed: int = 0, **sizes: Any) -> HREM:
    """Return a network of `tiny_config(**sizes)` with random weights, in eval mode."""
    config = tiny_config(**sizes)
    captions = [caption for number in range(12) for caption in captions_of(number)]
    tokenizer = CaptionTokenizer.from_captions(
        captions, min_count=1, max_word_count=config.text.max_word_count
    )
    text = config.text.model_copy(update={"vocabulary_size": tokenizer.vocabulary_size})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HREM(config.model_copy(update={"text": text}), tokenizer).eval()


def tiny_checkpoint(folder: Path, *, seed: int = 0, **sizes: Any) -> Path:
    """Write a checkpoint with random weights to `folder`/checkpoint and return that folder."""
    checkpoint = folder / "checkpoint"
    tiny_hrem(seed=seed, **sizes).save_pretrained(checkpoint)
    return checkpoint


def tiny_index(folder: Path, *, image_count: int = 12, **sizes: Any) -> Path:
    """Write a world, a checkpoint and an index of both galleries; return `folder`/index."""
    world = write_world(folder / "world", image_count=image_count)
    return index_world(world, tiny_checkpoint(folder, **sizes), folder / "index")


def index_world(world: Path, checkpoint: Path, output: Path) -> Path:
    """Build an index of the pictures and captions of a world, and return it."""
    from index_builder.build import build_index  # the model's own tests do without it

    build_index(
        checkpoint=checkpoint,
        images=world / "images",
        captions=world / "captions.jsonl",
        output=output,
    )
    return output


def _colour_and_shape(number: int) -> tuple[str, str]:
    """Return what picture `number` shows; the first twelve all differ."""
    colours = list(COLOURS)
    return colours[number % len(colours)], SHAPES[(number // len(colours)) % len(SHAPES)]
