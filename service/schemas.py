"""Requests, as they come over the wire; `answers` holds what goes back.

Requests are strict: unknown fields, wrong types and values out of range are refused.
"""

import base64
import binascii
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from index_builder.galleries.gallery import MAX_HIT_COUNT
from index_builder.galleries.manifest import GalleryKind
from index_builder.lookups.filters import Filter
from service.searches.filters import FilterOfJson

__all__ = [
    "MAX_QUERIES",
    "ImageEmbedding",
    "ImageEmbeddingParams",
    "ImageQuery",
    "ImageSearch",
    "ImageSearchParams",
    "Part",
    "PartsSearch",
    "ReloadRequest",
    "SearchFields",
    "SearchPart",
    "SessionRequest",
    "TextEmbedding",
    "TextSearch",
]

MAX_QUERIES = 32
MAX_LIMIT = 100

Part = Literal["image", "caption", "metadata"]


def _as_query_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _refuse_empty(text: object) -> object:
    if isinstance(text, str) and not text.strip():
        raise PydanticCustomError("empty_query", "the query is empty; write at least one word")
    return text


def _decode_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        # Line breaks, as the base64 command writes them, are no fault.
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PydanticCustomError(
            "invalid_base64", "not base64 (RFC 4648, standard alphabet, with padding)"
        ) from error


QueryText = Annotated[str, BeforeValidator(_refuse_empty)]
QueryTexts = Annotated[
    list[QueryText],
    Field(min_length=1, max_length=MAX_QUERIES),
    BeforeValidator(_as_query_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "minItems": 1,
                    "maxItems": MAX_QUERIES,
                },
            ],
            "description": "one sentence, or a list of them",
        }
    ),
]
PictureBytes = Annotated[
    bytes,
    BeforeValidator(_decode_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SearchFields(_Request):
    """What all searches have in common."""

    limit: int = Field(default=10, ge=1, le=MAX_LIMIT, description="hits for each query")
    offset: int = Field(
        default=0, ge=0, le=MAX_HIT_COUNT, description="hits to skip; offset + limit at most 1,000"
    )
    version: int | None = Field(
        default=None, description="index version that must answer; 409 if it is not served"
    )
    include: list[Part] = Field(
        default=["image", "caption", "metadata"], description="which parts of a hit to fill in"
    )
    filter: Annotated[Filter | None, FilterOfJson] = Field(default=None)
    group_by: Literal["image"] | None = Field(
        default=None, description="image: one hit for each image, with captions of it"
    )
    fold_duplicates_above: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="cosine with an earlier hit from which on a hit is put into that one's "
        "`duplicates`; null: never",
    )
    mode: Literal["vector", "hybrid"] = Field(
        default="vector",
        description="hybrid: the ranking by words of captions is fused with that by vectors",
    )
    explain: bool = Field(
        default=False,
        description="say of the first 10 hits what each region with each word adds to the score; "
        "of sentences that find images, and pictures that find captions",
    )

    @field_validator("offset")
    @classmethod
    def _within_depth(cls, offset: int, info: ValidationInfo) -> int:
        depth = offset + info.data.get("limit", 0)
        if depth > MAX_HIT_COUNT:
            raise PydanticCustomError(
                "out_of_range",
                "offset + limit is {depth}; at most {most} is served",
                {"depth": depth, "most": MAX_HIT_COUNT},
            )
        return offset


class TextSearch(SearchFields):
    """Sentences to search with; by default they find images."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "a red circle"},
                {"query": ["a dog on grass", "two people by the sea"], "limit": 5, "offset": 10},
            ]
        }
    )

    query: QueryTexts
    target: GalleryKind = Field(default="images", description="what to find")


class ImageSearchParams(SearchFields):
    """The fields of an image search without its picture: the `params` part of an upload."""

    target: GalleryKind = Field(default="captions", description="what to find")


class ImageQuery(_Request):
    """One picture: its bytes, the id of an indexed image, or where it is to be fetched."""

    base64: PictureBytes | None = Field(default=None, description="JPEG, PNG, WebP, GIF, BMP, TIFF")
    id: str | None = Field(default=None, description="id of an image of this index")
    url: str | None = Field(
        default=None, description="address of a picture, of a host that the service fetches from"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [one for one in (self.base64, self.id, self.url) if one is not None]
        if len(given) != 1:
            raise PydanticCustomError("one_image_source", "give exactly one of base64, id and url")
        return self


class ImageSearch(ImageSearchParams):
    """One picture to search with; by default it finds captions."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": {"id": "b2a3f2d9c1e04f7a8b6d"}, "limit": 5}]}
    )

    image: ImageQuery


class SearchPart(_Request):
    """A sentence or a picture, and how much it counts."""

    text: QueryText | None = Field(default=None, description="one sentence")
    image: ImageQuery | None = Field(default=None, description="one picture")
    weight: float = Field(
        default=1.0,
        allow_inf_nan=False,
        description="of its unit embedding in the sum; below 0 leads away from it",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.text is None) == (self.image is None):
            raise PydanticCustomError("one_part_kind", "give exactly one of text and image")
        return self


class PartsSearch(SearchFields):
    """Sentences and pictures that make one query together; by default they find images."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "parts": [
                        {"image": {"id": "b2a3f2d9c1e04f7a8b6d"}},
                        {"text": "at night", "weight": 0.5},
                        {"text": "people", "weight": -0.3},
                    ]
                }
            ]
        }
    )

    parts: list[SearchPart] = Field(
        min_length=1, max_length=MAX_QUERIES, description="what the query is made of"
    )
    target: GalleryKind = Field(default="images", description="what to find")


class TextEmbedding(_Request):
    """Sentences to embed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "a red circle"}]})

    query: QueryTexts


class ImageEmbeddingParams(_Request):
    """The `params` part of pictures to embed; there is nothing to set."""


class ImageEmbedding(ImageEmbeddingParams):
    """One picture to embed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": {"id": "b2a3f2d9c1e04f7a8b6d"}}]}
    )

    image: ImageQuery


class SessionRequest(_Request):
    """The key that a session is to stand for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "the key that you were given"}]}
    )

    key: str = Field(
        min_length=1, max_length=1_024, description="the key that you were given", repr=False
    )


class ReloadRequest(_Request):
    """Which index to serve from now on; by default the configured one, at its newest version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"index": "/indexes/photos"}]})

    index: str | None = Field(
        default=None, min_length=1, description="index folder, on the machine of the service"
    )
    checkpoint: str | None = Field(
        default=None, min_length=1, description="where its checkpoint lies, if not in the index"
    )
