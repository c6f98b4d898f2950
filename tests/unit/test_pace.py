"""How fast, and how long yet: what came first says nothing of the rate, and nothing is known before the second."""

import pytest

from rayae import pace
from rayae.pace import Pace, in_words


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    clock = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    return clock


def test_the_rate_is_counted_from_the_first_that_came(now: list[float]) -> None:
    found = Pace(1000, already=400)
    assert (found.rate(), found.seconds_left()) == (0.0, None)
    found.advance(100)
    assert (found.rate(), found.seconds_left()) == (0.0, None)
    now[0] += 10
    found.advance(200)
    assert (found.done, found.rate(), found.seconds_left()) == (700, 20.0, 15.0)


def test_nothing_left_takes_no_time_and_an_unknown_total_none_that_is_known(now: list[float]) -> None:
    assert Pace(0).seconds_left() == 0.0
    without_a_total = Pace(None)
    without_a_total.advance(5)
    now[0] += 1
    without_a_total.advance(5)
    assert (without_a_total.rate(), without_a_total.seconds_left()) == (5.0, None)


def test_hours_are_counted_beyond_a_day() -> None:
    assert in_words(100_000) == "27:46:40"
    assert in_words(59.6) == "0:01:00"
