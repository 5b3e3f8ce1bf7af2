"""Region-word similarity of every image with every caption of a batch.

For image i and caption j: cosine of each projected region with each projected word, LeakyReLU,
then unit length over the regions (image -> text) or over the words (text -> image). What is kept
of it is small, and float32 whatever the fragments are: for each region its best word, for each
word its best region.

- All pairs come from one matrix product of the real rows alone: nearly all of the time is in that
  product, and where captions differ in length half of the words are padding. It is cut along the
  images, so that what is done to a piece is done while the piece is still in the cache.
  (The released code loops over captions and renormalises all regions for each.)
- Padding takes no part in any norm, maximum or mean.

Source: HREM (CVPR 2023), inter-modal relation; SCAN (ECCV 2018) for LeakyReLU and norms.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from model.encoders.pooling import unit_length

__all__ = ["Alignment", "align"]

_LEAK = 0.1
# What a CPU's cache holds; elsewhere few launches of large kernels count.
_CHUNK_BYTES_CPU = 4 * 2**20
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Alignment:
    """Best matches of every image-caption pair; entries of padding are 0.

    Attributes:
        region_maxima: (image, caption, region), each region's best word (image -> text).
        word_maxima: (caption, image, word), each word's best region (text -> image).
        region_is_padding: (image, region).
        word_is_padding: (caption, word).
    """

    region_maxima: Tensor
    word_maxima: Tensor
    region_is_padding: Tensor
    word_is_padding: Tensor

    def image_to_text_means(self) -> Float[Tensor, "image caption"]:
        """Return p_IT: the mean over regions of the maximum over words."""
        return self.region_maxima.sum(dim=2) / (~self.region_is_padding).sum(dim=1)[:, None]

    def text_to_image_means(self) -> Float[Tensor, "caption image"]:
        """Return p_TI: the mean over words of the maximum over regions."""
        return self.word_maxima.sum(dim=2) / (~self.word_is_padding).sum(dim=1)[:, None]

    def image_to_text_largest(self, k: int) -> Float[Tensor, "image caption k"]:
        """Return q_IT: the k largest region maxima, descending, missing ones 0."""
        return _largest(self.region_maxima, self.region_is_padding, k)

    def text_to_image_largest(self, k: int) -> Float[Tensor, "caption image k"]:
        """Return q_TI: the k largest word maxima, descending, missing ones 0."""
        return _largest(self.word_maxima, self.word_is_padding, k)


@torch.no_grad()
def align(
    regions: Float[Tensor, "image region dim"],
    region_is_padding: Bool[Tensor, "image region"],
    words: Float[Tensor, "caption word dim"],
    word_is_padding: Bool[Tensor, "caption word"],
    *,
    has_transform: bool = True,
    chunk_bytes: int | None = None,
) -> Alignment:
    """Return the alignment of every image with every caption; no gradient flows.

    Args:
        regions: Projected regions, before the relation layer.
        region_is_padding: True = padding.
        words: Projected words, before the relation layer.
        word_is_padding: True = padding.
        has_transform: False keeps the plain cosine: no LeakyReLU, no norms.
        chunk_bytes: Size of the largest intermediate, about (one image's similarities at least);
            None = 4 MiB on a CPU, 64 MiB elsewhere.

    Source: HREM (CVPR 2023), region-word alignment; the transform is SCAN's.
    Differs: in the released code padded regions, and padded words of short captions, take part in
        maxima, means and norms.
    """
    image_count, region_count, _ = regions.shape
    caption_count, word_count, _ = words.shape
    kept_dtype = torch.promote_types(regions.dtype, torch.float32)
    if chunk_bytes is None:
        chunk_bytes = _CHUNK_BYTES_CPU if regions.device.type == "cpu" else _CHUNK_BYTES
    per_image = max(1, region_count * caption_count * word_count * kept_dtype.itemsize)
    step = max(1, chunk_bytes // per_image)

    # Captions come last, (region, word, caption): both reductions then run along long rows.
    word_is_real = ~word_is_padding.T
    # Under autocast one encoder may end in bfloat16 and the other not: the regions' type it is.
    word_rows = unit_length(words.to(regions.dtype).transpose(0, 1)[word_is_real])
    region_maxima = regions.new_empty((image_count, caption_count, region_count), dtype=kept_dtype)
    word_maxima = regions.new_empty((caption_count, image_count, word_count), dtype=kept_dtype)
    for start in range(0, image_count, step):
        rows = slice(start, min(start + step, image_count))
        region_is_real = ~region_is_padding[rows]
        region_rows = unit_length(regions[rows][region_is_real])
        similarity = _padded_with_zeros(
            (region_rows @ word_rows.T).to(kept_dtype), region_is_real, word_is_real
        )
        to_text = to_image = similarity  # (image, region, word, caption)
        if has_transform:
            to_text, to_image = _transformed(similarity)
        best_word = to_text.masked_fill_(~word_is_real, -torch.inf).amax(dim=2)
        best_region = to_image.masked_fill_(~region_is_real[:, :, None, None], -torch.inf)
        region_maxima[rows] = best_word.transpose(1, 2)
        word_maxima[:, rows] = best_region.amax(dim=1).permute(2, 0, 1)
    region_maxima.masked_fill_(region_is_padding[:, None, :], 0)
    word_maxima.masked_fill_(word_is_padding[:, None, :], 0)
    return Alignment(
        region_maxima=region_maxima,
        word_maxima=word_maxima,
        region_is_padding=region_is_padding,
        word_is_padding=word_is_padding,
    )


def _padded_with_zeros(products: Tensor, region_is_real: Tensor, word_is_real: Tensor) -> Tensor:
    """Return (real region, real word) as (image, region, word, caption): 0 where one is padding.

    Zeros add nothing to a norm; maxima need a mask.
    """
    shape = (*region_is_real.shape, *word_is_real.shape)
    if products.numel() == math.prod(shape):
        return products.view(shape)
    padded = products.new_zeros(region_is_real.numel(), word_is_real.numel())
    padded[region_is_real.flatten().nonzero(), word_is_real.flatten().nonzero().T] = products
    return padded.view(shape)


def _transformed(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Return SCAN's transform for image -> text and for text -> image; overwrites its argument.

    LeakyReLU, then unit length over the regions, and over the words.
    """
    functional.leaky_relu_(similarity, _LEAK)
    squares = similarity.square()
    over_regions = squares.sum(dim=1, keepdim=True).sqrt_().add_(1e-8)
    over_words = squares.sum(dim=2, keepdim=True).sqrt_().add_(1e-8)
    to_text = torch.mul(similarity, over_regions.reciprocal_(), out=squares)
    return to_text, similarity.mul_(over_words.reciprocal_())


def _largest(maxima: Tensor, is_padding: Tensor, k: int) -> Tensor:
    """Return the k largest along the last axis of (row, column, fragment), zero-filled."""
    kept = maxima.masked_fill(is_padding[:, None, :], -torch.inf)
    largest = kept.topk(min(k, kept.shape[2]), dim=2).values
    largest = largest.masked_fill(largest.isinf(), 0)
    return functional.pad(largest, (0, k - largest.shape[2]))
