"""A served pair: an open version of an index and the encoder that made it.

The two are opened, tried and let go of together, so that no query is ever encoded by one checkpoint
and searched in the vectors of another. Whoever answers a request holds a lease; a pair that was
replaced closes when its last lease ends.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind
from index_builder.galleries.named_images import NamedImages
from index_builder.index_folder.open_index import OpenIndex
from index_builder.index_folder.versions import IndexFolder
from index_builder.lookups.column_store import ColumnSummary
from model.dual_encoder import load_dual_encoder
from model.errors import GalleryIndexError
from service.answers import MOST_VALUES
from service.errors import MissingGalleryError
from service.pairs.batching import BatchLimits, BatchReport, ignore_report
from service.pairs.encoding import EncoderOwner
from service.pairs.memory import check_memory
from service.pairs.searching import GallerySearcher

__all__ = ["OpeningSeconds", "PairOpener", "ServedIndex", "ServedPair"]

# The cosine of a stored caption's vector with its caption encoded now. 1 to 1e-5 in float32, above
# 0.999 for galleries encoded in bfloat16; another checkpoint's would be anything.
LOWEST_OWN_COSINE = 0.99


@dataclass(frozen=True)
class ServedIndex:
    """What answers a query."""

    version: int
    fingerprint: str
    dim: int
    encoder: str


@dataclass(frozen=True)
class OpeningSeconds:
    """Where the time of opening a pair went.

    Attributes:
        index: Opening the files of the index and checking them.
        network: Loading the checkpoint; 0 where another pair's is used again.
        canary: The first queries.
    """

    index: float
    network: float
    canary: float

    def __str__(self) -> str:
        """Return the stages in words."""
        return (
            f"index {self.index:.2f} s, network {self.network:.2f} s, "
            f"first queries {self.canary:.2f} s"
        )


class SharedEncoder:
    """An encoder that pairs of the same checkpoint share; the last one closes it."""

    def __init__(self, owner: EncoderOwner) -> None:
        self.owner = owner
        self._user_count = 0
        self._lock = threading.Lock()

    def take(self) -> "SharedEncoder":
        """Count one user more."""
        with self._lock:
            self._user_count += 1
        return self

    def let_go(self) -> None:
        """Count one user less; without users the encoder is closed."""
        with self._lock:
            self._user_count -= 1
            is_unused = self._user_count == 0
        if is_unused:
            self.owner.close()


class ServedPair:
    """An index version and its encoder, with the threads that own them.

    Args:
        index: Open.
        encoder: The one that made the index.
        searcher: Owns the galleries.

    Attributes:
        served: What answers name as their source.
        galleries: By kind; None where the index has none.
        index_path: The index folder.
        opening_seconds: How long opening took; zeros for a pair that no opener opened.
    """

    def __init__(self, index: OpenIndex, encoder: SharedEncoder, searcher: GallerySearcher) -> None:
        self.index = index
        self.searcher = searcher
        self.galleries: dict[GalleryKind, Gallery | None] = {
            "images": index.images,
            "captions": index.captions,
        }
        self.index_path = index.folder
        self.opening_seconds = OpeningSeconds(0.0, 0.0, 0.0)
        self._shared_encoder = encoder.take()
        network = self.encoder.encoder
        self.served = ServedIndex(index.version, network.fingerprint, network.dim, network.name)
        self._lease_count = 0
        self._is_retired = False

    @property
    def encoder(self) -> EncoderOwner:
        """The encoder and its thread."""
        return self._shared_encoder.owner

    @property
    def shared_encoder(self) -> SharedEncoder:
        """The encoder, for another pair of the same checkpoint."""
        return self._shared_encoder

    @cached_property
    def named_images(self) -> NamedImages:
        """Which image each caption names.

        Raises:
            MissingGalleryError: This index has not both galleries.
        """
        return NamedImages(self.gallery("captions"), self.gallery("images"))

    @cached_property
    def column_summaries(self) -> dict[GalleryKind, dict[str, ColumnSummary]]:
        """What the items of each gallery have in each column, of those that filters take.

        All columns are looked through at the first call, which is for no event loop.
        """
        return {
            kind: gallery.column_summaries(most_values=MOST_VALUES)
            for kind, gallery in self.galleries.items()
            if gallery is not None
        }

    def gallery(self, kind: GalleryKind) -> Gallery:
        """Return the gallery of that kind.

        Raises:
            MissingGalleryError: This index has none.
        """
        gallery = self.galleries[kind]
        if gallery is None:
            raise MissingGalleryError(
                f"this index has no {kind}; build it again with --{kind}, or change the target"
            )
        return gallery

    def answer_canary(self) -> None:
        """Answer a query as users will, and check the answer; not on the event loop.

        The first query makes every buffer; a stored caption, encoded again, must give its stored
        vector.

        Raises:
            GalleryIndexError: The galleries cannot be what this encoder made.
        """
        embeddings = self.encoder.warm_up()
        if not np.isfinite(embeddings).all():
            raise GalleryIndexError(
                f"the checkpoint {self.served.fingerprint[:16]} gives embeddings that are not "
                "finite; serve another one"
            )
        for gallery in self.galleries.values():
            if gallery is not None:
                self.searcher.search_now(gallery, embeddings)
        if (captions := self.galleries["captions"]) is not None:
            self._check_stored_caption(captions)

    def _check_stored_caption(self, captions: Gallery) -> None:
        row = int(captions.rows()[0])
        (item,) = captions.items_of_rows(row, row + 1)
        if item.caption is None:
            return
        (again,) = self.encoder.captions_now([item.caption])
        (stored,) = captions.vectors([item.id])
        cosine = float(again @ stored)
        if not cosine >= LOWEST_OWN_COSINE:
            raise GalleryIndexError(
                f"caption {item.id!r} encoded now has cosine {cosine:.3f} with its stored vector "
                f"but at least {LOWEST_OWN_COSINE} was expected; build the index again with this "
                "checkpoint"
            )

    @contextmanager
    def leased(self) -> Iterator["ServedPair"]:
        """Keep the pair open while the block runs; on the event loop."""
        self._lease_count += 1
        try:
            yield self
        finally:
            self._lease_count -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """Close when nobody uses the pair any more; on the event loop."""
        self._is_retired = True
        self._close_if_unused()

    def close(self) -> None:
        """End the threads and let go of the files; waits for the batches that run."""
        self.searcher.close()
        self._shared_encoder.let_go()
        self.index.close()

    def _close_if_unused(self) -> None:
        if self._is_retired and self._lease_count == 0:
            # Joining threads takes as long as their last batch; nobody need wait for it.
            threading.Thread(target=self.close, name="closing a pair").start()
            self._is_retired = False


@dataclass(frozen=True)
class PairOpener:
    """How pairs are opened: everything but which index and which checkpoint.

    Attributes:
        encoder_device: Where the network runs, as torch names it.
        index_device: Where vectors are compared, as torch names it.
        images_root: Where the pictures lie now, if they were moved after the build.
        limits: Of the batches of encoder and galleries.
        observe: Is told of every batch.
    """

    encoder_device: str = "cpu"
    index_device: str = "cpu"
    images_root: Path | None = None
    limits: BatchLimits = field(default_factory=BatchLimits)
    observe: Callable[[BatchReport], None] = ignore_report

    def open(
        self,
        index: Path,
        checkpoint: Path | None = None,
        *,
        version: int | None = None,
        beside: ServedPair | None = None,
    ) -> ServedPair:
        """Return a version of an index with its encoder, tried with a first query.

        Args:
            index: The index folder.
            checkpoint: Where the checkpoint lies, if not in the index; its fingerprint must match.
            version: Default: the one that `current` names.
            beside: A pair whose encoder is used again if the index carries the same.

        Raises:
            GalleryIndexError: There is no such index, it is damaged, or the checkpoint is not the
                one that made it.
            CheckpointError: The checkpoint is missing or damaged.
            ServiceError: The memory is not enough.
        """
        started = time.perf_counter()
        with ExitStack() as refused:
            opened = IndexFolder(index).open(
                version, images_root=self.images_root, device=self.index_device
            )
            refused.callback(opened.close)
            index_opened = time.perf_counter()
            shared = None if checkpoint else _encoder_for(opened, beside)
            if shared is None:
                shared = SharedEncoder(self._loaded_encoder(opened, checkpoint))
                refused.callback(shared.owner.close)
            network_loaded = time.perf_counter()
            searcher = GallerySearcher(limits=self.limits, observe=self.observe)
            refused.callback(searcher.close)
            pair = ServedPair(opened, shared, searcher)
            refused.pop_all()
            refused.callback(pair.close)
            pair.answer_canary()
            refused.pop_all()
        pair.opening_seconds = OpeningSeconds(
            index=index_opened - started,
            network=network_loaded - index_opened,
            canary=time.perf_counter() - network_loaded,
        )
        return pair

    def _loaded_encoder(self, index: OpenIndex, checkpoint: Path | None) -> EncoderOwner:
        place = checkpoint or index.checkpoint_path
        check_memory(place, self.encoder_device)
        encoder = load_dual_encoder(place, device=self.encoder_device)
        index.check_encoder(encoder.fingerprint, place)
        return EncoderOwner(encoder, limits=self.limits, observe=self.observe)


def _encoder_for(index: OpenIndex, beside: ServedPair | None) -> SharedEncoder | None:
    """Return the encoder of another pair, if it is the one that made this index."""
    if beside is None or beside.served.fingerprint != index.checkpoint_fingerprint:
        return None
    return beside.shared_encoder
