"""The objective of a batch: the named sum of matching losses and the regulariser.

Before warm-up: L(v, u). After it, with the relation-enhanced v', u':
    L(v, u) + L(v', u') + [L(v', u) + L(v, u')] + 10 * L_reg
The two mixed terms are the consistency loss L_cross: they draw the plain embeddings to the
enhanced ones, which is what lets inference drop the graph.

Source: HREM (CVPR 2023), objective.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from model.config import Section
from model.encoders.fragment_level import EncodedItems
from model.training.losses import LossKind, matching_loss
from model.training.relation.instance_level import InstanceLevel, InstanceLevelConfig

__all__ = ["LossConfig", "LossTerms", "Objective"]


class LossConfig(Section):
    """The matching loss."""

    kind: LossKind = Field(default="distance_weighted", description="how negatives are chosen")
    opening_kind: LossKind = Field(
        default="all_violations", description="the loss of the opening steps"
    )
    opening_fraction: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the steps that use opening_kind; unset: 0, or 0.45 where no "
        "pretrained backbone is given",
    )
    margin: float = Field(default=0.2, gt=0, le=2, description="hinge margin on the cosine")
    temperature: float = Field(
        default=0.05, gt=0, le=1, description="what cosines are divided by (contrastive)"
    )
    cutoff: float = Field(
        default=1.7, gt=0.5, lt=2, description="farthest negative drawn: 1.7 Flickr30K, 1.9 COCO"
    )


@dataclass(frozen=True)
class LossTerms:
    """The terms of one batch; None: not part of this batch's total.

    Attributes:
        base: L(v, u).
        enhanced: L(v', u').
        cross: L(v', u) + L(v, u').
        regulariser: L_reg, unweighted.
        total: What is minimised.
    """

    base: Tensor
    total: Tensor
    enhanced: Tensor | None = None
    cross: Tensor | None = None
    regulariser: Tensor | None = None

    def named(self) -> dict[str, Tensor]:
        """Return the terms that are there, by name, detached."""
        terms = {
            "base": self.base,
            "enhanced": self.enhanced,
            "cross": self.cross,
            "regulariser": self.regulariser,
            "total": self.total,
        }
        return {name: term.detach() for name, term in terms.items() if term is not None}


class Objective(nn.Module):
    """Scores a batch of encoded image-caption pairs.

    Args:
        dim: Embedding size.
        loss: Of all four matching terms.
        instance_level: Where it is not enabled: L(v, u) alone.
    """

    def __init__(self, dim: int, *, loss: LossConfig, instance_level: InstanceLevelConfig) -> None:
        super().__init__()
        self.loss = loss
        self.instance_level = InstanceLevel(dim, instance_level) if instance_level.enabled else None

    def forward(
        self,
        images: EncodedItems,
        captions: EncodedItems,
        image_ids: Int[Tensor, "item"],
        *,
        with_instance_level: bool,
        is_opening: bool = False,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """Return the loss terms of a batch.

        Args:
            images: Row i belongs to caption i.
            captions: One caption an image row.
            image_ids: Rows of equal id show the same image and are never negatives.
            with_instance_level: False during warm-up.
            is_opening: True while the opening loss is used.
            generator: Source of the drawn negatives.
        """

        def matching(left: Tensor, right: Tensor) -> Float[Tensor, ""]:
            return matching_loss(
                left,
                right,
                image_ids,
                kind=self.loss.opening_kind if is_opening else self.loss.kind,
                margin=self.loss.margin,
                cutoff=self.loss.cutoff,
                temperature=self.loss.temperature,
                generator=generator,
            )

        base = matching(images.embeddings, captions.embeddings)
        if self.instance_level is None or not with_instance_level:
            return LossTerms(base=base, total=base)
        config = self.instance_level.config
        related = self.instance_level(images, captions)
        enhanced = matching(related.images, related.captions)
        total = base + enhanced
        cross = None
        if config.cross_weight > 0:
            cross = matching(related.images, captions.embeddings) + matching(
                images.embeddings, related.captions
            )
            total = total + config.cross_weight * cross
        if related.regulariser is not None:
            total = total + config.regulariser_weight * related.regulariser
        return LossTerms(
            base=base, enhanced=enhanced, cross=cross, regulariser=related.regulariser, total=total
        )
