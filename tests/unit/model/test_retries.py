"""How long a refused client waits."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from model.retries import Retries, read_retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def http_date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0", 0), ("7", 7), (" 120 ", 120), (http_date(90), 90), (http_date(-90), 0)],
)
def test_seconds_and_dates_are_read(said, seconds):
    assert read_retry_after_s(said, date=None, now=NOW) == seconds


@pytest.mark.parametrize("said", [None, "", "soon", "-3", "1.5", "٣", "99 Foo 2026"])
def test_what_says_nothing_is_none(said):
    assert read_retry_after_s(said, date=None, now=NOW) is None


def test_a_date_is_measured_by_the_clock_of_the_service():
    wrong_clock = NOW + timedelta(hours=3)
    assert read_retry_after_s(http_date(20), date=http_date(0), now=wrong_clock) == 20


def test_no_pause_is_shorter_than_the_service_asked_for():
    retries = Retries(first_pause_s=0.5, longest_pause_s=4)
    for attempt in range(8):
        for chance in (0.0, 0.5, 1.0):
            pause = retries.pause_s(attempt, 3.0, chance=chance)
            assert 3.0 <= pause <= 3.0 + 4 / 2


def test_own_pauses_double_up_to_the_cap_and_half_of_each_is_chance():
    retries = Retries(first_pause_s=0.5, longest_pause_s=4)
    longest = [retries.pause_s(attempt, None, chance=1.0) for attempt in range(6)]
    shortest = [retries.pause_s(attempt, None, chance=0.0) for attempt in range(6)]
    assert longest == [0.5, 1, 2, 4, 4, 4]
    assert shortest == [own / 2 for own in longest]
    assert retries.pause_s(5_000, None, chance=1.0) == 4
