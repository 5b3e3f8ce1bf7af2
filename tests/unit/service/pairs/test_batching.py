"""The laws of shared batches; the work is arithmetic, the threads and the loop are real."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from service.errors import QueueFullError
from service.pairs.batching import BatchLimits, BatchReport, SharedBatches
from service.traffic.admission import Stopwatch

pytestmark = pytest.mark.anyio


class Gate:
    """A work that doubles numbers once it is let through; remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> list[int]:
        self.begun.set()
        assert self.open.wait(20)
        self.batches.append(list(items))
        return [2 * item for item in items]


class Shared:
    """Shared batches with the reports that they made."""

    def __init__(self, limits: BatchLimits) -> None:
        self.reports: list[BatchReport] = []
        self.batches = SharedBatches("encode", limits=limits, observe=self.reports.append)


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared(BatchLimits(max_items=8, max_wait_ms=5))
    yield made
    made.batches.close()


async def occupied(shared: Shared, gate: Gate) -> "asyncio.Task[list[int]]":
    """Return a request that keeps the thread busy until the gate opens."""
    running = asyncio.create_task(shared.batches.run(gate, [0]))
    await asyncio.to_thread(gate.begun.wait, 20)
    return running


async def waiting(shared: Shared, count: int) -> None:
    async with asyncio.timeout(10):
        while shared.batches.waiting_items != count:
            await asyncio.sleep(0.002)


async def test_what_arrives_while_a_batch_runs_shares_the_next_one(shared: Shared) -> None:
    gate = Gate()
    running = await occupied(shared, gate)
    others = [asyncio.create_task(shared.batches.run(gate, [n, n + 1])) for n in (10, 20, 30)]
    await waiting(shared, 6)
    gate.open.set()
    assert await running == [0]
    assert await asyncio.gather(*others) == [[20, 22], [40, 42], [60, 62]]
    assert [len(batch) for batch in gate.batches] == [1, 6]
    assert [(report.item_count, report.request_count) for report in shared.reports[:2]] == [
        (1, 1),
        (6, 3),
    ]


async def test_an_idle_thread_waits_for_nobody() -> None:
    # Anybody who waited would miss the deadline by far.
    shared = Shared(BatchLimits(max_items=8, max_wait_ms=1000))
    gate = Gate()
    gate.open.set()
    try:
        for number in range(20):
            assert await asyncio.wait_for(shared.batches.run(gate, [number]), 10) == [2 * number]
            await asyncio.sleep(0)
        started = time.perf_counter()
        await asyncio.sleep(1.1)
        await shared.batches.run(gate, [1])
        assert time.perf_counter() - started < 1.1 + 0.9
    finally:
        shared.batches.close()


async def test_a_batch_is_never_larger_than_its_limit(shared: Shared) -> None:
    gate = Gate()
    running = await occupied(shared, gate)
    large = asyncio.create_task(shared.batches.run(gate, range(21)))
    await waiting(shared, 21)
    gate.open.set()
    assert await large == [2 * n for n in range(21)]
    await running
    assert [len(batch) for batch in gate.batches] == [1, 8, 8, 5]


async def test_small_requests_do_not_wait_for_all_of_a_large_one(shared: Shared) -> None:
    gate = Gate()
    running = await occupied(shared, gate)
    large = asyncio.create_task(shared.batches.run(gate, range(100, 132)))
    await waiting(shared, 32)
    small = [asyncio.create_task(shared.batches.run(gate, [n])) for n in range(1, 5)]
    await waiting(shared, 36)
    gate.open.set()
    await asyncio.gather(running, large, *small)
    assert {1, 2, 3, 4} <= set(gate.batches[1])
    assert any(item >= 100 for item in gate.batches[1])


