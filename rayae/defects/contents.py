"""Home of what fills a defect: other pictures, noise, other levels, the picture itself moved or blurred.

Each function takes a batch `[B, C, H, W]`, which of its pictures are to be changed `[n]`, and masks `[n, H, W]`, and
gives what is to be added to those pictures, `[n, C, H, W]`: exactly 0 where the mask is, except for `blend`.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rayae.defects import poisson
from rayae.defects.smooth import blurred, noise
from rayae.dice import Dice

GAIN, OFFSET = (0.7, 1.3), (-0.1, 0.1)
"""How much brighter a pasted patch may be than its picture, so that the same place of a like picture shows, too."""
WINDOW = 0.5
"""Sides of the window in which gradients are blended, as a share of the picture's."""
MOVE = (0.015, 0.2)
"""How far a displaced part has moved, as a share of the shorter side."""
LEVEL = (0.1, 0.7)
LEVEL_GRAIN, LEVEL_CELLS = 0.15, (16,)
TINT = 0.3
FLAT, FADED = 0.25, 0.2
"""Shares of the changes of level that are a flat colour, and that are contrast lost."""
NOISE = (0.08, 0.4)
NOISE_CELLS = (4, 8, 16, 32, 64, 128)
BLUR_PIXELS, MOST_BLUR = 0.8, 0.05
"""The narrowest Gaussian, in pixels, and the widest, as a share of the shorter side."""
SHARPENED, SHARPENING = 0.3, 2.0


class Window(NamedTuple):
    """A rectangle of pixels in each of n pictures: its rows `[n, height]` and columns `[n, width]`."""

    rows: Tensor
    columns: Tensor

    def of(self, batch: Tensor, which: Tensor) -> Tensor:
        """The windows `[n, C, height, width]` of the pictures `which` `[n]` of a batch `[B, C, H, W]`."""
        across = self.columns[:, None, None].expand(-1, *batch.shape[1:3], -1)
        strips = batch.index_select(0, which).gather(3, across)
        return strips.gather(2, self.rows[:, None, :, None].expand(-1, strips.shape[1], -1, strips.shape[3]))

    def alone(self, values: Tensor, height: int, width: int) -> Tensor:
        """`[n, C, H, W]` with these values `[n, C, height, width]` in the window and 0 around it."""
        whole = values.new_zeros(*values.shape[:2], height, width).permute(0, 2, 3, 1)
        pictures = torch.arange(len(values), device=values.device)[:, None, None]
        whole[pictures, self.rows[:, :, None], self.columns[:, None, :]] = values.permute(0, 2, 3, 1)
        return whole.permute(0, 3, 1, 2)


