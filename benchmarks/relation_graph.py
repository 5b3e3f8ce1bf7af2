"""What A and S of a batch cost, over the one product of regions and words that they need.

    python -m benchmarks.relation_graph

Three sides, on the same random batch:
- product: all real regions times all real words, nothing else. Nobody can do with less.
- A + S: `align`, `connect` and `Relevance.forward`, as the instance level calls them in training.
- loop: the same A and S with the alignment as the released code has it, a Python loop over the
  captions that repeats each for all images and renormalises all regions every time.

Three kinds of batch: captions of equal length; captions as they are, from 5 words to the longest;
and those with a fifth of the regions dropped, as augmentation does it.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from benchmarks.stopwatch import (
    MIB,
    extra_peak_bytes,
    in_fresh_process,
    machine,
    machine_line,
    timed_rounds,
)
from model import console
from model.alignment import Alignment, align
from model.command_line import Command, run_command
from model.encoders.pooling import unit_length
from model.training.relation.connection import connect
from model.training.relation.relevance import Relevance

MOST_PRODUCTS = 2.5
SHORTEST_CAPTION = 5
DROPPED_FRACTION = 0.2

Kind = Literal["equal", "ragged", "dropped"]
Side = Literal["product", "a_and_s", "loop"]


@dataclass(frozen=True)
class Sizes:
    """The size of a batch.

    Attributes:
        pairs: Images, and captions.
        regions: Of an image.
        words: Of a caption, on average.
        longest: Most words of a caption, where captions differ.
        dim: Embedding size.
        top_k: K, what S reads of the alignment.
    """

    pairs: int
    regions: int
    words: int
    longest: int
    dim: int
    top_k: int = 10


@dataclass(frozen=True)
class Pairs:
    """An encoded batch: embeddings are unit rows, fragments are not."""

    images: Tensor
    captions: Tensor
    regions: Tensor
    region_is_padding: Tensor
    words: Tensor
    word_is_padding: Tensor


class RelationGraphBenchmark(Command):
    """Time A and S of a batch against one bare product and against a loop over captions."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.relation_graph",
        "python -m benchmarks.relation_graph --batch-sizes '[128]' --rounds 9 --json",
    )

    batch_sizes: tuple[int, ...] = Field((32, 128, 256), description="pairs of a batch")
    regions: int = Field(36, ge=1, description="regions of an image")
    words: int = Field(15, ge=SHORTEST_CAPTION, description="words of a caption, on average")
    longest: int = Field(30, ge=SHORTEST_CAPTION, description="most words of a ragged caption")
    embedding_dim: int = Field(1024, ge=1, description="size of an embedding")
    rounds: int = Field(5, ge=1, description="how often A + S and the product are timed, in turns")
    loop_rounds: int = Field(1, ge=1, description="the same for the loop, which is slow")
    memory: bool = Field(True, description="measure memory too, each side in its own process")

    def run(self) -> int:
        """Print seconds, ratios and peaks; 1 if A + S costs more than 2.5 products."""
        found = machine()
        batches, peaks = [], []
        all_sizes = [
            Sizes(pairs, self.regions, self.words, self.longest, self.embedding_dim)
            for pairs in self.batch_sizes
        ]
        chosen = [(sizes, kind) for sizes in all_sizes for kind in get_args(Kind)]
        for sizes, kind in chosen:
            console.say(f"timing A + S  {sizes.pairs} pairs, {kind}")
            batches.append(time_graph(sizes, kind, rounds=self.rounds))
        for line, (sizes, kind) in zip(batches, chosen, strict=True):
            console.say(f"timing the loop  {sizes.pairs} pairs, {kind}")
            line.update(time_loop(sizes, kind, rounds=self.loop_rounds))
        for sizes in all_sizes if self.memory else []:
            console.say(f"measuring memory  {sizes.pairs} pairs, ragged")
            peaks.append({"pairs": sizes.pairs, **measure_memory(sizes, "ragged")})
        if self.json_output:
            console.result_json({"machine": found, "batches": batches, "ragged_peaks": peaks})
        else:
            _show(found, batches, peaks)
        return 0 if all(line["a_and_s_over_product"] <= MOST_PRODUCTS for line in batches) else 1


