"""Parts are made and put together without holding the gallery, and bad vectors go no further."""

import gc
import hashlib
import tracemalloc

import numpy as np
import pytest

from index_builder.encoding.part_making import PartMaker
from index_builder.encoding.reading import Reading
from index_builder.encoding.work import Request, WorkFolder
from index_builder.listing.listed_source import Listing
from index_builder.listing.rejections import RejectionCount
from index_builder.sources import CaptionEntry
from index_builder.sources.stamps import NO_STAMP, SourceWatch
from index_builder.writing.assembly import Assembly
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model.errors import GalleryIndexError

DIM = 4
ENCODER = EncoderRecord("by hash", "ab" * 32, DIM, {}, "float32")


class HashEncoding:
    """An encoding that costs nothing: the vector of a text is made of its hash."""

    batch_size = 16

    def readings(self, entries):
        for entry in entries:
            digest = hashlib.sha256(entry.caption.encode()).digest()
            yield Reading(digest, payload=digest)

    def encode(self, payloads):
        rows = np.stack([np.frombuffer(p[:DIM], dtype=np.uint8) for p in payloads]) + 1.0
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def stamp(self, entry):
        return NO_STAMP


class MadeGallery:
    """The parts of a gallery of captions."""

    def __init__(self, folder, count, encoding=None, part_size=64):
        folder.mkdir()
        texts = (f"caption {place % (count * 2 // 3)}" for place in range(count))
        entries = (CaptionEntry(f"c{place}", text) for place, text in enumerate(texts))
        self.listing = Listing.write(folder / "listing.sqlite", entries, "captions")
        request = Request(
            format=0,
            kind="captions",
            checkpoint_fingerprint=ENCODER.fingerprint,
            precision=ENCODER.precision,
            max_pixels=1,
            batch_size=16,
            part_size=part_size,
            listing_sha256=self.listing.sha256,
        )
        self.folder = folder
        self.work = WorkFolder.open(folder, request)
        self.parts = PartMaker(
            self.work,
            self.listing,
            encoding or HashEncoding(),
            encoder_name="by hash",
            dim=DIM,
            base=None,
            watch=SourceWatch(None),
        )

    def make(self):
        return self.parts.make(RejectionCount("captions", self.listing.count, None, 0))

    def assembly(self, contents):
        return Assembly("captions", self.listing, self.parts, contents, base=None)


class PutTogetherError(Exception):
    """Raised where the vector index would be built."""


@pytest.fixture
def _nothing_else_is_collected():
    """Sweeping what the tests before left behind takes memory of its own, at any moment."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_nothing_else_is_collected")
def test_memory_does_not_grow_with_the_gallery(tmp_path, monkeypatch):
    def finish(*_, **__):
        raise PutTogetherError  # what FAISS holds is not what is measured here

    monkeypatch.setattr(GalleryDraft, "finish", finish)
    peaks = []
    counts = (600, 600, 6_000)  # the first one also pays for what is loaded once
    for count in counts:
        tracemalloc.start()
        made = MadeGallery(tmp_path / str(len(peaks)), count)
        contents = made.make()
        assembly = made.assembly(contents)
        assembly.name([])
        with pytest.raises(PutTogetherError):
            assembly.write(made.work.draft_path(), tmp_path / "x", ENCODER)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        contents.close()
    # An id or a digest of every item in a list would take more than 60 bytes each.
    assert (peaks[2] - peaks[1]) / (counts[2] - counts[1]) < 30


@pytest.mark.parametrize("part_size", [1, 7, 64, 1000])
def test_every_row_has_the_vector_of_the_first_item_with_its_content(tmp_path, part_size):
    made = MadeGallery(tmp_path / "made", 150, part_size=part_size)
    contents = made.make()
    assert contents.count == 100
    folder = made.folder / made.assembly(contents).name([])
    made.assembly(contents).write(made.work.draft_path(), folder, ENCODER)
    contents.close()
    stored = np.fromfile(folder / "embeddings.f16", dtype="<f2").reshape(150, DIM)
    digests = [hashlib.sha256(f"caption {row % 100}".encode()).digest() for row in range(150)]
    np.testing.assert_array_equal(stored, HashEncoding().encode(digests).astype("<f2"))
    assert not made.work.draft_path().exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows * 2, "gave a vector of length 2 instead of 1"),
        (lambda rows: rows * np.nan, "gave a vector of length nan instead of 1"),
        (lambda rows: rows[:, 1:], r"gave vectors of shape \(16, 3\) but says it is 4-d"),
        (lambda rows: rows[1:], r"gave vectors of shape \(15, 4\)"),
    ],
)
def test_vectors_that_are_none_go_no_further(tmp_path, spoil, message):
    encoding = HashEncoding()
    good = encoding.encode
    encoding.encode = lambda payloads: spoil(good(payloads))
    made = MadeGallery(tmp_path / "made", 60, encoding)
    with pytest.raises(GalleryIndexError, match=message):
        made.make()
    assert not list(made.work.path.glob("*.npz"))
