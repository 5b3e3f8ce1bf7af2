"""Grid or patch features of any `transformers` vision backbone.

Whatever the backbone returns becomes (image, region, region_dim):
- convolutional and Swin-like grids (image, channel, row, column) are flattened row by row;
- token sequences (image, token, channel) lose their class and register tokens, found by what is
  left over a square grid of patches;
- the grid may be averaged to `grid_size` cells a side.
"""

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from model.config import BackboneConfig, PreprocessorConfig
from model.errors import CheckpointError
from model.eval_mode import in_eval_mode
from model.hub import folders_beside, why_not_fetched

__all__ = ["VisionBackbone", "average_grid", "load_pretrained_backbone"]


def average_grid(
    regions: Float[Tensor, "image region region_dim"], grid_size: int | None
) -> Float[Tensor, "image cell region_dim"]:
    """Return a square grid of features averaged to `grid_size` x `grid_size` cells.

    Args:
        regions: A square grid, row by row.
        grid_size: Cells a side, or None to leave the grid as it is.
    """
    side = math.isqrt(regions.shape[1])
    if grid_size is None or grid_size == side:
        return regions
    grid = regions.reshape(len(regions), side, side, -1).permute(0, 3, 1, 2)
    pooled = functional.adaptive_avg_pool2d(grid, grid_size)
    return pooled.flatten(2).transpose(1, 2)


class VisionBackbone(nn.Module):
    """Normalise pixels, run the backbone, return its features as regions.

    Args:
        config: Which backbone, how its grid is averaged, whether it is trained.
        preprocessor: Mean and standard deviation of the pixels.
        network: The backbone itself; None makes a randomly initialised one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: BackboneConfig,
        preprocessor: PreprocessorConfig,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network if network is not None else _random_network(config.architecture)
        # Convolutions on a CPU are a quarter faster with channels last; nothing else notices.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Constants of the preprocessing, not weights: they are written to preprocessor.json.
        self.register_buffer("mean", torch.tensor(preprocessor.mean)[:, None, None], False)
        self.register_buffer("std", torch.tensor(preprocessor.std)[:, None, None], False)
        _remove_unused_heads(self.network)
        if config.is_frozen:
            self.network.requires_grad_(False)

    def train(self, mode: bool = True) -> "VisionBackbone":
        """Switch to training mode; a frozen backbone, or one with fixed statistics, in part."""
        super().train(mode)
        if self.config.is_frozen:
            self.network.eval()
        elif self.config.has_fixed_statistics:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def grid_features(
        self, pixels: UInt8[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image region region_dim"]:
        """Return the backbone's own grid, before any averaging; what a cache stores.

        Args:
            pixels: 0..255, from `PictureTransform`.
        """
        channels_last = pixels.contiguous(memory_format=torch.channels_last)
        normalised = (channels_last.to(self.mean.dtype) / 255 - self.mean) / self.std
        # Frozen means frozen: no graph is kept, however the caller stands.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.is_frozen):
            output = self.network(pixel_values=normalised).last_hidden_state
        return _as_regions(output)

    def forward(
        self, pixels: UInt8[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image region region_dim"]:
        """Return the regions of a batch of pictures."""
        return average_grid(self.grid_features(pixels), self.config.grid_size)

    @torch.no_grad()
    def region_dim(self, image_size: int) -> int:
        """Return the width of a region feature, found by one pass over a grey picture."""
        grey = torch.full((1, 3, image_size, image_size), 127, dtype=torch.uint8)
        with in_eval_mode(self):
            return self.grid_features(grey.to(self.mean.device)).shape[2]


def load_pretrained_backbone(name_or_folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return a vision backbone and its own configuration from a folder or a hub name.

    Raises:
        CheckpointError: There is no such backbone, or it is none that `transformers` knows.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for each weight says nothing to anyone
    asked = why_not_fetched(str(name_or_folder))
    try:
        network = AutoModel.from_pretrained(str(name_or_folder), local_files_only=asked is not None)
    except Exception as error:
        # transformers raises OSError, ValueError, KeyError and others for the same thing.
        raise CheckpointError(
            f"no pretrained network at '{name_or_folder}'{folders_beside(Path(name_or_folder))} "
            f"({_first_line(asked or error)}); give a folder with config.json and "
            "model.safetensors, or a model name that can be downloaded"
        ) from error
    # CLIP- and SigLIP-like models hold two towers; the pictures need one.
    network = getattr(network, "vision_model", network)
    return network, network.config.to_diff_dict() | {"model_type": network.config.model_type}


def _random_network(architecture: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    settings = dict(architecture)
    model_type = settings.pop("model_type", None)
    try:
        config = AutoConfig.for_model(model_type, **settings)
        network: nn.Module = AutoModel.from_config(config)
    except Exception as error:
        raise CheckpointError(
            f"cannot make a vision backbone of model_type {model_type!r}: {_first_line(error)}"
        ) from error
    return network


def _remove_unused_heads(network: nn.Module) -> None:
    # A pooling head over the features takes no part and would be trained by nothing.
    pooler = getattr(network, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        network.pooler = None  # type: ignore[assignment]


def _as_regions(output: Tensor) -> Tensor:
    if output.dim() == 4:
        return output.flatten(2).transpose(1, 2)
    # Class and register tokens come first; the patches behind them fill a square.
    patch_count = math.isqrt(output.shape[1]) ** 2
    return output[:, output.shape[1] - patch_count :]


def _first_line(error: Exception) -> str:
    from huggingface_hub.errors import RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return "the model hub has no such model, or not for everybody"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
