"""Encoding in float32, bfloat16 and int8: how quick it is, and what it costs in recall.

    python -m benchmarks.encoding_precision
    python -m benchmarks.encoding_precision --checkpoint checkpoints/scenes --data data/scenes

Without a checkpoint a CLIP model of ViT-B/32's size with random weights is timed. With one, its
own pictures and captions are, and recall is measured as a service has it: queries in float32, the
gallery in the other precision.

- bfloat16: what `build --precision bfloat16` does, products by autocast, weights in float32.
- bfloat16 weights: the weights and all that is computed are rounded, normalisation excepted.
- int8: torch's dynamic quantisation of linear layers and GRUs, one scale for each tensor. It knows
  no convolutions and cannot be applied to `nn.TransformerEncoderLayer`, so these stay float32.

Two figures are free of any noise of timing: the cosine with the row of float32, and "alone", the
largest difference of a coordinate between an item encoded alone and in its batch.
"""

import copy
import sys
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.stopwatch import machine, machine_line, timed_rounds
from model import console
from model.command_line import Command, run_command
from model.data.captioned_images import CaptionedImages
from model.data.source import find_source
from model.dual_encoder import encode_in_batches
from model.errors import ConfigError
from model.hrem import HREM
from model.inputs.pictures import open_picture
from model.metrics import RetrievalReport, report_from_ranks
from model.precision import Precision, is_quick
from model.ranking import rank_retrieval

_ALONE_COUNT = 8


