"""SIGTERM ends what is done in order."""

import os
import signal
import threading
import time

import pytest

from rayae.stopping import Terminated, finished_first, kept, watched


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_raised_where_it_comes_and_the_former_handler_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), watched():  # noqa: PT012
        send()
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_in_hand_is_finished_first() -> None:
    done = []
    with pytest.raises(Terminated), watched():  # noqa: PT012
        with finished_first():
            send()
            with finished_first():
                done.append("inner")
            done.append("outer")
        done.append("never")
    assert done == ["inner", "outer"]
    with watched(), finished_first():
        done.append("again")
    assert done[-1] == "again", "what came before is forgotten"


def test_an_error_in_hand_goes_before_it() -> None:
    with pytest.raises(ZeroDivisionError), watched(), finished_first():  # noqa: PT012
        send()
        _ = 1 / 0


def test_a_handler_that_a_library_sets_does_not_stay() -> None:
    with watched():
        ours = signal.getsignal(signal.SIGTERM)
        with kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == ours


def test_outside_the_main_thread_nothing_changes() -> None:
    seen = []

    def work() -> None:
        with watched(), kept():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert seen == [before]
