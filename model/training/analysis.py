"""What recalls alone do not say: where a model fails, and whether rare and look-alike items differ.

Pure functions of ranks, hits, embeddings and captions; nothing is read or written here.

The authors claim that the instance level helps with infrequent samples and with hard negatives.
Both are made numbers: `rarest_word_counts` (how often the rarest content word of a caption stands
in training captions) and `neighbour_similarity` (how near an image's nearest other image is), each
cut into quarters by `quartile_recalls`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "QuartileRecall",
    "content_words",
    "document_frequency",
    "neighbour_similarity",
    "quartile_recalls",
    "rank_histogram",
    "rarest_word_counts",
    "recall_curve",
]

_PART_ROWS = 512
_WORD = re.compile(r"[^\W\d_]+")
# English words of the closed classes: articles and determiners, pronouns, prepositions and
# particles, conjunctions, auxiliaries, what an apostrophe leaves behind. Most are too frequent to
# be a caption's rarest word anyway; the list keeps out those that are not ("amongst", "whose").
_FUNCTION_WORDS_TEXT = """
a an the this that these those some any each every either neither no none both all another
other others such same own several many much more most few less least enough
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
himself she her hers herself it its itself they them their theirs themselves one ones oneself
who whom whose which what whoever whatever whichever someone somebody something anyone anybody
anything everyone everybody everything nobody nothing
about above across after against along alongside amid amidst among amongst around as aside at
atop away back before behind below beneath beside besides between beyond by despite down during
except for from in inside into like near next of off on onto opposite out outside over past per
since through throughout to together toward towards under underneath unlike until up upon via
with within without
and but or nor so yet if because while whilst though although unless whereas whether than when
whenever where wherever how why then there here also too just only very quite rather not
am is are was were be been being do does did doing done have has had having can could may might
must shall should will would ought get gets getting got
s t d ll re ve m don doesn didn isn aren wasn weren wouldn couldn
"""
_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_TEXT.split())


@dataclass(frozen=True)
class QuartileRecall:
    """R@1 of the queries in one quarter of the values.

    Attributes:
        lowest: Smallest value in it.
        highest: Largest value in it.
        query_count: How many queries it holds.
        recall_at_1: In percent.
    """

    lowest: float
    highest: float
    query_count: int
    recall_at_1: float


def content_words(caption: str) -> list[str]:
    """Return the words of a caption that carry its content, in lower case.

    A word is a run of letters. Where nothing but function words is there, those are returned.
    """
    words = _WORD.findall(caption.lower())
    return [word for word in words if word not in _FUNCTION_WORDS] or words


def document_frequency(captions: Iterable[str]) -> Counter[str]:
    """Return for each word how many of the captions it stands in."""
    return Counter(word for caption in captions for word in set(_WORD.findall(caption.lower())))


def rarest_word_counts(
    captions: Sequence[str], frequency: Counter[str]
) -> Int[np.ndarray, " caption"]:
    """Return for each caption the document frequency of its rarest content word.

    Args:
        captions: Any texts; one without a letter counts 0.
        frequency: From `document_frequency` of the training captions.
    """
    return np.array(
        [min((frequency[w] for w in content_words(text)), default=0) for text in captions],
        dtype=np.int64,
    )


def neighbour_similarity(
    embeddings: Float[Tensor, "image dim"],
) -> Float[np.ndarray, " image"]:
    """Return the cosine of each image with the nearest other image, at least two images.

    Args:
        embeddings: Unit rows, of the model itself or of any other.
    """
    if len(embeddings) < 2:
        raise ValueError("one image alone has no nearest other image")
    nearest = torch.empty(len(embeddings))
    for start in range(0, len(embeddings), _PART_ROWS):
        part = embeddings[start : start + _PART_ROWS] @ embeddings.T  # (image, image)
        part[torch.arange(len(part)), torch.arange(start, start + len(part))] = -torch.inf
        nearest[start : start + len(part)] = part.amax(dim=1)
    return nearest.numpy()


def quartile_recalls(
    values: Float[np.ndarray, " query"] | Int[np.ndarray, " query"],
    ranks: Int[np.ndarray, " query"],
) -> list[QuartileRecall]:
    """Return R@1 in each quarter of the values, from the lowest to the highest.

    The edges are values of the data (the inverted distribution at 1/4, 1/2, 3/4). Equal values
    stay together, so that quarters may differ in size, and one that would be empty is left out.

    Args:
        values: What the queries are ordered by.
        ranks: Zero-based rank of the right answer of each query.
    """
    edges = np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf")
    quarter = np.searchsorted(edges, values, side="left")
    rows = []
    for number in range(4):
        inside = quarter == number
        if inside.any():
            within = values[inside]
            rows.append(
                QuartileRecall(
                    lowest=float(within.min()),
                    highest=float(within.max()),
                    query_count=int(inside.sum()),
                    recall_at_1=float(100 * np.mean(ranks[inside] < 1)),
                )
            )
    return rows


def recall_curve(
    ranks: Int[np.ndarray, " query"], *, highest_k: int = 100
) -> Float[np.ndarray, " k"]:
    """Return R@K in percent for K = 1 to `highest_k`."""
    counts = np.bincount(np.minimum(ranks, highest_k), minlength=highest_k + 1)
    return 100 * np.cumsum(counts[:highest_k]) / len(ranks)


def rank_histogram(ranks: Int[np.ndarray, " query"], edges: Sequence[int]) -> list[int]:
    """Return how many zero-based ranks lie in [edge, next edge), and from the last edge on."""
    counts = np.bincount(np.searchsorted(edges, ranks, side="right"), minlength=len(edges) + 1)
    return counts[1:].tolist()