async def test_many_small_requests_do_not_starve_a_large_one(shared: Shared) -> None:
    """Small ones come without end; the large one gets its share of every round."""
    gate = Gate()
    running = await occupied(shared, gate)
    large = asyncio.create_task(shared.batches.run(gate, range(1000, 1016)))
    await waiting(shared, 16)
    sent = 0

    async def keep_asking() -> None:
        nonlocal sent
        while not large.done():
            sent += 1
            await shared.batches.run(gate, [1])

    small = [asyncio.create_task(keep_asking()) for _ in range(16)]
    await waiting(shared, 32)
    gate.open.set()
    await asyncio.wait_for(large, 10)
    await asyncio.gather(running, *small)
    # 17 requests wait at any time: in 16 turns of each the large one is done, give or take some.
    assert sent <= 16 * 17 * 2


async def test_different_works_never_share_a_batch(shared: Shared) -> None:
    gate, other = Gate(), Gate()
    other.open.set()
    running = await occupied(shared, gate)
    tasks = [
        asyncio.create_task(shared.batches.run(work, [n]))
        for n, work in enumerate([gate, other, gate, other], start=1)
    ]
    await waiting(shared, 4)
    gate.open.set()
    assert await asyncio.gather(*tasks) == [[2], [4], [6], [8]]
    await running
    assert gate.batches == [[0], [1, 3]]
    assert other.batches == [[2, 4]]


async def test_a_fault_of_one_item_is_told_to_its_request_alone(shared: Shared) -> None:
    gate = Gate()

    def divide(items: list[int]) -> list[float]:
        return [1 / item for item in items]

    running = await occupied(shared, gate)
    tasks = [asyncio.create_task(shared.batches.run(divide, [n])) for n in (1, 0, 2)]
    await waiting(shared, 3)
    gate.open.set()
    results = await asyncio.gather(running, *tasks, return_exceptions=True)
    assert results[1:2] + results[3:] == [[1.0], [0.5]]
    assert isinstance(results[2], ZeroDivisionError)


async def test_what_was_given_up_is_never_worked_on(shared: Shared) -> None:
    gate = Gate()
    running = await occupied(shared, gate)
    gone = asyncio.create_task(shared.batches.run(gate, [7, 8, 9]))
    stays = asyncio.create_task(shared.batches.run(gate, [4]))
    await waiting(shared, 4)
    gone.cancel()
    await waiting(shared, 1)
    gate.open.set()
    assert await stays == [8]
    await running
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert gate.batches == [[0], [4]]


async def test_the_time_in_the_queue_and_at_work_is_told_apart(shared: Shared) -> None:
    gate = Gate()
    running = await occupied(shared, gate)
    stopwatch = Stopwatch()
    behind = asyncio.create_task(shared.batches.run(gate, [1], stopwatch))
    await waiting(shared, 1)
    await asyncio.sleep(0.1)
    gate.open.set()
    await asyncio.gather(running, behind)
    timing = stopwatch.timing_ms()
    assert timing["queue"] >= 100
    assert timing["encode"] <= timing["total"] - timing["queue"] + 1


async def test_a_stopped_thread_finishes_its_batch_and_refuses_the_rest() -> None:
    shared = Shared(BatchLimits())
    gate = Gate()
    running = await occupied(shared, gate)
    behind = asyncio.create_task(shared.batches.run(gate, [1]))
    await waiting(shared, 1)
    closing = asyncio.create_task(asyncio.to_thread(shared.batches.close))
    await asyncio.sleep(0.05)
    gate.open.set()
    await closing
    assert await running == [0]
    for refused in (behind, shared.batches.run(gate, [2])):
        with pytest.raises(QueueFullError):
            await refused


async def test_a_thread_may_wait_for_its_answer_beside_the_event_loop(shared: Shared) -> None:
    gate = Gate()
    gate.open.set()
    answers: list[Any] = await asyncio.gather(
        asyncio.to_thread(shared.batches.run_and_wait, gate, [1, 2]),
        shared.batches.run(gate, [3]),
    )
    assert answers == [[2, 4], [6]]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no niceness of its own")
async def test_the_thread_that_computes_stands_back_behind_the_one_that_talks(
    shared: Shared,
) -> None:
    def niceness(items: list[int]) -> list[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in items]

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert await shared.batches.run(niceness, [0]) > [own]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
