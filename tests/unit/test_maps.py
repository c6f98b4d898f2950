"""The maps that a run keeps of flagged images: which they are, that they come back, and how damage is told."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rayae import maps
from rayae.errors import RunError
from rayae.manifest import Chunk
from rayae.maps import Keeper, mixed, rows_of, share_of, stored, write
from rayae.run import Run
from tests.unit.small_runs import plan
from tests.unit.small_things import pictures

SIDE = 32


def made(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A network that darkens pictures; its errors are 0 at the left and the image's first pixel at the right."""
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)
    return pixels // 2, pixels[:, :1, :1, 0].astype(np.float32) * ramp[None, None, :].repeat(SIDE, 1)


def kept(ids: Sequence[int], share: int, batch: int = 3, at_once: int = 5) -> Keeper:
    """A keeper that was offered pictures, so many at once."""
    keeper, pixels = Keeper(share, batch), pictures(max(ids, default=0) + 1)
    for first in range(0, len(ids), at_once):
        some = ids[first : first + at_once]
        keeper.offer(some, [pixels[one] for one in some], made)
    keeper.settle(made)
    return keeper


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(0, 500))
def test_the_shares_of_all_chunks_come_to_what_a_run_may_keep(sizes: list[int], most: int) -> None:
    ends = np.cumsum(sizes).tolist()
    chunks = [Chunk(n, end - size, size) for n, (end, size) in enumerate(zip(ends, sizes, strict=True))]
    assert sum(share_of(chunk, ends[-1], most) for chunk in chunks) == most


@given(st.lists(st.integers(0, 40), unique=True), st.integers(0, 12), st.integers(1, 7), st.integers(1, 9))
def test_the_same_images_are_kept_in_whatever_parts_they_come(
    ids: list[int], share: int, batch: int, at_once: int
) -> None:
    expected = sorted(sorted(ids, key=mixed)[:share])
    assert kept(ids, share, batch, at_once).table()["image_id"].to_pylist() == expected


def test_which_are_kept_does_not_favour_the_first() -> None:
    chosen = np.array(sorted(range(100_000), key=mixed)[:10_000])
    assert abs(chosen.mean() - 50_000) < 4 * 100_000 / np.sqrt(12 * 10_000)
    assert len({mixed(image_id) for image_id in range(100_000)}) == 100_000


def test_no_network_is_asked_for_images_that_cannot_be_kept() -> None:
    seen: list[int] = []

    def counting(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        seen.append(len(pixels))
        return made(pixels)

    keeper, pixels = Keeper(2, 8), pictures(40)
    for image_id in range(40):
        keeper.offer([image_id], [pixels[image_id]], counting)
    keeper.settle(counting)
    assert seen == [2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return plan(tmp_path / "run")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_kept_comes_back(run: Run, channels: int) -> None:
    pixels = pictures(8, channels=channels)
    keeper = Keeper(4, 2)
    keeper.offer([4, 6, 7], [pixels[4], pixels[6], pixels[7]], made)
    keeper.settle(made)
    write(run, run.chunks[1], keeper)
    found = dict(stored(run, [0, 4, 5, 7, 9]))
    assert sorted(found) == [4, 7]
    for image_id, one in found.items():
        again, errors = made(pixels[image_id : image_id + 1])
        assert (one.original == pixels[image_id]).all()
        assert (one.reconstruction == again[0]).all()
        assert np.abs(one.error_map - errors[0]).max() <= errors.max() / 255 / 2 * 1.001
        assert one.error_map.max() == pytest.approx(errors.max())


def test_a_picture_without_any_error_has_a_map_of_zeros(run: Run) -> None:
    keeper = Keeper(1, 1)
    keeper.offer([0], [np.zeros((SIDE, SIDE, 1), np.uint8)], made)
    keeper.settle(made)
    write(run, run.chunks[0], keeper)
    assert (dict(stored(run, [0]))[0].error_map == 0).all()


def test_a_chunk_without_maps_has_no_file(run: Run) -> None:
    write(run, run.chunks[0], Keeper(4, 2))
    assert not Path(run.uri, "maps").exists()
    assert list(stored(run, [0, 1])) == []


def test_a_file_of_another_chunk_or_plan_or_a_damaged_one_is_told_and_left_out(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run, run.chunks[0], kept([0, 1], 2))
    path = Path(run.uri, "maps", "chunk-000000.parquet")
    path.rename(path.with_name("chunk-000001.parquet"))
    with pytest.raises(RunError, match=r"chunk-000001\.parquet has maps of another plan or chunk; remove it\.$"):
        rows_of(run, 1)
    other = Run(run.uri, {**run.record, "fingerprint_hash": "0" * 12})
    write(run, run.chunks[0], kept([0, 1], 2))
    assert list(stored(other, [0])) == []
    assert "has maps of another plan or chunk; remove it." in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-9])
    assert list(stored(run, [0])) == []
    assert "warning: maps are left out: " in capsys.readouterr().err
    assert maps.rows_of(run, 2) == []
