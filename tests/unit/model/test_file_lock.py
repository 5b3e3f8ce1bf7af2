import fcntl
import multiprocessing
import os
from pathlib import Path

import pytest

from model.errors import TrainingError
from model.file_lock import exclusive_lock, living_holder


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
    assert living_holder(path) is None


def test_who_holds_a_lock_is_known_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert living_holder(path) is None
    with exclusive_lock(path, refusal=TrainingError):
        assert (living_holder(path) or "").startswith(f"process {os.getpid()} since 20")
    assert living_holder(path) is None


def test_a_lock_file_that_is_removed_while_it_is_taken_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "lock", fcntl.flock

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with (
        pytest.raises(TrainingError, match=r"^another process$"),
        exclusive_lock(path, refusal=TrainingError),
    ):
        pass
