"""Pretrained word vectors from a text file: a word and its numbers on each line.

GloVe's files and word2vec's text format (whose first line tells count and size) are read alike.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import DataError

__all__ = ["read_word_vectors"]


def read_word_vectors(
    path: Path, words: Collection[str], *, dim: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the vectors (dim,) of those `words` that the file holds.

    Lines of other words are skipped unread; of a word that stands there twice the first counts.

    Raises:
        DataError: There is no such file, a vector is of another size or no numbers, or no word of
            ours is in it.
    """
    if not path.is_file():
        raise DataError(f"no word vectors at '{path}'; give a text file, one word a line")
    found: dict[str, npt.NDArray[np.float32]] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            # Some words of GloVe hold spaces, so the numbers are counted from the right.
            word, *numbers = line.rstrip().rsplit(" ", dim)
            if word not in words or word in found or (number == 1 and len(numbers) == 1):
                continue
            try:
                vector = np.array(numbers, dtype=np.float32)
            except ValueError:
                raise DataError(f"{path.name} line {number}: not all numbers") from None
            if len(vector) != dim or not np.isfinite(vector).all():
                raise DataError(
                    f"{path.name} line {number}: expected {dim} finite numbers after the word, "
                    f"found {len(vector)}; set --network.word-dim to the size of the file's vectors"
                )
            found[word] = vector
    if not found:
        raise DataError(
            f"{path.name} holds none of the {len(words):,} words of the captions in vectors of "
            f"{dim} numbers; is it a text file of lower-cased words?"
        )
    return found
