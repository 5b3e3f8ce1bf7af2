"""The encoder of a served pair and the one thread that owns it.

Embeddings of captions are kept for a while: somebody who types, pages or changes a filter asks the
same sentence again, and two pages of one ranking must come from the same vector, whatever batch it
was encoded in.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL.Image import Image

from model.dual_encoder import DualEncoder, reads_regions, region_encoder
from model.errors import CheckpointError
from model.explanation import CaptionParts, Explainer, ImageParts
from service.errors import CannotExplainError, UnsupportedInputError
from service.pairs.batching import BatchLimits, BatchReport, SharedBatches, ignore_report
from service.traffic.admission import Stopwatch

__all__ = ["MAX_CAPTION_CHARACTERS", "EncodedCaption", "EncoderOwner", "Pixels", "ReadPicture"]

# No encoder reads so far; a tokenizer would need seconds for the megabytes that a body may hold.
MAX_CAPTION_CHARACTERS = 100_000
# At 1,024 numbers: 8 MB.
KEPT_CAPTIONS = 2048

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedCaption:
    """A caption in the space of the gallery.

    Attributes:
        embedding: (dim,), float32, unit length.
        is_truncated: The encoder has read its beginning only.
    """

    embedding: npt.NDArray[np.float32]
    is_truncated: bool


@dataclass(frozen=True, eq=False)
class ReadPicture:
    """A picture to be taken apart.

    Attributes:
        pixels: What `pixels_of` made of it.
        size: Its own width and height, upright.
    """

    pixels: Pixels
    size: tuple[int, int]


class EncoderOwner:
    """An encoder, used by one thread alone, in batches that all clients share.

    Args:
        encoder: In eval mode.
        limits: Of its batches.
        observe: Is told of every batch.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        *,
        limits: BatchLimits | None = None,
        observe: Callable[[BatchReport], None] = ignore_report,
    ) -> None:
        self.encoder = encoder
        self._limits = limits or BatchLimits()
        self._batches = SharedBatches("encode", limits=self._limits, observe=observe)
        self._kept: OrderedDict[str, EncodedCaption] = OrderedDict()

    @property
    def region_dim(self) -> int:
        """Width of the region features that the encoder reads.

        Raises:
            UnsupportedInputError: It reads pictures.
        """
        try:
            region_dim = region_encoder(self.encoder).region_dim
        except CheckpointError as error:
            raise UnsupportedInputError(str(error)) from error
        assert region_dim is not None  # region_encoder has looked
        return region_dim

    async def captions(
        self, captions: Sequence[str], stopwatch: Stopwatch | None = None
    ) -> list[EncodedCaption]:
        """Return captions encoded, in order."""
        found = {caption: kept for caption in captions if (kept := self._known(caption))}
        if missing := [caption for caption in dict.fromkeys(captions) if caption not in found]:
            encoded = await self._batches.run(self._encode_captions, missing, stopwatch)
            for caption, one in zip(missing, encoded, strict=True):
                found[caption] = one
                self._keep(caption, one)
        return [found[caption] for caption in captions]

    async def pictures(
        self, pixels: Sequence[Pixels], stopwatch: Stopwatch | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """Return the embedding (dim,) of each picture, of what `pixels_of` made of it."""
        return await self._batches.run(self._encode_pixels, pixels, stopwatch)

    async def regions(
        self, features: npt.NDArray[np.float32], stopwatch: Stopwatch | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the embedding (dim,) of one image's region features (region, region_dim)."""
        (embedding,) = await self._batches.run(self._encode_regions, [features], stopwatch)
        return embedding

    def check_explains(self) -> None:
        """Refuse an encoder whose scores cannot be explained.

        Raises:
            CannotExplainError: It is no HREM.
        """
        try:
            Explainer(self.encoder)
        except CheckpointError as error:
            raise CannotExplainError(str(error)) from error

    async def caption_parts(
        self, captions: Sequence[str], stopwatch: Stopwatch | None = None
    ) -> list[CaptionParts]:
        """Return captions taken apart, in order; `check_explains` has passed."""
        return await self._batches.run(self._take_captions_apart, captions, stopwatch)

    async def picture_parts(
        self, pictures: Sequence[ReadPicture], stopwatch: Stopwatch | None = None
    ) -> list[ImageParts]:
        """Return pictures taken apart, in order; `check_explains` has passed."""
        return await self._batches.run(self._take_pictures_apart, pictures, stopwatch)

    async def region_parts(
        self, features: npt.NDArray[np.float32], stopwatch: Stopwatch | None = None
    ) -> ImageParts:
        """Return region features (region, region_dim) taken apart; `check_explains` has passed."""
        (parts,) = await self._batches.run(self._take_regions_apart, [features], stopwatch)
        return parts

    def pixels_of(self, picture: Image) -> Pixels:
        """Return a picture as the encoder takes it in; on any thread.

        Raises:
            UnsupportedInputError: It reads region features.
        """
        transform = self.encoder.picture_transform
        if transform is None or reads_regions(self.encoder):
            raise UnsupportedInputError(
                f"this checkpoint ({self.encoder.name}) was trained on region features and cannot "
                "read pictures; send region features"
            )
        return transform(picture)

    def warm_up(self) -> npt.NDArray[np.float32]:
        """Encode a whole batch, as later ones will be, and return its embeddings (query, dim).

        For threads other than that of the event loop.
        """
        captions = [f"a first query, number {number}" for number in range(self._limits.max_items)]
        return self.captions_now(captions)

    def captions_now(self, captions: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (caption, dim); for threads other than that of the event loop."""
        encoded = self._batches.run_and_wait(self._encode_captions, captions)
        return np.stack([one.embedding for one in encoded])

    def close(self) -> None:
        """Finish the batch that runs and end the thread."""
        self._batches.close()

    # What runs on the thread that owns the encoder.

    def _encode_captions(self, captions: list[str]) -> list[EncodedCaption]:
        cut = [caption[:MAX_CAPTION_CHARACTERS] for caption in captions]
        is_truncated = self.encoder.truncated_captions(cut)
        embeddings = self.encoder.encode_captions(cut).numpy()
        return [
            EncodedCaption(embedding.copy(), truncated or len(short) < len(caption))
            for embedding, truncated, short, caption in zip(
                embeddings, is_truncated, cut, captions, strict=True
            )
        ]

    def _encode_pixels(self, pixels: list[Pixels]) -> list[npt.NDArray[np.float32]]:
        return list(self.encoder.encode_pixels(torch.from_numpy(np.stack(pixels))).numpy())

    def _encode_regions(
        self, images: list[npt.NDArray[np.float32]]
    ) -> list[npt.NDArray[np.float32]]:
        encoder = region_encoder(self.encoder)
        return [encoder.encode_regions(features[None]).numpy()[0] for features in images]

    def _take_captions_apart(self, captions: list[str]) -> list[CaptionParts]:
        cut = [caption[:MAX_CAPTION_CHARACTERS] for caption in captions]
        return Explainer(self.encoder).of_captions(cut)

    def _take_pictures_apart(self, pictures: list[ReadPicture]) -> list[ImageParts]:
        pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures]))
        return Explainer(self.encoder).of_pixels(pixels, [picture.size for picture in pictures])

    def _take_regions_apart(self, images: list[npt.NDArray[np.float32]]) -> list[ImageParts]:
        explainer = Explainer(self.encoder)
        return [explainer.of_regions(features[None])[0] for features in images]

    # What runs on the event loop.

    def _known(self, caption: str) -> EncodedCaption | None:
        if (kept := self._kept.get(caption)) is not None:
            self._kept.move_to_end(caption)
        return kept

    def _keep(self, caption: str, encoded: EncodedCaption) -> None:
        # A long caption weighs more than its embedding.
        if len(caption) <= 1000:
            self._kept[caption] = encoded
            while len(self._kept) > KEPT_CAPTIONS:
                self._kept.popitem(last=False)
