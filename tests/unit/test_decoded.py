"""A chunk's pictures between two processes: all of them come back, in their order, without a copy of the pixels."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from rayae.decoded import NOTHING, SCHEMA, are_of, packed, refuse_large_chunks, unpacked
from rayae.errors import ConfigError
from rayae.loader import Loaded
from rayae.manifest import complete
from rayae.preprocess import Picture, Preprocess
from rayae.results import Status
from rayae.traffic import Traffic

PREPROCESS = Preprocess("rgb", 32, 48)


def loaded(seed: int, status: Status = Status.SCORED) -> Loaded:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    if status != Status.SCORED:
        return Loaded(Picture(None, status, f"It is {status}, ü.", None, None), None, None, 0.5, 0.0)
    traffic = Traffic(requests=2, retries=1, throttled=1, bytes=1000 + seed)
    return Loaded(Picture(pixels, status, None, 640, 480), 1000 + seed, None, 0.25, 0.125, traffic)


def rows(count: int) -> pa.Table:
    return complete({"uri": [f"/{number}.png" for number in range(count)]})


@pytest.mark.parametrize("bad", [(), (0,), (2, 3), (0, 1, 2, 3, 4)])
def test_pictures_and_failures_come_back_in_their_order(bad: tuple[int, ...]) -> None:
    given = [loaded(n, Status.TRUNCATED if n in bad else Status.SCORED) for n in range(5)]
    table = packed(iter(given), rows(5), PREPROCESS)
    assert table.schema == SCHEMA
    found = list(unpacked(table, PREPROCESS))
    for one, other in zip(given, found, strict=True):
        assert dataclasses.replace(one.picture, pixels=None) == dataclasses.replace(other.picture, pixels=None)
        assert (one.size_bytes, one.fetch_seconds, one.decode_seconds, one.traffic) == (
            other.size_bytes, other.fetch_seconds, other.decode_seconds, other.traffic,
        )  # fmt: skip
        assert (one.picture.pixels is None) == (other.picture.pixels is None)
        assert one.picture.pixels is None or np.array_equal(one.picture.pixels, other.picture.pixels)


def test_a_chunk_in_the_midst_of_others_comes_out_as_itself() -> None:
    tables = [packed(iter([loaded(n), loaded(n + 1)]), rows(2), PREPROCESS) for n in (1, 3, 5)]
    together = pa.concat_tables(tables).combine_chunks()
    for place, table in enumerate(tables):
        found = [one.picture.pixels for one in unpacked(together.slice(place, 1), PREPROCESS)]
        wanted = [one.picture.pixels for one in unpacked(table, PREPROCESS)]
        assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_the_pixels_are_not_copied_on_their_way_out() -> None:
    table = packed(iter([loaded(1), loaded(2)]), rows(2), PREPROCESS)
    lies_at = table["pixels"].chunk(0).buffers()[2].address
    first, second = (one.picture.pixels for one in unpacked(table, PREPROCESS))
    assert first is not None
    assert second is not None
    assert first.__array_interface__["data"][0] == lies_at
    assert second.__array_interface__["data"][0] == lies_at + first.nbytes


def test_nothing_is_one_row_of_the_same_columns() -> None:
    assert (NOTHING.schema, NOTHING.num_rows) == (SCHEMA, 1)
    assert packed(iter([]), rows(0), PREPROCESS).num_rows == 1


def test_a_chunk_that_is_too_large_is_refused_with_the_sum() -> None:
    refuse_large_chunks(2048, Preprocess("rgb", 128, 128))
    with pytest.raises(ConfigError) as error:
        refuse_large_chunks(2048, Preprocess("rgb", 512, 512))
    assert str(error.value) == (
        "a chunk has 2,048 pictures of 512 x 512 x 3 bytes = 1.5 GiB, and with placement=apart at most 1 GiB go from "
        "one process to another; score with placement=together, or into a new `out=` with chunk_images=1365."
    )


def test_pictures_are_known_by_the_images_that_they_are_of() -> None:
    table = packed(iter([loaded(1), loaded(2)]), rows(2), PREPROCESS)
    assert are_of(table, rows(2))
    assert not are_of(table, rows(2).slice(1))
    assert not are_of(table, rows(3).slice(1))
