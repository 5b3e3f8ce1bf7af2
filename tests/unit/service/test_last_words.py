"""How the real command ends: by a fault that only the system sees, and at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.service.test_process import DEADLINE_S, environment, lines_until, started


def test_a_file_of_the_served_index_that_is_cut_short_leaves_last_words(
    index_folder: Path, tmp_path: Path
) -> None:
    index = shutil.copytree(index_folder, tmp_path / "index")
    command = ("-m", "service", "--port", 0, "--json", "--index", index, "--device", "cpu")
    with started(*command) as process:
        url = json.loads("".join(lines_until(process.stdout, "}")))["url"]
        for mapped in (index / "galleries").glob("images-*/*"):
            os.truncate(mapped, 0)
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/search/text", json={"query": "red"}, timeout=DEADLINE_S)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in stderr


@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--prot", 2)])
def test_nothing_is_taken_apart_when_it_ends(flag: str, status: int) -> None:
    script = (
        "import atexit, runpy, sys; atexit.register(print, 'taken apart'); "
        f"sys.argv = ['service', {flag!r}]; runpy.run_module('service', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == status
    assert "taken apart" not in ended.stdout
    assert "--port" in ended.stdout + ended.stderr
