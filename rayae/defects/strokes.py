"""Home of the strokes of defects: scratches, scars, hairs, and cracks with branches, as soft masks.

A stroke is a walk of points. Each point is a round Gaussian, which is a product of one in y and one in x, so the sum of
all points is one product of matrices. On a straight stroke that sum is exp(-d^2 / 2 sigma^2) of the distance d from it:
the distance is read back from it, and cut at half the thickness.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rayae.defects.smooth import bell
from rayae.dice import Dice

LENGTH = (0.08, 1.2)
"""Length as a share of the shorter side."""
LEAST_THICKNESS_PIXELS = 0.6
MOST_THICKNESS = 0.03
"""Thickness as a share of the shorter side."""
WINDING = (0.05, 2.5)
"""Standard deviation of the turn between both ends, in radians: from straight to winding."""
JAGGED, MOST_JAGGED = 0.5, 0.8
"""Share of the strokes that are broken lines, as cracks are, and the largest standard deviation of their angles."""
SEGMENTS = 16
BRANCHED, BRANCHES = 0.3, 2
BRANCH_LENGTH = (0.2, 0.5)
"""Length of a branch as a share of its trunk."""
FORK = (0.35, 1.2)
"""Angle between a branch and its trunk, in radians."""
DASHED, DASHES = 0.2, (2.0, 10.0)
TAPERED = 0.5
LEAST_SIGMA_PIXELS = 0.6
"""Points lie up to 1.2 pixels apart; Gaussians narrower than half of that would show them one by one."""


class Walk(NamedTuple):
    """Points `[count, walks, points]`: place and length of stroke that a point stands for, in pixels; radians."""

    y: Tensor
    x: Tensor
    ink: Tensor
    heading: Tensor


class Manner(NamedTuple):
    """How a stroke runs, in its trunk and its branches; `[count, 1, 1]` each."""

    winding: Tensor
    jagged: Tensor


def stroke(count: int, height: int, width: int, dice: Dice) -> Tensor:
    """Masks `[count, H, W]` in [0, 1] of strokes: straight to winding, smooth or jagged, some branched or dashed."""
    side = min(height, width)
    points = max(64, side)
    length = dice.log_uniform(count, 1, 1, low=LENGTH[0], high=LENGTH[1]) * side
    jagged = dice.uniform(count, 1, 1, high=MOST_JAGGED) * dice.chance(JAGGED, count, 1, 1)
    manner = Manner(dice.log_uniform(count, 1, 1, low=WINDING[0], high=WINDING[1]), jagged)
    trunk = _trunk(length, points, (height, width), manner, dice)
    branches = _branches(trunk, length, points // 2, manner, dice)
    thickness = dice.log_uniform(count, 1, 1, low=LEAST_THICKNESS_PIXELS, high=MOST_THICKNESS * side)
    trunk = trunk._replace(ink=trunk.ink * _dashes(count, points, dice) * _taper(count, points, dice))
    return _drawn([trunk, branches], thickness, height, width)


def _walk(heading: Tensor, length: Tensor, points: int, manner: Manner, dice: Dice) -> Walk:
    """Walks from (0, 0): `heading` `[count, walks, 1]` at the start, `length` in pixels."""
    count, walks = heading.shape[:2]
    turns = dice.normal(count, walks, points).cumsum(2) * (manner.winding / math.sqrt(points))
    held = torch.arange(points, device=dice.device) * SEGMENTS // points
    corners = dice.normal(count, walks, SEGMENTS)[:, :, held]
    heading = heading + turns + corners * manner.jagged
    step = length / points
    return Walk((heading.sin() * step).cumsum(2), (heading.cos() * step).cumsum(2), step.expand_as(heading), heading)


def _trunk(length: Tensor, points: int, size: tuple[int, int], manner: Manner, dice: Dice) -> Walk:
    """One walk a stroke, its middle at a place in the picture."""
    count, middle = len(length), points // 2
    walk = _walk(dice.uniform(count, 1, 1, high=2 * math.pi), length, points, manner, dice)
    y, x = (
        places - places[:, :, middle : middle + 1] + place
        for places, place in zip((walk.y, walk.x), dice.place(*size, count, 1, 1), strict=True)
    )
    return walk._replace(y=y, x=x)


def _branches(trunk: Walk, length: Tensor, points: int, manner: Manner, dice: Dice) -> Walk:
    """Walks that leave the trunk at some of its points; without length, and so without ink, where there are none."""
    count = len(length)
    fork = dice.below(trunk.y.shape[2], count, 1, BRANCHES)
    y, x, heading = (values.gather(2, fork).mT for values in (trunk.y, trunk.x, trunk.heading))
    heading = heading + dice.uniform(count, BRANCHES, 1, low=FORK[0], high=FORK[1]) * dice.sign(count, BRANCHES, 1)
    share = dice.uniform(count, BRANCHES, 1, low=BRANCH_LENGTH[0], high=BRANCH_LENGTH[1])
    walk = _walk(heading, length * share * dice.chance(BRANCHED, count, 1, 1), points, manner, dice)
    return walk._replace(y=walk.y + y, x=walk.x + x)


def _dashes(count: int, points: int, dice: Dice) -> Tensor:
    """1 on a stroke, 0 in its gaps, `[count, 1, points]`; most strokes have none."""
    waves = dice.log_uniform(count, 1, 1, low=DASHES[0], high=DASHES[1])
    phase = dice.uniform(count, 1, 1) + torch.arange(points, device=dice.device) / points * waves
    drawn = phase.frac() < dice.uniform(count, 1, 1, low=0.4, high=0.8)
    return (drawn | ~dice.chance(DASHED, count, 1, 1)).float()


def _taper(count: int, points: int, dice: Dice) -> Tensor:
    """Less and less ink towards both ends of about half of the strokes, `[count, 1, points]` in (0, 1]."""
    along = (torch.arange(points, device=dice.device) + 0.5) / points
    fading = (4 * torch.minimum(along, 1 - along)).clamp(max=1)
    return torch.where(dice.chance(TAPERED, count, 1, 1), fading, torch.ones_like(fading))


def _drawn(walks: list[Walk], thickness: Tensor, height: int, width: int) -> Tensor:
    """The masks of walks whose points are `thickness` `[count, 1, 1]` pixels thick."""
    y, x, ink = (torch.cat([getattr(walk, name).flatten(1) for walk in walks], 1) for name in ("y", "x", "ink"))
    sigma = (thickness / 2).clamp(min=LEAST_SIGMA_PIXELS)
    down, across = (
        bell((torch.arange(size, device=y.device)[:, None] + 0.5 - place[:, None]) / sigma)
        for size, place in ((height, y), (width, x))
    )
    weights = ink[:, None] / (math.sqrt(2 * math.pi) * sigma)
    near = (down * weights @ across.mT).clamp(min=torch.finfo(torch.float32).tiny, max=1)
    distance = sigma * (-2 * near.log()).sqrt()
    return (thickness / 2 + 0.5 - distance).clamp(0, 1)
