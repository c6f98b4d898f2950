"""Listing by ranges of keys: every key once and in order, whatever the keys are and however many threads there are."""

import bisect
import string
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rayae import keyspace
from rayae.errors import StorageError
from rayae.keyspace import between, listed

BUCKET = "s3://bucket/"
ODD = "/.-_09azAZ~!\x01\x7f é漢\ud7ff\ue000\uffff😀\U0010ffff"
CHARACTERS = st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8"))
KEYS = st.text(CHARACTERS, min_size=1, max_size=6)


class Bucket:
    """Keys in memory that answer as a listing does, and count the pages that were asked for."""

    def __init__(self, keys: Sequence[str], page_rows: int = 1000, seconds: float = 0.0) -> None:
        self.keys = sorted(set(keys))
        self.given = 0
        self.page_rows, self.seconds = page_rows, seconds
        self.asked: list[str | None] = []
        self.threads: set[str] = set()

    def pages(self, prefix_uri: str, after: str | None) -> Iterator[pa.RecordBatch]:
        prefix = prefix_uri.removeprefix(BUCKET)
        at = bisect.bisect_left(self.keys, prefix)
        if after is not None:
            at = max(at, bisect.bisect_right(self.keys, after))
        while True:
            self.asked.append(after)
            self.threads.add(threading.current_thread().name)
            if self.seconds:
                time.sleep(self.seconds)
            found = [key for key in self.keys[at : at + self.page_rows] if key.startswith(prefix)]
            self.given += len(found)
            if found:
                yield pa.record_batch({"uri": [BUCKET + key for key in found]})
            if len(found) < self.page_rows:
                return
            at, after = at + self.page_rows, found[-1]


def keys_of(batches: Iterator[pa.RecordBatch]) -> list[str]:
    return [uri.removeprefix(BUCKET) for batch in batches for uri in batch["uri"].to_pylist()]


@settings(max_examples=150, deadline=None)
@given(st.lists(KEYS, max_size=60), st.integers(1, 5), st.integers(1, 7), st.sampled_from([3, 20, 100_000]))
@example(["a", "a/", "a//", "a/b", "a0"], 1, 4, 3)
def test_every_key_comes_once_and_in_order(keys: list[str], page_rows: int, workers: int, look_ahead: int) -> None:
    bucket = Bucket(keys, page_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyspace, "FULL_PAGE_ROWS", 1)
        patch.setattr(keyspace, "LOOK_AHEAD_ROWS", look_ahead)
        patch.setattr(keyspace, "MOST_HELD_ROWS", 4 * look_ahead)
        assert keys_of(listed([BUCKET], bucket.pages, workers)) == bucket.keys


@settings(max_examples=60, deadline=None)
@given(st.lists(KEYS, max_size=60), st.lists(KEYS, max_size=4, unique=True), st.integers(1, 4))
def test_only_keys_below_the_prefixes_come_in_the_order_of_the_prefixes(
    keys: list[str], prefixes: list[str], workers: int
) -> None:
    bucket = Bucket(keys, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyspace, "FULL_PAGE_ROWS", 1)
        found = keys_of(listed([BUCKET + prefix for prefix in prefixes], bucket.pages, workers))
    assert found == [key for prefix in prefixes for key in bucket.keys if key.startswith(prefix)]


@settings(max_examples=300)
@given(KEYS, st.one_of(st.none(), KEYS), st.integers(0, 3), st.integers(0, 6))
@example("IMG_0001", None, 0, 3)
@example("a", "b", 0, 0)
@example("a", "a-", 0, 0)
@example("\ud7ff", "\ue001", 0, 1)
@example("\ud7ff", None, 0, 1)
def test_a_cut_lies_between_its_ends_and_keeps_what_all_keys_share(
    low: str, high: str | None, fixed: int, steady: int
) -> None:
    if high is not None and low > high:
        low, high = high, low
    if low == high:
        return
    found = between(low, high, fixed, steady)
    if found is not None:
        assert low < found
        assert high is None or found < high
        assert high is not None or found[:fixed] == low[:fixed]
        found.encode()
        assert found.isprintable() or not low.isprintable() or ord(found[-1]) > 0x7F


LAYOUTS: dict[str, Callable[[int], str]] = {
    "one after the other": lambda number: f"raw/IMG_{number:08}.jpg",
    "random": lambda number: f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}.jpg",
    "by date": lambda number: f"cam{number % 3}/2024-{1 + number % 12:02}-{1 + number % 28:02}T{number:06}.png",
    "in deep folders": lambda number: f"parts/{number // 10_000:03}/{number // 100 % 100:03}/{number % 100:02}.tif",
    "words": lambda number: string.ascii_lowercase[number % 26] * 3 + "/ü " + f"{number:x}",
    "in Chinese": lambda number: f"图像/{chr(0x4E00 + number * 7 % 20_000)}{number}.jpg",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flat_prefix_is_shared_among_the_threads_whatever_its_keys_look_like(layout: str) -> None:
    bucket = Bucket([LAYOUTS[layout](number) for number in range(150_000)], seconds=0.005)
    began = time.monotonic()
    assert keys_of(listed([BUCKET], bucket.pages, 8)) == bucket.keys
    assert time.monotonic() - began < 150 * 0.005 + 2.0
    assert len(bucket.threads) == 8
    assert len(bucket.asked) < 150 + 64 + 150 // 4 + 100


def test_a_small_prefix_is_one_request() -> None:
    bucket = Bucket([f"{number}.png" for number in range(999)])
    assert len(keys_of(listed([BUCKET], bucket.pages))) == 999
    assert bucket.asked == [None]


def test_no_more_is_held_than_the_limit_while_nobody_takes_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyspace, "LOOK_AHEAD_ROWS", 20_000)
    monkeypatch.setattr(keyspace, "MOST_HELD_ROWS", 80_000)
    bucket = Bucket([LAYOUTS["random"](number) for number in range(300_000)])
    found = listed([BUCKET], bucket.pages, 8)
    next(found)
    time.sleep(1.0)
    most_cut_off = keyspace.SPARE_REQUESTS * 1000  # of a page that was under way when its range was cut
    assert bucket.given <= 80_000 + 8 * 1000 + most_cut_off
    assert sum(1 for _ in found) >= 299
    bucket = Bucket(bucket.keys)
    found = listed([BUCKET], bucket.pages, 8)
    next(found)
    found.close()
    assert threading.active_count() < 8


def test_what_a_thread_meets_is_raised_where_the_keys_are_taken() -> None:
    def broken(prefix_uri: str, after: str | None) -> Iterator[pa.RecordBatch]:
        if after is None:
            yield pa.record_batch({"uri": [f"{BUCKET}{number:05}" for number in range(1000)]})
        raise StorageError("cannot list it: the disk is on fire.")

    with pytest.raises(StorageError, match="on fire"):
        keys_of(listed([BUCKET], broken))


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"]])
def test_a_storage_that_lists_in_another_order_is_refused(keys: list[str]) -> None:
    def pages(prefix_uri: str, after: str | None) -> Iterator[pa.RecordBatch]:
        for key in keys:
            yield pa.record_batch({"uri": [BUCKET + key]})

    with pytest.raises(StorageError) as error:
        keys_of(listed([BUCKET], pages))
    assert str(error.value) == (
        f"s3://bucket/ is not listed in the order of its keys (after {keys[0]!r} came {keys[1]!r}), "
        "so nobody could tell whether a listing is whole; give a list of the URIs instead."
    )
