"""Opening a large index, at a small size: the same code as `python -m benchmarks.service_start`."""

from pathlib import Path

from benchmarks.running_service import running_service
from benchmarks.service_start import large_index, markdown, measure_open


def test_an_index_of_inverted_lists_is_opened_and_answers_warm_and_cold(folder: Path) -> None:
    index = large_index(folder, count=4000, dim=64)
    figures = {"items": 4000, "dim": 64}
    for kind in ("warm", "cold"):
        figures[kind] = measure_open(index, drop=kind == "cold")
        assert figures[kind]["open_and_answer_s"] > 0
    with running_service(index, "--device", "cpu", log=folder / "start-log") as service:
        figures["service_start_s"] = service.start_s
        assert service.facts["images"] == "4,000"
    assert "| cold |" in markdown(figures)
