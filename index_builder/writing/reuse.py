"""A gallery that is there already is used again; one that cannot be trusted is moved aside."""

import tempfile
from pathlib import Path

from index_builder.galleries.gallery import Gallery
from model.console import warn
from model.errors import GalleryIndexError

__all__ = ["find_gallery"]


def find_gallery(folder: Path, images_root: Path | None = None) -> Gallery | None:
    """Return the gallery in `folder`; None if there is none, or none that can be opened."""
    if not folder.exists():
        return None
    try:
        return Gallery.open(folder, images_root=images_root)
    except GalleryIndexError as error:
        warn(f"{error}; this build writes it anew")
        folder.rename(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        return None
