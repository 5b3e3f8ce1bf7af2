"""Work done ahead by threads, handed over in order, with a bound on what is held.

Pillow and hashlib let go of Python's lock, so pictures are read and decoded while the encoder
computes. Memory stays flat: a thread starts the next task only while less than `max_held` is held,
or when the consumer waits for that very task.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")
R = TypeVar("R")

# Results that hold nothing would otherwise pile up without end ahead of a slow consumer.
_MAX_AHEAD = 512


def read_ahead(
    tasks: Sequence[T],
    work: Callable[[T], R],
    *,
    thread_count: int,
    held_by: Callable[[R], int],
    max_held: int,
) -> Generator[R, None, None]:
    """Yield `work(task)` for every task in order, computed by threads ahead of the consumer.

    Args:
        tasks: What to do.
        work: Called in a thread; its exception is raised here, in its place.
        thread_count: At least 1.
        held_by: How much a finished result holds, in the unit of `max_held`.
        max_held: No further task is started while the waiting results hold this much; so at most
            `thread_count` results more than this are ever held.
    """
    queue = _OrderedQueue(tasks, work, held_by, max_held)
    threads = [threading.Thread(target=queue.work_on, daemon=True) for _ in range(thread_count)]
    for thread in threads:
        thread.start()
    try:
        for place in range(len(tasks)):
            yield queue.take(place)
    finally:
        queue.stop()
        for thread in threads:
            thread.join()


class _OrderedQueue(Generic[T, R]):
    """Tasks, the place up to which they are taken, and results that wait for their turn."""

    def __init__(
        self,
        tasks: Sequence[T],
        work: Callable[[T], R],
        held_by: Callable[[R], int],
        max_held: int,
    ) -> None:
        self._tasks = tasks
        self._work = work
        self._held_by = held_by
        self._max_held = max_held
        self._changed = threading.Condition()
        self._results: dict[int, R] = {}
        self._errors: dict[int, BaseException] = {}
        self._held = 0
        self._next_started = 0
        self._next_taken = 0
        self._is_stopped = False

    def work_on(self) -> None:
        """Work until there is no task left; the body of every thread."""
        while (place := self._start_next()) is not None:
            try:
                result = self._work(self._tasks[place])
            except BaseException as error:  # it is the consumer's to handle
                with self._changed:
                    self._errors[place] = error
                    self._changed.notify_all()
                continue
            with self._changed:
                self._results[place] = result
                self._held += self._held_by(result)
                self._changed.notify_all()

    def take(self, place: int) -> R:
        """Return the result of a task, waiting for it."""
        with self._changed:
            self._next_taken = place
            self._changed.notify_all()
            self._changed.wait_for(lambda: place in self._results or place in self._errors)
            if place in self._errors:
                raise self._errors.pop(place)
            result = self._results.pop(place)
            self._held -= self._held_by(result)
            self._next_taken = place + 1
            self._changed.notify_all()
            return result

    def stop(self) -> None:
        """Let the threads end after what they are doing."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _start_next(self) -> int | None:
        with self._changed:
            place = self._next_started
            if place >= len(self._tasks):
                return None
            self._next_started += 1
            # Whoever has the task that the consumer waits for goes on whatever is held; so the
            # bound can never stop everybody.
            self._changed.wait_for(
                lambda: self._is_stopped or place == self._next_taken or self._has_room(place)
            )
            return None if self._is_stopped else place

    def _has_room(self, place: int) -> bool:
        return self._held < self._max_held and place < self._next_taken + _MAX_AHEAD
