"""The settings of a training run; defaults are the paper's, recipes hold only what differs."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from model.config import FragmentLevelConfig, Pooling, PreprocessorConfig, Section
from model.training.samplers import CaptionsPerPass

__all__ = ["DatasetConfig", "NetworkConfig", "SamplingConfig", "ScheduleConfig"]


class DatasetConfig(Section):
    """Which images train, and which select the checkpoint."""

    train_splits: tuple[str, ...] = Field(
        ("train",), min_length=1, description="Splits to train on."
    )
    dev_splits: tuple[str, ...] | None = Field(
        None, description="Splits that select the checkpoint; unset: dev, or else val."
    )
    dev_last_count: int | None = Field(
        None, ge=1, description="Select on the last so many images of the training splits instead."
    )
    dev_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share of the images to select on where there are no splits."
    )
    captions_per_pass: CaptionsPerPass = Field(
        "all", description="A pass goes over all captions, or over one random caption an image."
    )
    minimum_word_count: int = Field(
        4, ge=1, description="A word must be seen so often in training captions to be known."
    )
    shuffle_captions: bool = Field(
        False, description="Give every image another's captions: a control that must fail."
    )


class PreprocessorOverrides(Section):
    """What is to differ from the preprocessing that the backbone was made for."""

    image_size: int | None = Field(None, ge=16, le=2048, description="Side in pixels.")
    resize: Literal["squash", "crop"] | None = Field(
        None, description="Squash both sides, or resize the shorter and cut the centre."
    )
    crop_fraction: float | None = Field(
        None, gt=0, le=1, description="Crop: side over the resized shorter side."
    )
    resample: Literal["bilinear", "bicubic", "lanczos"] | None = Field(
        None, description="Pillow's filter."
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="Subtracted from channels in 0..1."
    )
    std: tuple[float, float, float] | None = Field(None, description="Channels are divided by it.")

    def applied_to(self, config: PreprocessorConfig) -> PreprocessorConfig:
        """Return `config` with what is set here in its place."""
        return PreprocessorConfig(**(config.model_dump() | self.model_dump(exclude_none=True)))


class NetworkConfig(Section):
    """The network, before the data are known."""

    embedding_dim: int = Field(1024, ge=2, description="Size of an embedding.")
    head_count: int = Field(16, ge=1, description="Attention heads of the relation layers.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of the relation layers.")
    fragment_levels: Literal["both", "visual", "textual", "neither"] = Field(
        "both", description="Which modalities have a relation layer among their fragments."
    )
    pooling: Pooling = Field(
        "hrem", description="hrem, or gpo: VSE-infinity's pooling, without relation layers."
    )
    grid_size: int | None = Field(
        None, ge=1, description="Average the backbone's grid to this many cells a side."
    )
    backbone_architecture: dict[str, Any] | None = Field(
        None, description="transformers configuration of a random-initialised backbone."
    )
    train_backbone: bool | None = Field(
        None, description="Unset: a pretrained backbone is frozen, a random one is trained."
    )
    preprocessor: PreprocessorOverrides = Field(
        default_factory=PreprocessorOverrides,
        description="Pictures to pixels; what is unset: as the backbone's folder says.",
    )
    text: Literal["bigru", "bert"] = Field("bigru", description="Word encoder.")
    text_encoder: str | None = Field(
        None, description="Folder or name of a BERT-like encoder, for text = 'bert'."
    )
    word_dim: int = Field(300, ge=1, description="Size of a word vector (bigru).")
    word_vectors: Path | None = Field(
        None,
        description="Pretrained word vectors to begin from (bigru): a text file, one word a line "
        "with its numbers, as GloVe's.",
    )
    max_word_count: int = Field(128, ge=3, description="Longest caption read, marks included.")

    @model_validator(mode="after")
    def _bert_is_named(self) -> "NetworkConfig":
        if (self.text == "bert") != (self.text_encoder is not None):
            raise ValueError("text = 'bert' needs text_encoder, text = 'bigru' must have none")
        if self.text == "bert" and self.word_vectors is not None:
            raise ValueError("word_vectors are for text = 'bigru'; BERT has its own")
        return self

    def fragment_level(self, modality: Literal["visual", "textual"]) -> FragmentLevelConfig:
        """Return the settings of one modality's relation and pooling."""
        has_relation = self.fragment_levels in ("both", modality)
        return FragmentLevelConfig(
            head_count=self.head_count,
            dropout=self.dropout,
            pooling=self.pooling,
            # b = 1 leaves the relation layer out.
            **({} if has_relation else {"pooling_weight": 1.0}),
        )


class SamplingConfig(Section):
    """Which pairs stand in a batch together."""

    kind: Literal["random", "neighbour"] = Field(
        "random", description="Random batches, or groups of similar images."
    )
    group_size: int = Field(
        8, ge=2, description="K: similar images that stand together; a batch holds batch_size / K."
    )
    mean_cluster_size: int = Field(
        32, ge=2, description="Images a cluster of the k-means that finds similar ones, on average."
    )


class ScheduleConfig(Section):
    """How long, and how often to look at the dev images."""

    batch_size: int = Field(128, ge=2, description="Pairs a batch.")
    accumulate: int = Field(
        1,
        ge=1,
        description="Batches a step, their gradients added; each has a graph and negatives of its "
        "own, so 2 of 64 are not one of 128.",
    )
    epochs: int = Field(30, ge=1, description="Passes over the training data.")
    steps: int | None = Field(
        None, ge=1, description="Number of optimiser steps, instead of epochs."
    )
    evaluate_every: int | None = Field(
        None, ge=1, description="Steps between two looks at the dev images; unset: once a pass."
    )
    save_every_steps: int | None = Field(
        None, ge=1, description="Save the training state after so many steps, between looks too."
    )
    save_every_minutes: float | None = Field(
        10.0, gt=0, description="Save the training state when so many minutes have passed."
    )