def paste(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """Another picture of the batch, moved, mirrored and brighter or darker (Li et al., "CutPaste", 2021)."""
    return _filled(batch.index_select(0, which), _elsewhere(batch, which, masks, dice), masks)


def blend(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """The gradients of another picture inside the mask, a pixel wider, and its own outside, in a window around it.

    The picture that has these gradients is found by Poisson's equation (Perez, Gangnet, Blake, "Poisson image editing",
    2003; as anomalies: Schlueter et al., "Natural Synthetic Anomalies", 2022). It is solved over the whole window, so
    that what does not fit fades outside the mask, too, and nothing changes on the window's border.
    """
    window = _around(masks)
    own = window.of(batch, which)
    thick = functional.max_pool2d(masks[:, None], 3, 1, 1)  # a line of one pixel has no gradient across
    thick = window.of(thick, torch.arange(len(masks), device=masks.device))
    other = _elsewhere(batch, which, thick[:, 0], dice)
    correction = functional.pad(poisson.solution(_gradients_gained(other - own, thick > 0.5)), (1, 1, 1, 1))
    return window.alone(correction, *batch.shape[2:])


def level(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """Brighter, darker, tinted where there are colours, a flat colour, or with most of the contrast lost."""
    pictures = batch.index_select(0, which)
    count, channels, height, width = pictures.shape
    tint = 1 + dice.normal(count, channels, 1, 1) * (TINT if channels > 1 else 0)
    shift = dice.sign(count, 1, 1, 1) * dice.log_uniform(count, 1, 1, 1, low=LEVEL[0], high=LEVEL[1]) * tint
    shifted = pictures + shift * (1 + noise(count, 1, height, width, LEVEL_CELLS, dice) * LEVEL_GRAIN)
    mean = pictures.mean((2, 3), keepdim=True)
    faded = mean + (pictures - mean) * dice.uniform(count, 1, 1, 1, high=0.5)
    kind = dice.uniform(count, 1, 1, 1)
    other = torch.where(kind < FLAT, dice.uniform(count, channels, 1, 1), faded)
    return _filled(pictures, torch.where(kind < FLAT + FADED, other, shifted), masks)


def grain(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """Noise of any grain, added to the picture or in its place (as in Zavrtanik et al., "DRAEM", 2021)."""
    pictures = batch.index_select(0, which)
    count, channels, height, width = pictures.shape
    side = min(height, width)
    field = noise(count, channels, height, width, [cells for cells in NOISE_CELLS if cells <= side], dice)
    added = pictures + field * dice.log_uniform(count, 1, 1, 1, low=NOISE[0], high=NOISE[1])
    alone = 0.5 + 0.25 * field + 0.15 * dice.normal(count, channels, 1, 1)
    return _filled(pictures, torch.where(dice.chance(0.5, count, 1, 1, 1), added, alone), masks)


def moved(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """The picture itself, some pixels away: displaced and doubled parts."""
    count, height, width = len(which), *batch.shape[2:]
    side = min(height, width)
    far = (
        dice.log_uniform(count, 1, low=max(1.0, MOVE[0] * side), high=MOVE[1] * side).round() * dice.sign(count, 1)
        for _ in range(2)
    )
    rows, columns = (
        (torch.arange(size, device=batch.device) + steps.long()) % size
        for size, steps in zip((height, width), far, strict=True)
    )
    return _filled(batch.index_select(0, which), Window(rows, columns).of(batch, which), masks)


def blur(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """Blurred, or sharpened by what blurring takes away."""
    pictures = batch.index_select(0, which)
    most = max(2 * BLUR_PIXELS, MOST_BLUR * min(pictures.shape[2:]))
    coarse = blurred(pictures, dice.log_uniform(len(which), low=BLUR_PIXELS, high=most))
    sharper = pictures + (pictures - coarse) * SHARPENING
    return _filled(pictures, torch.where(dice.chance(SHARPENED, len(which), 1, 1, 1), sharper, coarse), masks)


def _filled(pictures: Tensor, contents: Tensor, masks: Tensor) -> Tensor:
    return (contents.clamp(0, 1) - pictures) * masks[:, None]


def _elsewhere(batch: Tensor, which: Tensor, masks: Tensor, dice: Dice) -> Tensor:
    """Patches `[n, C, height, width]` of the size of the masks, from other pictures; the same if a batch has but one.

    They come from anywhere. Where pixels have weights, a place drawn by these comes under the centre of the mask.
    """
    count, whole = len(which), batch.shape[2:]
    others = (which + 1 + dice.below(max(1, len(batch) - 1), count)) % len(batch)
    sizes = list(zip(masks.shape[1:], whole, strict=True))
    if dice.where is None:
        rows, columns = (_anywhere(count, size, extent, dice) for size, extent in sizes)
    else:
        ends = zip(_centres(masks), dice.place(*whole, count), sizes, strict=True)
        rows, columns = (_through(centre, place, *size, dice) for centre, place, size in ends)
    gain = dice.uniform(count, 1, 1, 1, low=GAIN[0], high=GAIN[1])
    offset = dice.uniform(count, 1, 1, 1, low=OFFSET[0], high=OFFSET[1])
    return (Window(rows, columns).of(batch, others) * gain + offset).clamp(0, 1)


def _anywhere(count: int, size: int, whole: int, dice: Dice) -> Tensor:
    """`size` indices in a row `[count, size]` from any of `whole`, around its end and in either direction."""
    steps = torch.arange(size, device=dice.device) * dice.sign(count, 1)
    return (steps + dice.below(whole, count, 1)) % whole


def _through(centres: Tensor, places: Tensor, size: int, whole: int, dice: Dice) -> Tensor:
    """`size` indices in a row `[count, size]`, likewise, of which those at the `centres` `[count]` are `places`."""
    steps = torch.arange(size, device=dice.device) - centres.long()[:, None]
    return (steps * dice.sign(len(places), 1) + places.long()[:, None]) % whole


def _centres(masks: Tensor) -> list[Tensor]:
    """The row and the column of the centre of gravity of each mask, `[n]` each."""
    total = masks.sum((1, 2)).clamp(min=1e-6)
    return [
        weights @ torch.arange(size, device=masks.device, dtype=masks.dtype) / total
        for size, weights in zip(masks.shape[1:], (masks.sum(2), masks.sum(1)), strict=True)
    ]


def _around(masks: Tensor) -> Window:
    """The window around the centre of gravity of each mask, inside the picture."""
    sides = []
    for size, centre in zip(masks.shape[1:], _centres(masks), strict=True):
        extent = max(3, round(size * WINDOW))
        first = (centre - extent / 2).round().clamp(0, size - extent).long()
        sides.append(first[:, None] + torch.arange(extent, device=masks.device))
    return Window(*sides)


def _gradients_gained(difference: Tensor, inside: Tensor) -> Tensor:
    """The divergence `[n, C, H - 2, W - 2]` of the gradients of `difference` `[n, C, H, W]` between pixels inside."""
    down = (difference[:, :, 1:] - difference[:, :, :-1]) * (inside[:, :, 1:] & inside[:, :, :-1])
    across = (difference[..., 1:] - difference[..., :-1]) * (inside[..., 1:] & inside[..., :-1])
    return (down[:, :, 1:] - down[:, :, :-1])[..., 1:-1] + (across[..., 1:] - across[..., :-1])[:, :, 1:-1]
