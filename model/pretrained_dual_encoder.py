"""CLIP, SigLIP and their like, as `transformers` knows them: a dual encoder before any training.

    encoder = load_dual_encoder("openai/clip-vit-large-patch14")
    images = encoder.encode_images([picture])       # (1, dim), unit rows
    captions = encoder.encode_captions(["a dog on grass"])

- The two towers are those of the model, untouched; their features are scaled to unit rows.
- Pictures are resized by our own `PictureTransform`, with the settings of the model's own image
  processor, so that it runs the same with and without torchvision.
- Weights are read from safetensors only, never from a pickle, and in float32 whatever they are
  stored in.

Source: Radford et al., CLIP, ICML 2021; Zhai et al., SigLIP, ICCV 2023; `get_image_features` and
`get_text_features` of their classes in `transformers`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional

from model.checkpoint import hash_of_weights
from model.dual_encoder import encode_in_batches
from model.errors import CheckpointError
from model.inputs.image_processor import read_image_processor
from model.inputs.pictures import PictureTransform
from model.inputs.pretrained_tokenizer import Padding, PretrainedTokenizer
from model.precision import Precision

__all__ = ["PretrainedDualEncoder", "pretrained_files"]

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# All that is read from such a folder, and so all that a copy of it needs.
_FILES = (
    _CONFIG,
    *_WEIGHTS,
    "model-*-of-*.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",  # of sentencepiece, under several names
)
# What says where and when config.json was written, and nothing of the network.
_VOLATILE = {"transformers_version", "_name_or_path", "torch_dtype", "dtype"}


@dataclass(frozen=True)
class _Family:
    """What distinguishes the models of one `model_type`.

    Attributes:
        name: What people call it.
        padding: How the captions of a batch are padded.
        skips_positions: The text tower's first positions, up to the padding id, are never used.
    """

    name: str
    padding: Padding = "longest"
    skips_positions: bool = False


_FAMILIES = {
    "clip": _Family("CLIP"),
    "siglip": _Family("SigLIP", padding="max_length"),
    "chinese_clip": _Family("Chinese-CLIP"),
    "altclip": _Family("AltCLIP", skips_positions=True),
}


class PretrainedDualEncoder:
    """Two towers of a `transformers` model, a `DualEncoder` of pictures.

    Attributes:
        picture_transform: Makes pixels of a picture, in any process.
        precision: What it multiplies in.
    """

    def __init__(
        self,
        network: Any,
        config: dict[str, Any],
        *,
        picture_transform: PictureTransform,
        tokenizer: PretrainedTokenizer,
        precision: Precision = "float32",
    ) -> None:
        """Put together what `load` read and checked."""
        self._network = network.eval()  # transformers' classes have no types
        self._config = config
        self._tokenizer = tokenizer
        self.picture_transform = picture_transform
        self.precision: Precision = precision
        device = self.device
        self._mean = torch.tensor(picture_transform.config.mean, device=device)[:, None, None]
        self._std = torch.tensor(picture_transform.config.std, device=device)[:, None, None]

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "cpu", precision: Precision = "float32"
    ) -> "PretrainedDualEncoder":
        """Return the network of a folder with a `config.json`, in eval mode on `device`.

        Raises:
            CheckpointError: It is of no model known here, is not whole, or asks for something that
                cannot be honoured exactly.
        """
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        family = _family_of(folder, config)
        transform = PictureTransform(read_image_processor(folder))
        network = _load_network(folder)
        image_side = network.config.vision_config.image_size
        if transform.config.image_size != image_side:
            raise CheckpointError(
                f"the pictures of '{folder}' are made {transform.config.image_size} pixels wide "
                f"but its config.json says image_size {image_side}; the files belong to different "
                "models"
            )
        tokenizer = PretrainedTokenizer(
            folder,
            padding=family.padding,
            position_count=_position_count(network.config.text_config, family),
        )
        return cls(
            network.to(device),
            config,
            picture_transform=transform,
            tokenizer=tokenizer,
            precision=precision,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self._network.parameters()).device

    @cached_property
    def dim(self) -> int:
        """Size of an embedding."""
        sizes = self._network.config
        # SigLIP does not project: its towers are as wide as its embeddings.
        return int(getattr(sizes, "projection_dim", None) or sizes.vision_config.hidden_size)

    @property
    def name(self) -> str:
        """A short description: family, size of the patches and of the picture, size."""
        family = _FAMILIES[self._config["model_type"]].name
        patch = self._network.config.vision_config.patch_size
        side = self.picture_transform.config.image_size
        return f"{family} patch {patch} of {side} px, {self.dim}-d"

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits over weights, configuration, preprocessing and tokenizer."""
        digest = hash_of_weights(self._network.state_dict())
        lasting = {name: self._config[name] for name in self._config if name not in _VOLATILE}
        preprocessing = self.picture_transform.config.model_dump(mode="json", exclude_defaults=True)
        for part in (lasting, preprocessing, self._tokenizer.sha256):
            digest.update(json.dumps(part, sort_keys=True).encode())
        return digest.hexdigest()

    def encode_images(self, pictures: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """Return image embeddings (image, dim): float32, CPU, unit rows, in order, no gradient.

        Args:
            pictures: Upright RGB pictures, as `open_picture` gives them.
            batch_size: How many go through the network at once.
        """

        def encode(rows: Sequence[int]) -> Tensor:
            pixels = np.stack([self.picture_transform(pictures[row]) for row in rows])
            return self._features_of_pixels(torch.from_numpy(pixels))

        return self._in_batches(range(len(pictures)), encode, batch_size)

    def encode_pixels(self, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
        """Return image embeddings (image, dim) of what `picture_transform` made of pictures.

        Args:
            pixels: (image, 3, height, width), uint8, 0..255.
            batch_size: How many go through the network at once.
        """

        def encode(rows: Sequence[int]) -> Tensor:
            return self._features_of_pixels(pixels[rows[0] : rows[-1] + 1])

        return self._in_batches(range(len(pixels)), encode, batch_size)

    def encode_captions(self, captions: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Return caption embeddings (caption, dim): float32, CPU, unit rows, in order, no gradient.

        A caption longer than the network reads is cut; `truncated_captions` tells which.
        """

        def encode(rows: Sequence[int]) -> Tensor:
            tokens = self._tokenizer.encode([captions[row] for row in rows])
            tokens = {name: values.to(self.device) for name, values in tokens.items()}
            return _pooled(self._network.get_text_features(**tokens))

        # Captions of like length share a batch, so that little is spent on padding.
        by_length = sorted(range(len(captions)), key=lambda row: len(captions[row]))
        return self._in_batches(by_length, encode, batch_size)

    def truncated_captions(self, captions: Sequence[str]) -> list[bool]:
        """Return for each caption whether it is longer than the network reads."""
        return self._tokenizer.is_truncated(captions)

    def _features_of_pixels(self, pixels: Tensor) -> Tensor:
        normalised = (pixels.to(self.device).float() / 255 - self._mean) / self._std
        return _pooled(self._network.get_image_features(pixel_values=normalised))

    def _in_batches(
        self, rows: Sequence[int], encode: Callable[[Sequence[int]], Tensor], batch_size: int
    ) -> Tensor:
        def unit_rows(chosen: Sequence[int]) -> Tensor:
            return functional.normalize(encode(chosen).float(), dim=1)

        return encode_in_batches(
            rows,
            unit_rows,
            dim=self.dim,
            batch_size=batch_size,
            device=self.device,
            precision=self.precision,
        )


def pretrained_files(folder: Path) -> dict[str, Path]:
    """Return the files of such a model that are read, by name; all others are no part of it."""
    return {file.name: file for pattern in _FILES for file in sorted(folder.glob(pattern))}


def _family_of(folder: Path, config: dict[str, Any]) -> _Family:
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise CheckpointError(
            f"'{folder / _CONFIG}' is of a model of type {kind!r}; the ones that encode pictures "
            f"and captions here are {', '.join(sorted(_FAMILIES))}"
        )
    return _FAMILIES[kind]


def _load_network(folder: Path) -> Any:
    from transformers import AutoModel
    from transformers.utils import logging

    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise CheckpointError(
            f"'{folder}' has no model.safetensors; weights in a pickle (pytorch_model.bin) are "
            "never read: have the model saved again by transformers' save_pretrained, or take one "
            "that has them"
        )
    logging.disable_progress_bar()  # a bar for each weight says nothing to anyone
    try:
        network, report = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        # transformers raises OSError, ValueError, RuntimeError, SafetensorError and others.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"the network in '{folder}' cannot be loaded ({reason[0]}); copy it again"
        ) from error
    # A weight that is not there would be drawn at random, and every search would be nonsense.
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"the weights in '{folder}' lack {len(missing)} of the network's, the first is "
            f"{missing[0]}; is it a model with both towers?"
        )
    # transformers leaves weights where the file is mapped into memory: one that is overwritten in
    # place would change the network while it encodes.
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()
    return network


def _position_count(text_config: Any, family: _Family) -> int:
    skipped = text_config.pad_token_id + 1 if family.skips_positions else 0
    return int(text_config.max_position_embeddings) - skipped


def _pooled(features: Any) -> Tensor:
    """Return (item, dim) of what a tower's method returns: its embeddings, or with more around."""
    return features if isinstance(features, Tensor) else features.pooler_output
