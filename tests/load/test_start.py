"""Starting from a large index, at a small size: the same code as `benchmarks.service_start`."""

from pathlib import Path

from benchmarks.service_start import large_index, markdown, measure_start


def test_the_service_says_how_long_index_network_and_first_queries_took(folder: Path) -> None:
    index = large_index(folder, count=4000, dim=64)
    starts = {
        files: measure_start(index, folder / "start.log", drop=files == "cold")
        for files in ("warm", "cold")
    }
    for start in starts.values():
        assert min(start.values()) > 0
        assert start["process_s"] > start["without_network_s"] + start["network_s"]
    table = markdown({"items": 4000, "dim": 64, "starts": starts})
    assert table.startswith("4,000 items of 64-d")
    assert "| cold |" in table
