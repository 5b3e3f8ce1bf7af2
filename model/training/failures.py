"""What is told of a batch that ends a run: one message, and the whole batch in a file.

A message names the first few pairs, each as `<image id>#<number of the caption>`;
`training/failed-batch.json` holds all of them, with picture and caption.
"""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch

from model.data.captioned_images import CaptionedImages
from model.durable import write_file
from model.errors import BatchTooLargeError, NonFiniteLossError
from model.training.samplers import Pairs
from model.training.state import saved_step

__all__ = ["BatchFailures", "is_out_of_memory"]

_SHOWN_PAIRS = 8
_SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the machine or of a GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


class BatchFailures:
    """Makes the errors of a run over known images; each writes its batch into a file.

    Args:
        images: What the positions of pairs mean.
        output: The checkpoint folder.
        rank: Of this process among those of the run; each has a file of its own.
    """

    def __init__(self, images: CaptionedImages, output: Path, *, rank: int = 0) -> None:
        self._images = images
        self._output = output
        self._path = output / "training" / f"failed-batch{f'-{rank}' if rank else ''}.json"

    def non_finite(
        self, step: int, pairs: Sequence[Pairs], terms: Mapping[str, float]
    ) -> NonFiniteLossError:
        """Return the error of a zero-based step with a loss or gradient that is no number.

        Args:
            step: Zero-based.
            pairs: The batches that it may come from.
            terms: Every term of the loss, and the norm of the gradient where that was reached.
        """
        wrong = " and ".join(name for name, value in terms.items() if not isfinite(value))
        listed = ", ".join(f"{name} = {value:g}" for name, value in terms.items())
        return NonFiniteLossError(
            f"step {step + 1}: {wrong} not finite ({listed}) in the batch of "
            f"{self._named(step, pairs)}; lower --optimization.learning-rate, or look at these "
            "images and captions"
        )

    def out_of_memory(
        self, step: int, pairs: Pairs, *, sizes: str, device: str
    ) -> BatchTooLargeError:
        """Return the error of a step whose batch does not fit in memory.

        Args:
            step: Zero-based.
            pairs: The batch that was being made or learnt from.
            sizes: Of its tensors, in words; empty where they were not made yet.
            device: Where the network is.
        """
        kept = saved_step(self._output / "training")
        saved = (
            f"the state after step {kept:,} is kept: where more memory is free, go on with "
            f"python -m model.training train --resume --output {self._output}"
            if kept is not None
            else "nothing was saved yet"
        )
        return BatchTooLargeError(
            f"step {step + 1}: memory of {device} ran out in the batch of "
            f"{self._named(step, [pairs])}{sizes}; {saved}; or start a new run with a smaller "
            "--schedule.batch-size (and --schedule.accumulate), or with --precision bfloat16"
        )

    def _named(self, step: int, batches: Sequence[Pairs]) -> str:
        """Write the file of a failed batch, and return its first pairs and where the rest is."""
        pairs = [pair for batch in batches for pair in self._described(batch)]
        content = {"step": step + 1, "pairs": pairs}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self._path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        shown = ", ".join(str(pair["pair"]) for pair in pairs[:_SHOWN_PAIRS])
        more = len(pairs) - _SHOWN_PAIRS
        return shown + (f" and {more} more" if more > 0 else "") + f" (all: {self._path})"

    def _described(self, pairs: Pairs) -> list[dict[str, str]]:
        """Return of each pair `<image id>#<number among the image's captions>`, and what it is."""
        images = self._images
        first_captions = images.caption_image.searchsorted(pairs.images)
        described = []
        for image, caption, first in zip(
            pairs.images.tolist(), pairs.captions.tolist(), first_captions.tolist(), strict=True
        ):
            pair = {"pair": f"{images.image_ids[image]}#{caption - first}"}
            if images.image_paths:  # region features have no pictures
                pair["picture"] = str(images.image_paths[image])
            described.append(pair | {"caption": images.caption_texts[caption]})
        return described
