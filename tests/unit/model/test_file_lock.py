import multiprocessing
import os
from pathlib import Path

import pytest

from model.errors import TrainingError
from model.file_lock import exclusive_lock


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        exclusive_lock(path, refusal=TrainingError),
        pytest.raises(TrainingError, match=f"^process {os.getpid()} since 20"),
        exclusive_lock(path, refusal=TrainingError),
    ):
        pass
    with exclusive_lock(path, refusal=TrainingError):
        pass


def test_a_holder_that_has_not_written_its_name_yet_is_another_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive_lock(path, refusal=TrainingError):
        path.write_text("")
        with (
            pytest.raises(TrainingError, match=r"^another process$"),
            exclusive_lock(path, refusal=TrainingError),
        ):
            pass


def _hold_and_die(path: Path) -> None:
    with exclusive_lock(path, refusal=TrainingError):
        os._exit(9)


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    with exclusive_lock(path, refusal=TrainingError):
        pass
