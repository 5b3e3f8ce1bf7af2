"""The bytes that an indexed picture was made of, read again from where the source had them."""

import hashlib
from pathlib import Path, PurePosixPath

from index_builder.galleries.items import Item
from index_builder.sources.entries import EntryError
from index_builder.sources.picture_file import read_picture_file, resolved_below
from index_builder.sources.tar_members import read_span

__all__ = ["read_source"]


def read_source(item: Item, images_root: Path | None) -> bytes:
    """Return the very bytes that a picture was indexed by, of a file or of a member of a shard.

    Args:
        item: Of an images gallery.
        images_root: What its path is relative to; nothing outside of it is read.

    Raises:
        EntryError: They are not to be had: `missing`, `unreadable`, `too_large`, `outside_root`, or
            `changed`, where the file holds something else by now.
    """
    if images_root is None or item.path is None:
        raise EntryError(item.id, "missing", "nobody knows where its file lies")
    content = _content(item, item.path, images_root.resolve())
    if hashlib.sha256(content).hexdigest() != item.content_hash:
        raise EntryError(item.path, "changed", "was changed since")
    return content


def _content(item: Item, path: str, root: Path) -> bytes:
    if item.span is None:
        return read_picture_file(root, path)
    for place in PurePosixPath(path).parents:
        shard = resolved_below(root, str(place))
        if shard.is_file():
            try:
                content = read_span(shard, item.span)
            except OSError as error:
                reason = f"its shard cannot be read: {error.strerror}"
                raise EntryError(path, "unreadable", reason) from error
            if content is not None:
                return content
            break
    raise EntryError(path, "missing", "it is no longer in its shard")
