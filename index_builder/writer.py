"""A source becomes a gallery folder, or the folder that is there already is found again.

A gallery is named by the hash of everything it is made of: the checkpoint, and for every item its
id, its content and its metadata. The same inputs lead to the same folder, and nothing is encoded.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index_builder.draft import EncoderRecord, GalleryDraft
from index_builder.encoding import (
    EncodedPicture,
    FoundFile,
    encode_captions,
    encode_pictures,
    look_at_files,
)
from index_builder.gallery import Gallery
from index_builder.items import Item, Rejection
from index_builder.manifest import GalleryKind, IndexKind
from index_builder.regions import RegionList, encode_regions, hash_regions
from index_builder.sources import CaptionEntry, ImageSource
from index_builder.sources.listing import CaptionList, ImageList
from index_builder.thumbnails import JPEG_QUALITY, LONGEST_SIDE
from index_builder.vector_index import IndexRequest
from model.console import say, warn
from model.dual_encoder import DualEncoder, region_encoder
from model.errors import DataError, GalleryIndexError, RegionFeatureError
from model.identifiers import image_id_for_path

__all__ = ["GalleryWriter", "WrittenGallery"]

# Part of every gallery's name: raise it when the same inputs would give other files.
_FORMAT = 2
_NAME_DIGITS = 16


@dataclass(frozen=True)
class WrittenGallery:
    """A complete gallery, opened and so checked, and whether it was there before."""

    gallery: Gallery
    is_reused: bool


@dataclass(frozen=True, slots=True)
class _Content:
    """What became of one distinct picture: its place among the vectors, or why it has none."""

    place: int
    width: int
    height: int
    rejection: Rejection | None


class GalleryWriter:
    """Writes galleries of one encoder into one index folder.

    Args:
        galleries: The folder for them.
        encoder: The network.
        preprocessing: How it makes pixels of pictures; for the manifest.
        batch_size: How many items go through the encoder at once.
        max_pixels: A larger picture is set aside.
        index: What is asked of the vector index.
    """

    def __init__(
        self,
        galleries: Path,
        encoder: DualEncoder,
        preprocessing: dict[str, Any],
        *,
        batch_size: int,
        max_pixels: int,
        index: IndexRequest | None = None,
    ) -> None:
        self._galleries = galleries
        self._index = index or IndexRequest()
        self._encoder = encoder
        self._batch_size = batch_size
        self._max_pixels = max_pixels
        self._record = EncoderRecord(
            name=encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            preprocessing=preprocessing | {"max_pixels": max_pixels},
        )

    def write_images(self, source: ImageList) -> WrittenGallery:
        """Return the gallery of these pictures.

        Raises:
            DataError: Not one picture can be used.
        """
        files = look_at_files(source.source, source.entries)
        index_kind = self._index.kind_for(len(source.entries), self._encoder.dim)
        files = look_at_files(source.source, source.entries)
        found = self._find("images", index_kind, _image_facts(source, files))
        if found is not None:
            return WrittenGallery(found, is_reused=True)
        with GalleryDraft(self._galleries, "images", self._record) as draft:
            contents = self._encode_pictures(draft, source.source, files)
            files = [_as_encoded(file, contents) for file in files]
            rejected = [
                *source.rejected,
                *(file.rejection for file in files if file.rejection is not None),
            ]
            items: list[Item] = []
            places: list[int] = []
            for file in files:
                if file.rejection is None:
                    content = contents[file.content_hash]
                    places.append(content.place)
                    items.append(_image_item(len(items), file, content))
            if not items:
                raise DataError(_nothing_usable(source.root, rejected))
            # A picture that changed meanwhile has no content; the name must say so.
            name = self._name("images", index_kind, _image_facts(source, files))
            content_of_row = np.array(places, dtype=np.int64)
            folder = draft.finish(
                name, items, rejected, content_of_row, index_kind=index_kind, index=self._index
            )
        return WrittenGallery(Gallery.open(folder, images_root=source.root), is_reused=False)

    def write_regions(self, source: RegionList) -> WrittenGallery:
        """Return the gallery of images that are rows of a region array; they have no thumbnails.

        Raises:
            CheckpointError: The encoder reads pictures.
            DataError: The regions are of another width, or a row cannot be used.
        """
        reader = region_encoder(self._encoder)
        if reader.region_dim != source.regions.region_dim:
            raise RegionFeatureError(
                f"the array holds {source.regions.region_dim} values a region but this checkpoint "
                f"reads {reader.region_dim}; give features of the detector that it was trained on"
            )
        index_kind = self._index.kind_for(len(source.entries), self._encoder.dim)
        hashes = hash_regions(source.regions)
        facts = [[*fact, "regions"] for fact in zip(source.entries, hashes, strict=True)]
        found = self._find("images", index_kind, facts)
        if found is not None:
            return WrittenGallery(found, is_reused=True)
        place_of: dict[str, int] = {}
        places = [place_of.setdefault(content, len(place_of)) for content in hashes]
        _, firsts = np.unique(places, return_index=True)
        with GalleryDraft(self._galleries, "images", self._record) as draft:
            encode_regions(
                reader,
                source.regions.subset(firsts.tolist()),
                draft.add_vectors,
                batch_size=self._batch_size,
            )
            items = [
                Item(id=image_id, row=row, content_hash=content)
                for row, (image_id, content) in enumerate(zip(source.entries, hashes, strict=True))
            ]
            name = self._name("images", index_kind, facts)
            content_of_row = np.array(places, dtype=np.int64)
            folder = draft.finish(
                name, items, [], content_of_row, index_kind=index_kind, index=self._index
            )
        return WrittenGallery(Gallery.open(folder), is_reused=False)

    def write_captions(self, source: CaptionList, images: Gallery | None) -> WrittenGallery:
        """Return the gallery of these captions.

        Args:
            source: The captions.
            images: Where the id of a picture named by its path is looked up.
        """
        index_kind = self._index.kind_for(len(source.entries), self._encoder.dim)
        entries = _with_image_ids(source.entries, images)
        facts = [_caption_facts(entry) for entry in entries]
        facts += [[rejection.place, rejection.code] for rejection in source.rejected]
        found = self._find("captions", index_kind, facts)
        if found is not None:
            return WrittenGallery(found, is_reused=True)
        place_of_text: dict[str, int] = {}
        places = [place_of_text.setdefault(e.text, len(place_of_text)) for e in entries]
        texts = list(place_of_text)
        self._tell_truncated(texts)
        with GalleryDraft(self._galleries, "captions", self._record) as draft:
            encode_captions(self._encoder, texts, draft.add_vectors, batch_size=self._batch_size)
            items = [_caption_item(row, entry) for row, entry in enumerate(entries)]
            name = self._name("captions", index_kind, facts)
            content_of_row = np.array(places, dtype=np.int64)
            folder = draft.finish(
                name,
                items,
                source.rejected,
                content_of_row,
                index_kind=index_kind,
                index=self._index,
            )
        return WrittenGallery(Gallery.open(folder), is_reused=False)

    def _encode_pictures(
        self, draft: GalleryDraft, source: ImageSource, files: Sequence[FoundFile]
    ) -> dict[str, _Content]:
        distinct: dict[str, FoundFile] = {}
        for file in files:
            if file.rejection is None:
                distinct.setdefault(file.content_hash, file)
        contents: dict[str, _Content] = {}
        vector_count = 0
        pictures: Iterator[EncodedPicture] = encode_pictures(
            self._encoder,
            source,
            list(distinct.values()),
            batch_size=self._batch_size,
            max_pixels=self._max_pixels,
        )
        for picture in pictures:
            content_hash = picture.file.content_hash
            contents[content_hash] = _Content(
                vector_count, picture.width, picture.height, picture.rejection
            )
            if picture.vector is not None and picture.thumbnail is not None:
                draft.add_picture(content_hash, picture.vector, picture.thumbnail)
                vector_count += 1
        return contents

    def _tell_truncated(self, texts: Sequence[str]) -> None:
        if cut_count := sum(self._encoder.truncated_captions(texts)):
            warn(f"{cut_count:,} captions are longer than the network reads; their ends are cut")

    def _name(self, kind: GalleryKind, index_kind: IndexKind, facts: Iterable[object]) -> str:
        digest = hashlib.sha256()
        made_by: list[object] = [
            _FORMAT, kind, self._record.fingerprint, self._max_pixels, LONGEST_SIDE, JPEG_QUALITY
        ]  # fmt: skip
        if index_kind != "exact":
            made_by += [index_kind, self._index.factory, self._index.recall]
        for fact in (made_by, *facts):
            digest.update(json.dumps(fact, sort_keys=True).encode() + b"\n")
        return f"{kind}-{digest.hexdigest()[:_NAME_DIGITS]}"

    def _find(
        self, kind: GalleryKind, index_kind: IndexKind, facts: Iterable[object]
    ) -> Gallery | None:
        folder = self._galleries / self._name(kind, index_kind, facts)
        if not folder.exists():
            return None
        try:
            gallery = Gallery.open(folder)
        except GalleryIndexError as error:
            warn(f"{error}; this build writes it anew")
            folder.rename(tempfile.mkdtemp(prefix=".damaged-", dir=self._galleries))
            return None
        say(f"{kind}: nothing changed, {folder.name} is used again")
        return gallery


def _as_encoded(file: FoundFile, contents: dict[str, _Content]) -> FoundFile:
    """Return the file with what became of its content; equal files share their fate."""
    if file.rejection is not None:
        return file
    rejection = contents[file.content_hash].rejection
    if rejection is None:
        return file
    content_hash = "" if rejection.code == "changed" else file.content_hash
    own = Rejection(file.entry.path, rejection.code, rejection.reason)
    return FoundFile(file.entry, content_hash, own)


def _image_facts(source: ImageList, files: Sequence[FoundFile]) -> Iterator[object]:
    for file in files:
        entry = file.entry
        yield [entry.id, entry.path, file.content_hash, entry.metadata]
    for rejection in source.rejected:
        yield [rejection.place, rejection.code]


def _image_item(row: int, file: FoundFile, content: _Content) -> Item:
    return Item(
        id=file.entry.id,
        row=row,
        path=file.entry.path,
        width=content.width,
        height=content.height,
        metadata=file.entry.metadata,
        content_hash=file.content_hash,
    )


def _nothing_usable(root: Path | None, rejected: Sequence[Rejection]) -> str:
    first = rejected[0]
    hint = "; is --images-root right?" if all(r.code == "missing" for r in rejected) else ""
    return (
        f"none of the {len(rejected):,} pictures in {root} can be used; "
        f"the first is {first.place}: {first.reason}{hint}"
    )


def _with_image_ids(
    entries: Sequence[CaptionEntry], images: Gallery | None
) -> Sequence[CaptionEntry]:
    paths = {e.image_path for e in entries if e.image_id is None and e.image_path is not None}
    known = {} if images is None or not paths else images.ids_of_paths(sorted(paths))
    return [
        CaptionEntry(
            entry.id,
            entry.text,
            known.get(entry.image_path) or image_id_for_path(entry.image_path),
            entry.image_path,
            entry.metadata,
        )
        if entry.image_id is None and entry.image_path is not None
        else entry
        for entry in entries
    ]


def _caption_facts(entry: CaptionEntry) -> list[object]:
    return [entry.id, entry.text, entry.image_id, entry.metadata]


def _caption_item(row: int, entry: CaptionEntry) -> Item:
    return Item(
        id=entry.id,
        row=row,
        caption=entry.text,
        image_id=entry.image_id,
        metadata=entry.metadata,
        content_hash=hashlib.sha256(entry.text.encode()).hexdigest(),
    )
