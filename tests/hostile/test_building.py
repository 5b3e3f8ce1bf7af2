"""The same files in a folder of pictures: the build sets each aside with a reason, and goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

from index_builder.index_folder.versions import IndexFolder
from tests.hostile.conftest import REPOSITORY
from tests.hostile.files import hostile_files
from tests.worlds import made_up_picture, tiny_checkpoint

REASONS = {"unreadable": "unreadable", "too_many_pixels": "too_many_pixels"}


def test_a_build_sets_hostile_files_aside_with_reasons_and_indexes_the_rest(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    findings = {}
    for number, hostile in enumerate(hostile_files()):
        name = f"{number:03d}.jpg"
        (photos / name).write_bytes(hostile.content)
        findings[name] = hostile
    made_up_picture(0).save(photos / "good.png")
    index = tmp_path / "index"
    command = [sys.executable, "-m", "index_builder", "build", "--device", "cpu"]
    command += ["--checkpoint", str(tiny_checkpoint(tmp_path)), "--images", str(photos)]
    command += ["--output", str(index)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in (index / "rejected.jsonl").read_text().splitlines()]
    set_aside = {line["source"]: line for line in lines}
    indexed = _indexed(index, ["good.png", *findings])
    assert "good.png" in indexed
    wrong = []
    for name, hostile in findings.items():
        code = set_aside[name]["code"] if name in set_aside else "readable"
        if code != REASONS.get(hostile.finding, "readable") and hostile.finding != "either":
            wrong.append((hostile.name, code))
        assert (name in indexed) == (name not in set_aside)
    assert not wrong
    assert all(line["reason"] for line in lines)


def _indexed(index: Path, paths: list[str]) -> set[str]:
    opened = IndexFolder(index).open()
    try:
        assert opened.images is not None
        return set(opened.images.ids_of_paths(paths))
    finally:
        opened.close()
