"""What the gallery before had and the one that a build made of other sources has not."""

from dataclasses import dataclass

from index_builder.galleries.gallery import Gallery

__all__ = ["NOTHING_LEFT_OUT", "LeftOut", "left_out"]

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class LeftOut:
    """What a new gallery has not of the one before.

    Attributes:
        count: Items that the sources do not name any more; those that are set aside now do not
            count.
        columns: Metadata columns.
    """

    count: int = 0
    columns: tuple[str, ...] = ()


NOTHING_LEFT_OUT = LeftOut()


def left_out(before: Gallery | None, now: Gallery) -> LeftOut:
    """Return what `now` has not of `before`.

    An item is there still under another id: a picture with its path, a caption with its text.
    """
    if before is None or before.folder == now.folder:
        return NOTHING_LEFT_OUT
    count = 0
    for start in range(0, before.row_count, _ROWS_AT_ONCE):
        gone = before.item_store.sources_of_rows(start, start + _ROWS_AT_ONCE)
        known = now.rows_of_ids([source.id for source in gone])
        gone = [source for source in gone if source.id not in known]
        if now.kind == "captions":
            texts = now.item_store.contents_among([source.content_hash for source in gone])
            count += sum(source.content_hash not in texts for source in gone)
        else:
            paths = [source.path for source in gone if source.path is not None]
            named = {*now.ids_of_paths(paths)}
            named |= {rejection.place for rejection in now.item_store.rejected_of(paths)}
            count += sum(source.path not in named for source in gone)
    columns = now.manifest.columns
    return LeftOut(count, tuple(name for name in before.manifest.columns if name not in columns))
