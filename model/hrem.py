"""HREM, the dual encoder: pictures and captions into one space, each independently.

The instance level, which relates the items of a batch during training, is not here: it lives in
`model.training.relation` and is dropped at inference, as the paper says.

    hrem = HREM.from_pretrained("checkpoints/scenes")
    images = hrem.encode_images([picture])          # (1, dim), unit rows
    captions = hrem.encode_captions(["a red circle"])
    score = images @ captions.T                     # cosine

Source: Fu, Mao, Song, Zhang: Learning Semantic Relationship among Instances for Image-Text
Matching, CVPR 2023.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from PIL.Image import Image
from torch import Tensor, nn

from model.checkpoint import TOKENIZER, fingerprint_of, read_checkpoint, write_checkpoint
from model.config import HremConfig
from model.dual_encoder import encode_in_batches
from model.encoders.image import ImageEncoder
from model.encoders.text import TextEncoder
from model.errors import CheckpointError, RegionFeatureError
from model.eval_mode import in_eval_mode
from model.hub import local_folder
from model.inputs.backbone import VisionBackbone
from model.inputs.captions import CaptionTokenizer
from model.inputs.pictures import PictureTransform
from model.precision import Precision

__all__ = ["HREM"]


class HREM(nn.Module):
    """Two encoders with a fragment level each, and a vision backbone for raw pictures.

    Args:
        config: Sizes and kinds; the text vocabulary size must be the tokenizer's.
        tokenizer: Turns captions into ids.
        backbone: A pretrained backbone network; None makes a random one of the configuration.

    Attributes:
        precision: What `encode_images` and its like multiply in; `from_pretrained` sets it.
    """

    def __init__(
        self, config: HremConfig, tokenizer: CaptionTokenizer, backbone: nn.Module | None = None
    ) -> None:
        super().__init__()
        if config.text.kind == "bigru" and config.text.vocabulary_size != tokenizer.vocabulary_size:
            raise CheckpointError(
                f"the tokenizer has {tokenizer.vocabulary_size} words but config.json says "
                f"{config.text.vocabulary_size}; they belong to different checkpoints"
            )
        self.config = config
        self.precision: Precision = "float32"
        self.tokenizer = tokenizer
        self.backbone: VisionBackbone | None = None
        self.picture_transform: PictureTransform | None = None
        if config.image.backbone is not None and config.preprocessor is not None:
            self.backbone = VisionBackbone(config.image.backbone, config.preprocessor, backbone)
            self.picture_transform = PictureTransform(config.preprocessor)
        self.image_encoder = ImageEncoder(
            region_dim=config.image.region_dim,
            embedding_dim=config.embedding_dim,
            fragment_level=config.image.fragment_level,
        )
        self.text_encoder = TextEncoder(embedding_dim=config.embedding_dim, config=config.text)

    @classmethod
    def from_pretrained(
        cls, path_or_name: str | Path, *, device: str = "cpu", precision: Precision = "float32"
    ) -> "HREM":
        """Return the network of a checkpoint folder (or hub name), in eval mode.

        Raises:
            CheckpointError: There is no such checkpoint, or it is not whole.
        """
        folder = local_folder(path_or_name)
        stored = read_checkpoint(folder)
        tokenizer = CaptionTokenizer.load(
            folder / TOKENIZER, max_word_count=stored.config.text.max_word_count
        )
        hrem = cls(stored.config, tokenizer)
        try:
            hrem.load_state_dict(stored.weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights in '{folder}' do not fit its config.json: {error}"
            ) from error
        hrem.precision = precision
        return hrem.to(device).eval()

    def save_pretrained(self, path: str | Path) -> None:
        """Write a self-contained checkpoint folder; loading it needs no network."""
        write_checkpoint(
            Path(path),
            config=self.config,
            weights=self.state_dict(),
            tokenizer_json=self.tokenizer.to_json(),
        )

    @property
    def dim(self) -> int:
        """Size of an embedding."""
        return self.config.embedding_dim

    @property
    def region_dim(self) -> int | None:
        """Width of the region features that it reads; None where it reads pictures."""
        return self.config.image.region_dim if self.backbone is None else None

    @property
    def name(self) -> str:
        """A short description: word encoder, image fragments, size."""
        return f"HREM {self.config.summary}"

    @cached_property
    def _loaded_fingerprint(self) -> str:
        return self._fingerprint_now()

    @property
    def fingerprint(self) -> str:
        """64 hex digits over weights, configuration, preprocessing and tokenizer.

        In eval mode it is computed once: a network that serves does not change.
        """
        return self._fingerprint_now() if self.training else self._loaded_fingerprint

    def train(self, mode: bool = True) -> "HREM":
        """Switch between training and eval mode."""
        self.__dict__.pop("_loaded_fingerprint", None)
        super().train(mode)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.image_encoder.parameters()).device

    def encode_captions(self, captions: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Return caption embeddings (caption, dim): float32, CPU, unit rows, in order, no gradient.

        A caption longer than the network reads is cut; `truncated_captions` tells which.
        """
        token_ids = self.tokenizer.encode(captions)

        def encode(rows: Sequence[int]) -> Tensor:
            padded, is_padding = self.tokenizer.pad([token_ids[row] for row in rows])
            return self.text_encoder(
                padded.to(self.device), is_padding.to(self.device)
            ).embeddings  # (caption, dim)

        # Captions of like length share a batch, so that little is spent on padding.
        by_length = sorted(range(len(token_ids)), key=lambda row: len(token_ids[row]))
        return self._in_batches(by_length, encode, batch_size)

    def encode_images(self, pictures: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """Return image embeddings (image, dim): float32, CPU, unit rows, in order, no gradient.

        Args:
            pictures: Upright RGB pictures, as `open_picture` gives them.
            batch_size: How many go through the network at once.

        Raises:
            CheckpointError: The checkpoint is of region features and cannot read pictures.
        """
        transform, _ = self.picture_half()

        def encode(rows: Sequence[int]) -> Tensor:
            pixels = np.stack([transform(pictures[row]) for row in rows])
            return self._embed(*self.grid_batch(torch.from_numpy(pixels)))

        return self._in_batches(range(len(pictures)), encode, batch_size)

    def encode_pixels(self, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
        """Return image embeddings (image, dim) of what `picture_transform` made of pictures.

        `encode_images` cut in two, so that other processes can do the first half.

        Args:
            pixels: (image, 3, height, width), uint8, 0..255.
            batch_size: How many go through the network at once.

        Raises:
            CheckpointError: The checkpoint is of region features and cannot read pictures.
        """
        self.picture_half()  # refuses even where there is nothing to encode

        def encode(rows: Sequence[int]) -> Tensor:
            return self._embed(*self.grid_batch(pixels[rows[0] : rows[-1] + 1]))

        return self._in_batches(range(len(pixels)), encode, batch_size)

    def picture_half(self) -> tuple[PictureTransform, VisionBackbone]:
        """Return what makes pixels of a picture, and regions of a batch of pixels.

        Raises:
            CheckpointError: The checkpoint is of region features and cannot read pictures.
        """
        if self.backbone is None or self.picture_transform is None:
            raise CheckpointError(
                "this checkpoint was trained on region features and cannot read pictures; "
                "use encode_regions, or a checkpoint with a vision backbone"
            )
        return self.picture_transform, self.backbone

    def grid_batch(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the image encoder takes: the regions of some pixels, none of them padding.

        Args:
            pixels: (image, 3, height, width), uint8, 0..255.

        Raises:
            CheckpointError: The checkpoint is of region features and cannot read pictures.
        """
        _, backbone = self.picture_half()
        regions: Tensor = backbone(pixels.to(self.device))
        is_padding = torch.zeros(regions.shape[:2], dtype=torch.bool, device=self.device)
        return regions, is_padding

    def region_batch(self, features: Any, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the image encoder takes: regions as float32 on the device, and padding.

        Args:
            features: (image, region, region_dim), array or tensor.
            counts: (image,), how many regions are real.
        """
        if isinstance(features, Tensor):
            regions = features.detach().to(self.device, torch.float32)
        else:
            # Copied: a map may be read-only, which torch shares under protest.
            regions = torch.tensor(np.asarray(features), dtype=torch.float32, device=self.device)
        places = torch.arange(regions.shape[1], device=self.device)
        return regions, places >= counts[:, None].to(self.device)

    def encode_regions(
        self, features: Any, lengths: Sequence[int] | Tensor | None = None, *, batch_size: int = 64
    ) -> Tensor:
        """Return image embeddings (image, dim) of region features, else as `encode_images`.

        Args:
            features: (image, region, region_dim) float array or tensor; a memory map will do.
            lengths: How many regions of each image are real; None = all.
            batch_size: How many go through the network at once.

        Raises:
            RegionFeatureError: Wrong shape, or a length outside 1..region.
        """
        counts = self.region_counts(features, lengths)

        def encode(rows: Sequence[int]) -> Tensor:
            # Rows are consecutive; slicing reads a memory map in one piece.
            part = slice(rows[0], rows[-1] + 1)
            return self._embed(*self.region_batch(features[part], counts[part]))

        return self._in_batches(range(len(counts)), encode, batch_size)

    def region_counts(
        self, features: Any, lengths: Sequence[int] | Tensor | None = None
    ) -> Int[Tensor, "image"]:
        """Return how many regions of each image are real; takes what `encode_regions` takes.

        Raises:
            RegionFeatureError: Wrong shape, or a length outside 1..region.
        """
        expected = self.config.image.region_dim
        if features.ndim != 3 or features.shape[2] != expected:
            raise RegionFeatureError(
                f"region features have shape {tuple(features.shape)}; this checkpoint expects "
                f"(image, region, {expected})"
            )
        image_count, region_count = features.shape[:2]
        counts = torch.full((image_count,), region_count) if lengths is None else lengths
        counts = torch.as_tensor(counts)
        if counts.shape != (image_count,) or (
            image_count and not 1 <= int(counts.min()) <= int(counts.max()) <= region_count
        ):
            raise RegionFeatureError(
                f"region counts must be one for each of {image_count} images, 1..{region_count}"
            )
        return counts

    def truncated_captions(self, captions: Sequence[str]) -> list[bool]:
        """Return for each caption whether it is longer than the network reads."""
        return self.tokenizer.is_truncated(captions)

    def _fingerprint_now(self) -> str:
        return fingerprint_of(self.config, self.state_dict(), self.tokenizer.to_json())

    def _embed(self, regions: Tensor, is_padding: Tensor) -> Tensor:
        """Return the embeddings (image, dim) of a batch of regions."""
        embeddings: Tensor = self.image_encoder(regions, is_padding).embeddings
        return embeddings

    def _in_batches(
        self, rows: Sequence[int], encode: Callable[[Sequence[int]], Tensor], batch_size: int
    ) -> Tensor:
        """Return one embedding a row, in eval mode whatever the mode is."""
        with in_eval_mode(self):
            return encode_in_batches(
                rows,
                encode,
                dim=self.dim,
                batch_size=batch_size,
                device=self.device,
                precision=self.precision,
            )