class RandomClip(nn.Module):
    """CLIP of ViT-B/32's size with random weights; encodes as `PretrainedDualEncoder` does.

    Attributes:
        precision: What it multiplies in.
    """

    def __init__(self, **settings: Any) -> None:
        """Make one; `settings` replace those of ViT-B/32, which are transformers' defaults."""
        super().__init__()
        from transformers import CLIPConfig, CLIPModel

        torch.manual_seed(0)
        marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        text = marks | settings.pop("text_config", {})
        self.network = CLIPModel(CLIPConfig(text_config=text, **settings)).eval()
        self.precision: Precision = "float32"

    def encode_pixels(self, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
        """Return (image, dim) of (image, 3, 224, 224) uint8."""

        def encode(rows: Sequence[int]) -> Tensor:
            some = pixels[rows[0] : rows[-1] + 1].float() / 127.5 - 1
            found = self.network.get_image_features(pixel_values=some.to(self.network.dtype))
            return functional.normalize(found.pooler_output.float(), dim=1)

        return self._in_batches(len(pixels), encode, batch_size)

    def encode_captions(self, captions: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Return (caption, dim) of texts of equal length; a word's id is a hash."""
        ids = [[3 + zlib.crc32(w.encode()) % 40_000 for w in text.split()] for text in captions]
        token_ids = torch.tensor([[1, *words, 2] for words in ids])

        def encode(rows: Sequence[int]) -> Tensor:
            found = self.network.get_text_features(input_ids=token_ids[rows[0] : rows[-1] + 1])
            return functional.normalize(found.pooler_output.float(), dim=1)

        return self._in_batches(len(captions), encode, batch_size)

    def _in_batches(self, count: int, encode: Any, batch_size: int) -> Tensor:
        return encode_in_batches(
            range(count),
            encode,
            dim=self.network.config.projection_dim,
            batch_size=batch_size,
            device=torch.device("cpu"),
            precision=self.precision,
        )


Network: TypeAlias = HREM | RandomClip


@dataclass(frozen=True)
class Items:
    """What is encoded.

    Attributes:
        pixels: (image, 3, side, side), uint8.
        captions: Texts, no two the same.
    """

    pixels: Tensor
    captions: list[str]

    def first(self, count: int) -> "Items":
        """Return at most `count` of each."""
        return Items(self.pixels[:count], self.captions[:count])


@dataclass(frozen=True)
class Speed:
    """How one side encodes a batch.

    Attributes:
        items_per_s: Of the median round.
        over_float32: Median over rounds of float32's seconds over this side's.
        least_cosine: With the row of float32.
        alone: Largest difference of a coordinate, encoded alone and in the batch.
    """

    items_per_s: float
    over_float32: float
    least_cosine: float
    alone: float


@dataclass(frozen=True)
class Recall:
    """What a gallery in one precision gives queries in float32.

    Attributes:
        report: R@K both ways: captions find images of this precision, images such captions.
        kept_fraction: Of float32's first ten hits, the share that is still among the ten.
        mean_cosine: Of images and captions with their rows in float32.
    """

    report: RetrievalReport
    kept_fraction: float
    mean_cosine: float


class EncodingPrecisionBenchmark(Command):
    """Time encoding in several precisions; with a trained checkpoint, measure its recall."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.encoding_precision",
        "python -m benchmarks.encoding_precision --checkpoint checkpoints/scenes "
        "--data data/scenes --split test",
    )

    checkpoint: str | None = Field(None, description="HREM checkpoint of pictures; default: CLIP")
    data: Path | None = Field(None, description="folder with the pictures and captions for it")
    split: str = Field("test", description="which of them")
    batch_size: int = Field(64, ge=2, description="items encoded at once")
    rounds: int = Field(5, ge=1, description="how often each side is timed, in turns")

    def run(self) -> int:
        """Print the tables, or one JSON object."""
        found = machine()
        images: CaptionedImages | None = None
        network: Network
        if self.checkpoint is not None and self.data is not None:
            images = find_source(self.data).load([self.split])
            network = HREM.from_pretrained(self.checkpoint)
            items = _items_of(network, images)
        elif self.checkpoint is None and self.data is None:
            network, items = RandomClip(), made_up_items(self.batch_size)
        else:
            raise ConfigError(["checkpoint, data: give both of them or neither"])
        sides = sides_of(network)
        speeds = measure_speed(
            sides, items.first(self.batch_size), rounds=self.rounds, batch_size=self.batch_size
        )
        recalls = {} if images is None else measure_recall(sides, items, images)
        if self.json_output:
            console.result_json(
                {
                    "machine": found,
                    "has_bfloat16": is_quick("bfloat16", "cpu"),
                    "settings": self.model_dump(mode="json"),
                    "speed": {
                        kind: {name: asdict(speed) for name, speed in lines.items()}
                        for kind, lines in speeds.items()
                    },
                    "recall": {name: asdict(recall) for name, recall in recalls.items()},
                }
            )
        else:
            self._show(found, speeds, recalls)
        return 0

    def _show(
        self,
        found: dict[str, Any],
        speeds: dict[str, dict[str, Speed]],
        recalls: dict[str, Recall],
    ) -> None:
        console.result(machine_line(found))
        has = "has" if is_quick("bfloat16", "cpu") else "lacks"
        console.result(f"this processor {has} instructions for bfloat16")
        speed_columns = ("precision", "items/s", "times float32", "least cosine", "alone")
        for kind, lines in speeds.items():
            rows = [
                (
                    name,
                    f"{speed.items_per_s:.1f}",
                    f"{speed.over_float32:.2f}",
                    f"{speed.least_cosine:.5f}",
                    f"{speed.alone:.1e}",
                )
                for name, speed in lines.items()
            ]
            console.table(f"{kind}, {self.batch_size} at once", speed_columns, rows)
        if recalls:
            recall_columns = (
                "gallery in",
                "image → text",
                "text → image",
                "rSum",
                "hits kept",
                "cosine",
            )
            console.table(
                f"R@1 / 5 / 10, queries in float32, {self.split} of {self.data}",
                recall_columns,
                [(name, *_recall_cells(recall)) for name, recall in recalls.items()],
            )


def made_up_items(count: int) -> Items:
    """Return noise of 224 pixels and texts of 14 words."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8, generator=generator)
    captions = [" ".join(f"word{number * (place + 3) % 97}" for place in range(14))
                for number in range(count)]  # fmt: skip
    return Items(pixels, captions)


def sides_of(network: Network) -> dict[str, Network]:
    """Return the network in every precision, by name; float32 is the network itself."""
    rounded = copy.deepcopy(network)
    rounded.precision = "bfloat16"
    return {
        "float32": network,
        "bfloat16": rounded,
        "bfloat16 weights": copy.deepcopy(network).to(torch.bfloat16),
        "int8": _quantised(network),
    }


def _quantised(network: Network) -> Network:
    """Return a copy with linear layers and GRUs in int8 where torch can do that."""
    from torch.ao.quantization import default_dynamic_qconfig, quantize_dynamic

    out_of_reach = tuple(
        f"{name}." for name, module in network.named_modules()
        if isinstance(module, nn.TransformerEncoderLayer)
    )  # fmt: skip
    chosen = {
        name: default_dynamic_qconfig
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.GRU) and not name.startswith(out_of_reach)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated: one more reason to do without
        quantised: Network = quantize_dynamic(  # type: ignore[no-untyped-call]
            copy.deepcopy(network), chosen
        )
    return quantised


def measure_speed(
    sides: dict[str, Network], items: Items, *, rounds: int, batch_size: int
) -> dict[str, dict[str, Speed]]:
    """Return for pictures and for captions how every side encodes them."""
    found: dict[str, dict[str, Speed]] = {}
    for kind, method, what in (
        ("pictures", "encode_pixels", items.pixels),
        ("captions", "encode_captions", items.captions),
    ):
        console.say(f"timing  {len(what)} {kind}")
        runs = {
            name: partial(getattr(network, method), what, batch_size=batch_size)
            for name, network in sides.items()
        }
        expected = runs["float32"]()
        timed = timed_rounds(runs, rounds=rounds)
        found[kind] = {}
        for name, network in sides.items():
            rows, few = runs[name](), what[:_ALONE_COUNT]
            alone = getattr(network, method)(few, batch_size=1)
            found[kind][name] = Speed(
                items_per_s=len(what) / timed.median(name),
                over_float32=timed.ratio("float32", name),
                least_cosine=float((rows * expected).sum(dim=1).min()),
                alone=float((rows[: len(few)] - alone).abs().max()),
            )
    return found


def measure_recall(
    sides: dict[str, Network], items: Items, images: CaptionedImages
) -> dict[str, Recall]:
    """Return for every side what a gallery in it gives queries in float32."""
    owner = torch.from_numpy(images.caption_image)
    place = {text: row for row, text in enumerate(items.captions)}
    rows = torch.tensor([place[text] for text in images.caption_texts])
    pixels, captions, found = {}, {}, {}
    for name, network in sides.items():
        console.say(f"encoding  {len(items.pixels)} pictures and their captions in {name}")
        pixels[name] = network.encode_pixels(items.pixels)
        captions[name] = network.encode_captions(items.captions)[rows]
    exact = rank_retrieval(pixels["float32"], captions["float32"], owner, hit_count=10)
    for name in sides:
        of_captions = rank_retrieval(pixels[name], captions["float32"], owner, hit_count=10)
        of_images = rank_retrieval(pixels["float32"], captions[name], owner, hit_count=10)
        kept = [
            _kept(exact.image_hits, of_captions.image_hits),
            _kept(exact.caption_hits, of_images.caption_hits),
        ]
        cosines = torch.cat(
            [(side[name] * side["float32"]).sum(dim=1) for side in (pixels, captions)]
        )
        found[name] = Recall(
            report_from_ranks(of_images.image_to_text, of_captions.text_to_image),
            kept_fraction=sum(kept) / 2,
            mean_cosine=float(cosines.mean()),
        )
    return found


def _kept(expected: Any, found: Any) -> float:
    is_kept = (expected.positions[:, :, None] == found.positions[:, None, :]).any(dim=2)
    return float(is_kept.float().mean())


def _items_of(network: HREM, images: CaptionedImages) -> Items:
    transform = network.picture_transform
    if transform is None or images.regions is not None:
        raise ConfigError(["checkpoint, data: give a checkpoint of pictures, and pictures"])
    pixels = np.stack([transform(open_picture(path)) for path in images.image_paths])
    return Items(torch.from_numpy(pixels), list(dict.fromkeys(images.caption_texts)))


def _recall_cells(recall: Recall) -> list[str]:
    report = recall.report
    cells = [
        f"{way.recall_at_1:.1f} / {way.recall_at_5:.1f} / {way.recall_at_10:.1f}"
        for way in (report.image_to_text, report.text_to_image)
    ]
    kept = f"{100 * recall.kept_fraction:.2f} %"
    return [*cells, f"{report.rsum:.1f}", kept, f"{recall.mean_cosine:.5f}"]


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.encoding_precision", EncodingPrecisionBenchmark))
