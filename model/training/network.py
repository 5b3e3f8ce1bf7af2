"""The network that a training run begins with.

- A new one: tokenizer from the captions, backbone pretrained or random.
- That of a checkpoint, whole: its weights, its tokenizer, its preprocessing.

A pretrained backbone that is trained keeps the batch norm statistics it came with: those of a small
batch of another domain are worse, and in some converted networks the norms are folded away and
their statistics stand for nothing.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from model import console
from model.config import (
    BackboneConfig,
    HremConfig,
    ImageEncoderConfig,
    PreprocessorConfig,
    TextEncoderConfig,
    first_problem,
)
from model.errors import CheckpointError, ConfigError
from model.hrem import HREM
from model.hub import why_not_fetched
from model.inputs.backbone import VisionBackbone, load_pretrained_backbone
from model.inputs.captions import CaptionTokenizer
from model.inputs.image_processor import RESAMPLING
from model.inputs.word_vectors import read_word_vectors
from model.training.config import NetworkConfig
from model.training.randomness import Purpose, stream_seed

__all__ = ["continued_network", "make_network"]

# What is trained when no backbone is named: small enough for two cores, enough for clean shapes.
SMALL_BACKBONE = {
    "model_type": "resnet",
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128, 256],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
SMALL_PREPROCESSOR = PreprocessorConfig(image_size=128, resize="squash", resample="bilinear")


def make_network(
    config: NetworkConfig,
    *,
    backbone: str | None,
    captions: Sequence[str],
    minimum_word_count: int,
    seed: int,
    region_dim: int | None = None,
) -> HREM:
    """Return an untrained network in training mode, on the CPU.

    Args:
        config: Sizes and kinds.
        backbone: Folder or name of a pretrained vision backbone; None makes a random one of
            `config.backbone_architecture`, or the small default.
        captions: Of the training images; their words become the vocabulary of a BiGRU.
        minimum_word_count: How often a word must be seen.
        seed: Of the initial weights.
        region_dim: Width of the region features that it reads, without a backbone; None: it reads
            pictures.

    Raises:
        CheckpointError: The named backbone or text encoder cannot be loaded.
        ConfigError: Sizes do not fit each other.
    """
    torch.manual_seed(stream_seed(seed, 0, purpose=Purpose.INITIAL_WEIGHTS))
    vision = _make_backbone(config, backbone) if region_dim is None else None
    tokenizer, text, bert = _make_text(config, captions, minimum_word_count)
    image: dict[str, Any] = {"fragments": "regions", "region_dim": region_dim}
    if vision is not None:
        image = {
            "fragments": "grid",
            "region_dim": vision.module.region_dim(vision.preprocessor.image_size),
            "backbone": vision.module.config,
        }
    try:
        hrem_config = HremConfig(
            embedding_dim=config.embedding_dim,
            image=ImageEncoderConfig(**image, fragment_level=config.fragment_level("visual")),
            text=text.model_copy(update={"fragment_level": config.fragment_level("textual")}),
            preprocessor=None if vision is None else vision.preprocessor,
            tokenizer="words" if config.text == "bigru" else "wordpiece",
        )
    except ValueError as error:
        raise ConfigError([f"network: {error}"]) from error
    hrem = HREM(hrem_config, tokenizer, None if vision is None else vision.module.network)
    if config.word_vectors is not None:
        _begin_from_word_vectors(hrem, config.word_vectors)
    if bert is not None:
        wanted = hrem.text_encoder.words.bert.state_dict()  # type: ignore[union-attr]
        kept = {name: value for name, value in bert.state_dict().items() if name in wanted}
        hrem.text_encoder.words.bert.load_state_dict(kept)  # type: ignore[union-attr]
    return hrem.train()


def continued_network(
    checkpoint: Path, *, train_backbone: bool | None, region_dim: int | None
) -> HREM:
    """Return the network of a checkpoint in training mode, on the CPU.

    Args:
        checkpoint: Its folder.
        train_backbone: Whether its backbone learns from now on; None: as when it was trained.
        region_dim: Width of the region features that the run has; None: it has pictures.

    Raises:
        CheckpointError: There is no such checkpoint, or it reads something else.
    """
    hrem = HREM.from_pretrained(checkpoint)
    if hrem.region_dim != region_dim:
        reads, given = (
            "pictures" if dim is None else f"region features of {dim} values"
            for dim in (hrem.region_dim, region_dim)
        )
        raise CheckpointError(f"'{checkpoint}' reads {reads}, but these data are {given}")
    backbone = hrem.config.image.backbone
    if backbone is None or train_backbone in (None, not backbone.is_frozen):
        return hrem.train()
    changed = {"is_frozen": not train_backbone, "has_fixed_statistics": train_backbone}
    image = hrem.config.image.model_copy(update={"backbone": backbone.model_copy(update=changed)})
    config = hrem.config.model_copy(update={"image": image})
    again = HREM(config, hrem.tokenizer)
    again.load_state_dict(hrem.state_dict())
    return again.train()


def _begin_from_word_vectors(hrem: HREM, path: Path) -> None:
    """Put pretrained vectors into the rows of their words; the other words stay random."""
    embedding = hrem.text_encoder.words.embedding
    assert isinstance(embedding, nn.Embedding)
    vocabulary = hrem.tokenizer.vocabulary()
    vectors = read_word_vectors(path, vocabulary, dim=embedding.embedding_dim)
    with torch.no_grad():
        for word, vector in vectors.items():
            embedding.weight[vocabulary[word]] = torch.from_numpy(vector)
    console.say(f"word vectors    {len(vectors):,} of {len(vocabulary):,} words are in {path.name}")


class _Vision:
    """A backbone with its preprocessing."""

    def __init__(self, module: VisionBackbone, preprocessor: PreprocessorConfig) -> None:
        self.module = module
        self.preprocessor = preprocessor


def _make_backbone(config: NetworkConfig, name: str | None) -> _Vision:
    network: nn.Module | None
    if name is None:
        network, architecture = None, config.backbone_architecture
        if architecture is None:
            console.say(
                "backbone        a small random-initialised ResNet, trained (name a pretrained one "
                "with --backbone FOLDER)"
            )
            architecture = SMALL_BACKBONE
        preprocessor = config.preprocessor.applied_to(SMALL_PREPROCESSOR)
    elif config.backbone_architecture is not None:
        raise ConfigError(["give --backbone or network.backbone_architecture, not both"])
    else:
        network, architecture = load_pretrained_backbone(name)
        preprocessor = config.preprocessor.applied_to(_preprocessor_of(name))
    is_trained = name is None if config.train_backbone is None else config.train_backbone
    backbone_config = BackboneConfig(
        architecture=architecture,
        grid_size=config.grid_size,
        is_frozen=not is_trained,
        has_fixed_statistics=is_trained and name is not None,
    )
    return _Vision(VisionBackbone(backbone_config, preprocessor, network), preprocessor)


def _make_text(
    config: NetworkConfig, captions: Sequence[str], minimum_word_count: int
) -> tuple[CaptionTokenizer, TextEncoderConfig, nn.Module | None]:
    """Return the tokenizer, the text configuration, and a pretrained BERT where one is named."""
    if config.text_encoder is None:
        tokenizer = CaptionTokenizer.from_captions(
            captions, min_count=minimum_word_count, max_word_count=config.max_word_count
        )
        text = TextEncoderConfig(
            kind="bigru",
            word_dim=config.word_dim,
            vocabulary_size=tokenizer.vocabulary_size,
            max_word_count=config.max_word_count,
        )
        return tokenizer, text, None
    bert, architecture = load_pretrained_backbone(config.text_encoder)
    tokenizer = CaptionTokenizer.from_pretrained(
        config.text_encoder, max_word_count=config.max_word_count
    )
    text = TextEncoderConfig(
        kind="bert",
        vocabulary_size=tokenizer.vocabulary_size,
        max_word_count=config.max_word_count,
        architecture=architecture,
    )
    return tokenizer, text, bert


def _preprocessor_of(name_or_folder: str) -> PreprocessorConfig:
    """Return the preprocessing that a pretrained backbone was made for."""
    from transformers.utils import cached_file

    path = cached_file(
        name_or_folder,
        "preprocessor_config.json",
        local_files_only=why_not_fetched(name_or_folder) is not None,
        _raise_exceptions_for_missing_entries=False,
    )
    if path is None:
        return PreprocessorConfig()
    try:
        return _preprocessor_from(json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        told = first_problem(error) if isinstance(error, ValidationError) else repr(error)
        raise CheckpointError(
            f"'{path}' does not tell how pictures become pixels ({told}); mend it, or take it away "
            "and set --network.preprocessor"
        ) from error


def _preprocessor_from(found: dict[str, Any]) -> PreprocessorConfig:
    """Return what the settings of an image processor of `transformers` say; the rest is usual."""
    settings: dict[str, Any] = {}
    shortest, side = _side(found.get("size")), _side(found.get("crop_size"))
    if found.get("do_center_crop") and side is not None:
        settings |= {"image_size": side, "resize": "crop"}
        settings["crop_fraction"] = min(1.0, side / shortest) if shortest else 1.0
    elif shortest is not None:
        settings |= {"image_size": shortest, "resize": "squash"}
    if found.get("do_normalize", True) and "image_mean" in found:
        settings |= {"mean": tuple(found["image_mean"]), "std": tuple(found["image_std"])}
    if found.get("resample") in RESAMPLING:
        settings["resample"] = RESAMPLING[found["resample"]]
    return PreprocessorConfig(**settings)


def _side(size: Any) -> int | None:
    """Return the side of a size as preprocessor files write it: a number or a dict."""
    if isinstance(size, dict):
        size = size.get("shortest_edge", size.get("height"))
    return int(size) if size is not None else None
