"""Compare our network with recorded outputs of the released code.

    python -m tests.parity.compare tests/parity/fixtures/full

The kind of folder is told by its files: `forward.npz` (one batch through encoders, instance level
and losses, with `sampling.npz` and `recall.npz`) or `official_embeddings.npz` (a data set in the
SCAN layout, evaluated). Every size is taken from the folder.

Tolerances: |a - b| <= 1e-4 * max(1, |b|); regularization_loss 1e-3 relative; recalls, ranks and
copied weights exactly; an edge of A may differ only within 1e-5 of its row's cut, and then what
follows is computed with the recorded A.
"""

import json
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic_settings import CliPositionalArg

from model import console
from model.command_line import Command, run_command
from model.errors import DataError
from model.metrics import (
    RetrievalMetrics,
    evaluate_retrieval,
    metrics_from_ranks,
    retrieval_ranks,
)
from model.released import Assumptions, hrem_from_released
from tests.parity.comparison import Comparison
from tests.parity.recorded_batch import compare_batch, compare_sampling, read_arrays


class Compare(Command):
    """Compare a folder of recorded outputs with ours; exits 1 if an array is off."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m tests.parity.compare tests/parity/fixtures/full",
        "python -m tests.parity.compare tests/parity/fixtures/scan --json",
    )
    folder: CliPositionalArg[Path] = Field(description="folder with recorded outputs")

    def run(self) -> int:
        """Print the comparison; 1 if an array is off."""
        comparison = compare_folder(self.folder)
        if self.json_output:
            console.result_json(comparison.as_dict())
        else:
            _print(self.folder, comparison)
        return 1 if comparison.off else 0


def compare_folder(folder: Path) -> Comparison:
    """Return what differs between the recorded outputs in `folder` and ours.

    Raises:
        DataError: The folder is of no known kind, or a file is missing.
    """
    comparison = Comparison()
    try:
        if (folder / "forward.npz").is_file():
            compare_batch(folder, comparison)
            margin = json.loads((folder / "config.json").read_text())["margin"]
            compare_sampling(folder, comparison, margin=margin)
            _compare_recall(folder, comparison)
        elif (folder / "official_embeddings.npz").is_file():
            _compare_data_set(folder, comparison)
        else:
            raise DataError(
                f"{folder} has neither forward.npz nor official_embeddings.npz; expected a "
                "folder of recorded outputs such as tests/parity/fixtures/full"
            )
    except FileNotFoundError as error:
        raise DataError(f"{folder} is not whole: there is no {error.filename}") from error
    return comparison


def _compare_recall(folder: Path, comparison: Comparison) -> None:
    """Compare `recall.npz`: ranks and metrics of a similarity matrix."""
    arrays = read_arrays(folder / "recall.npz")
    similarity = arrays["similarity"]
    image_count, caption_count = similarity.shape
    caption_image = torch.arange(caption_count) // (caption_count // image_count)
    both = retrieval_ranks(similarity, caption_image)
    for direction, ranks in zip(("i2t", "t2i"), both, strict=True):
        comparison.exact(f"recall.npz {direction}_rank", ranks, arrays[f"{direction}_rank"])
        found = _five(metrics_from_ranks(ranks))
        comparison.exact(f"recall.npz {direction}", found, arrays[direction])
    comparison.leave_out("recall.npz similarity", "input")


def _compare_data_set(folder: Path, comparison: Comparison) -> None:
    """Compare a data set in the SCAN layout: embeddings, then recalls of our embeddings."""
    official = json.loads((folder / "official_result.json").read_text())
    hrem = hrem_from_released(
        folder / "model_best.pth",
        vocabulary=folder / "tokenizer" / "vocab.txt",
        assumed=Assumptions(text_heads=official["bert"]["num_attention_heads"]),
    )
    features_path = _only(folder, "*_precomp/*_ims.npy")
    captions_path = _only(folder, "*_precomp/*_caps.txt")
    features = np.load(features_path, allow_pickle=False)
    captions = captions_path.read_text(encoding="utf-8").splitlines()
    recorded = read_arrays(folder / "official_embeddings.npz")
    image_count = len(recorded["image"])
    # One row an image, or one row a caption: the field's files have both.
    images = hrem.encode_regions(features[:: len(features) // image_count])
    distinct = sorted(set(captions))
    rows = [distinct.index(caption) for caption in captions]
    caption_embeddings = hrem.encode_captions(distinct)[rows]
    comparison.close("image", images, recorded["image"])
    comparison.close("caption", caption_embeddings, recorded["caption"])

    caption_image = torch.arange(len(captions)) // (len(captions) // image_count)
    report = evaluate_retrieval(images, caption_embeddings, caption_image)
    comparison.exact("official_result.json i2t", _five(report.image_to_text), official["i2t"])
    comparison.exact("official_result.json t2i", _five(report.text_to_image), official["t2i"])
    comparison.exact("official_result.json rsum", report.rsum, official["rsum"])
    inferred = hrem.config.text.architecture or {}
    for name, value in official["bert"].items():
        if name == "num_attention_heads":
            comparison.leave_out(f"official_result.json bert.{name}", "input: not in the file")
        else:
            remark = "inferred from the shapes"
            found = inferred.get(name, -1)
            comparison.exact(f"official_result.json bert.{name}", found, value, remark)
    for path in (features_path, captions_path):
        comparison.leave_out(path.name, "input")


def _five(metrics: RetrievalMetrics) -> list[float]:
    return [
        metrics.recall_at_1,
        metrics.recall_at_5,
        metrics.recall_at_10,
        metrics.median_rank,
        metrics.mean_rank,
    ]


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:  # other splits lie beside the one that was evaluated
        found = [path for path in found if path.name.startswith("test")]
    if len(found) != 1:
        raise DataError(f"found {len(found)} files {pattern} in {folder}, expected one")
    return found[0]


def _print(folder: Path, comparison: Comparison) -> None:
    width = max(len(line.name) for line in comparison.compared)
    console.result(f"{folder}\n{'compared':<{width + 2}}  largest difference")
    for line in comparison.compared:
        verdict = "ok " if line.agrees else "OFF"
        numbers = f"{line.largest_difference:9.2e}  {verdict}  {line.measure}"
        remark = f"  ({line.remark})" if line.remark else ""
        console.result(f"  {line.name:<{width}}  {numbers}{remark}")
    reasons: dict[str, list[str]] = {}
    for name, reason in comparison.left_out.items():
        reasons.setdefault(reason, []).append(name)
    console.result("not compared")
    for reason, names in reasons.items():
        console.result(f"  {', '.join(names)}\n    {reason}")
    if comparison.off:
        console.result(f"OFF: {', '.join(comparison.off)}")
    else:
        console.result(f"all {len(comparison.compared)} agree")


if __name__ == "__main__":
    sys.exit(run_command("python -m tests.parity.compare", Compare))
