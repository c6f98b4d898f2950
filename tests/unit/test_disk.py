"""Files of this machine: whole or not at all, and never waited for."""

import os
import threading
from pathlib import Path

import pytest

from rayae import disk


def test_a_file_is_written_in_its_place_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    assert disk.write(path, b"one", os.replace)
    assert disk.write(path, b"two", os.replace)
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a"]


def test_a_place_that_is_taken_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"theirs")
    assert not disk.write(path, b"ours", os.link)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_grows_is_not_there_before_its_end_nor_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with disk.growing(tmp_path / "b") as file:
            file.write(b"half")
            raise OSError("no space")

    with disk.growing(tmp_path / "a") as file:
        file.write(b"whole")
        assert not (tmp_path / "a").exists()
    with pytest.raises(OSError, match="no space"):
        fail()
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("count", [0, 3, 5, 99])
def test_a_tail_is_the_end_of_a_file_or_all_of_a_shorter_one(count: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert disk.read_tail(str(tmp_path / "a"), count) == b"12345"[5 - min(count, 5) :]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(disk.NotAFile, match=f"^cannot read {path}: it is no file.$"):
            disk.open_file(str(path))


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    entered, order = threading.Event(), []

    def wait() -> None:
        entered.set()
        with disk.locked(tmp_path / "a"):
            order.append("second")

    with disk.locked(tmp_path / "a"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        entered.wait()
        waiting.join(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
