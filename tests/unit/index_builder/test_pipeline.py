import random
import threading
import time

import pytest

from index_builder.pipeline import read_ahead


def doubled(tasks, work=lambda n: n * 2, threads=4, held_by=lambda _: 1, max_held=8):
    return read_ahead(tasks, work, thread_count=threads, held_by=held_by, max_held=max_held)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("max_held", [1, 3, 1000])
def test_results_come_in_order_whatever_finishes_first(threads, max_held):
    def slowly(number):
        time.sleep(random.Random(number).random() / 500)
        return number * 2

    found = list(doubled(range(60), slowly, threads=threads, max_held=max_held))
    assert found == [number * 2 for number in range(60)]


def test_no_more_is_held_than_the_bound_and_one_a_thread():
    lock, held, peak = threading.Lock(), 0, 0

    def work(number):
        nonlocal held, peak
        with lock:
            held += 5
            peak = max(peak, held)
        return number

    results = doubled(range(100), work, threads=3, held_by=lambda _: 5, max_held=20)
    for _ in results:
        time.sleep(0.001)  # a slow consumer: threads would run far ahead
        with lock:
            held -= 5
    # 20 held by waiting results, and one result more of each thread and of the consumer.
    assert 20 <= peak <= 20 + 5 * 4


def test_one_result_larger_than_the_bound_stops_nothing():
    assert list(doubled(range(20), held_by=lambda _: 100, max_held=1)) == list(range(0, 40, 2))


def test_an_error_is_raised_in_its_place_and_ends_the_threads():
    def work(number):
        if number == 5:
            raise ValueError("five")
        return number

    before = threading.active_count()
    results = doubled(range(100), work)
    seen = []
    with pytest.raises(ValueError, match="five"):
        for number in results:
            seen.append(number)
    assert seen == [0, 1, 2, 3, 4]
    assert threading.active_count() == before


def test_a_consumer_that_leaves_early_ends_the_threads():
    before = threading.active_count()
    results = doubled(range(1000))
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_no_tasks_give_no_results():
    assert list(doubled([])) == []
