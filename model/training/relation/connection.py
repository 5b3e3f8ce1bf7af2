"""The connection matrix A: who listens to whom. Boolean, no gradient.

In each block, each row keeps the entries that reach its k-th largest score,
k = max(1, floor(fraction * columns)); so ties are kept, and nobody is without a neighbour.
Images among images, and captions among captions, are ranked by cosine (self included); across,
by p of the alignment, not by S. The matched pair is not forced in. A fraction of 1 connects all:
the ablation "without A". A block that takes no part connects nobody.

Source: HREM (CVPR 2023), connection matrix.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.alignment import Alignment
from model.training.relation.blocks import RelationBlocks, Relations

__all__ = ["connect", "strongest"]


def strongest(
    scores: Float[Tensor, "row column"], *, fraction: float
) -> Bool[Tensor, "row column"]:
    """Return True where an entry is at least the k-th largest of its row.

    Differs: the released code connects nobody in a batch of one, where floor(fraction) is 0.
    """
    k = max(1, int(fraction * scores.shape[1]))
    cut = scores.topk(k, dim=1).values[:, -1:]
    return scores >= cut


@torch.no_grad()
def connect(
    images: Float[Tensor, "image dim"],
    captions: Float[Tensor, "caption dim"],
    alignment: Alignment | None,
    *,
    fraction: float,
    relations: Relations = "all",
) -> RelationBlocks:
    """Return A.

    Args:
        images: Unit rows.
        captions: Unit rows.
        alignment: Region-word alignment of the same batch; None with relations = "intra".
        fraction: Share of each row that is connected, 0.5 in the paper.
        relations: Which blocks take part.
    """
    nobody = torch.zeros(len(images), len(captions), dtype=torch.bool, device=images.device)
    image_to_image = text_to_text = image_to_text = text_to_image = nobody
    if relations != "inter":
        image_to_image = strongest(images @ images.T, fraction=fraction)
        text_to_text = strongest(captions @ captions.T, fraction=fraction)
    if relations != "intra" and alignment is not None:
        image_to_text = strongest(alignment.image_to_text_means(), fraction=fraction)
        text_to_image = strongest(alignment.text_to_image_means(), fraction=fraction)
    return RelationBlocks(image_to_image, image_to_text, text_to_image, text_to_text)
