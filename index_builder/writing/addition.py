"""An addition: what finished parts change in a gallery that is there already.

    no item of that id            appended
    the same content              its row stays; path, metadata, picture of a caption are replaced
    another content               its row is removed, and it is appended anew
    nothing different             left alone, and so is the gallery where that is all

Items that the source does not name stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from index_builder.encoding.part_making import rejections_of
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.listing.listed_source import Listing
from index_builder.sources.entries import Rejection
from index_builder.vector_index import TuningQueries
from index_builder.writing.assembly import Assembly, Step
from index_builder.writing.change_draft import ChangeDraft

__all__ = ["Addition", "ChangeCount"]


@dataclass
class ChangeCount:
    """How many items changed, and how.

    Attributes:
        added: Items that were not there.
        changed: Items with another content, or something else about them.
        removed: Items that are there no more.
        touched: Items of which only the stamp of the file is another.
        is_compacted: The gallery was written anew without the rows of removed items.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    touched: int = 0
    is_compacted: bool = False

    @property
    def has_any(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.added or self.changed or self.removed or self.touched)


@dataclass
class _Changes:
    """What one part changes.

    Attributes:
        updated: Items that keep their row.
        appended: The place among the part's items of each that gets a new row.
        outdated: Rows of items that get a new one.
        touched_count: How many of `updated` have another stamp and nothing else.
    """

    updated: list[Item] = field(default_factory=list)
    appended: list[int] = field(default_factory=list)
    outdated: list[int] = field(default_factory=list)
    touched_count: int = 0


class Addition:
    """Adds the parts of an assembly to a gallery.

    Args:
        assembly: Of the entries that may be new or changed.
        listing: Those entries.
        before: The gallery; stays as it is.
        images: Where the id of a picture that a caption names by its path is looked up.
    """

    def __init__(
        self, assembly: Assembly, listing: Listing, before: Gallery, images: Gallery | None
    ) -> None:
        self._assembly = assembly
        self._listing = listing
        self._before = before
        self._images = images

    def name(self, made_by: list[object]) -> str:
        """Return the name of the gallery that it leads to."""
        return self._assembly.name([*made_by, "added to", self._before.folder.name], self._images)

    def count(self) -> ChangeCount:
        """Return what it changes."""
        count = ChangeCount()
        for step in self._assembly.steps():
            items = list(self._assembly.items(step, self._images))
            changes = self._changes(items)
            count.added += len(changes.appended) - len(changes.outdated)
            count.changed += len(changes.outdated)
            count.changed += len(changes.updated) - changes.touched_count
            count.touched += changes.touched_count
        return count

    def has_other_rejections(self) -> bool:
        """Return whether something else is set aside, of these entries, than was before."""
        return any(
            set(rejections) != set(self._before.item_store.rejected_of(places))
            for places, rejections in self._rejections()
        )

    def write(
        self, draft_folder: Path, folder: Path, *, queries: TuningQueries | None = None
    ) -> Path:
        """Write the gallery to `folder` and return that; until it is whole it is a draft.

        Args:
            draft_folder: To be made.
            folder: `<kind>-<hash>`.
            queries: What the vector index is tuned and measured with; None takes points between
                rows.
        """
        with ChangeDraft(draft_folder, self._before) as draft:
            row = self._before.row_count
            for step in self._assembly.steps():
                if step.new:
                    draft.add_contents(
                        self._assembly.new_vectors(step), self._assembly.new_thumbnails(step)
                    )
                # What the base holds of them, the gallery before holds: it is the base.
                own = step.part.display_copies()
                draft.add_display_copies((digest.hex(), copy) for digest, copy in own)
                items = list(self._assembly.items(step, self._images))
                changes = self._changes(items)
                draft.remove(changes.outdated)
                draft.update(changes.updated)
                appended = [items[place] for place in changes.appended]
                draft.append(
                    (replace(item, row=number) for number, item in enumerate(appended, row)),
                    step.numbers[changes.appended],
                )
                row += len(appended)
            for seen, rejections in self._rejections():
                draft.replace_rejections(seen, rejections)
            return draft.finish(folder, queries=queries)

    def _changes(self, items: list[Item]) -> _Changes:
        before = self._before.items([item.id for item in items])
        changes = _Changes()
        for place, item in enumerate(items):
            old = before.get(item.id)
            if old is None or old.content_hash != item.content_hash:
                changes.appended.append(place)
                if old is not None:
                    changes.outdated.append(old.row)
            elif old != (new := replace(item, row=old.row)):
                changes.updated.append(new)
                changes.touched_count += old == replace(new, stamp=old.stamp)
        return changes

    def _rejections(self) -> Iterator[tuple[list[str], list[Rejection]]]:
        """Yield places that were looked at, and what was set aside of them."""
        own = list(self._listing.rejected())
        yield [each.place for each in own], own
        for step in self._assembly.steps():
            yield _places(step), list(rejections_of(step.part, step.entries))


def _places(step: Step) -> list[str]:
    return [entry.path or entry.id for entry in step.entries]
