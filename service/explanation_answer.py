"""The answer that explains a score: a matrix that still sums to it after rounding."""

import numpy as np

from model.explanation import Explanation
from service.answers import ExplanationAnswer, RegionAnswer, WordAnswer

__all__ = ["DECIMALS", "explanation_answer", "rounded"]

DECIMALS = 6


def explanation_answer(explanation: Explanation) -> ExplanationAnswer:
    """Return an explanation as an answer has it."""
    matrix = rounded(explanation.matrix.numpy())
    if explanation.cells is None:
        regions = [RegionAnswer(row=None, column=None, box=None)] * len(matrix)
    else:
        regions = [
            RegionAnswer(row=cell.row, column=cell.column, box=cell.box)
            for cell in explanation.cells
        ]
    return ExplanationAnswer(
        score=round(explanation.score, DECIMALS),
        matrix=matrix,
        words=[
            WordAnswer(text=word.text, start=word.start, end=word.end) for word in explanation.words
        ],
        regions=regions,
    )


def rounded(matrix: np.ndarray) -> list[list[float]]:
    """Return a matrix in decimals whose sum is as far off as one of them, however many they are.

    What rounding takes from an entry is given to the next.
    """
    running = np.rint(matrix.cumsum(dtype=np.float64) * 10**DECIMALS)
    whole = np.diff(running, prepend=0).reshape(matrix.shape)
    decimals: list[list[float]] = (whole / 10**DECIMALS).tolist()
    return decimals
