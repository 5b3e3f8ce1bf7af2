"""Captions become ids; whatever the text, the marks stay at its ends."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CheckpointError, DataError
from model.inputs.captions import CaptionTokenizer

CAPTIONS = ["A red circle.", "the RED dog's ball", "a tri-colored ball"]


def words(max_word_count: int = 8) -> CaptionTokenizer:
    return CaptionTokenizer.from_captions(CAPTIONS, min_count=1, max_word_count=max_word_count)


def pieces(folder: Path, max_word_count: int = 8) -> CaptionTokenizer:
    path = folder / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nred\ncir\n##cle\n.")
    return CaptionTokenizer.from_vocabulary(path, max_word_count=max_word_count)


SIX_WORDS = words(max_word_count=6)


def texts(tokenizer: CaptionTokenizer, caption: str) -> list[str]:
    return [word.text for word in tokenizer.placed_words(caption)]


def test_words_are_lower_cased_and_keep_inner_hyphens_and_apostrophes() -> None:
    assert texts(words(), "A  red DOG's tri-colored ball!") == [
        "<start>", "a", "red", "dog's", "tri-colored", "ball", "<end>",
    ]  # fmt: skip


def test_word_pieces_are_berts(tmp_path: Path) -> None:
    assert texts(pieces(tmp_path), "A Red circle.") == [
        "[CLS]", "a", "red", "cir", "##cle", ".", "[SEP]",
    ]  # fmt: skip


def test_only_line_feeds_end_a_piece_of_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(
        "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\u2028\r\nred\r\n".encode()
    )
    tokenizer = CaptionTokenizer.from_vocabulary(tmp_path / "vocab.txt", max_word_count=8)
    assert tokenizer.vocabulary_size == 6
    assert tokenizer.encode(["red"]) == [[2, 5, 3]]


def test_rare_words_are_unknown() -> None:
    tokenizer = CaptionTokenizer.from_captions(CAPTIONS, min_count=2, max_word_count=8)
    assert tokenizer.encode(["circle"])[0][1] == tokenizer.unknown_id
    assert tokenizer.encode(["red"])[0][1] != tokenizer.unknown_id
    with pytest.raises(DataError, match="seen 9 times"):
        CaptionTokenizer.from_captions(CAPTIONS, min_count=9, max_word_count=8)


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_keeps_its_marks_and_its_limit(text: str) -> None:
    tokenizer = SIX_WORDS
    (ids,) = tokenizer.encode([text])
    assert 2 <= len(ids) <= 6
    assert ids[-1] == tokenizer.end_id
    assert ids[0] in tokenizer.special_ids
    # A caption that spells a mark does not become one.
    assert tokenizer.end_id not in ids[1:-1]


def test_a_long_caption_is_cut_and_said_to_be() -> None:
    tokenizer = words(max_word_count=5)
    assert tokenizer.is_truncated(["a red ball", "a red red ball"]) == [False, True]
    assert len(tokenizer.encode(["red " * 10_000])[0]) == 5
    assert texts(tokenizer, "a red red ball") == ["<start>", "a", "red", "red", "<end>"]


@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_saved_and_loaded_tokenizers_agree(kind: str, tmp_path: Path) -> None:
    tokenizer = words() if kind == "words" else pieces(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    loaded = CaptionTokenizer.load(tmp_path, max_word_count=8)
    assert loaded.encode(CAPTIONS) == tokenizer.encode(CAPTIONS)
    assert loaded.to_json() == tokenizer.to_json()


def test_padding_is_told() -> None:
    tokenizer = words()
    token_ids, is_padding = tokenizer.pad(tokenizer.encode(["a", "a red ball"]))
    assert token_ids.shape == (2, 5)
    assert is_padding.tolist() == [[False] * 3 + [True] * 2, [False] * 5]
    assert (token_ids[is_padding] == tokenizer.pad_id).all()


def test_missing_and_damaged_tokenizers_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not whole"):
        CaptionTokenizer.load(tmp_path, max_word_count=8)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        CaptionTokenizer.load(tmp_path, max_word_count=8)
    with pytest.raises(CheckpointError, match=r"vocab\.txt"):
        CaptionTokenizer.from_vocabulary(tmp_path / "none.txt", max_word_count=8)
