"""Whether there is memory: read from made-up /proc and /sys, refused with a real checkpoint."""

from pathlib import Path

import pytest

from model.errors import ServiceError
from service.pairs import memory
from service.pairs.memory import available_bytes, check_memory


def machine(folder: Path, available_kib: int, **groups: str) -> Path:
    (folder / "proc").mkdir()
    (folder / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {available_kib} kB\n")
    for name, text in groups.items():
        place = folder / "sys/fs/cgroup" / name.replace("_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def test_what_a_machine_has_left_is_read_from_the_system(tmp_path: Path) -> None:
    assert available_bytes("cpu", root=machine(tmp_path, 1000)) == 1_024_000


def test_a_container_has_left_what_its_limit_leaves(tmp_path: Path) -> None:
    root = machine(tmp_path, 1000, memory_max="500000\n", memory_current="200000\n")
    assert available_bytes("cpu", root=root) == 300_000


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path: Path) -> None:
    root = machine(tmp_path, 1000, memory_max="max\n", memory_current="200000\n")
    assert available_bytes("cpu", root=root) == 1_024_000


def test_a_system_that_does_not_say_is_believed(tmp_path: Path) -> None:
    assert available_bytes("cpu", root=tmp_path) is None


def test_a_checkpoint_that_does_not_fit_is_refused_before_it_is_loaded(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_memory(checkpoint, "cpu")
    monkeypatch.setattr(memory, "available_bytes", lambda _: 150_000_000)
    with pytest.raises(ServiceError, match=r"takes about 0\.2 GB .* 0\.1 GB are free"):
        check_memory(checkpoint, "cpu")
