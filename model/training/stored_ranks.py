"""The ranks of an evaluation with what its analysis needs, in one small file.

`evaluate --ranks FILE.npz` writes it, so that runs can be compared later (quartiles, paired
bootstrap) without their networks or their data.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from model.data.captioned_images import CaptionedImages
from model.durable import write_file
from model.errors import DataError
from model.ranking import Ranking
from model.training.analysis import document_frequency, neighbour_similarity, rarest_word_counts
from model.training.bootstrap import RunRanks

__all__ = ["QueryFacts", "StoredRanks", "data_hash", "query_facts", "read_ranks", "write_ranks"]

_VERSION = 1
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class QueryFacts:
    """What is known of the queries besides their ranks.

    Attributes:
        caption_image: Row of the image that each caption belongs to.
        rarest_word_counts: In how many captions each caption's rarest content word stands.
        neighbour_similarity: Cosine of each image with the nearest other image.
        counted_in: In words, which captions were counted for `rarest_word_counts`.
        data_hash: 16 hex digits over ids and captions; only runs of equal ones can be paired.
    """

    caption_image: Int[np.ndarray, " caption"]
    rarest_word_counts: Int[np.ndarray, " caption"]
    neighbour_similarity: Float[np.ndarray, " image"]
    counted_in: str
    data_hash: str


@dataclass(frozen=True)
class StoredRanks:
    """What a file of ranks holds.

    Attributes:
        ranks: Zero-based ranks of both directions.
        facts: What is known of the queries.
        checkpoints: Fingerprints; several mean that their similarities were averaged.
    """

    ranks: RunRanks
    facts: QueryFacts
    checkpoints: tuple[str, ...]


def query_facts(
    images: CaptionedImages,
    image_embeddings: Float[Tensor, "image dim"],
    training_captions: Sequence[str] | None,
) -> QueryFacts:
    """Return rarity and neighbours of a data set of at least two images.

    Args:
        images: What was evaluated.
        image_embeddings: Unit rows.
        training_captions: Of the split train, where words are counted; None = in the evaluated
            captions.

    Raises:
        DataError: There is one image only.
    """
    if len(images) < 2:
        raise DataError("one image has no nearest other image; evaluate at least two")
    counted = images.caption_texts if training_captions is None else training_captions
    return QueryFacts(
        caption_image=images.caption_image,
        rarest_word_counts=rarest_word_counts(images.caption_texts, document_frequency(counted)),
        neighbour_similarity=neighbour_similarity(image_embeddings),
        counted_in=f"the {len(counted):,} evaluated captions"
        if training_captions is None
        else f"the {len(counted):,} captions of split train",
        data_hash=data_hash(images),
    )


def write_ranks(
    path: Path, ranking: Ranking, facts: QueryFacts, checkpoints: Sequence[str]
) -> None:
    """Write a compressed .npz; whole numbers in as few bytes as they need."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        version=np.array(_VERSION),
        image_to_text=_small(ranking.image_to_text.numpy()),
        text_to_image=_small(ranking.text_to_image.numpy()),
        caption_image=_small(facts.caption_image),
        rarest_word_counts=_small(facts.rarest_word_counts),
        # Not float16: its steps of 0.0005 near 1 would tie images at the edges of the quarters.
        neighbour_similarity=facts.neighbour_similarity.astype(np.float32),
        counted_in=np.array(facts.counted_in),
        data_hash=np.array(facts.data_hash),
        checkpoints=np.array(list(checkpoints)),
    )
    write_file(path, content.getvalue())


def read_ranks(path: Path) -> StoredRanks:
    """Return what `write_ranks` wrote.

    Raises:
        DataError: There is no such file, or it is not one of these.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        raise DataError(f"{path} holds no ranks; write them with: evaluate --ranks FILE.npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            if int(stored["version"]) != _VERSION:
                raise DataError(f"{path} is of version {stored['version']}; write it again")
            ranks = RunRanks(_whole(stored["image_to_text"]), _whole(stored["text_to_image"]))
            facts = QueryFacts(
                caption_image=_whole(stored["caption_image"]),
                rarest_word_counts=_whole(stored["rarest_word_counts"]),
                neighbour_similarity=stored["neighbour_similarity"],
                counted_in=str(stored["counted_in"]),
                data_hash=str(stored["data_hash"]),
            )
            return StoredRanks(ranks, facts, tuple(stored["checkpoints"].tolist()))
    except _UNREADABLE as error:
        raise DataError(
            f"{path} holds no ranks ({error}); write them with: evaluate --ranks FILE.npz"
        ) from error


def data_hash(images: CaptionedImages) -> str:
    """Return 16 hex digits over ids and captions: what makes ranks of two models comparable."""
    listed = json.dumps([images.image_ids, images.captions]).encode()
    return hashlib.sha256(listed).hexdigest()[:16]


def _small(values: Int[np.ndarray, " item"]) -> np.ndarray:
    """Return whole numbers >= 0 in the narrowest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _whole(values: np.ndarray) -> Int[np.ndarray, " item"]:
    return values.astype(np.int64)
