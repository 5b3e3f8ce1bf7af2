"""The work folder: what a build has done so far, found again by a build of the same request.

    galleries/.work-<kind>-<16 hex>/
        request.json    what it is built from; the 16 hex digits are its hash
        00000000.npz    parts, each there whole or not at all
        gallery/        the gallery while it is put together
        leads-to        name of the gallery, once that is in its place

It survives failures and kills. It is removed when the version that it was for is served; if a kill
falls between the two, by the next writer.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from index_builder.galleries.manifest import GalleryKind, Record
from model.console import warn
from model.durable import sync_folder, write_file
from model.precision import Precision

__all__ = [
    "WORK_PREFIX",
    "Request",
    "WorkFolder",
    "finished_work",
    "remove_finished_work",
    "tell_unfinished_work",
    "work_folders",
]

WORK_PREFIX = ".work-"
_DIGITS = 16
_RESULT = "leads-to"


class Request(Record):
    """Everything that decides what the parts of a build hold, but for the files themselves."""

    format: int = Field(description="raised when the same inputs would give other parts")
    kind: GalleryKind
    checkpoint_fingerprint: str
    precision: Precision
    max_pixels: int
    batch_size: int
    part_size: int
    listing_sha256: str

    @property
    def name(self) -> str:
        """Name of the work folder."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{WORK_PREFIX}{self.kind}-{digest[:_DIGITS]}"


class WorkFolder:
    """A work folder that exists.

    Attributes:
        path: Where it lies.
        request: What it is for.
    """

    def __init__(self, path: Path, request: Request) -> None:
        """Name a folder; `open` makes it."""
        self.path = path
        self.request = request

    @classmethod
    def open(cls, galleries: Path, request: Request) -> "WorkFolder":
        """Return the folder of this request, with what was done already, or a new one."""
        path = galleries / request.name
        if not path.is_dir():
            draft = Path(tempfile.mkdtemp(prefix=".new-", dir=galleries))
            draft.chmod(0o755)
            request.write(draft / "request.json")
            draft.rename(path)
            sync_folder(galleries)
        return cls(path, request)

    def part_path(self, number: int) -> Path:
        """Return where part `number` lies or will lie."""
        return self.path / f"{number:08d}.npz"

    def draft_path(self) -> Path:
        """Return where the gallery is put together; what a killed build left there is removed."""
        path = self.path / "gallery"
        if path.exists():
            shutil.rmtree(path)
        return path

    def note_result(self, gallery: str) -> None:
        """Note the gallery that this led to: once it is served, nobody needs to go on here."""
        write_file(self.path / _RESULT, gallery)

    def remove(self) -> None:
        """Take the folder away; a kill meanwhile leaves it to the next writer."""
        _remove(self.path)


def remove_finished_work(galleries: Path, served: Collection[str]) -> None:
    """Take away the work folders that led to one of these galleries."""
    for folder in finished_work(galleries, served):
        _remove(folder)


def _remove(folder: Path) -> None:
    """Take a work folder away, under the name of a draft: half of it is no work to go on with."""
    leaving = folder.with_name(f".done-{folder.name.removeprefix(WORK_PREFIX)}")
    shutil.rmtree(leaving, ignore_errors=True)
    folder.rename(leaving)
    shutil.rmtree(leaving)


def finished_work(galleries: Path, served: Collection[str]) -> list[Path]:
    """Return the work folders that led to one of these galleries."""
    results = ((folder, folder / _RESULT) for folder in work_folders(galleries))
    return [folder for folder, file in results if file.exists() and file.read_text() in served]


def work_folders(galleries: Path) -> list[Path]:
    """Return all work folders that are there."""
    return sorted(path for path in galleries.glob(f"{WORK_PREFIX}*") if path.is_dir())


def tell_unfinished_work(galleries: Path) -> None:
    """Warn of work that is left once a build has removed its own; its owner may want it yet."""
    for folder in work_folders(galleries):
        warn(
            f"{folder} holds the work of a build that was never finished; run that build again "
            "to go on with it, or free its space with: prune --unfinished"
        )
