import base64
import io

import numpy as np
from PIL import Image as Pillow

from rayae.pictures import INFERNO, LONGEST_SIDE, brightest, coloured, heat, photograph, small, small_peaks


def opened(uri: str) -> Pillow.Image:
    assert uri.startswith("data:image/png;base64,")
    return Pillow.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_pixels_come_back_as_they_were() -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        pixels = rng.integers(0, 256, (5, 7, channels), dtype=np.uint8)
        assert (small(pixels) == pixels).all()
        assert (np.asarray(opened(photograph(pixels))).reshape(pixels.shape) == pixels).all()


def test_large_pictures_are_made_small() -> None:
    assert small(np.zeros((1000, 2000, 3), np.uint8)).shape == (LONGEST_SIDE // 2, LONGEST_SIDE, 3)
    assert small(np.zeros((2000, 16, 1), np.uint8)).shape[0] == LONGEST_SIDE


def test_a_small_defect_stays_in_a_large_error_map() -> None:
    error_map = np.zeros((1000, 1501), np.float32)
    error_map[999, 1500] = 1
    shrunk = small_peaks(error_map)
    assert max(shrunk.shape) <= LONGEST_SIDE
    assert shrunk.max() == 1
    assert shrunk[-1, -1] == 1


def test_errors_run_from_dark_to_bright() -> None:
    colours = np.asarray(opened(heat(np.array([[0.0, 2.0, 9.0, np.nan]]), 2.0)).convert("RGB"))[0]
    assert ["#" + bytes(colour).hex() for colour in colours] == [
        INFERNO[0],
        INFERNO[-1],
        INFERNO[-1],
        INFERNO[0],
    ]


def test_a_coloured_error_map_has_the_colours_of_its_picture() -> None:
    error_map = np.random.default_rng(0).random((3, 4))
    assert (coloured(error_map, 0.7) == np.asarray(opened(heat(error_map, 0.7)).convert("RGB"))).all()


def test_the_scale_has_a_top_whatever_the_errors() -> None:
    assert brightest([np.zeros((2, 2))]) == 0
    assert brightest([np.array([[np.nan, np.inf]])]) == 0
    spike = np.zeros((100, 100))
    spike[0, 0] = 3
    assert brightest([spike]) == 3
    assert opened(heat(np.zeros((2, 2)), 0.0)).size == (2, 2)
