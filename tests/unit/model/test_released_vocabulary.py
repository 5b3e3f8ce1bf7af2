"""The vocabulary beside a released checkpoint: where it is found, and how a BiGRU's words split."""

import json
from pathlib import Path

import pytest

from model.errors import CheckpointError
from model.inputs.captions import CaptionTokenizer
from model.released_vocabulary import load_word_pieces, load_words, vocabulary_file

MARKS = ["<pad>", "<start>", "<end>", "<unk>"]


def words(folder: Path, *more: str, lower_case: bool = True) -> CaptionTokenizer:
    ids = {word: place for place, word in enumerate([*MARKS, *more])}
    (folder / "vocab.json").write_text(json.dumps({"word2idx": ids}))
    return load_words(folder / "vocab.json", lower_case=lower_case, max_word_count=30)


@pytest.mark.parametrize(
    ("caption", "split"),
    [
        ("A man's t-shirt.", "a man 's t-shirt ."),
        ("he isn't here, they're there", "he is n't here , they 're there"),
        ("can't don't won't", "ca n't do n't wo n't"),
        ("three (3) dogs & 1 cat!", "three ( 3 ) dogs & 1 cat !"),
        ("and/or rock'n'roll at 5.30", "and/or rock'n'roll at 5.30"),
        ("wait... what -- now?", "wait ... what -- now ?"),
        ("a café in são paulo", "a café in são paulo"),
        ("<start>", "< start >"),
    ],
)
def test_captions_split_as_the_treebank_does(tmp_path: Path, caption: str, split: str) -> None:
    tokenizer = words(tmp_path, *dict.fromkeys(split.split()))
    read = [word.text for word in tokenizer.placed_words(caption)]
    assert read == ["<start>", *split.split(), "<end>"]
    assert tokenizer.unknown_id not in tokenizer.encode([caption])[0]


def test_captions_that_come_tokenized_split_at_white_space(tmp_path: Path) -> None:
    words(tmp_path, "don't", "dog.")
    tokenizer = load_words(
        tmp_path / "vocab.json", split="whitespace", lower_case=True, max_word_count=9
    )
    assert tokenizer.encode(["Don't  dog."]) == [[1, 4, 5, 2]]


def test_words_keep_the_files_ids_and_their_case_where_asked(tmp_path: Path) -> None:
    assert words(tmp_path, "dog", "Dog").encode(["Dog dog cat"]) == [[1, 4, 4, 3, 2]]
    kept = words(tmp_path, "dog", "Dog", lower_case=False)
    assert kept.encode(["Dog dog cat"]) == [[1, 5, 4, 3, 2]]


def test_a_tokenizer_json_goes_before_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    assert vocabulary_file(str(tmp_path)) == tmp_path / "vocab.txt"
    pieces = load_word_pieces(tmp_path, lower_case=False, max_word_count=9)
    (tmp_path / "tokenizer.json").write_text(pieces.to_json())
    assert vocabulary_file(str(tmp_path)) == tmp_path / "tokenizer.json"
    again = load_word_pieces(tmp_path, lower_case=True, max_word_count=9)
    assert again.to_json() == pieces.to_json()  # it says itself that case is kept
    assert pieces.encode(["A a"]) == [[2, 1, 4, 3]]


def test_only_what_looks_like_a_hub_name_is_one(tmp_path: Path) -> None:
    assert vocabulary_file("bert-base-uncased") is None
    assert vocabulary_file("google-bert/bert-base-uncased") is None
    for place in (tmp_path / "none", "./none", "/none", "~/none", "a/b/c", str(tmp_path)):
        with pytest.raises(CheckpointError, match=r"give a folder with tokenizer\.json"):
            vocabulary_file(place)
