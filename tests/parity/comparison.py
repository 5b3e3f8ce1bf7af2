"""What a comparison found: the largest difference of every array, what was left out, and why."""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

# |a - b| <= 1e-4 * max(1, |b|): same formulas in float32, other order of operations.
TOLERANCE = 1e-4
# Recalls are fractions of small counts: any real difference is larger, rounding is smaller.
EXACT = 1e-9


@dataclass(frozen=True)
class Compared:
    """One recorded array beside ours.

    Attributes:
        name: The array's name in the file.
        largest_difference: In units of `measure`; infinite where shapes differ.
        measure: How the difference is measured and what is allowed.
        agrees: Whether it is within the tolerance.
        remark: What else there is to say.
    """

    name: str
    largest_difference: float
    measure: str
    agrees: bool
    remark: str = ""


@dataclass
class Comparison:
    """Collects arrays that were compared and those that were not.

    Attributes:
        compared: In the order of comparison.
        left_out: Names of arrays that were not compared, with the reason.
    """

    compared: list[Compared] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def off(self) -> list[str]:
        """Names of the arrays that do not agree."""
        return [line.name for line in self.compared if not line.agrees]

    def close(self, name: str, ours: object, recorded: object, remark: str = "") -> None:
        """Compare floats: |a - b| <= 1e-4 * max(1, |b|)."""
        a, b = _pair(ours, recorded)
        difference = _largest(a, b, b.abs().clamp(min=1))
        measure = f"|a - b| / max(1, |b|) <= {TOLERANCE:g}"
        self._add(name, difference, measure, difference <= TOLERANCE, remark)

    def relative(self, name: str, ours: object, recorded: object, *, tolerance: float) -> None:
        """Compare floats: |a - b| <= tolerance * |b|."""
        a, b = _pair(ours, recorded)
        difference = _largest(a, b, b.abs().clamp(min=1e-30))
        self._add(name, difference, f"|a - b| / |b| <= {tolerance:g}", difference <= tolerance)

    def exact(self, name: str, ours: object, recorded: object, remark: str = "") -> None:
        """Compare counts, ranks, percentages of counts and copies."""
        a, b = _pair(ours, recorded)
        difference = _largest(a, b, torch.ones_like(b))
        self._add(name, difference, "exactly", difference <= EXACT, remark)

    def edges(
        self, name: str, ours: Tensor, recorded: Tensor, *, is_at_cut: Tensor, remark: str = ""
    ) -> bool:
        """Compare a connection matrix; an edge may differ only where `is_at_cut`.

        Returns:
            Whether edges differ and all of them may.
        """
        if ours.shape != recorded.shape:
            self._add(name, float("inf"), "edges that differ", False, _shapes(ours, recorded))
            return False
        differs = ours != recorded.bool()
        wrong = differs & ~is_at_cut
        excused = int((differs & is_at_cut).sum())
        if excused:
            remark = f"{excused} edges differ within 1e-5 of their row's cut {remark}".strip()
        self._add(name, float(wrong.sum()), "edges that differ = 0", not bool(wrong.any()), remark)
        return bool(excused) and not bool(wrong.any())

    def missing(self, name: str, where: str) -> None:
        """Note that a recorded array is not there, which is a failure."""
        self._add(name, float("inf"), "must be there", False, f"not in {where}")

    def leave_out(self, name: str, reason: str) -> None:
        """Note that an array is not compared."""
        self.left_out[name] = reason

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "agrees": not self.off,
            "off": self.off,
            "compared": [asdict(line) for line in self.compared],
            "not_compared": self.left_out,
        }

    def _add(
        self, name: str, difference: float, measure: str, agrees: bool, remark: str = ""
    ) -> None:
        self.compared.append(Compared(name, difference, measure, bool(agrees), remark))


def _pair(ours: object, recorded: object) -> tuple[Tensor, Tensor]:
    # Lists of Python numbers would become float32 by default, which is not exact.
    a, b = (torch.as_tensor(value, dtype=torch.float64) for value in (ours, recorded))
    return a.detach(), b.detach()


def _largest(a: Tensor, b: Tensor, scale: Tensor) -> float:
    """Return the largest scaled difference; NaN anywhere, or other shapes, count as infinite."""
    if a.shape != b.shape:
        return float("inf")
    difference = ((a - b).abs() / scale).nan_to_num(nan=float("inf"))
    return float(difference.max()) if difference.numel() else 0.0


def _shapes(ours: Tensor, recorded: Tensor) -> str:
    return f"ours {tuple(ours.shape)}, recorded {tuple(recorded.shape)}"
