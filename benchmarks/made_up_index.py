"""A servable index of any size without a picture: a random network, made-up vectors and words.

The network is a real HREM with random weights and a real tokenizer over made-up words, so encoding
a caption costs what it costs with a trained one. The images of the gallery have no files, as if
their region features had been indexed.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.made_up_rows import made_up_blocks
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import NamedKind
from index_builder.index_folder.checkpoints import keep_checkpoint
from index_builder.index_folder.publishing import publish_galleries
from index_builder.index_folder.versions import IndexFolder
from index_builder.vector_index import IndexRequest
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model.config import FragmentLevelConfig, HremConfig, ImageEncoderConfig, TextEncoderConfig
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.hrem import HREM
from model.inputs.captions import CaptionTokenizer

__all__ = ["BASE", "NetworkSize", "made_up_captions", "write_checkpoint", "write_made_up_index"]

TextKind = Literal["bert", "bigru"]

_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aeiou"


@dataclass(frozen=True)
class NetworkSize:
    """How large a network is.

    Attributes:
        word_count: Words and marks of the tokenizer.
        hidden: Width of the BERT-like encoder, or of a word vector of the BiGRU.
        layers: Of the BERT-like encoder.
        heads: Attention heads there and in the relation layers.
        dim: Of an embedding.
        region_dim: Of a region feature.
    """

    word_count: int = 30_522
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    dim: int = 1024
    region_dim: int = 2048


BASE = NetworkSize()


def made_up_words(count: int) -> list[str]:
    """Return different words of two to four syllables, the same ones every time."""
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    size = len(syllables)
    words = []
    for number in range(count):
        word, rest = "", number
        for _ in range(2 if number < size**2 else 4):
            word, rest = word + syllables[rest % size], rest // size
        words.append(word)
    return words


def made_up_captions(count: int, size: NetworkSize = BASE, *, seed: int = 0) -> list[str]:
    """Return captions of 8 to 14 words, frequent ones more often: BERT reads 10 to 16 ids."""
    words = made_up_words(size.word_count - len(_MARKS))
    random = np.random.default_rng(seed)
    places = (len(words) ** random.random((count, 14))).astype(int)  # Zipf's law, nearly
    return [
        " ".join(words[place] for place in row[: random.integers(8, 15)]) for row in places.tolist()
    ]


def write_checkpoint(
    folder: Path, text: TextKind, size: NetworkSize = BASE, *, seed: int = 0
) -> Path:
    """Write a checkpoint with random weights, the same ones for a seed, and return its folder."""
    words = made_up_words(size.word_count - len(_MARKS))
    level = FragmentLevelConfig(head_count=16 if size.dim % 16 == 0 else 2)
    architecture: dict[str, Any] | None = None
    if text == "bert":
        architecture = {
            "model_type": "bert",
            "vocab_size": size.word_count,
            "hidden_size": size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "intermediate_size": 4 * size.hidden,
        }
        with tempfile.TemporaryDirectory() as name:
            vocabulary = Path(name) / "vocab.txt"
            vocabulary.write_text("\n".join([*_MARKS, *words]) + "\n")
            tokenizer = CaptionTokenizer.from_vocabulary(vocabulary, max_word_count=128)
    else:
        tokenizer = CaptionTokenizer.from_captions(words, min_count=1, max_word_count=128)
    config = HremConfig(
        embedding_dim=size.dim,
        image=ImageEncoderConfig(region_dim=size.region_dim, fragment_level=level),
        text=TextEncoderConfig(
            kind=text,
            word_dim=min(size.hidden, 300),
            vocabulary_size=tokenizer.vocabulary_size,
            architecture=architecture,
            fragment_level=level,
        ),
        tokenizer="wordpiece" if text == "bert" else "words",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hrem = HREM(config, tokenizer).eval()
        _spread(hrem)
    hrem.save_pretrained(folder)
    return folder


def _spread(hrem: HREM) -> None:
    """Make word vectors large, so that captions of a random network differ as real ones do."""
    words = hrem.text_encoder.words
    with torch.no_grad():
        for name, weight in words.named_parameters():
            if "word_embeddings" in name or name == "embedding.weight":
                weight.normal_(std=1.0)


def write_made_up_index(
    folder: Path,
    checkpoint: Path,
    *,
    count: int,
    kind: NamedKind = "exact",
    prefix: str = "i",
) -> int:
    """Write an images gallery of made-up vectors and serve it as the next version; return that.

    Args:
        folder: Of the index, new or present.
        checkpoint: Whose width the vectors get; the index keeps a copy.
        count: Items.
        kind: Of vector index.
        prefix: Ids are this and the row; another one, another gallery.
    """
    encoder = load_dual_encoder(checkpoint)
    index = IndexFolder(folder)
    with index.writing():
        kept = keep_checkpoint(index, checkpoint, encoder)
        gallery = _written_gallery(index, encoder, count=count, kind=kind, prefix=prefix)
        try:
            return publish_galleries(
                index, checkpoint=kept.record, images=gallery, captions=None, images_root=None
            )
        finally:
            gallery.close()


def _written_gallery(
    index: IndexFolder, encoder: DualEncoder, *, count: int, kind: NamedKind, prefix: str
) -> Gallery:
    name = f"images-{prefix.encode().hex():0>16}"
    record = EncoderRecord(encoder.name, encoder.fingerprint, encoder.dim, {}, encoder.precision)
    with GalleryDraft(index.galleries / f".draft-{name}", "images", record) as draft:
        blocks = made_up_blocks("realistic", count, encoder.dim, seed=1 + ord(prefix[0]))
        for start, vectors in blocks:
            draft.add_contents(vectors)
            rows = np.arange(start, start + len(vectors))
            draft.add_items((_item(prefix, row) for row in rows.tolist()), rows)
        request = IndexRequest(kind, 0.95)
        place = draft.finish(index.galleries / name, index_kind=kind, index=request)
    return Gallery.open(place)


def _item(prefix: str, row: int) -> Item:
    metadata = {"number": row, "even": row % 2 == 0}
    return Item(id=f"{prefix}{row}", row=row, metadata=metadata, content_hash=f"{row:064x}")
