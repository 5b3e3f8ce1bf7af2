"""`search`: answer one query in the terminal."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.galleries.gallery import MAX_HIT_COUNT, Gallery
from index_builder.galleries.manifest import GalleryKind
from index_builder.index_folder.versions import IndexFolder, OpenIndex
from model.command_line import Command
from model.console import result_json, table, warn
from model.device import choose_device
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import ConfigError, GalleryIndexError
from model.inputs.pictures import open_picture

__all__ = ["Search"]


class Search(Command):
    """Answer one query in the terminal."""

    examples: ClassVar[tuple[str, ...]] = (
        'python -m index_builder search indexes/scenes "a red circle"',
        "python -m index_builder search indexes/scenes --image photo.jpg",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    query: CliPositionalArg[str | None] = Field(default=None, description="a sentence, in quotes")
    image: Path | None = Field(default=None, description="search with this picture instead")
    target: GalleryKind | None = Field(
        default=None, description="what to find; default: images for text, captions for a picture"
    )
    limit: int = Field(default=10, ge=1, le=MAX_HIT_COUNT, description="number of hits")
    checkpoint: str | None = Field(
        default=None, description="another place of the checkpoint; default: the index's own copy"
    )
    device: str = Field(default="cpu", description="cpu, cuda, or auto: cuda where there is one")

    def run(self) -> None:
        """Encode the query, search, and show the hits."""
        if (self.query is None) == (self.image is None):
            raise ConfigError(["query: give either a sentence in quotes or --image FILE"])
        if self.query is not None and not self.query.strip():
            raise ConfigError(["query: it has no words; write what the picture should show"])
        opened = IndexFolder(self.index).open()
        kind: GalleryKind = self.target or ("images" if self.image is None else "captions")
        gallery = _gallery(opened, kind)
        place = self.checkpoint or opened.checkpoint_path
        encoder = load_dual_encoder(place, device=choose_device(self.device))
        opened.check_encoder(encoder.fingerprint, place)
        self._show(gallery, encoder)

    def _show(self, gallery: Gallery, encoder: DualEncoder) -> None:
        if self.image is not None:
            query = encoder.encode_images([open_picture(self.image)])
        else:
            sentences = [self.query or ""]
            if any(encoder.truncated_captions(sentences)):
                warn(
                    "only the beginning of the sentence was read: it is longer than the model takes"
                )
            query = encoder.encode_captions(sentences)
        (hits,) = gallery.search(query.numpy(), self.limit)
        items = gallery.items([hit.item_id for hit in hits])
        if self.json_output:
            answer = [
                {
                    "rank": hit.rank,
                    "id": hit.item_id,
                    "score": hit.score,
                    "caption": items[hit.item_id].caption,
                    "path": items[hit.item_id].path,
                    "image_id": items[hit.item_id].image_id,
                    "metadata": items[hit.item_id].metadata,
                }
                for hit in hits
            ]
            result_json({"target": gallery.kind, "hits": answer})
            return
        rows = [
            (items[hit.item_id].caption or items[hit.item_id].path or hit.item_id,
             f"{hit.score:.4f}", hit.rank)
            for hit in hits
        ]  # fmt: skip
        table("", [gallery.kind.removesuffix("s"), "score", "rank"], rows)


def _gallery(opened: OpenIndex, kind: GalleryKind) -> Gallery:
    gallery = opened.gallery(kind)
    if gallery is None:
        other = "captions" if kind == "images" else "images"
        raise GalleryIndexError(
            f"{opened.folder} has no {kind}; use --target {other}, or add them with: "
            f"python -m index_builder build --{kind} ..."
        )
    return gallery