def make_pairs(sizes: Sizes, kind: Kind) -> Pairs:
    """Return a random batch, the same every time."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    word_counts = torch.full((sizes.pairs,), sizes.words)
    if kind != "equal":
        # Lengths spread around the mean; one caption is the longest, as in most real batches.
        spread = (0.3 * sizes.words * random(sizes.pairs)).round().long()
        word_counts = (word_counts + spread).clamp(SHORTEST_CAPTION, sizes.longest)
        word_counts[0] = sizes.longest
    region_is_padding = torch.zeros(sizes.pairs, sizes.regions, dtype=torch.bool)
    if kind == "dropped":
        region_is_padding = torch.rand(region_is_padding.shape, generator=generator) < (
            DROPPED_FRACTION
        )
        region_is_padding[:, 0] = False
    return Pairs(
        images=unit_length(random(sizes.pairs, sizes.dim)).requires_grad_(),
        captions=unit_length(random(sizes.pairs, sizes.dim)).requires_grad_(),
        regions=random(sizes.pairs, sizes.regions, sizes.dim),
        region_is_padding=region_is_padding,
        words=random(sizes.pairs, int(word_counts.max()), sizes.dim),
        word_is_padding=torch.arange(int(word_counts.max())) >= word_counts[:, None],
    )


def make_side(side: Side, pairs: Pairs, sizes: Sizes) -> Callable[[], object]:
    """Return one of the three sides, ready to run."""
    if side == "product":
        regions = pairs.regions[~pairs.region_is_padding]
        words = pairs.words[~pairs.word_is_padding]
        return lambda: regions @ words.T
    relevance = Relevance(top_k=sizes.top_k, sigma=1.0)
    aligned_by = align if side == "a_and_s" else align_by_loop

    def graph() -> object:
        alignment = aligned_by(
            pairs.regions, pairs.region_is_padding, pairs.words, pairs.word_is_padding
        )
        connection = connect(pairs.images, pairs.captions, alignment, fraction=0.5)
        return connection, relevance(pairs.images, pairs.captions, alignment)

    return graph


@torch.no_grad()
def align_by_loop(
    regions: Tensor, region_is_padding: Tensor, words: Tensor, word_is_padding: Tensor
) -> Alignment:
    """Return the alignment caption by caption: the released code's way, in our words.

    Padded regions take part, as they do there. Both directions share one product a caption.
    """
    image_count, region_count, _ = regions.shape
    caption_count, word_count, _ = words.shape
    region_maxima = regions.new_zeros(image_count, caption_count, region_count)
    word_maxima = regions.new_zeros(caption_count, image_count, word_count)
    for caption in range(caption_count):
        length = int((~word_is_padding[caption]).sum())
        repeated = words[caption, :length].repeat(image_count, 1, 1)  # (image, word, dim)
        similarity = unit_length(regions) @ unit_length(repeated).transpose(1, 2)
        leaky = functional.leaky_relu(similarity, 0.1)  # (image, region, word)
        to_text = leaky / (leaky.norm(dim=1, keepdim=True) + 1e-8)
        to_image = leaky / (leaky.norm(dim=2, keepdim=True) + 1e-8)
        region_maxima[:, caption] = to_text.amax(dim=2)
        word_maxima[caption, :, :length] = to_image.amax(dim=1)
    return Alignment(region_maxima, word_maxima, region_is_padding, word_is_padding)


def time_graph(sizes: Sizes, kind: Kind, *, rounds: int) -> dict[str, Any]:
    """Return median seconds of the product and of A + S, and their ratio."""
    pairs = make_pairs(sizes, kind)
    compared: tuple[Side, ...] = ("product", "a_and_s")
    timed = timed_rounds({side: make_side(side, pairs, sizes) for side in compared}, rounds=rounds)
    return {
        **asdict(sizes),
        "kind": kind,
        "mean_words": float((~pairs.word_is_padding).sum(dim=1).float().mean()),
        "mean_regions": float((~pairs.region_is_padding).sum(dim=1).float().mean()),
        **{f"{side}_s": timed.median(side) for side in compared},
        "a_and_s_over_product": timed.ratio("a_and_s", "product"),
    }


def time_loop(sizes: Sizes, kind: Kind, *, rounds: int) -> dict[str, float]:
    """Return median seconds of the loop and its ratio to A + S in the same rounds."""
    pairs = make_pairs(sizes, kind)
    sides = {side: make_side(side, pairs, sizes) for side in ("a_and_s", "loop")}
    sides["a_and_s"]()
    timed = timed_rounds(sides, rounds=rounds, is_warm=True)
    return {"loop_s": timed.median("loop"), "loop_over_a_and_s": timed.ratio("loop", "a_and_s")}


def measure_memory(sizes: Sizes, kind: Kind) -> dict[str, float]:
    """Return each side's peak memory over its inputs, in MiB."""
    return {
        f"{side}_mib": in_fresh_process(_extra_peak_bytes, sizes, kind, side) / MIB
        for side in get_args(Side)
    }


def _extra_peak_bytes(sizes: Sizes, kind: Kind, side: Side) -> int:
    tiny = Sizes(pairs=4, regions=3, words=5, longest=6, dim=8, top_k=2)
    make_side(side, make_pairs(tiny, kind), tiny)()  # what torch loads at first use
    return extra_peak_bytes(make_side(side, make_pairs(sizes, kind), sizes))


def _show(
    found: dict[str, Any], batches: list[dict[str, Any]], peaks: list[dict[str, Any]]
) -> None:
    """Print tables for people."""
    console.result(machine_line(found))
    first = batches[0]
    console.table(
        f"A and S of a batch · {first['regions']} regions · {first['words']} words · "
        f"{first['dim']}-d · float32",
        ("captions", "pairs", "product, ms", "A + S, ms", "A + S / product", "loop / A + S"),
        [
            (
                line["kind"],
                line["pairs"],
                f"{1000 * line['product_s']:.1f}",
                f"{1000 * line['a_and_s_s']:.1f}",
                f"{line['a_and_s_over_product']:.2f}",
                f"{line['loop_over_a_and_s']:.1f}",
            )
            for line in batches
        ],
    )
    if peaks:
        console.table(
            "peak memory over the inputs, MiB · ragged",
            ("pairs", "product", "A + S", "loop"),
            [
                (line["pairs"], *(f"{line[f'{side}_mib']:.0f}" for side in get_args(Side)))
                for line in peaks
            ],
        )


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.relation_graph", RelationGraphBenchmark))
