"""The instance level: the images and captions of a batch as a graph. Training only.

Encoded batch -> region-word alignment -> who listens to whom (A) and how strongly they are related
(S) -> interaction along the graph -> enhanced embeddings v', u' and the regulariser L_reg.

Every ablation of the method is one setting here; what a setting leaves out has no effect on the
outcome, by construction and not by a weight of zero.

Source: HREM (CVPR 2023), instance-level relation.
"""

from dataclasses import dataclass

from pydantic import Field, model_validator
from torch import Tensor, nn

from model.alignment import Alignment, align
from model.config import Section
from model.encoders.fragment_level import EncodedItems
from model.training.relation.blocks import Relations
from model.training.relation.connection import connect
from model.training.relation.interaction import Fusion, Mechanism, Standalone
from model.training.relation.relevance import Relevance, relevance_regulariser

__all__ = ["Enhanced", "InstanceLevel", "InstanceLevelConfig"]


class InstanceLevelConfig(Section):
    """Relations between the items of a batch; training only."""

    enabled: bool = Field(default=True, description="train with the instance level")
    mechanism: Mechanism = Field(
        default="fusion", description="fusion: all nodes at once; standalone: across, then within"
    )
    shared_blocks: bool = Field(
        default=False, description="standalone: one set of weights for its four steps"
    )
    relations: Relations = Field(
        default="all", description="blocks of the graph: all, intra- or inter-modal ones only"
    )
    warmup_fraction: float = Field(
        default=0.24, ge=0, lt=1, description="share of all steps before it starts"
    )
    warmup_steps: int | None = Field(
        default=None, ge=0, description="steps before it starts, in place of warmup_fraction"
    )
    connected_fraction: float = Field(
        default=0.5, gt=0, le=1, description="share of each row of a block that A connects; 1: no A"
    )
    relevance: bool = Field(default=True, description="bias the attention by S; off: no L_reg too")
    scan_transform: bool = Field(
        default=True, description="SCAN's LeakyReLU and norms on region-word cosines; off: plain"
    )
    top_k: int = Field(default=10, ge=1, description="K: largest alignment maxima that S reads")
    sigma: float = Field(default=1.0, gt=0, description="width of exp(-distance / sigma)")
    relevance_weight: float = Field(
        default=1.0, ge=0, description="lambda: 1.0 Flickr30K, 1.5 COCO"
    )
    head_count: int = Field(default=16, ge=1, description="attention heads")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of the interaction")
    cross_weight: float = Field(default=1.0, ge=0, description="weight of L_cross; 0: without it")
    regulariser_weight: float = Field(
        default=10.0, ge=0, description="weight of L_reg; 0: without it"
    )

    @model_validator(mode="after")
    def _blocks_are_standalones(self) -> "InstanceLevelConfig":
        if self.shared_blocks and self.mechanism != "standalone":
            raise ValueError("shared_blocks needs mechanism = 'standalone'; fusion has one block")
        return self

    @property
    def has_regulariser(self) -> bool:
        """Whether there is an L_reg: it ties the inter-modal S to the embeddings."""
        return self.relevance and self.relations != "intra" and self.regulariser_weight > 0


@dataclass(frozen=True)
class Enhanced:
    """What the instance level makes of a batch.

    Attributes:
        images: v', (image, dim), unit rows.
        captions: u', (caption, dim), unit rows.
        regulariser: L_reg, unweighted; None where it is left out.
    """

    images: Tensor
    captions: Tensor
    regulariser: Tensor | None


class InstanceLevel(nn.Module):
    """The relation graph of a batch: A and S from the encoders, then interaction along them."""

    def __init__(self, dim: int, config: InstanceLevelConfig) -> None:
        super().__init__()
        self.config = config
        self.relevance = (
            Relevance(top_k=config.top_k, sigma=config.sigma) if config.relevance else None
        )
        self.interaction: Fusion | Standalone
        if config.mechanism == "fusion":
            self.interaction = Fusion(
                dim,
                head_count=config.head_count,
                dropout=config.dropout,
                relevance_weight=config.relevance_weight,
            )
        else:
            self.interaction = Standalone(
                dim,
                head_count=config.head_count,
                dropout=config.dropout,
                relevance_weight=config.relevance_weight,
                relations=config.relations,
                is_shared=config.shared_blocks,
            )

    def forward(self, images: EncodedItems, captions: EncodedItems) -> Enhanced:
        """Return the enhanced embeddings and L_reg of an encoded batch."""
        config = self.config
        alignment: Alignment | None = None
        if config.relations != "intra":
            alignment = align(
                images.fragments,
                images.is_padding,
                captions.fragments,
                captions.is_padding,
                has_transform=config.scan_transform,
            )
        connection = connect(
            images.embeddings,
            captions.embeddings,
            alignment,
            fraction=config.connected_fraction,
            relations=config.relations,
        )
        relevance = None
        if self.relevance is not None:
            relevance = self.relevance(images.embeddings, captions.embeddings, alignment)
        enhanced_images, enhanced_captions = self.interaction(
            images.embeddings, captions.embeddings, connection, relevance
        )
        regulariser = None
        if relevance is not None and config.has_regulariser:
            regulariser = relevance_regulariser(
                relevance, images.embeddings, captions.embeddings, sigma=config.sigma
            )
        return Enhanced(enhanced_images, enhanced_captions, regulariser)
