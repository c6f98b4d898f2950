"""READ and DECODE in a row: order, every status, and pictures that kill the process that decodes them."""

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from rayae.errors import ClusterError
from rayae.loader import Loaded, Loader, at_a_time, digest_of
from rayae.reader import Image, Reader
from tests.unit.murderous import BUG, KILLER, MURDEROUS, SLOW
from tests.unit.small_things import GREY, manifest_of, save_pictures


def files(folder, contents):
    paths = [folder / f"{number:03d}" for number in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    return manifest_of(paths)


def loader(preprocess=GREY, **changed):
    return replace(Loader(Reader(), preprocess, threads=3), **changed)


REFUSED = Reader().read(Image("/nothing/here"))
both = pytest.mark.parametrize("isolated", [False, True], ids=["threads", "isolated"])


@both
def test_pictures_come_in_the_order_of_the_manifest(tmp_path, isolated):
    contents = [SLOW if number % 3 == 0 else bytes([number]) for number in range(12)]
    found = list(loader(MURDEROUS, isolated=isolated).load(files(tmp_path, contents)))
    assert [one.picture.pixels[0, 0, 0] for one in found] == [data[0] for data in contents]
    assert [one.size_bytes for one in found] == [len(data) for data in contents]


@both
def test_every_row_has_its_status_and_costs_no_neighbour(tmp_path, isolated):
    good = save_pictures(tmp_path / "good", 2)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:-20])
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "folder.png").mkdir()
    names = ["empty.png", "cut.png", "page.png", "folder.png", "no.png"]
    rows = manifest_of([good[0], *(tmp_path / name for name in names), good[1]])
    found = list(loader(isolated=isolated).load(rows))
    assert [str(one.picture.status) for one in found] == [
        "scored", "empty", "truncated", "not_an_image", "not_an_image", "missing", "scored",
    ]  # fmt: skip
    assert [one.picture.pixels is None for one in found] == [False, True, True, True, True, True, False]
    assert all(bool(one.picture.error) == (one.picture.pixels is None) for one in found)


@pytest.mark.parametrize(
    ("sizes", "concurrency", "requests"),
    [
        ([100_000] * 4, 128, 128),
        ([100_000] * 4, 512, 512),
        ([1_000, 8 * 1024**2 - 1_000], 128, 64),
        ([50 * 1024**2] * 4, 128, 32),
        ([50 * 1024**2] * 4, 8, 8),
        ([100_000, None], 512, 244),
        ([None], 512, 128),
        ([0, 0], 128, 128),
        ([], 128, 32),
    ],
    ids=str,
)
def test_fewer_large_files_are_asked_for_at_a_time(sizes, concurrency, requests):
    images = [Image(f"s3://bucket/{place}", size) for place, size in enumerate(sizes)]
    assert loader(reader=Reader(concurrency=concurrency)).requests_for(images) == requests


@pytest.mark.parametrize(
    ("sizes", "files"),
    [([10_000] * 4, 8), ([100_000] * 4, 2), ([2_000_000], 1), ([0, 0], 8), ([None, 4], 1), ([], 1)],
    ids=str,
)
def test_a_thread_takes_several_small_files_of_a_disk_at_a_time(sizes, files):
    assert at_a_time([Image(f"/{place}", size) for place, size in enumerate(sizes)]) == files


def test_both_ways_give_the_same_pixels_and_digests(tmp_path):
    rows = manifest_of(save_pictures(tmp_path, 4))
    ways = [list(loader(isolated=isolated, digests=True).load(rows)) for isolated in (False, True)]
    for one, other in zip(*ways, strict=True):
        np.testing.assert_array_equal(one.picture.pixels, other.picture.pixels)
        assert replace(one, picture=None, fetch_seconds=0, decode_seconds=0) == replace(
            other, picture=None, fetch_seconds=0, decode_seconds=0
        )


def test_a_digest_knows_the_bytes_again_under_another_name(tmp_path):
    rows = files(tmp_path, [b"abc", b"abc", b"abd"])
    digests = [one.digest for one in loader(MURDEROUS, digests=True).load(rows)]
    assert digests[0] == digests[1] == digest_of(b"abc") != digests[2]
    assert [one.digest for one in loader(MURDEROUS).load(rows)] == [None] * 3


@both
def test_no_rows_give_nothing(isolated):
    assert list(loader(isolated=isolated).load(manifest_of([]))) == []


def test_the_time_of_reading_and_decoding_is_told(tmp_path):
    (one,) = loader(MURDEROUS).load(files(tmp_path, [SLOW]))
    assert one.decode_seconds >= 0.05
    assert one.fetch_seconds > 0


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closed_early_it_leaves_no_thread_and_reads_no_further(tmp_path, taken):
    before = threading.active_count()
    loading = loader(MURDEROUS).load(files(tmp_path, [SLOW] * 200))
    for _ in range(taken):
        assert isinstance(next(loading), Loaded)
    started = time.monotonic()
    loading.close()
    assert time.monotonic() - started < 1  # 200 of them would take 3 seconds
    assert threading.active_count() == before


def test_closed_early_the_child_process_is_gone(tmp_path):
    before = threading.active_count()
    loading = loader(MURDEROUS, isolated=True).load(files(tmp_path, [b"a", b"b"]))
    next(loading)
    loading.close()
    assert threading.active_count() == before


@both
def test_a_bug_in_the_decoder_is_raised_and_leaves_no_thread(tmp_path, isolated):
    before = threading.active_count()
    loading = loader(MURDEROUS, isolated=isolated).load(files(tmp_path, [b"a", BUG, b"b"]))
    next(loading)
    with pytest.raises(ZeroDivisionError):
        next(loading)
    assert threading.active_count() == before


def test_few_pictures_are_held_when_they_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr("rayae.loader.AHEAD_BYTES", 8 * 32 * 32)
    started = []
    monkeypatch.setattr(Reader, "read", lambda reader, image, stop: started.append(image) or REFUSED)
    loading = loader().load(manifest_of([str(number) for number in range(100)]))
    next(loading)
    time.sleep(0.05)
    assert len(started) == 9
    loading.close()


def test_in_isolation_the_killer_is_named_and_no_other(tmp_path):
    found = list(loader(MURDEROUS, isolated=True).load(files(tmp_path, [b"a", KILLER, b"b", b"c"])))
    assert [str(one.picture.status) for one in found] == ["scored", "decoder_crashed", "scored", "scored"]
    assert [one.picture.pixels is None for one in found] == [False, True, False, False]
    assert found[1].picture.error == "It killed 2 processes that read and decoded it alone; do not open it unguarded."


def test_when_no_child_can_live_no_picture_is_blamed(tmp_path, monkeypatch):
    monkeypatch.setattr("rayae.loader._is_alive", os.abort)
    with pytest.raises(
        ClusterError, match=r"^a process for decoding in isolation dies before it has read a picture; .*"
    ):
        list(loader(isolated=True).load(files(tmp_path, [b"a"])))
