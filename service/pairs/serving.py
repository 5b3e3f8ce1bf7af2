"""Which pair answers: the current one, the one before it for those who page, and the next.

A reload opens the next pair beside the current one and tries it; only then, in one step on the
event loop, does it take its place. A pair that fails its checks is closed and nothing changes.
Requests under way finish on the pair that they began with.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from index_builder.index_folder.open_index import gallery_stamps
from index_builder.index_folder.versions import IndexFolder
from model.errors import HremError, NoIndexError
from service.errors import ReloadRefusedError, StaleVersionError
from service.pairs.pair import PairOpener, ServedPair

__all__ = ["Reload", "Serving"]

log = logging.getLogger("service.serving")


@dataclass(frozen=True)
class Reload:
    """How a reload ended.

    Attributes:
        version: The version that is served now.
        fingerprint: 64 hex digits of the checkpoint that is served now.
        previous_version: The one that was served before and still answers those who ask for it.
        is_changed: False if the very same version, by the very same files, was served already.
    """

    version: int
    fingerprint: str
    previous_version: int | None
    is_changed: bool


class Serving:
    """The pairs that are open, and the change from one to the next.

    Args:
        opener: How pairs are opened.
        index: The configured index folder.
        checkpoint: The configured place of the checkpoint, if not in the index.

    Raises:
        HremError: The first pair cannot be served.
    """

    def __init__(self, opener: PairOpener, *, index: Path, checkpoint: Path | None = None) -> None:
        self._opener = opener
        self._index = index
        self._checkpoint = checkpoint
        self.current = opener.open(index, checkpoint)
        self.previous: ServedPair | None = None
        self.reload_counts = {"changed": 0, "unchanged": 0, "refused": 0}
        self.is_last_reload_ok = True
        self._is_reloading = False

    @contextmanager
    def leased(self, version: int | None = None) -> Iterator[ServedPair]:
        """Keep the pair of a version (None: the current one) open while the block runs.

        Raises:
            StaleVersionError: Neither the current nor the previous pair is of that version.
        """
        with self._pair_of(version).leased() as pair:
            yield pair

    def pairs(self) -> list[ServedPair]:
        """Return the pairs that answer, the current one first."""
        return [self.current] if self.previous is None else [self.current, self.previous]

    async def reload(self, index: Path | None = None, checkpoint: Path | None = None) -> Reload:
        """Serve the newest version of an index from now on, if it can be served.

        Args:
            index: The index folder; None takes the configured one.
            checkpoint: Where its checkpoint lies; None takes the configured place if the index is
                the configured one, else the copy in the index.

        Raises:
            ReloadRefusedError: The pair cannot be served, or another reload is running; what was
                served is still served.
        """
        if self._is_reloading:
            raise ReloadRefusedError("another reload is running; ask again when it has ended")
        if index is None:
            index = self._index
            checkpoint = checkpoint or self._checkpoint
        self._is_reloading = True
        try:
            reload = await self._reload(index, checkpoint)
        except ReloadRefusedError:
            self.reload_counts["refused"] += 1
            self.is_last_reload_ok = False
            raise
        else:
            self.is_last_reload_ok = True
            return reload
        finally:
            self._is_reloading = False

    async def _reload(self, index: Path, checkpoint: Path | None) -> Reload:
        current = self.current
        try:
            record = await asyncio.to_thread(IndexFolder(index).record)
            stamps = await asyncio.to_thread(gallery_stamps, index, record)
        except HremError as error:
            raise _refused(error, index, checkpoint) from error
        is_same_version = record.record_sha256 == current.index.record.record_sha256
        # Files that were put back, or damaged: what is open is none of what lies there now.
        if is_same_version and stamps == current.index.stamps and checkpoint is None:
            self.reload_counts["unchanged"] += 1
            log.info("version %s of %s is served already", record.version, index)
            return self._state(is_changed=False)
        for pair in self.pairs():
            is_another = pair.index.record.record_sha256 != record.record_sha256
            if pair.served.version == record.version and is_another:
                # Who pages by version would get both rankings mixed.
                raise ReloadRefusedError(
                    f"that index is at version {record.version}, and so is another one that is "
                    "served; answers could not be told apart. Make another version of it (any "
                    "change does), or start the service anew"
                )
        try:
            opened = await asyncio.to_thread(
                self._opener.open, index, checkpoint, version=record.version, beside=current
            )
        except HremError as error:
            raise _refused(error, index, checkpoint) from error
        # Who pages in a version goes on in it; two pairs of one version would be the same to them.
        replaced = current if is_same_version else self.previous
        self.previous = self.previous if is_same_version else current
        self.current = opened
        if replaced is not None:
            replaced.retire()
        self.reload_counts["changed"] += 1
        state = self._state(is_changed=True)
        log.info(
            "now serving version %s of %s with checkpoint %s, opened in: %s",
            state.version, index, state.fingerprint[:16], opened.opening_seconds,
        )  # fmt: skip
        return state

    def _state(self, *, is_changed: bool) -> Reload:
        served = self.current.served
        previous = None if self.previous is None else self.previous.served.version
        return Reload(served.version, served.fingerprint, previous, is_changed)

    def _pair_of(self, version: int | None) -> ServedPair:
        for pair in self.pairs():
            if version in (None, pair.served.version):
                return pair
        served = " and ".join(str(pair.served.version) for pair in self.pairs())
        raise StaleVersionError(
            f"version {version} is not served, version {served} is; begin again at offset 0"
        )

    def close(self) -> None:
        """Close all pairs; waits for what runs."""
        for pair in self.pairs():
            pair.close()


def _refused(error: HremError, index: Path, checkpoint: Path | None) -> ReloadRefusedError:
    """Return the refusal of a pair: the whole reason for the log, without paths for the answer."""
    log.warning("reload refused: %s", error)
    if isinstance(error, NoIndexError):
        # Its advice is a command that names the folder.
        return ReloadRefusedError(
            "the index folder holds no index (no file `current`); name one that a build has written"
        )
    told = str(error)
    for place, name in ((checkpoint, "CHECKPOINT"), (index, "INDEX")):
        if place is not None:
            for written in (str(place.absolute()), str(place)):
                told = told.replace(written, name)
    return ReloadRefusedError(told)
