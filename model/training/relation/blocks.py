"""The four blocks of a relation among the N images and N captions of a batch.

    [[image <- image, image <- text],
     [text  <- image, text  <- text]]

Row = the node that is updated, column = the node that it listens to.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["RelationBlocks", "Relations"]

# Which blocks take part: all, those within a modality, or those across.
Relations: TypeAlias = Literal["all", "intra", "inter"]


@dataclass(frozen=True)
class RelationBlocks:
    """One value for every ordered pair of nodes: the connection A or the relevance S.

    Attributes:
        image_to_image: (image, image).
        image_to_text: (image, caption): images listen to captions.
        text_to_image: (caption, image): captions listen to images.
        text_to_text: (caption, caption).
    """

    image_to_image: Tensor
    image_to_text: Tensor
    text_to_image: Tensor
    text_to_text: Tensor

    def joined(self) -> Tensor:
        """Return the whole (node, node) matrix, images first."""
        upper = torch.cat([self.image_to_image, self.image_to_text], dim=1)
        lower = torch.cat([self.text_to_image, self.text_to_text], dim=1)
        return torch.cat([upper, lower])
