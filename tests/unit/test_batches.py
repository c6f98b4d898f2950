"""Batches of pictures: from memory and streamed they are the same, and streaming holds few of them."""

import threading

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rayae import loader as loaders
from rayae.batches import Streamed, arrange, in_batches, pixels_of
from rayae.errors import PictureLost, StorageError
from rayae.loader import Loader
from rayae.preprocess import Preprocess
from rayae.reader import NEVER, Fetched, Reader
from rayae.results import Status
from tests.unit.small_things import GREY, manifest_of, pictures, save_pictures

COUNT = 11
HELD = pictures(COUNT)


def streamed(folder, count=COUNT):
    return Streamed(manifest_of(save_pictures(folder, count)), Loader(Reader(), GREY, threads=3))


def joined(batches):
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("size", [1, 4, 11, 50])
def test_streamed_batches_are_those_from_memory(tmp_path, size):
    order = np.random.default_rng(0).permutation(COUNT)[:9]
    for places in (order, None, order[:0]):
        wanted = joined(in_batches(HELD, size, places))
        assert joined(in_batches(streamed(tmp_path), size, places)) == wanted
    assert joined(in_batches(HELD, 4, order)) == [
        HELD[order[:4]].tolist(),
        HELD[order[4:8]].tolist(),
        [HELD[order[8]].tolist()],
    ]


def test_an_order_is_read_piece_by_piece_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr("rayae.batches.ROWS_AT_ONCE", 3)
    order = np.random.default_rng(1).permutation(COUNT)
    assert joined(in_batches(streamed(tmp_path), 4, order)) == joined(in_batches(HELD, 4, order))


def test_names_are_brought_to_python_as_they_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("rayae.batches.ROWS_AT_ONCE", 3)
    monkeypatch.setattr("rayae.loader.AHEAD_IMAGES", 3)
    asked, images_of = [], loaders.images_of
    monkeypatch.setattr(loaders, "images_of", lambda table: asked.append(table.num_rows) or images_of(table))
    batches = in_batches(streamed(tmp_path), 1)
    next(batches)
    assert asked == [3, 3]
    batches.close()


@pytest.mark.parametrize("part", [slice(None), slice(0, 4), slice(3, 8), slice(8, 100), slice(0, 0), slice(5, 2)])
def test_a_slice_is_that_of_an_array(tmp_path, part):
    found = streamed(tmp_path)[part]
    assert (len(found), found.shape) == (len(HELD[part]), HELD[part].shape)
    np.testing.assert_array_equal(pixels_of(found), HELD[part])


def test_a_slice_reads_nothing(tmp_path):
    whole = streamed(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    assert whole[2:5].shape == (3, *HELD.shape[1:])


def test_pictures_are_chosen_by_id_in_the_order_of_the_ids(tmp_path):
    rows = manifest_of(save_pictures(tmp_path, COUNT))
    loader = Loader(Reader(), GREY, threads=1, digests=True)
    ids = rows["image_id"].to_numpy()[[7, 2, 9]]
    chosen = Streamed.of(rows, ids, loader)
    np.testing.assert_array_equal(pixels_of(chosen), HELD[[7, 2, 9]])
    assert not chosen.loader.digests


class Silent(Reader):
    """Storage that does not answer, for now."""

    def read(self, image, stop=NEVER):
        return Fetched(None, Status.TIMEOUT, "Storage did not answer in 30 s.", None)


def test_what_storage_does_not_give_for_now_is_no_lost_picture(tmp_path):
    table = manifest_of(save_pictures(tmp_path, 2))
    with pytest.raises(StorageError) as refused:
        pixels_of(Streamed(table, Loader(Silent(), GREY, threads=1)))
    assert str(refused.value) == (
        f"{tmp_path}/000.png cannot be read for this epoch: Storage did not answer in 30 s. Run the same command "
        "again, which goes on from the last epoch."
    )


def test_a_picture_that_was_lost_is_named(tmp_path):
    some = streamed(tmp_path)
    (tmp_path / "004.png").unlink()
    batches = in_batches(some, 2, np.array([1, 2, 4, 5]))
    next(batches)
    with pytest.raises(PictureLost) as lost:
        next(batches)
    assert str(lost.value).startswith(f"{tmp_path}/004.png could be read when training began, and now it is missing: ")
    assert str(lost.value).endswith(
        " Run the same command again when it can be read, or without it, with a new `out=`."
    )


def test_closed_early_it_leaves_no_thread(tmp_path):
    before = threading.active_count()
    batches = in_batches(streamed(tmp_path), 2)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_20_000_streamed_pictures_take_the_memory_of_a_few(tmp_path):
    """Held they would be 940 MB."""
    Image.fromarray(pictures(1)[0, :16, :16, 0]).save(tmp_path / "one.png")
    rows = manifest_of([tmp_path / "one.png"] * 20_000)
    some = Streamed(rows, Loader(Reader(), Preprocess("rgb", 128, 128), threads=3))
    process, grown, count = psutil.Process(), 0, 0
    before = process.memory_info().rss
    for batch in in_batches(some, 32, np.random.default_rng(0).permutation(len(some))):
        grown, count = max(grown, process.memory_info().rss - before), count + len(batch)
    assert count == 20_000
    assert grown < 150 * 1024**2


@given(st.integers(0, 12).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.integers(0, n))))
def test_pictures_are_arranged_where_they_lie(drawn):
    places, count = drawn
    order = np.array(places[:count], dtype=np.int64)
    pixels = np.random.default_rng(0).integers(0, 255, (len(places), 2, 3, 1), np.uint8)
    wanted = pixels[order]
    arranged = arrange(pixels, order)
    np.testing.assert_array_equal(arranged, wanted)
    assert not len(arranged) or np.shares_memory(arranged, pixels)
