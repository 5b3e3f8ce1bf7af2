"""Several checkpoints as one, by the mean of their similarity matrices.

The mean of n cosines is one product of the n embeddings laid side by side, each divided by
sqrt(n): rows of unit length again, so that ranks, hits and neighbours need no second version.
Checkpoints are loaded one after the other; only embeddings are kept.

Source: HREM (CVPR 2023), Full* = Fusion and Standalone together.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from model import console
from model.data.captioned_images import CaptionedImages
from model.dual_encoder import load_dual_encoder, reads_regions
from model.errors import CheckpointError
from model.training.evaluation import encode_distinct, encode_images
from model.training.settings import SETTINGS_FILE

__all__ = ["Embeddings", "EncodedDataSet", "encode_data_set", "is_full", "mean_similarity"]


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of a data set's images and captions, unit rows."""

    images: Float[Tensor, "image dim"]
    captions: Float[Tensor, "caption dim"]


@dataclass(frozen=True)
class EncodedDataSet:
    """A data set as one checkpoint, or the mean of several, sees it.

    Attributes:
        embeddings: Whose products are the similarities.
        fingerprints: Of the checkpoints, 64 hex digits each, in the order given.
    """

    embeddings: Embeddings
    fingerprints: tuple[str, ...]


def encode_data_set(
    checkpoints: Sequence[str], images: CaptionedImages, *, device: str
) -> EncodedDataSet:
    """Return the embeddings of one checkpoint, or those whose products are the mean of several.

    Raises:
        CheckpointError: One cannot be loaded or cannot read these images, two read different
            kinds of images, or two are the same.
        PictureError: A picture cannot be read.
    """
    if len(checkpoints) > 1:
        _refuse_unlike(checkpoints)
    parts: list[Embeddings] = []
    fingerprints: list[str] = []
    for name in checkpoints:
        if len(checkpoints) > 1:
            console.say(f"checkpoint {len(parts) + 1} of {len(checkpoints)}  {name}")
        part, fingerprint = _encode_with(name, images, device)
        parts.append(part)
        fingerprints.append(fingerprint)
    return EncodedDataSet(mean_similarity(parts), tuple(fingerprints))


def mean_similarity(parts: Sequence[Embeddings]) -> Embeddings:
    """Return embeddings whose products are the means of the parts' products.

    One part comes back as it is, bit for bit.
    """
    if len(parts) == 1:
        return parts[0]
    scale = len(parts) ** -0.5
    return Embeddings(
        torch.cat([part.images for part in parts], dim=1) * scale,
        torch.cat([part.captions for part in parts], dim=1) * scale,
    )


def is_full(checkpoints: Sequence[str]) -> bool:
    """Return whether these are what the paper calls Full*: one Fusion and one Standalone.

    A checkpoint holds no instance level, but the settings of its run, beside it, tell.
    """
    return sorted(map(_mechanism, checkpoints)) == ["fusion", "standalone"]


def _mechanism(checkpoint: str) -> str:
    """Return the instance level that a checkpoint was trained with; "" for none, or unknown."""
    try:
        level = json.loads((Path(checkpoint) / SETTINGS_FILE).read_text())["instance_level"]
        return str(level["mechanism"]) if level["enabled"] else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _encode_with(name: str, images: CaptionedImages, device: str) -> tuple[Embeddings, str]:
    """Return embeddings and fingerprint; the network is gone when this returns."""
    encoder = load_dual_encoder(name, device=device)
    # Images first: an encoder that cannot read them says so at once.
    of_images = encode_images(encoder, images)
    captions = encode_distinct(encoder.encode_captions, images.caption_texts)
    return Embeddings(of_images, captions), encoder.fingerprint


def _refuse_unlike(checkpoints: Sequence[str]) -> None:
    """Raise CheckpointError before an hour is spent on the first of checkpoints that do not fit."""
    name_of: dict[str, str] = {}
    first_kind: str | None = None
    for name in checkpoints:
        encoder = load_dual_encoder(name)
        kind = "region features" if reads_regions(encoder) else "pictures"
        first_kind = first_kind or kind
        if kind != first_kind:
            raise CheckpointError(
                f"'{checkpoints[0]}' reads {first_kind} but '{name}' reads {kind}; similarities "
                "are averaged over checkpoints that read the same images"
            )
        twin = name_of.setdefault(encoder.fingerprint, name)
        if twin != name or checkpoints.count(name) > 1:
            raise CheckpointError(
                f"'{twin}' and '{name}' are the same network; name each checkpoint once"
            )
