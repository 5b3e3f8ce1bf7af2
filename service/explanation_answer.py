"""An explanation, as it goes over the wire."""

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from model.explanation import Explanation

__all__ = ["ExplanationAnswer"]

DECIMALS = 6


class WordAnswer(BaseModel):
    """A column of an explanation: a word, word piece or mark of the caption."""

    model_config = ConfigDict(frozen=True)

    text: str = Field(description="as the vocabulary has it; marks and unknown words by their name")
    start: int = Field(description="its first character in the caption, from 0, in code points")
    end: int = Field(description="behind its last character; equal to start for a mark")


class RegionAnswer(BaseModel):
    """A row of an explanation: a cell of the picture; all null for region features."""

    model_config = ConfigDict(frozen=True)

    row: int | None = Field(description="of the grid, from the top")
    column: int | None = Field(description="of the grid, from the left")
    box: tuple[float, float, float, float] | None = Field(
        description="left, top, right, bottom as fractions of the upright picture's sides"
    )


class ExplanationAnswer(BaseModel):
    """What each region with each word adds to the score."""

    model_config = ConfigDict(frozen=True)

    score: float = Field(description="the sum of the matrix: the hit's score to 1e-4")
    matrix: list[list[float]] = Field(description="one row for each region, one column a word")
    words: list[WordAnswer]
    regions: list[RegionAnswer]

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        """Return the answer's view of an explanation."""
        matrix = rounded(explanation.matrix.numpy())
        if explanation.cells is None:
            regions = [RegionAnswer(row=None, column=None, box=None)] * len(matrix)
        else:
            regions = [
                RegionAnswer(row=cell.row, column=cell.column, box=cell.box)
                for cell in explanation.cells
            ]
        return cls(
            score=round(explanation.score, DECIMALS),
            matrix=matrix,
            words=[
                WordAnswer(text=word.text, start=word.start, end=word.end)
                for word in explanation.words
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
