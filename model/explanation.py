"""Why a score is what it is: the cosine of a picture and a caption as a sum over (region, word).

HREM's pooling is additive, so an embedding is a sum of one part a fragment, and a cosine is exactly
the sum of the products of all parts of the one with all parts of the other:

    v = sum over regions m of v_m,    u = sum over words n of u_n
    score = <v, u> = sum over m, n of <v_m, u_n>
    v_m = (b * [channels where projected region m is among the top k] / k * P_m
           + (1 - b) / count * R_m) / ||sum of these||,    likewise u_n

- R_m has mixed in other regions: it is the slot of region m, not region m alone.
- Parts belong to one item, whatever it is compared with: n pictures and one caption are encoded
  once each, and every pair is one matrix product.

    explainer = Explainer(HREM.from_pretrained("checkpoints/scenes"))
    [image], [caption] = explainer.of_pictures([picture]), explainer.of_captions(["a red circle"])
    explanation = explain(image, caption)           # matrix: (region, word), sums to the score
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL.Image import Image
from torch import Tensor

from model.dual_encoder import DualEncoder
from model.encoders.fragment_level import FragmentLevel
from model.errors import CheckpointError
from model.eval_mode import in_eval_mode
from model.hrem import HREM
from model.inputs.captions import Word

__all__ = ["CaptionParts", "Explainer", "Explanation", "GridCell", "ImageParts", "explain"]


@dataclass(frozen=True, slots=True)
class GridCell:
    """A region of a picture: one cell of the grid that the network reads.

    Attributes:
        row: From the top, from 0.
        column: From the left, from 0.
        box: Left, top, right and bottom as fractions of width and height of the upright picture.
            The cells share evenly what the network sees; a feature looks beyond its cell.
    """

    row: int
    column: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageParts:
    """An image embedding, taken apart.

    Attributes:
        vectors: (region, dim) float32 on the CPU; they sum to the embedding.
        cells: Where each region lies; None for region features, which are known by their place.
    """

    vectors: Tensor
    cells: list[GridCell] | None


@dataclass(frozen=True)
class CaptionParts:
    """A caption embedding, taken apart.

    Attributes:
        vectors: (word, dim) float32 on the CPU; they sum to the embedding.
        words: What each row is; the marks that open and close a caption are words too.
    """

    vectors: Tensor
    words: list[Word]


@dataclass(frozen=True)
class Explanation:
    """What each region with each word adds to a score.

    Attributes:
        matrix: (region, word) float32; it sums to the cosine of the two embeddings.
        cells: Of each row; None for region features.
        words: Of each column.
    """

    matrix: Tensor
    cells: list[GridCell] | None
    words: list[Word]

    @property
    def score(self) -> float:
        """The sum of the matrix, added up in float64."""
        return float(self.matrix.double().sum())


def explain(image: ImageParts, caption: CaptionParts) -> Explanation:
    """Return the explanation of the score of one image with one caption."""
    return Explanation(image.vectors @ caption.vectors.T, image.cells, caption.words)


class Explainer:
    """Takes the embeddings of an HREM apart.

    Items are encoded as its `encode_...` methods encode them: in eval mode, in its precision,
    without gradients; parts of one item never depend on the others of a call.
    """

    def __init__(self, encoder: DualEncoder) -> None:
        """Take an encoder.

        Raises:
            CheckpointError: It is no HREM.
        """
        if not isinstance(encoder, HREM):
            raise CheckpointError(
                f"this checkpoint ({encoder.name}) cannot explain a score, only HREM can, whose "
                "pooling is a sum over regions and words; search without an explanation"
            )
        self._hrem = encoder

    def of_captions(self, captions: Sequence[str], *, batch_size: int = 64) -> list[CaptionParts]:
        """Return the parts of captions, in order; a long one is cut as for encoding."""
        hrem = self._hrem
        encoder = hrem.text_encoder
        found = []
        with _as_for_encoding(hrem):
            for start in range(0, len(captions), batch_size):
                chosen = captions[start : start + batch_size]
                padded, is_padding = hrem.tokenizer.pad(hrem.tokenizer.encode(chosen))
                is_padding = is_padding.to(hrem.device)
                words = encoder.words(padded.to(hrem.device), is_padding)
                vectors = _parts(encoder.fragment_level, words, is_padding)
                found += [
                    CaptionParts(rows, hrem.tokenizer.placed_words(caption))
                    for rows, caption in zip(vectors, chosen, strict=True)
                ]
        return found

    def of_pictures(self, pictures: Sequence[Image], *, batch_size: int = 64) -> list[ImageParts]:
        """Return the parts of upright RGB pictures, in order.

        Raises:
            CheckpointError: The checkpoint is of region features and cannot read pictures.
        """
        transform, _ = self._hrem.picture_half()
        found = []
        for start in range(0, len(pictures), batch_size):
            chosen = pictures[start : start + batch_size]
            pixels = np.stack([transform(picture) for picture in chosen])
            found += self.of_pixels(
                torch.from_numpy(pixels),
                [picture.size for picture in chosen],
                batch_size=batch_size,
            )
        return found

    def of_pixels(
        self,
        pixels: UInt8[Tensor, "image 3 height width"],
        sizes: Sequence[tuple[int, int]],
        *,
        batch_size: int = 64,
    ) -> list[ImageParts]:
        """Return the parts of what `picture_transform` made of pictures.

        Args:
            pixels: 0..255.
            sizes: Width and height that each picture had, upright.
            batch_size: How many go through the network at once.

        Raises:
            CheckpointError: The checkpoint is of region features and cannot read pictures.
        """
        hrem = self._hrem
        transform, _ = hrem.picture_half()
        vectors: list[Tensor] = []
        with _as_for_encoding(hrem):
            for start in range(0, len(pixels), batch_size):
                batch = hrem.grid_batch(pixels[start : start + batch_size])
                vectors += self._image_parts(*batch)
        return [
            ImageParts(rows, _cells(len(rows), seen=transform.seen_box(size)))
            for rows, size in zip(vectors, sizes, strict=True)
        ]

    def of_regions(
        self, features: Any, lengths: Sequence[int] | Tensor | None = None, *, batch_size: int = 64
    ) -> list[ImageParts]:
        """Return the parts of images given by region features, as `HREM.encode_regions` reads them.

        Raises:
            RegionFeatureError: Wrong shape, or a length outside 1..region.
        """
        hrem = self._hrem
        counts = hrem.region_counts(features, lengths)
        found = []
        with _as_for_encoding(hrem):
            for start in range(0, len(features), batch_size):
                part = slice(start, start + batch_size)
                batch = hrem.region_batch(features[part], counts[part])
                found += [ImageParts(rows, cells=None) for rows in self._image_parts(*batch)]
        return found

    def _image_parts(self, regions: Tensor, is_padding: Tensor) -> list[Tensor]:
        encoder = self._hrem.image_encoder
        projected = encoder.projection(regions, is_padding)
        return _parts(encoder.fragment_level, projected, is_padding)


def _parts(
    level: FragmentLevel,
    fragments: Float[Tensor, "item fragment dim"],
    is_padding: Bool[Tensor, "item fragment"],
) -> list[Tensor]:
    """Return for each item the parts of its real fragments, (fragment, dim), in their order."""
    shares = level.shares(fragments, is_padding).float().cpu()
    is_real = ~is_padding.cpu()
    return [rows[real] for rows, real in zip(shares, is_real, strict=True)]


def _cells(count: int, *, seen: tuple[float, float, float, float]) -> list[GridCell]:
    """Return the cells of a square grid, row by row, over the seen part of a picture."""
    side = math.isqrt(count)
    left, top, right, bottom = seen
    across = np.linspace(left, right, side + 1).tolist()
    down = np.linspace(top, bottom, side + 1).tolist()
    return [
        GridCell(row, column, (across[column], down[row], across[column + 1], down[row + 1]))
        for row in range(side)
        for column in range(side)
    ]


@contextmanager
def _as_for_encoding(hrem: HREM) -> Iterator[None]:
    """Run the network as its own encoding does, and leave its mode as it was."""
    is_bfloat16 = hrem.precision == "bfloat16"
    autocast = torch.autocast(hrem.device.type, torch.bfloat16, enabled=is_bfloat16)
    with in_eval_mode(hrem), torch.no_grad(), autocast:
        yield
