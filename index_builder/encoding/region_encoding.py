"""How rows of a region array become vectors; captions and pictures: `encodings.py`.

A row that cannot be used refuses the array.
"""

import hashlib
from collections.abc import Generator, Iterable, Sequence

import numpy as np

from index_builder.batched import batched
from index_builder.encoding.known_contents import KnownContents
from index_builder.encoding.reading import Reading
from index_builder.listing.listed_source import ListedEntry
from index_builder.sources.stamps import Stamp
from index_builder.vector_index import Rows
from model.dual_encoder import DualEncoder, region_encoder
from model.errors import DataError, RegionFeatureError
from model.inputs.regions import ImageRegions

__all__ = ["RegionEncoding"]

_ROWS_AT_ONCE = 64


class RegionEncoding:
    """Images that are rows of a region array, for `index_builder.encoding.encodings.Encoding`.

    Args:
        encoder: The network.
        regions: Of each image.
        batch_size: How many images go through the encoder at once.
        known: Contents that need no encoding.

    Raises:
        CheckpointError: The encoder reads pictures.
        RegionFeatureError: It reads regions of another width.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        regions: ImageRegions,
        *,
        batch_size: int,
        known: KnownContents | None,
    ) -> None:
        self._encoder = region_encoder(encoder)
        if self._encoder.region_dim != regions.region_dim:
            raise RegionFeatureError(
                f"the array holds {regions.region_dim} values a region but this checkpoint "
                f"reads {self._encoder.region_dim}; give features of the detector that it was "
                "trained on"
            )
        self.batch_size = batch_size
        self._regions = regions
        self._known = known

    def readings(self, entries: Iterable[ListedEntry]) -> Generator[Reading, None, None]:
        """Yield the real regions of each image.

        Raises:
            DataError: An image has no real region, or a value is NaN or infinite.
        """
        for some in batched(entries, _ROWS_AT_ONCE):
            stamps = [self.stamp(entry) for entry in some]
            batch = self._regions.read(np.array([entry.place for entry in some]))
            for features, count, stamp in zip(batch.features, batch.counts, stamps, strict=True):
                real = features[:count]
                digest = hashlib.sha256(real.astype("<f4").tobytes()).digest()
                is_known = self._known is not None and digest.hex() in self._known
                yield Reading(digest, stamp, is_known=is_known, payload=real)

    def encode(self, payloads: Sequence[Rows]) -> Rows:
        """Return the vectors of real regions."""
        shape = (len(payloads), self._regions.region_count, self._regions.region_dim)
        features = np.zeros(shape, dtype=np.float32)
        for place, real in enumerate(payloads):
            features[place, : len(real)] = real
        counts = [len(real) for real in payloads]
        vectors: Rows = self._encoder.encode_regions(
            features, counts, batch_size=len(payloads)
        ).numpy()
        return vectors

    def stamp(self, entry: ListedEntry) -> Stamp:
        """Return how many regions the array says that an image has, and when it was changed."""
        file = self._regions.files[int(self._regions.file_of_image[entry.place])]
        try:
            changed_at = file.path.stat().st_mtime_ns
        except OSError as error:
            raise DataError(
                f"{file.path} went away while it was read ({error.strerror}); bring it back and "
                "build again: what is encoded is kept"
            ) from error
        count = -1 if file.counts is None else file.counts[self._regions.row_of_image[entry.place]]
        return int(count) + 1, changed_at
