"""Full text over captions: any text may be asked, and bm25 is what its formula says."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.lookups.word_store import MAX_WORDS, WordStore
from index_builder.lookups.word_writing import ROWS_AT_ONCE, write_words
from index_builder.lookups.words import WordSplitter
from index_builder.vector_index import RowMask
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import (
    caption_items,
    open_gallery,
    unit_rows,
    write_gallery,
)

CAPTIONS = [
    "A dog runs on the grass.", "two dogs and a cat", "the CAT sleeps", "grass", "",
    "a dog, a dog, a dog", "Café crème", "हिन्दी में लिखा", "狗在草地上", "don't stop",
]  # fmt: skip


class Captions:
    """As much of an `ItemStore` as the words are made of."""

    def __init__(self, texts):
        self.texts = texts

    def captions(self):
        return enumerate(self.texts)

    def end(self):
        return len(self.texts)


def written_words(folder: Path, texts) -> WordStore:
    write_words(folder / "words.sqlite", Captions(texts))
    return WordStore(folder / "words.sqlite", len(texts))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = written_words(tmp_path_factory.mktemp("words"), CAPTIONS)
    yield opened
    opened.close()


def bm25(captions: list[list[str]], words: set[str], row: int) -> float:
    """The formula at the top of `word_store.py`, word by word."""
    mean = sum(map(len, captions)) / len(captions)
    score = 0.0
    for word in words:
        holding = sum(word in caption for caption in captions)
        if not (often := captions[row].count(word)):
            continue
        idf = math.log(1 + (len(captions) - holding + 0.5) / (holding + 0.5))
        penalty = 1.2 * (1 - 0.75 + 0.75 * len(captions[row]) / mean)
        score += idf * often * 2.2 / (often + penalty)
    return score


plain = st.lists(st.sampled_from(["dog", "cat", "man", "red", "sun"]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(captions=st.lists(plain, min_size=1, max_size=12), query=plain, limit=st.integers(1, 12))
def test_captions_come_in_the_order_of_the_formula_and_ties_by_row(
    tmp_path_factory, captions, query, limit
):
    opened = written_words(
        tmp_path_factory.mktemp("formula"), [" ".join(caption) for caption in captions]
    )
    found = opened.matching(" ".join(query), limit, None)
    scores = {row: bm25(captions, set(query), row) for row in range(len(captions))}
    expected = sorted((row for row in scores if scores[row]), key=lambda r: (-scores[r], r))
    assert [hit.score for hit in found] == pytest.approx(
        [scores[row] for row in expected[:limit]], rel=1e-6
    )
    assert [hit.row for hit in found] == sorted(
        (hit.row for hit in found), key=lambda row: (-dict(found)[row], row)
    )
    assert {hit.row for hit in found} <= set(expected)
    opened.close()


# Whatever means something to FTS5 or to SQL.
@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(alphabet="\"'*^:(){}+-ANDORT \0dog"))
@example("\0dog\0")
@example('"')
@example('dog" OR "cat')
@example("dog AND NOT (cat")
@example("NEAR(dog cat, 5)")
@example("text:dog* ^cat -a + {x y}: z")
@example("'; DROP TABLE words; --")
@example("\ud800dog\udfff")
@example("🐶" * 100)
@example("e" + "\u0301" * 1000)
@example("dog " * 25_000)
@example("x" * 100_000)
@example(" ".join(map(str, range(20_000))))
def test_any_text_is_a_legal_query(store, text):
    found = store.matching(text, 5, None)
    assert len(found) <= 5
    assert found == store.matching(text, 5, None)
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dogs", {0, 1, 5}), ("DOG", {0, 1, 5}), ("cats sleeping", {1, 2}), ("cafe", {6}),
        ("CREME", {6}), ("creme\u0301", {6}), ("हिन्दी", {7}), ("狗在草地上", {8}), ("DON'T", {9}),
        ("zebra", set()), ("", set()), ("?!", set()), ("the zebra", {0, 2}),
    ],
)  # fmt: skip
def test_case_diacritics_and_endings_do_not_count_and_any_word_will_do(store, query, expected):
    assert {hit.row for hit in store.matching(query, 100, None)} == expected


def test_of_too_many_words_the_rarest_count(tmp_path):
    texts = ["common", *(f"common w{number}" for number in range(MAX_WORDS))]
    opened = written_words(tmp_path, texts)
    found = opened.matching(" ".join(texts), 1000, None)
    assert {hit.row for hit in found} == set(range(1, MAX_WORDS + 1))
    opened.close()


def test_rows_across_the_borders_of_pieces_are_all_found(tmp_path):
    count = 2 * ROWS_AT_ONCE + 3
    opened = written_words(tmp_path, ["dog cat" if row % 2 else "cat" for row in range(count)])
    assert len(opened.matching("cat", count, None)) == count
    assert {hit.row for hit in opened.matching("dog", count, None)} == set(range(1, count, 2))
    opened.close()


def test_the_same_captions_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written_words(tmp_path / name, CAPTIONS * 50).close()
    first, second = (tmp_path / name / "words.sqlite" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_the_splitter_forgets_what_it_was_asked():
    splitter = WordSplitter()
    assert splitter.words("dogs dogs Cat") == ["cat", "dog"]
    assert splitter.words("bird") == ["bird"]
    assert splitter.words("") == []
    splitter.close()


def test_a_gallery_finds_captions_that_are_allowed_and_were_not_removed(tmp_path):
    gallery = open_gallery(tmp_path, unit_rows(6))
    assert [hit.row for hit in gallery.captions_matching("caption", 4)] == [0, 1, 2, 3]
    mask = RowMask(np.arange(6) >= 2, 6)
    assert [hit.row for hit in gallery.captions_matching("caption", 4, mask)] == [2, 3, 4, 5]
    assert [hit.row for hit in gallery.captions_matching("3", 4)] == [3]
    gallery.live = np.arange(6) != 3
    assert gallery.captions_matching("3", 4, mask) == []
    assert gallery.image_ids_of_rows([5, 0, 99]) == {0: "i0", 5: "i2"}
    gallery.close()


def test_images_have_no_texts_to_look_words_up_in(tmp_path):
    items = [Item(item.id, item.row) for item in caption_items(3)]
    name = "images-0000000000000000"
    gallery = Gallery.open(write_gallery(tmp_path, unit_rows(3), items, name=name))
    with pytest.raises(GalleryIndexError, match="gallery of images has no texts"):
        gallery.captions_matching("dog", 3)
    gallery.close()
