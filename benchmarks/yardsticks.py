"""What a retrieval figure on scenes is measured against: an oracle, a ceiling, and a baseline.

- The oracle knows which captions fit which pictures, and nothing else; among what fits it picks at
  random. Its recall is an expectation in closed form, not a simulation.
- The ceiling of precision@k: no system finds more fitting pictures than there are.
- The baseline sees colour histograms and bags of words, joined by ridge regression. What it
  reaches, one can reach without knowing a shape, a binding or a place.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

BINS_PER_CHANNEL = 6
RIDGE = 1.0


def oracle_recall_text_to_image(fitting: Bool[np.ndarray, "image caption"], k: int) -> float:
    """Return the expected R@k, in percent, of ranking all fitting images first, in random order.

    The one right image stands anywhere among the n fitting ones: min(k, n) / n.
    """
    counts = fitting.sum(axis=0)
    return float(100 * np.mean(np.minimum(k, counts) / counts))


def oracle_recall_image_to_text(
    fitting: Bool[np.ndarray, "image caption"], caption_image: Int[np.ndarray, " caption"], k: int
) -> float:
    """Return the expected R@k, in percent, of ranking all fitting captions first, at random.

    Of the n fitting captions c are the image's own; the first k miss all of them with the
    hypergeometric probability (n - c choose k) / (n choose k).
    """
    counts = fitting.sum(axis=1)
    own_counts = np.bincount(caption_image, minlength=len(fitting))
    missed = np.ones(len(fitting))
    for drawn in range(k):
        left = np.maximum(counts - drawn, 1)
        missed *= np.maximum(counts - own_counts - drawn, 0) / left
    return float(100 * np.mean(1 - missed))


def precision_at(
    similarity: Float[np.ndarray, "image caption"],
    fitting: Bool[np.ndarray, "image caption"],
    k: int,
) -> float:
    """Return the share, in percent, of each caption's k best images that fit it.

    Equal scores are ordered by the image's position, as an index orders them.
    """
    best = np.argsort(-similarity, axis=0, kind="stable")[:k]
    return float(100 * np.take_along_axis(fitting, best, axis=0).sum(axis=0).mean() / k)


def precision_ceiling(fitting: Bool[np.ndarray, "image caption"], k: int) -> float:
    """Return the precision at k, in percent, of a system that makes no mistake."""
    return float(100 * np.minimum(fitting.sum(axis=0), k).mean() / k)


def colour_histogram(picture: Image.Image) -> Float[np.ndarray, " bin"]:
    """Return the square roots of the shares of BINS_PER_CHANNEL^3 colours in an RGB picture."""
    pixels = np.asarray(picture, dtype=np.int64).reshape(-1, 3) * BINS_PER_CHANNEL // 256
    bins = (pixels[:, 0] * BINS_PER_CHANNEL + pixels[:, 1]) * BINS_PER_CHANNEL + pixels[:, 2]
    return np.sqrt(np.bincount(bins, minlength=BINS_PER_CHANNEL**3) / len(bins))


class WordBag:
    """Captions as counts of the words that were seen in training."""

    def __init__(self, captions: Sequence[str]) -> None:
        """Learn the vocabulary."""
        words = sorted({word for caption in captions for word in _words(caption)})
        self.places = {word: place for place, word in enumerate(words)}

    def __call__(self, captions: Sequence[str]) -> Float[np.ndarray, "caption word"]:
        """Return the counts; unknown words are left out."""
        counts = np.zeros((len(captions), len(self.places)))
        for row, caption in zip(counts, captions, strict=True):
            for word in _words(caption):
                if word in self.places:
                    row[self.places[word]] += 1
        return counts


class RidgeBaseline:
    """Ridge regression from the words of a caption to the histogram of its image.

    Args:
        histograms: One row a training image.
        captions: Training captions.
        caption_image: The histogram's row of each caption.
    """

    def __init__(
        self,
        histograms: Float[np.ndarray, "image bin"],
        captions: Sequence[str],
        caption_image: Int[np.ndarray, " caption"],
    ) -> None:
        """Fit."""
        self.bag = WordBag(captions)
        counts = self.bag(captions)
        self.word_mean = counts.mean(axis=0)
        self.bin_mean = histograms.mean(axis=0)
        self.bin_spread = histograms.std(axis=0) + 1e-3
        words = counts - self.word_mean
        bins = self._standardised(histograms)[caption_image]
        gram = words.T @ words + RIDGE * np.eye(words.shape[1])
        self.weights = np.linalg.solve(gram, words.T @ bins)  # (word, bin)

    def similarity(
        self, histograms: Float[np.ndarray, "image bin"], captions: Sequence[str]
    ) -> Float[np.ndarray, "image caption"]:
        """Return the cosine of each image's histogram with the one each caption predicts."""
        predicted = (self.bag(captions) - self.word_mean) @ self.weights
        return _unit(self._standardised(histograms)) @ _unit(predicted).T

    def _standardised(self, histograms: np.ndarray) -> np.ndarray:
        return np.asarray((histograms - self.bin_mean) / self.bin_spread)


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-z]+", caption.lower())


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-8))
