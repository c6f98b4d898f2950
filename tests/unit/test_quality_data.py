"""The picture sets of the quality benchmark: made anew they are the same, and flaws are local and no two alike."""

import numpy as np
import pytest

from benchmarks.quality.data import CLOTHES, FASHION, SETS, clothes, load, texture
from benchmarks.quality.flaws import FLAWS
from benchmarks.quality.textures import COLUMNS, KINDS, ROWS, SIDE, grey, make_sheet, photograph
from rayae.errors import ConfigError

EVERY_FLAW = [(kind, flaw) for kind, flaws in FLAWS.items() for flaw in flaws]


@pytest.fixture(scope="module")
def sheets():
    return {kind: make_sheet(kind, np.random.default_rng(0)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_name_gives_the_same_pictures(kind):
    first, again = texture(kind, sheets=1), texture(kind, sheets=1)
    assert first.pixels.shape == (12, SIDE, SIDE, 1)
    assert first.pixels.dtype == np.uint8
    assert np.array_equal(first.pixels, again.pixels)
    assert first.digest == again.digest


def test_a_set_that_differs_by_one_grey_level_has_another_digest():
    first, other = texture("metal", sheets=1), texture("metal", sheets=1)
    other.pixels[0, 0, 0, 0] ^= 1
    assert first.digest != other.digest


def test_grey_is_the_luma_of_the_colour_set():
    assert np.array_equal(texture("dots", sheets=1).pixels, grey(texture("dots-rgb", sheets=1).pixels))


def test_more_sheets_leave_the_first_as_they_are_and_are_groups_of_their_own():
    one, two = texture("wood-rgb", sheets=1), texture("wood-rgb", sheets=2)
    assert np.array_equal(one.pixels, two.pixels[:12])
    assert two.groups.tolist() == [0] * 12 + [1] * 12
    assert two.is_defect.reshape(2, 12).sum(1).tolist() == [3, 3]


def test_grain_differs_more_from_sheet_to_sheet_than_within_one():
    crops = texture("stone", sheets=6).pixels[..., 0].reshape(6, 12, SIDE, SIDE).astype(float)
    steps = np.abs(np.diff(crops, axis=3)).mean((2, 3)) / crops.std((2, 3))
    assert steps.mean(1).std() > 2 * steps.std(1).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sheet_is_cut_into_crops_that_do_not_overlap(kind, sheets):
    sheet = sheets[kind]
    assert sheet.pixels.shape == (ROWS * SIDE, COLUMNS * SIDE, 3)
    crops = np.stack([sheet.crop(number).pixels for number in range(ROWS * COLUMNS)])
    whole = crops.reshape(ROWS, COLUMNS, SIDE, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(sheet.pixels.shape)
    assert np.array_equal(whole, sheet.pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_few_pixels_of_a_sheet_are_overexposed_and_few_are_black(kind, sheets):
    assert (sheets[kind].pixels > 1).mean() < 0.01
    assert (sheets[kind].pixels < 0.01).mean() < 0.01


@pytest.mark.parametrize(("kind", "flaw"), EVERY_FLAW, ids=[f"{kind}-{flaw.__name__}" for kind, flaw in EVERY_FLAW])
def test_a_flaw_is_seen_and_leaves_most_of_the_crop_alone(kind, flaw, sheets):
    for seed in range(8):
        crop = sheets[kind].crop(seed)
        before = crop.pixels.copy()
        changed = np.abs(flaw(crop, np.random.default_rng(seed)) - before).max(2)
        assert np.array_equal(crop.pixels, before)
        assert (changed > 0.03).sum() >= 8
        assert (changed > 0.03).mean() < 0.2


def test_a_photograph_has_noise_of_one_percent_of_the_range():
    flat = photograph(np.full((SIDE, SIDE, 3), 0.5), np.random.default_rng(0)).astype(float)
    assert flat.std() == pytest.approx(2.55, rel=0.1)
    assert flat.mean() == pytest.approx(127.5, rel=0.06)


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.parametrize("name", CLOTHES)
def test_clothes_are_one_class_among_the_nine_others(name):
    pictures = clothes(name)
    assert pictures.pixels.shape == (2400, 32, 32, 1)
    assert pictures.is_defect.sum() == 900
    assert pictures.groups is None
    assert len(set(pictures.clusters)) == 2400
    assert pictures.pixels[:, :2].max() == 0


def test_an_unknown_set_is_told_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^there is no picture set 'monno'; there are mono, poly, .*dots-rgb\.$"):
        load("monno")
    assert {*KINDS} <= {*SETS}
