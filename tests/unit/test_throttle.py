import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rayae import throttle
from rayae.throttle import Throttle, backoff_s


def test_no_more_requests_are_under_way_than_are_allowed() -> None:
    limit, under_way, most = Throttle(3), 0, 0
    lock = threading.Lock()

    def request(_: int) -> None:
        nonlocal under_way, most
        with limit.turn():
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.005)
            with lock:
                under_way -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(request, range(64)))
    assert most == 3


def test_busy_storage_halves_the_requests_once_for_those_refused_together() -> None:
    limit = Throttle(32)
    for _ in range(20):
        limit.failed(is_busy=True)
    assert limit.limit == 16


def test_storage_that_refuses_a_few_keeps_most_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "SECONDS_BETWEEN_CUTS", 0.0)
    limit = Throttle(32)
    for _ in range(200):
        limit.failed(is_busy=True)
        for _ in range(4):
            limit.answered()
    assert limit.limit > 5  # halved at every refusal it would be below 3
    for _ in range(10):
        limit.failed(is_busy=True)
    assert limit.limit == 1


def test_a_lost_connection_is_no_sign_of_too_many_requests() -> None:
    limit = Throttle(32)
    limit.failed(is_busy=False)
    assert limit.limit == 32


def test_answers_bring_the_requests_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "SECONDS_BETWEEN_CUTS", 0.0)
    limit = Throttle(32)
    for _ in range(10):
        limit.failed(is_busy=True)
    assert limit.limit == 1
    answers = 0
    while limit.limit < 32:
        limit.answered()
        answers += 1
    assert answers < 32 * 32  # one more a round of requests: the sum of 1 to 32


def test_a_waiting_request_goes_on_when_the_limit_rises() -> None:
    limit = Throttle(2)
    limit.limit = 1
    done = threading.Event()

    def request() -> None:
        with limit.turn():
            done.set()

    with limit.turn():
        thread = threading.Thread(target=request)
        thread.start()
        assert not done.wait(0.05)
        limit.answered()
        assert done.wait(5)
    thread.join()


def test_silence_lasts_from_the_first_failure_to_the_next_answer() -> None:
    limit = Throttle(4)
    assert limit.silent_s() == 0
    for _ in range(3):
        limit.failed(is_busy=False)
    time.sleep(0.01)
    assert limit.silent_s() >= 0.01
    limit.answered()
    assert limit.silent_s() == 0


def test_who_waits_for_a_turn_is_let_go_when_the_job_ends() -> None:
    limit, stop, waited = Throttle(1), threading.Event(), list[float]()

    def wait() -> None:
        with limit.turn(stop) as waited_s:
            waited.append(waited_s)

    with limit.turn():
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        time.sleep(0.1)
        assert not waited
        stop.set()
        waiting.join(5)
    assert waited
    assert 0.1 <= waited[0] < 5


def test_waits_grow_to_a_limit_and_differ() -> None:
    waits = {failures: [backoff_s(0.1, 2.0, failures) for _ in range(200)] for failures in (0, 3, 50)}
    assert max(waits[0]) <= 0.1
    assert 0.1 < max(waits[3]) <= 0.8
    assert 1.0 < max(waits[50]) <= 2.0
    assert len(set(waits[50])) > 100
