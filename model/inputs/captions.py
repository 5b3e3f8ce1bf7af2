"""Captions to token ids.

Two tokenizers behind one class, both written as `tokenizer.json` of the `tokenizers` library:
- words: lower-cased whole words seen often enough in the training captions (BiGRU);
- wordpiece: the tokenizer of a BERT-like encoder.
Every caption opens with a start mark and closes with an end mark; a caption longer than the
network reads is cut before its end mark.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from model.errors import CheckpointError, DataError
from model.hub import folders_beside, why_not_fetched

__all__ = ["CaptionTokenizer", "Word"]

_FILE = "tokenizer.json"
_WORD_MARKS = {"pad": "<pad>", "unknown": "<unk>", "start": "<start>", "end": "<end>"}
_PIECE_MARKS = {"pad": "[PAD]", "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]"}
_MASK = {"words": "<mask>", "wordpiece": "[MASK]"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word, word piece or mark that the network reads, and where it stands in the caption.

    Attributes:
        text: As the vocabulary has it: lower-cased, `##ing`, `<unk>`; a mark by its name.
        start: Place of its first character in the caption, from 0; characters are Unicode's.
        end: Place behind its last one; equal to `start` for a mark, which stands nowhere.
    """

    text: str
    start: int
    end: int


class CaptionTokenizer:
    """Text to ids, with padding to the longest caption of a batch.

    Attributes:
        pad_id: Id of padding.
        unknown_id: Id of every word that the vocabulary does not hold.
        end_id: Id of the mark that closes a caption.
        mask_id: Id that augmentation puts in place of a word.
        special_ids: Ids of all marks: never masked, dropped or drawn as random words.
        vocabulary_size: Count of ids.
        max_word_count: Longest caption in ids, marks included.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_word_count: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.max_word_count = max_word_count
        is_words = tokenizer.token_to_id(_WORD_MARKS["start"]) is not None
        marks = _WORD_MARKS if is_words else _PIECE_MARKS
        found = {name: tokenizer.token_to_id(mark) for name, mark in marks.items()}
        ids = {name: place for name, place in found.items() if place is not None}
        if len(ids) < len(marks):
            missing = ", ".join(marks[name] for name in marks if name not in ids)
            raise CheckpointError(f"the tokenizer has no {missing}")
        mask = tokenizer.token_to_id(_MASK["words" if is_words else "wordpiece"])
        self.pad_id = ids["pad"]
        self.unknown_id = ids["unknown"]
        self.end_id = ids["end"]
        # A vocabulary without a mask (small word-piece files) masks by the unknown word.
        self.mask_id = ids["unknown"] if mask is None else mask
        self.special_ids: frozenset[int] = frozenset({*ids.values(), self.mask_id})
        self.vocabulary_size: int = tokenizer.get_vocab_size()

    @classmethod
    def from_captions(
        cls, captions: Iterable[str], *, min_count: int, max_word_count: int
    ) -> "CaptionTokenizer":
        """Return a word tokenizer over the words seen at least `min_count` times."""
        splitter = _word_splitter()
        counts: Counter[str] = Counter()
        for caption in captions:
            lowered = normalizers.Sequence(_normalisers()).normalize_str(caption)
            counts.update(word for word, _ in splitter.pre_tokenize_str(lowered))
        marks = [*_WORD_MARKS.values(), _MASK["words"]]
        words = sorted(word for word, count in counts.items() if count >= min_count)
        if not words:
            raise DataError(
                f"no word is seen {min_count} times in the captions; lower the minimum count"
            )
        vocabulary = {word: place for place, word in enumerate([*marks, *words])}
        return cls.from_words(vocabulary, splitter=splitter, max_word_count=max_word_count)

    @classmethod
    def from_words(
        cls,
        vocabulary: Mapping[str, int],
        *,
        splitter: pre_tokenizers.PreTokenizer,
        lower_case: bool = True,
        max_word_count: int,
    ) -> "CaptionTokenizer":
        """Return a word tokenizer with the ids of `vocabulary`, which has the marks of words.

        Raises:
            CheckpointError: A mark is missing.
        """
        _check_marks(vocabulary, _WORD_MARKS)
        tokenizer = Tokenizer(models.WordLevel(dict(vocabulary), unk_token=_WORD_MARKS["unknown"]))
        tokenizer.normalizer = normalizers.Sequence(_normalisers(lower_case=lower_case))
        tokenizer.pre_tokenizer = splitter
        _add_marks(tokenizer, _WORD_MARKS)
        return cls(tokenizer, max_word_count=max_word_count)

    @classmethod
    def from_vocabulary(
        cls, path: Path, *, lower_case: bool = True, max_word_count: int
    ) -> "CaptionTokenizer":
        """Return BERT's basic + WordPiece tokenizer from a `vocab.txt`.

        Args:
            path: One piece a line; its line is its id.
            lower_case: Captions are lower-cased and lose their accents, as for uncased models.
            max_word_count: Longest caption in ids, marks included.

        Raises:
            CheckpointError: The file is missing, not a text in UTF-8, or has not every mark.
        """
        if not path.is_file():
            raise CheckpointError(f"no vocabulary at '{path}'; give BERT's vocab.txt")
        try:
            # Not splitlines: a piece may be one of Unicode's other line separators.
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"'{path}' is no text in UTF-8; give BERT's vocab.txt") from error
        vocabulary = {piece: place for place, piece in enumerate(lines)}
        _check_marks(vocabulary, _PIECE_MARKS)
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_PIECE_MARKS["unknown"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        _add_marks(tokenizer, _PIECE_MARKS)
        return cls(tokenizer, max_word_count=max_word_count)

    @classmethod
    def from_pretrained(cls, name_or_folder: str, *, max_word_count: int) -> "CaptionTokenizer":
        """Return the tokenizer of a BERT-like encoder, from a folder or a hub name.

        Raises:
            CheckpointError: There is none, or none that can be used.
        """
        from transformers import AutoTokenizer

        asked = why_not_fetched(name_or_folder)
        try:
            fast = AutoTokenizer.from_pretrained(name_or_folder, local_files_only=asked is not None)
            return cls(fast.backend_tokenizer, max_word_count=max_word_count)
        except (OSError, ValueError, AttributeError) as error:
            near = folders_beside(Path(name_or_folder))
            told = " ".join(str(asked or error).split())
            raise CheckpointError(f"no tokenizer at '{name_or_folder}'{near}: {told}") from error

    @classmethod
    def load(cls, folder: Path, *, max_word_count: int) -> "CaptionTokenizer":
        """Return the tokenizer that `save` wrote."""
        path = folder / _FILE
        if not path.is_file():
            raise CheckpointError(f"no tokenizer at '{path}'; the checkpoint is not whole")
        try:
            return cls(Tokenizer.from_file(str(path)), max_word_count=max_word_count)
        except CheckpointError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"'{path}' is damaged: {error}") from error

    def vocabulary(self) -> dict[str, int]:
        """Return every word or word piece, marks included, and its id."""
        found: dict[str, int] = self._tokenizer.get_vocab()
        return found

    def to_json(self) -> str:
        """Return the whole tokenizer as text; equal text = equal tokenizer."""
        return self._tokenizer.to_str(pretty=True)

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """Return the ids of each caption, marks included, cut to `max_word_count`."""
        return [self._cut(found.ids) for found in self._encode(captions)]

    def is_truncated(self, captions: Sequence[str]) -> list[bool]:
        """Return for each caption whether it is longer than the network reads."""
        return [len(found.ids) > self.max_word_count for found in self._encode(captions)]

    def placed_words(self, caption: str) -> list[Word]:
        """Return what `encode` makes ids of, mark for mark and word for word, with its place."""
        found = self._tokenizer.encode(caption)
        read: list[Word] = []
        last = self.max_word_count - 2
        for place, (token, (start, end)) in enumerate(
            zip(found.tokens, found.offsets, strict=True)
        ):
            if last < place < len(found.tokens) - 1:
                continue
            if found.special_tokens_mask[place]:
                start = end = read[-1].end if read else 0
            # An accent that NFC joined to its letter, or that BERT drops, belongs to the word.
            while start < end < len(caption) and unicodedata.combining(caption[end]):
                end += 1
            read.append(Word(token, start, end))
        return read

    def pad(
        self, token_ids: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "caption word"], Bool[Tensor, "caption word"]]:
        """Return ids padded to the longest caption, and True where padding is."""
        longest = max(len(ids) for ids in token_ids)
        padded = torch.full((len(token_ids), longest), self.pad_id, dtype=torch.long)
        is_padding = torch.ones((len(token_ids), longest), dtype=torch.bool)
        for row, ids in enumerate(token_ids):
            padded[row, : len(ids)] = torch.as_tensor(ids)
            is_padding[row, : len(ids)] = False
        return padded, is_padding

    def _encode(self, captions: Sequence[str]) -> list:
        found: list = self._tokenizer.encode_batch_fast(list(captions))
        return found

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.max_word_count:
            return ids
        return [*ids[: self.max_word_count - 1], self.end_id]


def _normalisers(*, lower_case: bool = True) -> list[normalizers.Normalizer]:
    return [normalizers.NFC(), *([normalizers.Lowercase()] if lower_case else [])]


def _word_splitter() -> pre_tokenizers.PreTokenizer:
    # Words with inner apostrophes and hyphens, digits; punctuation carries nothing here.
    return pre_tokenizers.Split(
        Regex(r"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*"), behavior="removed", invert=True
    )


def _check_marks(vocabulary: Mapping[str, int], marks: dict[str, str]) -> None:
    missing = [mark for mark in marks.values() if mark not in vocabulary]
    if missing:
        raise CheckpointError(f"the vocabulary has no {', '.join(missing)}")


def _add_marks(tokenizer: Tokenizer, marks: dict[str, str]) -> None:
    start, end = marks["start"], marks["end"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in (start, end)],
    )
