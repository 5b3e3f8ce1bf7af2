from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.inputs.word_vectors import read_word_vectors

WORDS = {"dog": 0, "cat": 1, "grass": 2}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_vectors_of_known_words_are_read_and_others_skipped(tmp_path: Path) -> None:
    file = written(
        tmp_path / "glove.txt", "dog 1 2 3\nzebra not numbers at all\n. . . 4 5 6\ngrass 7 8 9\n"
    )
    found = read_word_vectors(file, WORDS, dim=3)
    assert set(found) == {"dog", "grass"}
    np.testing.assert_array_equal(found["grass"], np.array([7, 8, 9], np.float32))


def test_the_first_line_of_word2vecs_format_is_no_word(tmp_path: Path) -> None:
    file = written(tmp_path / "vectors.txt", "2 3\ndog 1 2 3\ndog 9 9 9\n")
    found = read_word_vectors(file, {"2": 0, **WORDS}, dim=3)
    np.testing.assert_array_equal(found["dog"], np.array([1, 2, 3], np.float32))
    assert set(found) == {"dog"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dog 1 2\n", "found 2; set --network.word-dim"),
        ("dog 1 2 x\n", "line 1: not all numbers"),
        ("dog 1 2 nan\n", "finite"),
        ("dog 1 2 3 4\n", "none of the 3 words"),
        ("zebra 1 2 3\n", "none of the 3 words"),
    ],
)
def test_a_file_that_does_not_fit_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_word_vectors(written(tmp_path / "v.txt", text), WORDS, dim=3)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no word vectors at"):
        read_word_vectors(tmp_path / "none.txt", WORDS, dim=3)
