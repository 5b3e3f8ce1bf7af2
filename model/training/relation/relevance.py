"""The relevance matrix S, how strongly nodes are related, and its regulariser L_reg.

- Within a modality: exp(-||a - b|| / sigma); gradient flows to the embeddings.
- Across: MLP(q) + p of the region-word alignment, one MLP a direction. Fragments are detached:
  only the MLPs learn here.
- L_reg draws the softmax of the inter-modal S towards that of exp(-||v - u|| / sigma).

Source: HREM (CVPR 2023), relevance matrix and regularisation.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from model.alignment import Alignment
from model.training.relation.blocks import RelationBlocks

__all__ = ["Relevance", "proximity", "relevance_regulariser"]


def proximity(
    left: Float[Tensor, "row dim"], right: Float[Tensor, "column dim"], *, sigma: float
) -> Float[Tensor, "row column"]:
    """Return exp(-||left - right||_2 / sigma), exactly 1 for equal rows.

    The distance is taken coordinate by coordinate: through the cosine, rounding alone would put
    an item at 5e-4 from itself, and the square root would have no gradient there.
    """
    distance = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-distance / sigma)


class Relevance(nn.Module):
    """Makes S from unit embeddings and the alignment.

    Args:
        top_k: K, how many of the largest maxima an MLP reads.
        sigma: Width of the intra-modal proximity.
    """

    def __init__(self, *, top_k: int, sigma: float) -> None:
        super().__init__()
        self.top_k = top_k
        self.sigma = sigma
        self.image_to_text = nn.Sequential(nn.Linear(top_k, top_k), nn.ReLU(), nn.Linear(top_k, 1))
        # A copy to start with, trained separately.
        self.text_to_image = copy.deepcopy(self.image_to_text)

    def forward(
        self,
        images: Float[Tensor, "image dim"],
        captions: Float[Tensor, "caption dim"],
        alignment: Alignment | None,
    ) -> RelationBlocks:
        """Return S; images and captions are unit rows. Without an alignment S is 0 across."""
        image_to_image = proximity(images, images, sigma=self.sigma)
        text_to_text = proximity(captions, captions, sigma=self.sigma)
        if alignment is None:
            nothing = images.new_zeros(len(images), len(captions))
            return RelationBlocks(image_to_image, nothing, nothing.T, text_to_text)
        to_text = self.image_to_text(alignment.image_to_text_largest(self.top_k)).squeeze(2)
        to_image = self.text_to_image(alignment.text_to_image_largest(self.top_k)).squeeze(2)
        return RelationBlocks(
            image_to_image=image_to_image,
            image_to_text=to_text + alignment.image_to_text_means(),
            text_to_image=to_image + alignment.text_to_image_means(),
            text_to_text=text_to_text,
        )


def relevance_regulariser(
    relevance: RelationBlocks,
    images: Float[Tensor, "image dim"],
    captions: Float[Tensor, "caption dim"],
    *,
    sigma: float,
) -> Float[Tensor, ""]:
    """Return L_reg = KL(softmax S_IT || softmax G) + KL(softmax S_TI || softmax G^T).

    Over whole rows (neither A nor lambda applied), mean over rows; G is detached.
    """
    target = proximity(images.detach(), captions.detach(), sigma=sigma)  # (image, caption)
    return _row_divergence(relevance.image_to_text, target) + _row_divergence(
        relevance.text_to_image, target.T
    )


def _row_divergence(scores: Tensor, target: Tensor) -> Tensor:
    # kl_div(input, target) is KL(target || input): S is the first argument of ours.
    return functional.kl_div(
        target.log_softmax(dim=1), scores.log_softmax(dim=1), reduction="batchmean", log_target=True
    )
