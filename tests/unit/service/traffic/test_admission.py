"""How much is admitted, and how that follows the pace at which items are answered."""

import asyncio

import pytest

from service.errors import QueueFullError
from service.traffic.admission import Admission, Pace

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(memory_s=10, now=clock)


def answer(pace: Pace, clock: Clock, *, rate: float, batch: int, seconds: float) -> None:
    """Answer so many a second from a full queue."""
    pace.begin(64)
    for _ in range(round(seconds * rate / batch)):
        clock.now += batch / rate
        pace.note(64, batch)


@pytest.mark.parametrize(("rate", "batch"), [(17, 1), (17, 32), (900, 32), (0.5, 1)])
def test_the_pace_is_that_of_the_answers_whatever_their_batches(
    pace: Pace, clock: Clock, rate: float, batch: int
) -> None:
    answer(pace, clock, rate=rate, batch=batch, seconds=max(60, 40 / rate))
    # Just after a batch its whole time is known, just before the next one nothing of it.
    assert pace.items_per_s == pytest.approx(rate, rel=0.15)


def test_time_in_which_little_waits_says_nothing_of_the_pace(pace: Pace, clock: Clock) -> None:
    answer(pace, clock, rate=20, batch=1, seconds=60)
    pace.note(0, 1)
    clock.now += 1
    for _ in range(100):
        clock.now += 1_000
        pace.begin(1)
        clock.now += 1
        pace.note(0, 1)
    assert pace.items_per_s == pytest.approx(20, rel=0.05)


def test_one_query_after_the_other_is_nothing_to_judge_by(pace: Pace, clock: Clock) -> None:
    for _ in range(1_000):
        pace.begin(1)
        clock.now += 0.2
        pace.note(0, 1)
    assert pace.items_per_s is None


def test_a_few_fast_answers_are_nothing_to_judge_by(pace: Pace, clock: Clock) -> None:
    answer(pace, clock, rate=50, batch=1, seconds=0.9)
    assert pace.items_per_s is None


def test_waiting_for_the_first_batch_is_nothing_to_judge_by(pace: Pace, clock: Clock) -> None:
    for waiting_count in range(1, 65):
        pace.begin(waiting_count)
        clock.now += 0.1
    assert pace.items_per_s is None
    pace.note(63, 1)  # the first of a batch of 32 that were answered together
    assert pace.items_per_s is None


def test_where_nothing_is_answered_in_time_the_pace_is_nothing(pace: Pace, clock: Clock) -> None:
    pace.begin(64)
    clock.now += 10
    for left in range(63, -1, -1):
        pace.note(left, 1, is_answered=False)
    assert pace.items_per_s == 0


@pytest.mark.parametrize("client_count", [16, 20, 32, 64])
def test_a_batch_that_empties_the_queue_counts_as_a_whole(
    pace: Pace, clock: Clock, client_count: int
) -> None:
    # Whoever is answered asks again at once; a batch takes up to 32, at 17 a second.
    for _ in range(60):
        pace.begin(client_count)
        batch = min(32, client_count)
        clock.now += batch / 17
        for answered in range(1, batch + 1):
            clock.now += 0.001
            pace.note(client_count - answered, 1)
    assert pace.items_per_s == pytest.approx(17, rel=0.15)


def test_the_pace_of_long_ago_is_forgotten(pace: Pace, clock: Clock) -> None:
    answer(pace, clock, rate=200, batch=10, seconds=60)
    answer(pace, clock, rate=10, batch=1, seconds=60)
    assert pace.items_per_s == pytest.approx(10, rel=0.1)


def test_what_is_given_up_takes_time_and_is_no_answer(pace: Pace, clock: Clock) -> None:
    answer(pace, clock, rate=20, batch=1, seconds=60)
    for _ in range(60):
        clock.now += 1
        pace.note(64, 1, is_answered=False)
    assert pace.items_per_s is not None and pace.items_per_s < 1


@pytest.mark.parametrize(
    ("rate", "limit"), [(None, 256), (1000, 256), (17, 136), (5, 40), (0.1, 32)]
)
def test_no_more_is_admitted_than_is_likely_to_be_answered_in_time(
    rate: float | None, limit: int, pace: Pace, clock: Clock
) -> None:
    admission = Admission(max_waiting_items=256, query_timeout_ms=10_000)
    admission.pace = pace
    if rate is not None:
        answer(pace, clock, rate=rate, batch=1, seconds=400)
    assert admission.limit == pytest.approx(limit, rel=0.06)


async def test_what_goes_beyond_the_limit_of_the_pace_is_refused(clock: Clock) -> None:
    admission = Admission(max_waiting_items=256, query_timeout_ms=1_000)
    admission.pace = Pace(now=clock)
    for _ in range(50):
        async with admission.admitted(20):
            clock.now += 0.4  # 50 a second, so 40 in eight tenths of the deadline
    assert admission.limit == pytest.approx(40, abs=3)
    async with admission.admitted(32):
        admission.check_room(4)
        with pytest.raises(QueueFullError, match="32 items are waiting and 16 more are too many"):
            admission.check_room(16)
    assert admission.waiting_items == 0


async def test_failed_and_late_requests_leave_the_queue_and_slow_the_pace(clock: Clock) -> None:
    admission = Admission(max_waiting_items=256, query_timeout_ms=1_000)
    admission.pace = Pace(now=clock)
    async with admission.admitted(32):
        clock.now += 2
    before = admission.pace.items_per_s
    with pytest.raises(asyncio.CancelledError):
        async with admission.admitted(32):
            clock.now += 2
            raise asyncio.CancelledError
    assert admission.waiting_items == 0
    assert before is not None and admission.pace.items_per_s is not None
    assert admission.pace.items_per_s < 0.7 * before
