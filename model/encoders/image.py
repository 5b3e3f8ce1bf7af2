"""Regions of an image to its embedding."""

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from model.config import FragmentLevelConfig
from model.encoders.batch_norm import joint_batch_norm
from model.encoders.fragment_level import EncodedItems, FragmentLevel

__all__ = ["ImageEncoder", "MaskedBatchNorm", "RegionProjection"]


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm over the real rows only.

    In eval mode it is `nn.BatchNorm1d` by its running statistics.

    Attributes:
        group: Processes that share a batch, whose rows count together; None = this one alone.

    Differs: in training mode the released code's mean and variance include padded rows.
    """

    group: ProcessGroup | None = None

    def forward_masked(
        self,
        rows: Float[Tensor, "item fragment dim"],
        is_padding: Bool[Tensor, "item fragment"],
    ) -> Float[Tensor, "item fragment dim"]:
        """Return normalised rows; padded rows come back as zeros in training mode."""
        if not self.training or (self.group is None and not bool(is_padding.any())):
            return self(rows.flatten(0, 1)).view_as(rows)
        real = ~is_padding
        normalised = rows.new_zeros(rows.shape)
        if self.group is None:
            normalised[real] = self(rows[real]).to(rows.dtype)
        else:
            normalised[real] = joint_batch_norm(rows[real], self, self.group)
        return normalised


class RegionProjection(nn.Module):
    """`Linear(D -> E) + MLP(D -> E/2 -> BatchNorm -> ReLU -> E)` of each region.

    Source: HREM (CVPR 2023); the released code's `EncoderImageAggr.fc`, as in VSE-infinity.
    """

    def __init__(self, region_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(region_dim, embedding_dim)
        self.hidden = nn.Linear(region_dim, embedding_dim // 2)
        self.batch_norm = MaskedBatchNorm(embedding_dim // 2)
        self.output = nn.Linear(embedding_dim // 2, embedding_dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self,
        regions: Float[Tensor, "image region region_dim"],
        is_padding: Bool[Tensor, "image region"],
    ) -> Float[Tensor, "image region dim"]:
        """Return projected regions."""
        hidden = self.batch_norm.forward_masked(self.hidden(regions), is_padding)
        return self.linear(regions) + self.output(hidden.relu())


class ImageEncoder(nn.Module):
    """Project, relate and pool the regions of images."""

    def __init__(
        self, *, region_dim: int, embedding_dim: int, fragment_level: FragmentLevelConfig
    ) -> None:
        super().__init__()
        self.projection = RegionProjection(region_dim, embedding_dim)
        self.fragment_level = FragmentLevel(embedding_dim, fragment_level)

    def forward(
        self,
        regions: Float[Tensor, "image region region_dim"],
        is_padding: Bool[Tensor, "image region"],
    ) -> EncodedItems:
        """Return the encoded images of a batch.

        Args:
            regions: Region or grid features, any scale.
            is_padding: True = padding; every image has at least one False.
        """
        return self.fragment_level(self.projection(regions, is_padding), is_padding)
