import random
import threading
import time

import pytest

from index_builder.encoding.pipeline import read_ahead


def doubled(tasks, work=lambda n: n * 2, threads=4, max_waiting=8):
    return read_ahead(tasks, [work] * threads, max_waiting=max_waiting)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("max_waiting", [1, 3, 1000])
def test_results_come_in_order_whatever_finishes_first(threads, max_waiting):
    def slowly(number):
        time.sleep(random.Random(number).random() / 500)
        return number * 2

    found = list(doubled(range(60), slowly, threads=threads, max_waiting=max_waiting))
    assert found == [number * 2 for number in range(60)]


def test_no_more_is_held_than_the_bound_and_one_a_thread():
    lock, held, peak = threading.Lock(), 0, 0

    def work(number):
        nonlocal held, peak
        with lock:
            held += 1
            peak = max(peak, held)
        return number

    for _ in doubled(range(100), work, threads=3, max_waiting=4):
        time.sleep(0.001)  # a slow consumer: threads would run far ahead
        with lock:
            held -= 1
    # 4 waiting results, and one result more of each thread and of the consumer.
    assert 4 <= peak <= 4 + 3 + 1


def test_what_waits_weighs_no_more_than_the_bound_and_one_result_a_thread():
    lock, held, peak = threading.Lock(), 0, 0

    def work(number):
        nonlocal held, peak
        with lock:
            held += number
            peak = max(peak, held)
        return number

    weights = [1 + number % 5 for number in range(100)]
    found = read_ahead(weights, [work] * 3, max_waiting=50, weigh=lambda n: n, max_weight=12)
    for place, weight in enumerate(found):
        assert weight == weights[place]
        time.sleep(0.001)
        with lock:
            held -= weight
    # Less than 12 wait when a thread begins, then one result of each thread and of the consumer.
    assert 12 <= peak <= 11 + 5 * (3 + 1)


def test_a_result_heavier_than_the_bound_goes_through_alone():
    found = read_ahead(
        range(20), [lambda n: n] * 3, max_waiting=50, weigh=lambda _: 9, max_weight=1
    )
    assert list(found) == list(range(20))


def test_tasks_are_taken_only_as_they_are_needed():
    taken = []

    def stream():
        for number in range(1000):
            taken.append(number)
            yield number

    results = doubled(stream(), threads=2, max_waiting=3)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(taken) <= 1 + 3 + 2 + 1
    results.close()


def test_a_source_of_tasks_that_fails_is_told_after_what_it_gave():
    def stream():
        yield from range(3)
        raise ValueError("gone")

    results = doubled(stream())
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="gone"):
        next(results)


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
