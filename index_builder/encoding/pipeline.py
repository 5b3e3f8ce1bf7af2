"""Work done ahead by threads, handed over in order, with a bound on what waits.

Memory stays flat: a thread takes the next task only while fewer than `max_waiting` results wait,
or when the consumer waits for that very task.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    tasks: Iterable[T],
    works: Sequence[Callable[[T], R]],
    *,
    max_waiting: int,
    weigh: Callable[[R], int] | None = None,
    max_weight: int = 1,
) -> Generator[R, None, None]:
    """Yield the result of every task in order, computed by threads ahead of the consumer.

    Args:
        tasks: What to do; taken one after the other, only as they are needed.
        works: One thread for each, at least one; any of them may be given any task. Its exception
            is raised here, in its place.
        max_waiting: No further task is started while this many results wait, at least 1; so at
            most `len(works)` results more than this are ever held.
        weigh: Tells a result's weight, say its bytes; None = it has none.
        max_weight: Nor is a further task started while results of this weight wait, at least 1.
    """
    queue = _OrderedQueue[T, R](iter(tasks), max_waiting, weigh or (lambda _: 0), max_weight)
    threads = [threading.Thread(target=queue.work_on, args=(w,), daemon=True) for w in works]
    for thread in threads:
        thread.start()
    try:
        place = 0
        while queue.has(place):
            yield queue.take(place)
            place += 1
    finally:
        queue.stop()
        for thread in threads:
            thread.join()


class _OrderedQueue(Generic[T, R]):
    """Tasks, the place up to which they are taken, and results that wait for their turn."""

    def __init__(
        self, tasks: Iterator[T], max_waiting: int, weigh: Callable[[R], int], max_weight: int
    ) -> None:
        self._tasks = tasks
        self._max_waiting = max_waiting
        self._weigh = weigh
        self._max_weight = max_weight
        self._weight = 0
        self._changed = threading.Condition()
        self._results: dict[int, R] = {}
        self._errors: dict[int, BaseException] = {}
        self._next_started = 0
        self._next_taken = 0
        self._end: int | None = None
        self._is_stopped = False

    def work_on(self, work: Callable[[T], R]) -> None:
        """Work until there is no task left; the body of every thread."""
        while (started := self._start_next()) is not None:
            place, task = started
            try:
                result = work(task)
            except BaseException as error:  # it is the consumer's to handle
                with self._changed:
                    self._errors[place] = error
                    self._changed.notify_all()
                return  # the consumer gets no further than this
            with self._changed:
                self._results[place] = result
                self._weight += self._weigh(result)
                self._changed.notify_all()

    def has(self, place: int) -> bool:
        """Return whether there is such a task, waiting until that is known."""
        with self._changed:
            self._next_taken = place
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._next_started > place or self._end is not None)
            return self._end is None or place < self._end

    def take(self, place: int) -> R:
        """Return the result of a task, waiting for it."""
        with self._changed:
            self._changed.wait_for(lambda: place in self._results or place in self._errors)
            if place in self._errors:
                raise self._errors.pop(place)
            result = self._results.pop(place)
            self._weight -= self._weigh(result)
            return result

    def stop(self) -> None:
        """Let the threads end after what they are doing."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _start_next(self) -> tuple[int, T] | None:
        with self._changed:
            # The thread that has the task the consumer waits for goes on whatever waits; so the
            # bound can never stop everybody.
            self._changed.wait_for(
                lambda: (
                    self._is_stopped
                    or self._end is not None
                    or self._next_started == self._next_taken
                    or (len(self._results) < self._max_waiting and self._weight < self._max_weight)
                )
            )
            if self._is_stopped or self._end is not None:
                return None
            place = self._next_started
            try:
                task = next(self._tasks)
            except StopIteration:
                self._end = place
                self._changed.notify_all()
                return None
            except BaseException as error:
                # A source that fails: told in the place of the task that it would have given.
                self._errors[place] = error
                self._next_started = place + 1
                self._end = place + 1
                self._changed.notify_all()
                return None
            self._next_started = place + 1
            self._changed.notify_all()
            return place, task
