"""Home of the closed shapes of defects: rectangles, ellipses and blobs, as soft masks.

Each function gives masks `[count, H, W]` in [0, 1], every one of a place, size, slant and softness of its own.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rayae.defects.smooth import noise
from rayae.dice import Dice

AREA = (0.0008, 0.08)
"""Area as a share of the square of the shorter side."""
MOST_ASPECT = 12.0
UPRIGHT = 0.3
"""Share of the shapes that lie along the pixels' rows, as the parts and prints of industry do."""
LEAST_HALF_WIDTH_PIXELS = 0.75
MOST_WOBBLE = 0.35
WOBBLE_CELLS = (6,)
BLOB_CELLS = (6, 12, 24)


class Slanted(NamedTuple):
    """Pixels' places `[count, H, W]` along and across the long axis of a shape, and its half sizes, all in pixels."""

    along: Tensor
    across: Tensor
    half_length: Tensor
    half_width: Tensor

    def radius(self) -> Tensor:
        """The distance from the centre in half sizes: 1 on the ellipse that the half sizes span."""
        return ((self.along / self.half_length).square() + (self.across / self.half_width).square()).sqrt()


def slanted(count: int, height: int, width: int, dice: Dice) -> Slanted:
    """Axes of any slant around a place in the picture; area log-uniform, aspect 1 to 12 and log-uniform."""
    angle = dice.uniform(count, 1, 1, high=math.pi)
    right_angle = math.pi / 2
    angle = torch.where(dice.chance(UPRIGHT, count, 1, 1), (angle / right_angle).round() * right_angle, angle)
    half = dice.log_uniform(count, 1, 1, low=AREA[0], high=AREA[1]).sqrt() * min(height, width) / 2
    stretch = dice.log_uniform(count, 1, 1, low=1.0, high=MOST_ASPECT).sqrt()
    centre_y, centre_x = dice.place(height, width, count, 1, 1)
    down = torch.arange(height, device=dice.device)[:, None] + 0.5 - centre_y
    right = torch.arange(width, device=dice.device) + 0.5 - centre_x
    along = down * angle.sin() + right * angle.cos()
    across = down * angle.cos() - right * angle.sin()
    return Slanted(along, across, half * stretch, (half / stretch).clamp(min=LEAST_HALF_WIDTH_PIXELS))


def rectangle(count: int, height: int, width: int, dice: Dice) -> Tensor:
    """Rectangles: bars, gaps, missing or foreign parts."""
    axes = slanted(count, height, width, dice)
    inside = torch.minimum(axes.half_length - axes.along.abs(), axes.half_width - axes.across.abs())
    return _soft(inside, axes.half_width, dice)


def ellipse(count: int, height: int, width: int, dice: Dice) -> Tensor:
    """Ellipses, from regular to dented: holes, drops, bubbles, dents."""
    axes = slanted(count, height, width, dice)
    dents = noise(count, 1, height, width, WOBBLE_CELLS, dice)[:, 0] * dice.uniform(count, 1, 1, high=MOST_WOBBLE)
    return _soft((1 - axes.radius() - dents) * axes.half_width, axes.half_width, dice)


def blob(count: int, height: int, width: int, dice: Dice) -> Tensor:
    """What noise leaves above a level that rises with the distance from a centre: stains, splashes, crumbs."""
    axes = slanted(count, height, width, dice)
    hills = noise(count, 1, height, width, BLOB_CELLS, dice)[:, 0] - axes.radius().square()
    above = hills - hills.amax((1, 2), keepdim=True) + dice.uniform(count, 1, 1, low=0.4, high=2.0)
    return (above * dice.log_uniform(count, 1, 1, low=2.5, high=12.0)).clamp(0, 1)


def _soft(inside: Tensor, half_width: Tensor, dice: Dice) -> Tensor:
    """A mask from the distance to the outline in pixels (above 0 inside), its edge one pixel to a half width wide."""
    edge = (half_width * dice.uniform(len(inside), 1, 1).square()).clamp(min=1.0)
    return (inside / edge + 0.5).clamp(0, 1)
