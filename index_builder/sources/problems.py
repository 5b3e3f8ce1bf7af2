"""What is wrong with a source, told all at once and held in little memory."""

from model.errors import DataError

__all__ = ["SHOWN_PROBLEM_COUNT", "Problems", "is_unicode"]

SHOWN_PROBLEM_COUNT = 10


class Problems:
    """Counts every problem of a source and keeps the first ten.

    Args:
        description: What the source is called.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._shown: list[str] = []
        self.count = 0

    def add(self, problem: str) -> None:
        """Note one problem, place first."""
        self.count += 1
        if len(self._shown) < SHOWN_PROBLEM_COUNT:
            self._shown.append(problem)

    def count_more(self, count: int) -> None:
        """Note problems that are not going to be shown."""
        self.count += count

    def refuse(self) -> None:
        """Go on if there is none.

        Raises:
            DataError: There are some; the first ten are told.
        """
        if not self.count:
            return
        lines = "\n  ".join(self._shown)
        more = self.count - len(self._shown)
        rest = f"\n  and {more:,} more" if more > 0 else ""
        if self.count == 1:
            raise DataError(f"{self._description} has a problem; correct it:\n  {lines}")
        raise DataError(
            f"{self._description} has {self.count:,} problems; correct them:\n  {lines}{rest}"
        )


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: it came from no undecodable bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
