"""What a change of a gallery costs, against copying the files that it must write.

    python -m benchmarks.index_changes
    python -m benchmarks.index_changes --count 1000000 --dim 1024 --rounds 1

The gallery is of made-up vectors and captions, so nothing is encoded. Copying is read, write, flush
to the disk, and the sha256 that the manifest needs; a change also measures the recall of what it
wrote. `linked` is what the change shares with the gallery before.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from benchmarks.made_up_rows import LATENT_DIM, made_up_blocks, made_up_rows
from benchmarks.stopwatch import MIB, machine, machine_line, timed_rounds
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import NamedKind, record_of_file
from index_builder.writing.change_draft import ChangeDraft
from index_builder.writing.compaction import compact
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model import console
from model.command_line import Command, run_command
from model.durable import sync_file

_FINGERPRINT = "0" * 64


class IndexChangesBenchmark(Command):
    """Change a gallery of made-up vectors and time it against copying files."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.index_changes",
        "python -m benchmarks.index_changes --count 1000000 --dim 1024 --rounds 1",
    )

    count: int = Field(100_000, ge=100, description="items of the gallery")
    dim: int = Field(1024, ge=LATENT_DIM, description="size of a vector")
    kind: NamedKind = Field("exact", description="of vector index")
    changed: int = Field(100, ge=1, description="items that a change touches")
    rounds: int = Field(3, ge=1, description="how often each change is timed")
    folder: Path | None = Field(None, description="where files go; default: a temporary folder")

    def run(self) -> int:
        """Print the seconds of each change and their ratio to those of copying."""
        found = machine()
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            gallery = _made_up_gallery(folder, self.count, self.dim, self.kind)
            changes = _Changes(gallery, folder, self.changed)
            sides: dict[str, Callable[[], object]] = {
                "nothing": changes.copy_all,
                "remove": changes.remove,
                "other metadata": changes.update,
                "append": changes.append,
                "compact": changes.compact,
            }
            rounds = timed_rounds(sides, rounds=self.rounds, is_warm=True)
            lines = [
                {
                    "change": side,
                    "seconds": rounds.median(side),
                    "written_mib": changes.written_bytes[side] / MIB,
                    "linked_mib": changes.linked_bytes[side] / MIB,
                    "over_copy": rounds.ratio(side, "nothing"),
                }
                for side in sides
            ]
        if self.json_output:
            console.result_json({"machine": found, "changes": lines})
            return 0
        console.result(machine_line(found))
        console.table(
            f"{self.count:,} items × {self.dim}, {self.kind} · {self.changed:,} changed · copying "
            f"all files: {lines[0]['seconds']:.2f} s",
            ("change", "seconds", "written, MiB", "linked, MiB", "of copying everything"),
            [
                (
                    line["change"],
                    f"{line['seconds']:.2f}",
                    f"{line['written_mib']:,.1f}",
                    f"{line['linked_mib']:,.1f}",
                    f"{line['over_copy']:.2f}",
                )
                for line in lines[1:]
            ],
        )
        return 0


class _Changes:
    """Changes of one gallery, each into a folder of its own that is taken away again.

    Args:
        gallery: Stays as it is.
        folder: For the changed ones.
        changed_count: Items that a change touches.

    Attributes:
        written_bytes: Of the files that each wrote.
        linked_bytes: Of the files that each shares with the gallery before.
    """

    def __init__(self, gallery: Gallery, folder: Path, changed_count: int) -> None:
        self._gallery = gallery
        self._folder = folder
        self._count = changed_count
        self.written_bytes: dict[str, int] = {}
        self.linked_bytes: dict[str, int] = {}

    def copy_all(self) -> None:
        """Copy, flush and hash every file of the gallery."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            for file in self._gallery.manifest.files:
                source, copy = self._gallery.folder / file, Path(name) / file
                with source.open("rb") as reading, copy.open("wb") as writing:
                    while block := reading.read(MIB):
                        writing.write(block)
                sync_file(copy)
                record_of_file(copy)
            self._note("nothing", Path(name))

    def remove(self) -> None:
        """Give items tombstones."""
        self._change("remove", lambda draft: draft.remove(range(self._count)))

    def update(self) -> None:
        """Give items other metadata."""
        items = [_item(row, length=row) for row in range(self._count)]
        self._change("other metadata", lambda draft: draft.update(items))

    def append(self) -> None:
        """Append items."""
        first = self._gallery.row_count
        vectors = made_up_rows("realistic", self._count, self._gallery.dim, seed=0)

        def append(draft: ChangeDraft) -> None:
            draft.add_contents(vectors)
            items = [_item(row) for row in range(first, first + self._count)]
            draft.append(items, np.arange(self._count))

        self._change("append", append)

    def compact(self) -> None:
        """Write the gallery anew from itself."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            place = Path(name) / "captions-1111111111111111"
            compact(self._gallery, Path(name) / "draft", place)
            self._note("compact", place)

    def _change(self, side: str, change: Callable[[ChangeDraft], object]) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            place = Path(name) / "captions-1111111111111111"
            with ChangeDraft(Path(name) / "draft", self._gallery) as draft:
                change(draft)
                draft.finish(place)
            self._note(side, place)

    def _note(self, side: str, place: Path) -> None:
        before = {path.stat().st_ino for path in self._gallery.folder.iterdir()}
        files = [path.stat() for path in place.iterdir()]
        sizes = [(file.st_size, file.st_ino in before) for file in files]
        self.written_bytes[side] = sum(size for size, is_linked in sizes if not is_linked)
        self.linked_bytes[side] = sum(size for size, is_linked in sizes if is_linked)


def _made_up_gallery(folder: Path, count: int, dim: int, kind: NamedKind) -> Gallery:
    console.say(f"writing {count:,} items")
    encoder = EncoderRecord("made up", _FINGERPRINT, dim, {}, "float32")
    place = folder / "captions-0000000000000000"
    with GalleryDraft(folder / "draft", "captions", encoder) as draft:
        for start, vectors in made_up_blocks("realistic", count, dim):
            draft.add_contents(vectors)
            rows = np.arange(start, start + len(vectors))
            draft.add_items(map(_item, rows.tolist()), rows)
        draft.finish(place, index_kind=kind)
    return Gallery.open(place)


def _item(row: int, **metadata: int) -> Item:
    return Item(
        id=f"c{row}",
        row=row,
        caption=f"caption {row}",
        metadata=metadata,
        content_hash=f"{row:064x}",
    )


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.index_changes", IndexChangesBenchmark))
