"""How much memory there is: read from made-up /proc and /sys."""

from pathlib import Path

from model.memory import available_bytes, total_bytes


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
    assert total_bytes(root=root) == 9 * 1024


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path: Path) -> None:
    root = machine(tmp_path, 1000, memory_max="max\n", memory_current="200000\n")
    assert available_bytes("cpu", root=root) == 1_024_000


def test_a_system_that_does_not_say_is_believed(tmp_path: Path) -> None:
    assert available_bytes("cpu", root=tmp_path) is None


def test_files_that_are_cached_can_be_had(tmp_path: Path) -> None:
    statistics = "anon 90000\ninactive_file 50000\nactive_file 60000\n"
    root = machine(
        tmp_path,
        1000,
        memory_max="500000\n",
        memory_current="200000\n",
        memory_stat=statistics,
    )
    assert available_bytes("cpu", root=root) == 410_000


def test_all_there_is_is_the_limit_of_a_container(tmp_path: Path) -> None:
    root = machine(tmp_path, 1000, memory_max="5000\n", memory_current="10\n")
    assert total_bytes(root=root) == 5000


def test_a_service_has_what_its_own_group_and_those_around_it_leave(tmp_path: Path) -> None:
    root = machine(tmp_path, 1000)
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/system.slice/search.service\n")
    around = root / "sys/fs/cgroup/system.slice"
    own = around / "search.service"
    own.mkdir(parents=True)
    for group, limit, use in ((own, "5000", "1000"), (around, "max", "7000")):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{use}\n")
    assert total_bytes(root=root) == 5000
    assert available_bytes("cpu", root=root) == 4000
    (around / "memory.max").write_text("8000\n")
    assert available_bytes("cpu", root=root) == 1000


def test_groups_of_the_first_version_are_found_by_their_controller(tmp_path: Path) -> None:
    root = machine(tmp_path, 1000)
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("4:cpu,cpuacct:/other\n3:memory:/own\n0::/\n")
    own = root / "sys/fs/cgroup/memory/own"
    own.mkdir(parents=True)
    (own / "memory.limit_in_bytes").write_text("6000\n")
    (own / "memory.usage_in_bytes").write_text("1000\n")
    assert total_bytes(root=root) == 6000
    assert available_bytes("cpu", root=root) == 5000


def test_this_machine_says_what_it_has() -> None:
    total, available = total_bytes(), available_bytes("cpu")
    assert total is not None and available is not None
    assert total > 1 << 28 and 0 < available <= total
