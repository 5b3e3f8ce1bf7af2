"""Search parameters: the least effort that reaches the recall asked for.

The effort (nprobe, efSearch) is doubled until recall@10 reaches the target, then halved back to the
least that does. If more effort finds no more, too few candidates are scored again: that number is
doubled and the effort raised anew. Where all of it does not help, the best that was found stays.
"""

from collections.abc import Callable

from index_builder.vector_index.base import AllowedRows, Rows
from index_builder.vector_index.recall import RecallAt10
from index_builder.vector_index.reranked import RERANKED_COUNT, Effort, RerankedIndex

__all__ = ["tune"]

_RERANKED_COUNTS = (100, 200, 400, 800, 1600)
# Three doublings of the effort that gain less than this together gain nothing.
_GAIN = 0.002


def tune(
    index: RerankedIndex,
    queries: Rows,
    target_recall: float,
    allowed: AllowedRows | None = None,
) -> float:
    """Set the index's search parameters and return the recall@10 that it reaches with them.

    Args:
        index: Is changed.
        queries: (query, dim); no vectors of the gallery, which would find themselves.
        target_recall: 0..1; what comes back is less where it cannot be reached.
        allowed: (row,), False where a row must not be found; None allows every row.
    """
    truth = RecallAt10(index.vectors, queries, allowed)
    reached: dict[tuple[int, int], float] = {}
    for reranked_count in _RERANKED_COUNTS:

        def recall_with(effort: int, reranked_count: int = reranked_count) -> float:
            index.set_parameters(**_parameters(index.effort, effort, reranked_count))
            reached[reranked_count, effort] = truth.of(index)
            return reached[reranked_count, effort]

        effort, recall = _least_effort(recall_with, index.effort, target_recall)
        if recall >= target_recall or reranked_count >= index.count:
            break
    else:
        (reranked_count, effort), recall = max(
            reached.items(), key=lambda item: (item[1], -item[0][0], -item[0][1])
        )
    index.set_parameters(**_parameters(index.effort, effort, reranked_count))
    return recall


def _parameters(effort: Effort | None, value: int, reranked_count: int) -> dict[str, int]:
    own = {} if effort is None else {effort.name: value}
    return {RERANKED_COUNT: reranked_count, **own}


def _least_effort(
    recall_with: Callable[[int], float], effort: Effort | None, target: float
) -> tuple[int, float]:
    """Return the least effort that reaches the target, or one that no more effort betters."""
    if effort is None:
        return 0, recall_with(0)
    recalls = [(effort.smallest, recall_with(effort.smallest))]
    while recalls[-1][1] < target and recalls[-1][0] < effort.largest:
        if len(recalls) > 3 and recalls[-1][1] - recalls[-4][1] < _GAIN:
            return recalls[-1]
        value = min(effort.largest, 2 * recalls[-1][0])
        recalls.append((value, recall_with(value)))
    if len(recalls) == 1 or recalls[-1][1] < target:
        return recalls[-1]
    too_little, enough = recalls[-2][0], recalls[-1]
    while enough[0] - too_little > max(1, too_little // 8):
        middle = (too_little + enough[0]) // 2
        recall = recall_with(middle)
        if recall >= target:
            enough = (middle, recall)
        else:
            too_little = middle
    return enough
