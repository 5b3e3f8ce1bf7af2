"""A reader who has a clone, an environment, the demo's files, some photos, and a page.

What a page takes for granted lies in the reader's folder. The places of the field's data sets hold
a few made-up pictures, and names of the model hub are folders with tiny models of that kind, so
that no network is needed. Runs are kept short by the variables in `SHORT`, as anybody could keep
them; every command is the page's, to the letter, but for the port.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import numpy as np

from deploy.demo import demo_steps
from tests.page_blocks import ROOT, Block
from tests.tiny_parts import write_tiny_backbone, write_tiny_bert
from tests.tiny_pretrained import tiny_pretrained
from tests.unit.data.layouts import write_scan

__all__ = ["PageReader", "furnish"]

# A run of a page: a few small steps, of which the instance level takes part in the last ones.
SHORT = {
    "HREM_SCHEDULE__STEPS": "8",
    "HREM_SCHEDULE__BATCH_SIZE": "8",
    # Some commands say themselves how many steps; once at their end is enough, too.
    "HREM_SCHEDULE__EVALUATE_EVERY": "600",
    # bfloat16, which some recipes have, is slow where a processor has no units for it.
    "HREM_PRECISION": "float32",
}
READY_S = 300
STOP_S = 60
BLOCK_S = 900
# Commands that stay in the foreground until Ctrl-C.
_SERVES = re.compile(r"^(\S*python -m service --|make demo|make serve)")
_PHOTO_COUNT = 24


@dataclass
class PageReader:
    """Runs the blocks of one page in one folder, from top to bottom.

    What a block exports, later blocks have. A block that ends with a command that stays in the
    foreground is left running until the next one of that kind, or the end.
    """

    folder: Path
    port: int = field(default_factory=lambda: _free_port())
    _served: subprocess.Popen[str] | None = None

    def run(self, block: Block) -> None:
        """Run a block.

        Raises:
            AssertionError: A command of it failed, or what it serves is not ready in time.
        """
        text = block.text.replace("8000", str(self.port))
        if block.language == "python":
            text = f"python - <<'PYTHON'\n{text}PYTHON\n"
        serving = [_stays(command) for command in block.commands]
        assert not any(serving[:-1]), f"{block}: what stays in the foreground must come last"
        if block.language == "bash" and serving[-1]:
            self._serve(block, text)
            return
        done = self._bash(text, timeout=BLOCK_S)
        assert done.returncode == 0, f"{block}\n{text}\n{done.stdout}{done.stderr}"

    def clear(self, blocks: Sequence[Block]) -> None:
        """Remove the demo's scenes where the page itself draws them."""
        if any(
            "--output data/scenes\n" in block.text
            for block in blocks
            if "data.scenes" in block.text
        ):
            shutil.rmtree(self.folder / "data" / "scenes")

    def close(self) -> None:
        """Press Ctrl-C on what is still served; it must end well."""
        if self._served is None:
            return
        served, self._served = self._served, None
        if served.poll() is None:
            os.killpg(served.pid, signal.SIGINT)
        served.wait(timeout=STOP_S)

    def _serve(self, block: Block, text: str) -> None:
        self.close()
        log = self.folder / "served.txt"
        with log.open("w") as lines:
            self._served = self._start(text, lines)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._served.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.port}/health/ready").is_success:
                    return
            time.sleep(0.2)
        raise AssertionError(f"{block} serves nothing\n{text}\n{log.read_text()}")

    def _start(self, text: str, output: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", self._script(text)],
            cwd=self.folder,
            env=self._environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )

    def _bash(self, text: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self._script(text)],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def _script(self, text: str) -> str:
        exported = self.folder / ".exported"
        before = f"[ -f {exported} ] && source {exported}\n"
        return f"{before}set -euo pipefail\n{text}\nexport -p > {exported}\n"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HREM_")}
        (self.folder / ".curlrc").write_text("fail-with-body\nshow-error\n")
        return (
            kept
            | SHORT
            | {
                "PATH": f"{self.folder / '.venv' / 'bin'}:{kept['PATH']}",
                "CURL_HOME": str(self.folder),
                "HF_HUB_OFFLINE": "1",
                "HREM_PORT": str(self.port),
                "PORT": str(self.port),
                "PYTHONPATH": "",
            }
        )


