"""What a run leaves behind for programs and for people: metrics.json and the model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.config import HremConfig
from model.durable import write_file
from model.peak_memory import peak_memory_bytes
from model.training.model_card import model_card
from model.training.state import Position

__all__ = ["write_run_report"]


def write_run_report(
    output: Path,
    position: Position,
    *,
    network: HremConfig,
    planned_steps: int,
    dev_images: str,
    hashes: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Write metrics.json and README.md; return the metrics, None before the first look at dev.

    Args:
        output: The checkpoint folder.
        position: Where the run stands.
        network: Of the checkpoint.
        planned_steps: Of the whole run.
        dev_images: In words, which images selected the checkpoint.
        hashes: Of the images and captions of the run, as `run_hashes` returns them.
        settings: All settings of the run.
    """
    if position.best_rsum is None:
        return None
    best = next(look["dev"] for look in position.history if look["step"] == position.best_step)
    metrics = {
        "dev": best,
        "dev_images": dev_images,
        "data": dict(hashes),
        "best_step": position.best_step,
        "steps": position.step,
        "planned_steps": planned_steps,
        "steps_with_instance_level": position.instance_level_steps,
        "neighbour_seconds": round(position.neighbour_seconds, 1),
        "seed": settings["seed"],
        "recipe": settings["recipe"],
        "training_seconds": round(position.seconds, 1),
        "waiting_share": round(position.waiting_share, 4),
        "peak_memory_bytes": position.peak_memory_bytes or peak_memory_bytes(),
        "history": position.history,
    }
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    write_file(output / "metrics.json", text + "\n")
    write_file(output / "README.md", model_card(network, metrics, settings=settings))
    return metrics
