from dataclasses import replace

import pytest

from rayae.forecast import IMPORTS_S, RAY_START_S, Sampled, Whole, bytes_of, forecast, requests_of

SAMPLED = Sampled(
    images=100, wall_s=2.0, cpu_s=4.0, requests=110, read_bytes=5000, failed=0, start_s=3.0, bottleneck=None
)
WHOLE = Whole(images=36_000, size_bytes=None, chunks=360)


def test_a_process_with_the_machine_to_itself_takes_as_long_as_the_sample() -> None:
    found = forecast(SAMPLED, WHOLE, 1, None)
    assert found.images_per_second == pytest.approx(50)
    assert found.hours * 3600 == pytest.approx(36_000 / 50 + 3 + IMPORTS_S)


def test_a_worker_of_one_cpu_takes_the_cpu_seconds_of_the_sample() -> None:
    found = forecast(SAMPLED, WHOLE, 4, 1.0)
    assert found.images_per_second == pytest.approx(100)
    assert found.hours * 3600 == pytest.approx(360 + 3 + RAY_START_S)


def test_a_worker_of_more_cpus_than_it_uses_is_no_faster_than_the_sample() -> None:
    assert forecast(SAMPLED, WHOLE, 1, 8.0).images_per_second == pytest.approx(50)


def test_more_workers_than_chunks_help_nothing() -> None:
    few = replace(WHOLE, chunks=3)
    assert forecast(SAMPLED, few, 16, 1.0).hours == pytest.approx(forecast(SAMPLED, few, 3, 1.0).hours)


def test_the_last_round_of_chunks_counts_whole() -> None:
    uneven = replace(WHOLE, chunks=5)
    assert forecast(SAMPLED, uneven, 4, 1.0).hours * 3600 == pytest.approx(2 * 36_000 / 5 * 0.04 + 3 + RAY_START_S)


def test_costs_are_of_all_workers_and_of_all_requests() -> None:
    found = forecast(SAMPLED, WHOLE, 4, 1.0, price_per_hour=2.0, price_per_1000_requests=0.5)
    assert found.machines == pytest.approx(found.hours * 4 * 2.0)
    assert found.requests == pytest.approx(39_600 / 1000 * 0.5)


def test_what_the_list_does_not_say_is_that_of_the_sample() -> None:
    assert requests_of(SAMPLED, WHOLE) == 39_600
    assert bytes_of(SAMPLED, WHOLE) == 36_000 * 50
    assert bytes_of(SAMPLED, replace(WHOLE, size_bytes=7)) == 7
