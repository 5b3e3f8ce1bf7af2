"""A checkpoint that would not fit is refused, with a real one, before it is loaded."""

from pathlib import Path

import pytest

from model.errors import ServiceError
from service.pairs import memory
from service.pairs.memory import check_memory


def test_a_checkpoint_that_does_not_fit_is_refused_before_it_is_loaded(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_memory(checkpoint, "cpu")
    monkeypatch.setattr(memory, "available_bytes", lambda _: 150_000_000)
    with pytest.raises(ServiceError, match=r"takes about 0\.2 GB .* 0\.1 GB are free"):
        check_memory(checkpoint, "cpu")
