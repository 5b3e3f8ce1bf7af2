"""Region-word similarity of every image with every caption of a batch.

For image i and caption j: cosine of each projected region with each projected word, LeakyReLU,
then unit length over the regions (image -> text) or over the words (text -> image). What is kept
of it is small, and float32 whatever the fragments are: for each region its best word, for each
word its best region.

- All pairs come from one matrix product, cut along the images so that no intermediate exceeds a
  memory bound; the released code loops over captions and renormalises all regions for each.
- Padding takes no part in any norm, maximum or mean.

Source: HREM (CVPR 2023), inter-modal relation; SCAN (ECCV 2018) for LeakyReLU and norms.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from model.encoders.pooling import unit_length

__all__ = ["Alignment", "align"]

_LEAK = 0.1
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
    chunk_bytes: int = _CHUNK_BYTES,
) -> Alignment:
    """Return the alignment of every image with every caption; no gradient flows.

    Args:
        regions: Projected regions, before the relation layer.
        region_is_padding: True = padding.
        words: Projected words, before the relation layer.
        word_is_padding: True = padding.
        has_transform: False keeps the plain cosine: no LeakyReLU, no norms.
        chunk_bytes: Bound on the largest intermediate, about.

    Source: HREM (CVPR 2023), region-word alignment; the transform is SCAN's.
    Differs: in the released code padded regions, and padded words of short captions, take part in
        maxima, means and norms.
    """
    image_count, region_count, dim = regions.shape
    caption_count, word_count, _ = words.shape
    # Zeroed rows have zero similarity to everything, so sums and norms need no further mask.
    region_rows = unit_length(regions).masked_fill(region_is_padding[:, :, None], 0)
    # Under autocast one encoder may end in bfloat16 and the other not: the regions' type it is.
    words = words.to(regions.dtype)
    word_rows = unit_length(words).masked_fill(word_is_padding[:, :, None], 0).view(-1, dim)
    word_mask = word_is_padding[None, None]  # (1, 1, caption, word)
    per_image = max(1, region_count * caption_count * word_count * regions.element_size())
    step = max(1, min(image_count, chunk_bytes // per_image))

    kept_dtype = torch.promote_types(regions.dtype, torch.float32)
    region_maxima = regions.new_empty((image_count, caption_count, region_count), dtype=kept_dtype)
    word_maxima = regions.new_empty((caption_count, image_count, word_count), dtype=kept_dtype)
    for start in range(0, image_count, step):
        rows = slice(start, min(start + step, image_count))
        flat = region_rows[rows].reshape(-1, dim) @ word_rows.T
        # (image, region, caption, word)
        similarity = flat.view(-1, region_count, caption_count, word_count)
        if has_transform:
            functional.leaky_relu_(flat, _LEAK)
            squares = similarity.square()
            over_regions = squares.sum(dim=1, keepdim=True).sqrt_().add_(1e-8)
            over_words = squares.sum(dim=3, keepdim=True).sqrt_().add_(1e-8)
            to_text = torch.div(similarity, over_regions, out=squares)
            to_image = similarity.div_(over_words)
        else:
            to_text, to_image = similarity.clone(), similarity

        best_word = to_text.masked_fill_(word_mask, -torch.inf).amax(dim=3)
        best_word = best_word.masked_fill(region_is_padding[rows, :, None], 0)
        region_maxima[rows] = best_word.transpose(1, 2)

        to_image = to_image.masked_fill_(region_is_padding[rows, :, None, None], -torch.inf)
        best_region = to_image.amax(dim=1).masked_fill(word_is_padding[None], 0)
        word_maxima[:, rows] = best_region.transpose(0, 1)
    return Alignment(
        region_maxima=region_maxima,
        word_maxima=word_maxima,
        region_is_padding=region_is_padding,
        word_is_padding=word_is_padding,
    )


def _largest(maxima: Tensor, is_padding: Tensor, k: int) -> Tensor:
    """Return the k largest along the last axis of (row, column, fragment), zero-filled."""
    kept = maxima.masked_fill(is_padding[:, None, :], -torch.inf)
    largest = kept.topk(min(k, kept.shape[2]), dim=2).values
    largest = largest.masked_fill(largest.isinf(), 0)
    return functional.pad(largest, (0, k - largest.shape[2]))
