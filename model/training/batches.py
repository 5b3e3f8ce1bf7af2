"""From the pairs of a step to the tensors that the network reads.

Batches are made ahead of their use in threads of their own, so that reading pictures and changing
words need not keep the network waiting; what a batch holds depends on its number alone, never on
the threads.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.inputs.captions import CaptionTokenizer
from model.training.augmentation import (
    AugmentationConfig,
    changed_words,
    dropped_regions,
    mirrored,
)
from model.training.samplers import Pairs
from model.training.stored_images import StoredImages

__all__ = [
    "Batch",
    "BatchMaker",
    "TokenizedCaptions",
    "prefetched",
]

_SPARE_BATCHES = 1


@dataclass(frozen=True)
class Batch:
    """The pairs of one step; row i of every tensor belongs to pair i.

    Attributes:
        pairs: Which images and captions these are.
        image_ids: (pair,), equal where two pairs share an image.
        image_values: uint8 pixels (pair, 3, height, width), float16 features (pair, region,
            channel) of a frozen backbone, or float32 region features (pair, region, region_dim).
        is_dropped: (pair, region), True where a region is to be ignored: dropped, or padding.
        token_ids: (pair, word).
        is_word_padding: (pair, word), True = padding.
    """

    pairs: Pairs
    image_ids: Tensor
    image_values: Tensor
    is_dropped: Tensor
    token_ids: Tensor
    is_word_padding: Tensor

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.image_ids)

    @property
    def sizes(self) -> str:
        """The sizes of the batch in words, to stand behind its ids in a message."""
        regions, words = self.is_dropped.shape[1], self.token_ids.shape[1]
        return f" ({len(self)} pairs of {regions} regions and {words} words)"


class TokenizedCaptions:
    """The token ids of every caption, side by side in one array."""

    def __init__(self, token_ids: Sequence[Sequence[int]]) -> None:
        """Keep the ids of all captions, tokenized once."""
        lengths = np.fromiter((len(ids) for ids in token_ids), np.int64, len(token_ids))
        self._lengths = lengths
        self._starts = np.cumsum(lengths) - lengths
        flat = (token_id for ids in token_ids for token_id in ids)
        self._flat = np.fromiter(flat, np.int32, int(lengths.sum()))

    def rows(
        self, captions: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return (token_ids (caption, word), lengths); ids behind a row's length are arbitrary."""
        lengths = self._lengths[captions]
        columns = np.arange(lengths.max())
        # The last rows would reach beyond the end.
        places = np.minimum(self._starts[captions][:, None] + columns, len(self._flat) - 1)
        return self._flat[places].astype(np.int64), lengths


class BatchMaker:
    """Make the batch of given pairs."""

    def __init__(
        self,
        images: StoredImages,
        captions: TokenizedCaptions,
        *,
        region_count: int,
        augmentation: AugmentationConfig,
        seed: int,
        mask_id: int,
        pad_id: int,
        is_special: npt.NDArray[np.bool_],
    ) -> None:
        """Prepare to make batches.

        Args:
            images: What the network reads of every image of the data set.
            captions: Every caption of the data set.
            region_count: Regions that the network sees of an image.
            augmentation: How data are varied.
            seed: Of the run.
            mask_id: The word that stands for a masked word.
            pad_id: The word that fills short captions.
            is_special: (vocabulary,), True for words never changed.
        """
        self._images = images
        self._captions = captions
        self._region_count = region_count
        self._augmentation = augmentation
        self._seed = seed
        self._mask_id = mask_id
        self._pad_id = pad_id
        self._is_special = is_special

    @classmethod
    def of_texts(
        cls,
        images: StoredImages,
        captions: Sequence[str],
        tokenizer: CaptionTokenizer,
        *,
        region_count: int,
        augmentation: AugmentationConfig,
        seed: int,
    ) -> "BatchMaker":
        """Return one for captions as texts, of which the tokenizer makes ids."""
        is_special = np.zeros(tokenizer.vocabulary_size, dtype=np.bool_)
        is_special[sorted(tokenizer.special_ids)] = True
        return cls(
            images,
            TokenizedCaptions(tokenizer.encode(captions)),
            region_count=region_count,
            augmentation=augmentation,
            seed=seed,
            mask_id=tokenizer.mask_id,
            pad_id=tokenizer.pad_id,
            is_special=is_special,
        )

    def batch(self, pairs: Pairs) -> Batch:
        """Return the augmented batch of `pairs`."""
        varied = self._augmentation
        is_mirrored = (
            mirrored(pairs, probability=varied.mirror, seed=self._seed) if varied.mirror else None
        )
        stored = self._images.read(pairs.images, is_mirrored)
        is_dropped = dropped_regions(
            pairs,
            self._region_count,
            probability=varied.region_drop,
            seed=self._seed,
            is_padding=stored.is_padding,
        )
        token_ids, lengths = changed_words(
            *self._captions.rows(pairs.captions),
            pairs,
            probability=varied.word_change,
            seed=self._seed,
            mask_id=self._mask_id,
            is_special=self._is_special,
        )
        token_ids = token_ids[:, : lengths.max()]
        is_padding = np.arange(token_ids.shape[1]) >= lengths[:, None]
        return Batch(
            pairs=pairs,
            image_ids=torch.from_numpy(pairs.images),
            image_values=stored.values,
            is_dropped=torch.from_numpy(is_dropped),
            token_ids=torch.from_numpy(np.where(is_padding, self._pad_id, token_ids)),
            is_word_padding=torch.from_numpy(is_padding),
        )


def prefetched(
    make: Callable[[int], Batch], numbers: Iterable[int], *, workers: int = 1
) -> Generator[tuple[int, Batch]]:
    """Yield (number, batch) in order, each batch made ahead of its use.

    Args:
        make: Called from the threads.
        numbers: Of the batches.
        workers: Threads that make batches, one more batch ahead than there are; with 0 each batch
            is made when it is asked for.
    """
    if workers == 0:
        for number in numbers:
            yield number, make(number)
        return
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as makers:
        try:
            for number in numbers:
                waiting.append((number, makers.submit(make, number)))
                if len(waiting) > workers + _SPARE_BATCHES:
                    ready_number, ready = waiting.popleft()
                    yield ready_number, ready.result()
            while waiting:
                ready_number, ready = waiting.popleft()
                yield ready_number, ready.result()
        finally:
            for _, unused in waiting:
                unused.cancel()
