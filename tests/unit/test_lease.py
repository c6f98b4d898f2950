"""The lease: of two drivers one is refused while the other lives, and none waits for one that has ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rayae import storage
from rayae.errors import RunError, StorageError
from rayae.lease import LEASE, Holder, Limits, held, holder_of

QUICK = Limits(renew_s=0.1, void_s=0.5, look_s=0.02)
ELSEWHERE = replace(Holder.here(), host="elsewhere", machine="another boot", token="its own")


def noted(run: Path) -> Holder | None:
    return holder_of(str(run))


def put(run: Path, holder: Holder) -> None:
    """Give the lease to a holder, as one that takes over does."""
    uri = str(run / LEASE)
    while True:
        found = storage.read_version(uri)
        if storage.create(uri, holder.to_bytes()) or (found and storage.replace(uri, holder.to_bytes(), found[1])):
            return


def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(tmp_path: Path) -> None:
    with held(str(tmp_path), QUICK):
        found = noted(tmp_path)
        assert found is not None
        assert (found.host, found.pid) == (os.uname().nodename, os.getpid())
        assert str(found) == f"process {os.getpid()} on {found.host}, since {found.since}"
    assert noted(tmp_path) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), RunError("odd")])
def test_a_lease_is_given_back_whatever_happens(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), held(str(tmp_path), QUICK):
        raise error
    assert not (tmp_path / LEASE).exists()


def test_a_lease_is_renewed(tmp_path: Path) -> None:
    with held(str(tmp_path), QUICK) as lease:
        before = noted(tmp_path)
        time.sleep(0.4)
        after = noted(tmp_path)
        assert before is not None
        assert after is not None
        assert after.beat >= before.beat + 2
        assert after.renewed > before.renewed
        lease.check()


def test_a_second_driver_is_refused_with_who_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(str(tmp_path), QUICK), pytest.raises(RunError) as refused, held(str(tmp_path), QUICK):
        raise AssertionError("both hold it")
    me = noted_in(str(refused.value))
    assert str(refused.value) == (
        f"{tmp_path} is being written by another process ({me}): it has just renewed its lease. "
        "A lease that is not renewed for 0.5 s is void; wait for that process or end it, and run the same command "
        "again."
    )
    assert f"{tmp_path} is held by {me}: waiting up to 0.5 s to see whether it lives\n" in capsys.readouterr().out


def noted_in(text: str) -> str:
    inside = text.partition("(")[2].partition(")")[0]
    assert inside.startswith(f"process {os.getpid()} on {os.uname().nodename}, since ")
    return inside


def test_a_holder_elsewhere_that_renews_no_more_is_taken_over_after_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, replace(ELSEWHERE, renewed=time.time() + 3600))  # its clock does not matter
    began = time.monotonic()
    with held(str(tmp_path), QUICK):
        assert 0.5 <= time.monotonic() - began < 3
        found = noted(tmp_path)
        assert found is not None
        assert found.pid == os.getpid()
    assert "was not renewed for 0.5 s: taking over" in capsys.readouterr().out


def test_a_dead_process_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from rayae.lease import held\n"
        f"with held({str(tmp_path)!r}):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        first.send_signal(signal.SIGKILL)
        first.wait()
    began = time.monotonic()
    with held(str(tmp_path)):
        assert time.monotonic() - began < 2


def test_a_pid_that_another_process_has_by_now_is_a_dead_holder(tmp_path: Path) -> None:
    me = Holder.here()
    assert me.process_started is not None
    assert not me.is_gone()
    assert replace(me, process_started=me.process_started - 1).is_gone()
    assert not replace(me, process_started=me.process_started - 1, machine="another boot").is_gone()
    assert not replace(me, host="elsewhere", process_started=0).is_gone()
    assert not replace(me, machine=None, process_started=None).is_gone(), "nobody knows"


def test_a_driver_that_slept_too_long_stops_when_another_has_taken_over(tmp_path: Path) -> None:
    done = []
    with held(str(tmp_path), QUICK) as lease, pytest.raises(RunError) as lost:  # noqa: PT012
        for item in lease.guard(range(1000)):
            done.append(item)
            if item == 2:
                put(tmp_path, ELSEWHERE)
            time.sleep(0.05)
    assert str(lost.value) == (
        f"{tmp_path} was taken over by {ELSEWHERE}: this process had not renewed its lease for 0.5 s. "
        "What it wrote is right and stays; the other one does the rest."
    )
    assert 3 <= len(done) < 20
    assert noted(tmp_path) == ELSEWHERE, "it is not given back by who does not hold it"


def test_a_loss_is_seen_at_once_after_a_sleep(tmp_path: Path) -> None:
    with held(str(tmp_path), Limits(renew_s=60, void_s=0.2, look_s=0.02)) as lease:
        lease.check()
        put(tmp_path, ELSEWHERE)
        lease.check()
        time.sleep(0.3)
        with pytest.raises(RunError, match="was taken over by process"):
            lease.check()


def test_of_many_that_wait_for_a_void_lease_one_gets_it(tmp_path: Path) -> None:
    put(tmp_path, ELSEWHERE)
    got: list[str] = []

    def drive() -> None:
        try:
            with held(str(tmp_path), QUICK):
                got.append("held")
                time.sleep(1.5)
        except RunError:
            got.append("refused")

    drivers = [threading.Thread(target=drive) for _ in range(6)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert sorted(got) == ["held", *["refused"] * 5]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"host": 1}', '{"host": "h", "pid": "x"}', "\xff", '{"host": "h", "more": 1}']
)
def test_a_damaged_lease_is_void_after_the_limit(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / LEASE).write_bytes(text.encode("latin-1"))
    assert noted(tmp_path) is None
    with held(str(tmp_path), QUICK):
        assert noted(tmp_path) is not None
    assert f"{tmp_path} is held by a process that its lease does not name: waiting" in capsys.readouterr().out


def test_a_lease_that_was_removed_by_hand_is_written_again(tmp_path: Path) -> None:
    with held(str(tmp_path), QUICK) as lease:
        (tmp_path / LEASE).unlink()
        time.sleep(0.3)
        lease.check()
        assert noted(tmp_path) is not None


def test_a_driver_that_slept_while_another_came_and_went_does_not_take_the_lease_back(tmp_path: Path) -> None:
    with held(str(tmp_path), Limits(renew_s=60, void_s=0.2, look_s=0.02)) as lease:
        (tmp_path / LEASE).unlink()  # as one does that has taken over, and has ended
        time.sleep(0.3)
        with pytest.raises(RunError, match=r"which has ended since: .* run the same command again\.$"):
            lease.check()
    assert noted(tmp_path) is None


def test_a_lease_that_is_given_back_while_another_waits_is_had_at_once(tmp_path: Path) -> None:
    slow = Limits(renew_s=60, void_s=60, look_s=0.02)
    with held(str(tmp_path), slow) as first:
        threading.Timer(0.2, first.give_back).start()
        with held(str(tmp_path), slow):
            assert noted(tmp_path) is not None


def test_a_storage_without_compare_and_swap_has_leases_too() -> None:
    with held("memory://test-lease/run", QUICK):
        assert holder_of("memory://test-lease/run") is not None
        with (
            pytest.raises(RunError, match="is being written by another process"),
            held("memory://test-lease/run", QUICK),
        ):
            pass
    assert holder_of("memory://test-lease/run") is None


def test_a_storage_that_does_not_answer_for_a_while_costs_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(str(tmp_path), QUICK) as lease:

        def refuse(*_: object) -> bool:
            raise StorageError("no answer.")

        with monkeypatch.context() as broken:
            broken.setattr(storage, "replace", refuse)
            time.sleep(0.7)
            lease.check()
        time.sleep(0.3)
        lease.check()
        assert time.monotonic() - lease.renewed < 0.5


def test_the_file_says_all_that_a_person_needs(tmp_path: Path) -> None:
    with held(str(tmp_path), QUICK):
        found = json.loads((tmp_path / LEASE).read_text())
    assert set(found) == {"host", "machine", "pid", "process_started", "token", "since", "renewed", "beat"}
