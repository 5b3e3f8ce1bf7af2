"""Two processes started by torchrun end with the checkpoint of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from model.hrem import HREM
from model.inputs.pictures import open_picture
from tests.end_to_end.test_training import World, captions_moved_on
from tests.worlds import captions_of

# Dropout is drawn by each process for itself; without it the two runs differ by rounding alone.
WITHOUT_DROPOUT = ("--network.dropout", 0, "--instance-level.dropout", 0)


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launcher, "-m", "model.training", "train", *(str(part) for part in arguments)],
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_end_with_the_checkpoint_of_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = world.train("one", *WITHOUT_DROPOUT)
    shared = torchrun(*world.arguments("two", *WITHOUT_DROPOUT))
    assert shared.returncode == 0, shared.stderr
    assert "cpu, float32, 2 processes" in shared.stderr
    assert shared.stderr.count("step 8/8") == 1, "only the main process speaks"
    two = tmp_path / "two"
    moved = captions_moved_on(world.data, tmp_path / "moved", split="train")
    refused = torchrun("--resume", "--output", two, "--data", moved)
    assert refused.returncode == 1
    assert "began with other images or captions" in refused.stderr
    metrics, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (two, one))
    assert metrics["steps_with_instance_level"] == expected["steps_with_instance_level"] > 0
    for look, alone in zip(metrics["history"], expected["history"], strict=True):
        for name, value in alone["terms"].items():
            assert abs(look["terms"][name] - value) <= 1e-4 * abs(value)
    # Embeddings, not weights: a bias that changes nothing (of keys, before a batch norm) has a
    # gradient of rounding alone, which Adam makes as large as any other.
    pictures = [open_picture(path) for path in sorted((world.data / "images").glob("*.png"))]
    encoders = [HREM.from_pretrained(folder) for folder in (one, two)]
    images = [encoder.encode_images(pictures) for encoder in encoders]
    captions = [encoder.encode_captions(captions_of(3)) for encoder in encoders]
    torch.testing.assert_close(*images, rtol=0, atol=1e-3)
    torch.testing.assert_close(*captions, rtol=0, atol=1e-3)
