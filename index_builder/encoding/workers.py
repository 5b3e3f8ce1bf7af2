"""Processes that read and decode pictures while the encoder computes.

- They are spawned, never forked: a forked child of a process that has used OpenMP can hang.
- Each has a thread here that sends it a few pictures at a time and waits. Pixels come through a
  file that both have mapped, into a slot of its own for each task; everything else comes in the
  answer, which is small, or, of pictures in shards, as large as their display copies.
- A process that dies takes nobody with it. The pictures that it was at are tried once more, each
  alone: one whose decoder crashes again is set aside, and anything else, such as a system out of
  memory, ends the build in one sentence.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
from collections.abc import Generator, Iterable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from index_builder.batched import batched
from index_builder.encoding.pipeline import read_ahead
from index_builder.encoding.reading import PictureReader, Pixels, Reading, Reason
from index_builder.sources import ImageEntry
from model.allocation import keep_freed_memory
from model.errors import GalleryIndexError

__all__ = ["allowed_core_count", "read_pictures"]

_TASK_SIZE = 8
_MOST_WAITING_BYTES = 256 << 20  # of pixels, and again of display copies
# What a decoder does to itself when it is given hostile bytes.
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_PATIENCE_S = 5.0
# A decoded picture of 25 megapixels takes 75 MB.
_KEPT_BYTES = 128 << 20

Entries = tuple[ImageEntry, ...]


def allowed_core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_pictures(
    reader: PictureReader,
    entries: Iterable[ImageEntry],
    *,
    worker_count: int,
    pixel_shape: tuple[int, ...],
    slots: Path,
    ahead_count: int,
) -> Generator[Reading, None, None]:
    """Yield what became of every entry, in order.

    Args:
        reader: Reads one of them.
        entries: Taken only as they are needed.
        worker_count: Processes; 0 = this one, without reading ahead.
        pixel_shape: Of what the reader makes of a picture.
        slots: A file to map; made anew, and removed at the end.
        ahead_count: About how many pictures wait at most, decoded, for the consumer.

    Raises:
        GalleryIndexError: A process cannot start, or was killed twice at the same picture.
    """
    if not worker_count:
        yield from (reader.read(entry) for entry in entries)
        return
    task_bytes = _TASK_SIZE * int(np.prod(pixel_shape))
    waiting_count = max(1, min(-(-ahead_count // _TASK_SIZE), _MOST_WAITING_BYTES // task_bytes))
    # One slot for every waiting result, one for each process at work, one for the consumer.
    pool = _SlotFile(slots, waiting_count + worker_count + 1, (_TASK_SIZE, *pixel_shape))
    workers = [_Worker(reader, pool) for _ in range(worker_count)]
    answers = read_ahead(
        batched(entries, _TASK_SIZE),
        [worker.work for worker in workers],
        max_waiting=waiting_count,
        weigh=_display_bytes,
        max_weight=_MOST_WAITING_BYTES,
    )
    try:
        for slot, readings in answers:
            pixels = pool.array[slot]
            for place, reading in enumerate(readings):
                if reading.payload is not None:
                    reading = replace(reading, payload=pixels[place].copy())
                yield reading
            pool.free.put(slot)
    finally:
        answers.close()
        for worker in workers:
            worker.close()
        pool.remove()


def _display_bytes(answer: tuple[int, list[Reading]]) -> int:
    _, readings = answer
    return sum(len(reading.display_copy or b"") for reading in readings)


class _SlotFile:
    """Pixels of tasks on their way, in a file that all processes map."""

    def __init__(self, path: Path, slot_count: int, slot_shape: tuple[int, ...]) -> None:
        self.path = path
        self.shape = (slot_count, *slot_shape)
        self.free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(slot_count):
            self.free.put(slot)
        # A file of its own: workers of a killed builder may still write to theirs.
        path.unlink(missing_ok=True)
        # Written, not only made long: a mapped page without room on the disk kills the process.
        with path.open("xb") as file:
            for _ in range(slot_count):
                file.write(bytes(int(np.prod(slot_shape))))
        self.array: Pixels = _mapped(path, self.shape)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _mapped(path: Path, shape: tuple[int, ...]) -> Pixels:
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)


class _Worker:
    """A process and what this side knows of it; used by one thread at a time."""

    def __init__(self, reader: PictureReader, slots: _SlotFile) -> None:
        self._reader = reader
        self._slots = slots
        self._processes = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def work(self, entries: Entries) -> tuple[int, list[Reading]]:
        """Return the slot with the pixels, and what became of each entry."""
        slot = self._slots.free.get()
        try:
            readings = self._answer(slot, 0, entries)
            if readings is None:  # one of them ended the process: find out which
                readings = [self._one(slot, place, entry) for place, entry in enumerate(entries)]
        except BaseException:
            self._slots.free.put(slot)
            raise
        return slot, readings

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()  # it reads the end of the tasks and leaves
        if self._process is not None:
            self._process.join(_PATIENCE_S)
            self._process.kill()
            self._process.join()

    def _one(self, slot: int, place: int, entry: ImageEntry) -> Reading:
        found = self._answer(slot, place, (entry,))
        if found is not None:
            return found[0]
        exit_code = self._exit_code
        if -exit_code in _CRASHES:
            name = signal.Signals(-exit_code).name
            reason = Reason("crashed", f"its decoder crashed ({name}); the file is damaged")
            return Reading(None, self._reader.stamp(entry), reason)
        raise GalleryIndexError(
            f"the process that reads pictures was ended twice at {entry.path} "
            f"({_told(exit_code)}); what is encoded is kept: build again with fewer --workers"
        )

    def _answer(self, slot: int, place: int, entries: Entries) -> list[Reading] | None:
        """Return what the process says to a task, or None if it died of it."""
        connection = self._connection or self._start()
        try:
            connection.send((slot, place, entries))
            answer: list[Reading] = connection.recv()
            return answer
        except (EOFError, OSError):
            connection.close()
            self._connection = None
            return None

    def _start(self) -> Connection:
        if self._process is not None:
            self._process.join()
        ours, theirs = self._processes.Pipe()
        self._process = self._processes.Process(
            target=_serve,
            args=(theirs, self._reader, self._slots.path, self._slots.shape),
            name="picture reader",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        try:
            ours.recv()
        except (EOFError, OSError):
            ours.close()
            raise GalleryIndexError(
                f"a process that reads pictures cannot start ({_told(self._exit_code)}); "
                "build in one process with --workers 0"
            ) from None
        self._connection = ours
        return ours

    @property
    def _exit_code(self) -> int:
        assert self._process is not None  # asked only of one that died
        self._process.join()
        return self._process.exitcode or 0


def _told(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit status {exit_code}"
    return f"{signal.Signals(-exit_code).name}; is memory short?"


def _serve(
    connection: Connection, reader: PictureReader, slots: Path, shape: tuple[int, ...]
) -> None:
    """Answer tasks until the other side closes or dies; the body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the builder hears it, and ends its workers
    keep_freed_memory(_KEPT_BYTES)
    array = _mapped(slots, shape)
    # Whoever waits for the answer is gone: there is nothing left to do.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send("ready")
        while True:
            slot, first_place, entries = connection.recv()
            readings = []
            for place, entry in enumerate(entries, first_place):
                reading = reader.read(entry)
                if reading.payload is not None:
                    array[slot, place] = reading.payload
                    reading = replace(reading, payload=True)  # it lies in the slot
                readings.append(reading)
            connection.send(readings)
