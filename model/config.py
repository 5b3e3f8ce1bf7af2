"""The configuration of a network, as written to `config.json` and `preprocessor.json`.

Defaults are the paper's (CVPR 2023), or the released code's where the paper is silent.
"""

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "BackboneConfig",
    "FragmentLevelConfig",
    "HremConfig",
    "ImageEncoderConfig",
    "Pooling",
    "PreprocessorConfig",
    "Section",
    "TextEncoderConfig",
    "first_problem",
]

Pooling: TypeAlias = Literal["hrem", "gpo"]


class Section(BaseModel):
    """A part of a configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FragmentLevelConfig(Section):
    """Relation among the fragments of one item, and their pooling."""

    head_count: int = Field(default=16, ge=1, description="attention heads of the relation layer")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of the relation layer")
    pooling: Pooling = Field(
        default="hrem", description="hrem: top-k mean and relation layer; gpo: VSE-infinity's"
    )
    pooling_weight: float = Field(
        default=0.8, ge=0, le=1, description="b: share of the top-k mean; 1 = no relation layer"
    )
    top_k: int = Field(default=2, ge=1, description="how many largest values pooling averages")


class BackboneConfig(Section):
    """A vision backbone of `transformers`, whose grid or patch features are the regions."""

    architecture: dict[str, Any] = Field(
        description="the backbone's own transformers configuration, with model_type"
    )
    grid_size: int | None = Field(
        default=None, ge=1, description="average the grid to this many cells a side"
    )
    is_frozen: bool = Field(default=True, description="the backbone is not trained")
    has_fixed_statistics: bool = Field(
        default=False,
        description="trained, its batch norms go on with the statistics that it came with",
    )


class ImageEncoderConfig(Section):
    """Regions to an image embedding."""

    fragments: Literal["grid", "regions"] = Field(
        default="regions", description="grid = raw pictures; regions = precomputed features"
    )
    region_dim: int = Field(default=2048, ge=1, description="width of a region feature")
    backbone: BackboneConfig | None = Field(default=None, description="needed for grid")
    fragment_level: FragmentLevelConfig = Field(
        default_factory=FragmentLevelConfig, description="relation and pooling of regions"
    )

    @model_validator(mode="after")
    def _grid_needs_a_backbone(self) -> "ImageEncoderConfig":
        if (self.fragments == "grid") != (self.backbone is not None):
            raise ValueError("fragments = 'grid' needs a backbone, 'regions' must have none")
        return self


class TextEncoderConfig(Section):
    """Words to a caption embedding."""

    kind: Literal["bigru", "bert"] = Field(default="bert", description="word encoder")
    max_word_count: int = Field(
        default=128, ge=3, description="longest caption read, start and end included"
    )
    word_dim: int = Field(default=300, ge=1, description="size of a word embedding (bigru)")
    vocabulary_size: int = Field(default=0, ge=0, description="filled from the tokenizer")
    architecture: dict[str, Any] | None = Field(
        default=None, description="transformers configuration of the BERT-like encoder (bert)"
    )
    fragment_level: FragmentLevelConfig = Field(
        default_factory=FragmentLevelConfig, description="relation and pooling of words"
    )

    @model_validator(mode="after")
    def _bert_needs_an_architecture(self) -> "TextEncoderConfig":
        if (self.kind == "bert") != (self.architecture is not None):
            raise ValueError("kind = 'bert' needs an architecture, 'bigru' must have none")
        return self


class PreprocessorConfig(Section):
    """How a picture becomes pixels; written to `preprocessor.json`."""

    image_size: int = Field(default=224, ge=16, le=2048, description="side in pixels")
    resize: Literal["squash", "crop"] = Field(
        default="crop", description="squash both sides, or resize the shorter and cut the centre"
    )
    crop_fraction: float = Field(
        default=0.875, gt=0, le=1, description="crop: side over the resized shorter side"
    )
    resample: Literal["bilinear", "bicubic", "lanczos"] = Field(
        default="bicubic", description="Pillow's filter"
    )
    mean: tuple[float, float, float] = Field(
        default=(0.485, 0.456, 0.406), description="subtracted from channels in 0..1"
    )
    std: tuple[float, float, float] = Field(
        default=(0.229, 0.224, 0.225), description="channels are divided by this"
    )


class HremConfig(Section):
    """A whole network."""

    schema_version: Literal[1] = 1
    embedding_dim: int = Field(default=1024, ge=2, description="size of an embedding")
    image: ImageEncoderConfig = Field(default_factory=ImageEncoderConfig, description="images")
    text: TextEncoderConfig = Field(description="captions")
    preprocessor: PreprocessorConfig | None = Field(
        default=None, description="pictures to pixels; null for region features"
    )
    tokenizer: Literal["words", "wordpiece"] = Field(
        default="words", description="whole words (bigru) or a BERT-like tokenizer"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> "HremConfig":
        for name, level in (("image", self.image), ("text", self.text)):
            if self.embedding_dim % level.fragment_level.head_count:
                raise ValueError(
                    f"embedding_dim = {self.embedding_dim} is not a multiple of "
                    f"{name}.fragment_level.head_count = {level.fragment_level.head_count}"
                )
        if (self.image.fragments == "grid") != (self.preprocessor is not None):
            raise ValueError("fragments = 'grid' needs a preprocessor, 'regions' must have none")
        return self

    @property
    def summary(self) -> str:
        """Kind of image fragments, word encoder and size, in a few words for people."""
        backbone = self.image.backbone
        images = "regions" if backbone is None else backbone.architecture.get("model_type", "grid")
        return f"{images} + {self.text.kind}, {self.embedding_dim}-d"


def first_problem(error: ValidationError) -> str:
    """Return the first of pydantic's complaints in one line: which field, and what is wrong."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
