"""What part of a picture matters: a mask picture, a rectangle, and what leaves too little."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from rayae.errors import ConfigError, StorageError
from rayae.preprocess import Preprocess
from rayae.region import LEAST_PIXELS, read_region
from rayae.scores import Region

GREY = Preprocess("grey", 48, 64)


def saved(folder, pixels, name="mask.png"):
    path = folder / name
    Image.fromarray(pixels).save(path)
    return str(path)


def refusal(asked, preprocess=GREY):
    with pytest.raises(ConfigError) as refused:
        read_region(asked, preprocess)
    return str(refused.value)


def too_little(asked, seen):
    return (
        f"region={asked} leaves {seen} of 3,072 pixels of the network's input further than 5 from its border, and at "
        f"least {LEAST_PIXELS} are needed: a mask is white where to look, a rectangle is [left, top, right, bottom], "
        "each between 0 and 1."
    )


def test_without_a_region_all_of_the_picture_matters():
    assert read_region(None, GREY) is None


@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_a_mask_of_the_size_of_the_input_is_taken_as_it_is(tmp_path, mode):
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 20:40] = 255
    mask[30, 20:40] = 100
    found = read_region(saved(tmp_path, mask), Preprocess(mode, 48, 64))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, mask)


def test_a_mask_in_colour_counts_by_its_brightness(tmp_path):
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[:, 32:] = (255, 255, 255)
    np.testing.assert_array_equal(read_region(saved(tmp_path, mask), GREY), mask[..., 0])


def test_a_mask_is_sized_as_the_pictures_are(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (96, 160), np.uint8)
    path = saved(tmp_path, picture)
    as_picture = GREY.decode((tmp_path / "mask.png").read_bytes()).pixels[..., 0]
    np.testing.assert_array_equal(read_region(path, GREY), as_picture)


def test_a_mask_smaller_than_the_smallest_picture_is_a_mask(tmp_path):
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:3] = 255
    found = read_region(saved(tmp_path, mask), GREY)
    assert found[24, 32] == 255
    assert found[0, 0] == 0


@pytest.mark.parametrize(
    ("sides", "rows", "columns"),
    [
        ((0.0, 0.0, 1.0, 1.0), slice(0, 48), slice(0, 64)),
        ((0.25, 0.0, 0.75, 0.5), slice(0, 24), slice(16, 48)),
        ([0.5, 0.25, 1, 1], slice(12, 48), slice(32, 64)),
    ],
)
def test_a_rectangle_is_left_top_right_bottom_in_fractions(sides, rows, columns):
    wanted = np.zeros((48, 64), np.uint8)
    wanted[rows, columns] = 255
    np.testing.assert_array_equal(read_region(sides, GREY), wanted)


@pytest.mark.parametrize(
    ("sides", "seen"),
    [
        ((0.5, 0.5, 0.6, 0.6), 5 * 6),
        ((0.5, 0.5, 0.5, 1.0), 0),
        ((0.75, 0.0, 0.25, 1.0), 0),
        ((0.0, 0.0, 1.0, 0.1), 0),
        ((0.0, 0.0, 0.0, 0.0), 0),
    ],
    ids=["small", "empty", "the wrong way round", "along the border", "nothing"],
)
def test_a_rectangle_that_leaves_too_little_is_refused(sides, seen):
    assert refusal(sides) == too_little(sides, seen)


def test_a_black_mask_is_refused(tmp_path):
    path = saved(tmp_path, np.zeros((48, 64), np.uint8))
    assert refusal(path) == too_little(path, 0)


def test_whatever_is_not_refused_is_a_region_of_the_scores():
    least = np.zeros((48, 64), np.uint8)
    least[5:13, 5:13] = 1
    found = read_region((5 / 64, 5 / 48, 13 / 64, 13 / 48), GREY)
    np.testing.assert_array_equal(found, least * 255)
    assert Region.of(torch.from_numpy(found).float() / 255).worst == 1


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"no picture")
    told = refusal(str(tmp_path / "mask.png"))
    assert re.fullmatch(rf"region={re.escape(str(tmp_path))}/mask\.png cannot be read as a picture: .*\.", told)


def test_a_mask_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"nothing\.png: there is no such file or directory\.$"):
        read_region(str(tmp_path / "nothing.png"), GREY)
