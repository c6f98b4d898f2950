"""The outlines of defects: how large, how long, how thick."""

import numpy as np
import pytest
import torch
from skimage.measure import label, regionprops
from skimage.morphology import skeletonize

from rayae.defects import SHAPES
from rayae.defects.shapes import rectangle, slanted
from rayae.defects.strokes import Walk, _drawn, stroke
from rayae.dice import Dice


def dice(seed: int = 0) -> Dice:
    return Dice(torch.Generator().manual_seed(seed), torch.device("cpu"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (130, 50)])
def test_masks_are_soft_and_each_is_somewhere(shape, size):
    masks = SHAPES[shape](40, *size, dice())
    assert masks.shape == (40, *size)
    assert masks.min() == 0
    assert 0.95 < masks.max() <= 1
    assert ((masks > 0) & (masks < 1)).any()
    assert (masks.amax((1, 2)) > 0.3).float().mean() > 0.85


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_masks_are_alike(shape):
    masks = SHAPES[shape](12, 64, 64, dice()).flatten(1)
    assert len(masks.unique(dim=0)) == 12


def test_half_sizes_span_an_area_and_an_aspect_in_their_ranges():
    axes = slanted(4000, 200, 100, dice())
    aspect = axes.half_length / axes.half_width
    area = 4 * axes.half_length * axes.half_width / 100**2
    whole = axes.half_width > 0.75
    assert 1 <= aspect.min() < 1.01
    assert 11.5 < aspect[whole].max() <= 12.01
    assert 0.00079 < area[whole].min() < 0.0009
    assert 0.075 < area.max() < 0.0801
    assert area[whole].log().quantile(0.5) == pytest.approx(np.log(0.008), abs=0.3)


def test_some_shapes_lie_along_the_rows_and_the_others_at_any_slant():
    axes = slanted(2000, 64, 64, dice())
    slope = torch.atan2(axes.along[:, 1, 0] - axes.along[:, 0, 0], axes.along[:, 0, 1] - axes.along[:, 0, 0])
    upright = ((slope / (np.pi / 2)) - (slope / (np.pi / 2)).round()).abs() < 1e-3
    assert 0.26 < upright.float().mean() < 0.34
    assert slope[~upright].histc(6, 0, np.pi).min() > 150


def test_a_rectangle_covers_the_area_that_it_was_given():
    masks = rectangle(300, 128, 128, dice())
    axes = slanted(300, 128, 128, dice())
    whole = torch.stack([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]]).amax((0, 2)) == 0
    asked = (4 * axes.half_length * axes.half_width).flatten()
    assert whole.sum() > 50
    assert masks.sum((1, 2))[whole] / asked[whole] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("thickness", [0.6, 1.0, 2.0, 4.0, 9.0])
def test_a_straight_stroke_is_as_thick_as_asked(thickness):
    points = 96
    places = torch.linspace(10.2, 85.7, points).expand(1, 1, points)
    ink = torch.full((1, 1, points), 75.5 / points)
    middle = torch.full((1, 1, points), 40.3)
    mask = _drawn([Walk(middle, places, ink, middle)], torch.full((1, 1, 1), thickness), 80, 96)[0]
    assert mask[:, 30:66].sum(0).numpy() == pytest.approx(thickness, rel=0.15)


def test_a_stroke_without_ink_is_not_drawn():
    zeros = torch.zeros(1, 1, 10)
    assert _drawn([Walk(zeros + 5, zeros + 5, zeros, zeros)], torch.full((1, 1, 1), 2.0), 32, 32).sum() == 0


def test_strokes_are_from_a_tenth_of_the_side_to_longer_than_it_and_thin():
    masks = stroke(200, 128, 128, dice()).numpy()
    skeletons = np.array([skeletonize(mask > 0.4).sum() for mask in masks])
    thickness = masks.sum((1, 2)) / np.maximum(skeletons, 1)
    assert (skeletons > 90).mean() > 0.02
    assert (skeletons < 24).mean() > 0.2
    assert np.quantile(thickness[skeletons > 10], 0.95) < 0.06 * 128


def test_some_strokes_are_dashed_and_some_fork():
    masks = stroke(300, 128, 128, dice()).numpy() > 0.5
    parts = np.array([label(mask, connectivity=2).max() for mask in masks])
    assert 0.05 < (parts > 1).mean() < 0.6
    kernel = np.ones((3, 3))
    forks = 0
    for mask in masks[parts == 1]:
        skeleton = np.pad(skeletonize(mask), 1)
        windows = np.lib.stride_tricks.sliding_window_view(skeleton, (3, 3))
        forks += ((windows * kernel).sum((2, 3))[skeleton[1:-1, 1:-1]] > 3).any()
    assert forks > 20


def test_strokes_wind_and_run_straight():
    masks = stroke(300, 128, 128, dice()).numpy() > 0.5
    regions = [max(regionprops(label(mask, connectivity=2)), key=lambda one: one.area, default=None) for mask in masks]
    eccentricities = np.array([region.eccentricity for region in regions if region and region.area > 60])
    assert (eccentricities > 0.99).mean() > 0.2
    assert (eccentricities < 0.97).mean() > 0.1