def _stays(command: str) -> bool:
    # One whose failure is caught is meant to fail.
    return bool(_SERVES.match(command)) and "||" not in command


def furnish(folder: Path, demo: Path) -> Path:
    """Fill `folder` with what the reader of any page has; return it.

    Args:
        folder: An empty folder.
        demo: Where `make demo` has put data, checkpoint and index.
    """
    _clone(folder)
    for made, here in zip(demo_steps(demo), demo_steps(Path()), strict=True):
        shutil.copytree(made.output, folder / here.output)
        # Made here, as far as `make demo` is concerned; else it would train once more.
        (folder / here.stamp).write_text(json.dumps({"key": here.key()}))
    _write_photos(folder, folder / "data" / "scenes")
    _write_flickr8k(folder / "flickr8k", folder / "data" / "scenes")
    for name in ("f30k", "coco"):
        _write_regions(folder / "data" / f"{name}_precomp")
    hub = folder / "openai"
    shutil.move(tiny_pretrained(hub), hub / "clip-vit-base-patch32")
    released = ROOT / "tests" / "parity" / "fixtures" / "scan"
    shutil.copy(released / "model_best.pth", folder)
    pieces = (released / "tokenizer" / "vocab.txt").read_text().split()
    write_tiny_bert(folder / "bert-base-uncased", pieces)
    write_tiny_backbone(folder / "facebook" / "dinov2-small", "dinov2")
    write_tiny_backbone(folder / "mobilenet-v2", "mobilenet_v2")
    return folder


def _clone(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    # The environment that these tests run in, made ready: `make` must not install into it.
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".ready":
            (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv" / ".ready").touch()


def _write_photos(folder: Path, scenes: Path) -> None:
    """A folder of photos, captions for them, a table with metadata, and one photo besides."""
    rows = [json.loads(line) for line in (scenes / "captions.jsonl").open()]
    captions = {row["image"]: row["captions"] for row in rows if row["split"] == "test"}
    chosen = list(captions)[: _PHOTO_COUNT + 1]
    photos, told, table = folder / "photos", [], []
    for place, name in enumerate(chosen[:-1]):
        path = f"{2020 + place % 3}/{place:03}.jpg"
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scenes / "images" / name, photos / path)
        split = "dev" if place % 4 == 0 else "train"
        told.append({"image": path, "captions": captions[name], "split": split})
        table.append({"path": path, "year": 2020 + place % 3, "place": "meadow"})
    (folder / "captions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in told))
    (folder / "photos.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in table))
    shutil.copy(scenes / "images" / chosen[-1], folder / "photo.jpg")


def _write_flickr8k(folder: Path, scenes: Path) -> None:
    """Karpathy's layout, scenes in the place of photos; 500 of train are what recipes select on."""
    rows = [json.loads(line) for line in (scenes / "captions.jsonl").open()]
    rows = [row for row in rows if row["split"] == "train"][:560]
    entries = []
    (folder / "images").mkdir(parents=True)
    for place, row in enumerate(rows):
        shutil.copy(scenes / "images" / row["image"], folder / "images" / f"{place}.jpg")
        entries.append(
            {
                "imgid": place,
                "filename": f"{place}.jpg",
                "split": "val" if place < 20 else "test" if place < 40 else "train",
                "sentences": [{"raw": sentence} for sentence in row["captions"]],
            }
        )
    named = json.dumps({"dataset": "flickr8k", "images": entries})
    (folder / "dataset_flickr8k.json").write_text(named)


def _write_regions(folder: Path) -> None:
    """The SCAN layout, of its real width, with a few images."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 16), ("dev", 10), ("test", 10), ("testall", 10)):
        regions = draw.uniform(0.1, 1, (count, 36, 2048)).astype(np.float32)
        captions = [f"a dog number {i} sees {k} birds" for i in range(count) for k in range(5)]
        write_scan(folder, split, regions, captions)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
