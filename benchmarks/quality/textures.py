"""Home of the sheets: procedural cloth, metal, stone, wood and print, each sheet with parameters of its own.

A sheet stands for one roll, plate or board under one lamp: its crops share thread count, grain, tint, light and
sharpness, which differ from sheet to sheet. So a split by sheet asks for more than a split by crop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Field = NDArray[np.float64]
SIDE = 128
ROWS, COLUMNS = 3, 4
"""Crops down and across a sheet; they do not overlap."""
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Sheet:
    """One sheet without a flaw, and what a flaw on it needs to know."""

    pixels: Field
    """[H, W, 3] in [0, 1]."""
    ground: Field
    """[H, W, 3]: what lies under threads or ink."""
    period: float
    """Pixels from thread to thread or from dot to dot; where there are neither, of the coarsest grain."""
    light: tuple[float, float]
    """Where the light comes from: y and x, length 1."""

    def crop(self, number: int) -> "Sheet":
        """The crop of that number, row by row."""
        row, column = divmod(number, COLUMNS)
        place = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        return Sheet(self.pixels[place], self.ground[place], self.period, self.light)


def noise(rng: np.random.Generator, shape: tuple[int, int], across_y: float, across_x: float) -> Field:
    """Gaussian noise of mean 0 and deviation 1, smooth over so many pixels each way; its edges meet."""
    field = gaussian_filter(rng.normal(size=shape), (across_y, across_x), mode="wrap")
    return (field - field.mean()) / field.std()


def tint(rng: np.random.Generator, base: tuple[float, float, float], spread: float) -> Field:
    """A colour near the base, [3]."""
    return np.clip(np.array(base) * np.exp(rng.normal(0, spread)) * np.exp(rng.normal(0, spread / 3, 3)), 0.02, 0.98)


def places(shape: tuple[int, int], rng: np.random.Generator, slant: float) -> tuple[Field, Field]:
    """Coordinates y and x in pixels, turned by a random angle of up to `slant` radians, and a little uneven."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    angle = rng.uniform(-slant, slant)
    uneven = rng.uniform(0.2, 0.8)
    y, x = y + uneven * noise(rng, shape, 20, 20), x + uneven * noise(rng, shape, 20, 20)
    return y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)


def cloth(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field, float]:
    """Plain weave: warp and weft go over each other by turns, each thread round and of its own shade."""
    period = rng.uniform(5, 10)
    y, x = places(shape, rng, 0.06)
    row, column = np.floor(y / period).astype(int), np.floor(x / period).astype(int)
    v, u = y / period - row - 0.5, x / period - column - 0.5
    warp, weft = (tint(rng, (0.6, 0.57, 0.52), 0.25) for _ in range(2))
    shades = 1 + rng.uniform(0.02, 0.08) * rng.normal(size=(2, 4096))
    bulge = rng.uniform(0.5, 0.9)
    over = ((row + column) % 2 == 0)[..., None]
    upright = (np.sqrt(np.clip(1 - (1.9 * u) ** 2, 0, 1)) * np.cos(v * bulge * 2) * shades[0, column])[..., None] * warp
    lying = (np.sqrt(np.clip(1 - (1.9 * v) ** 2, 0, 1)) * np.cos(u * bulge * 2) * shades[1, row])[..., None] * weft
    fibres = 1 + 0.06 * noise(rng, shape, 0.7, 0.7)[..., None]
    ground = np.broadcast_to(np.minimum(warp, weft) * rng.uniform(0.25, 0.45), (*shape, 3))
    return np.maximum(np.where(over, upright, lying) * fibres, ground), ground.copy(), period


def metal(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field, float]:
    """Brushed metal: streaks of several lengths along x, under a broad band of glare."""
    colour = tint(rng, (0.55, 0.56, 0.58), 0.2)
    strength = rng.uniform(0.04, 0.11)
    streaks = sum(noise(rng, shape, 0.6 * k, length) for k, length in ((1, 15), (1.5, 40), (3, 90))) / 3**0.5
    y = np.arange(shape[0])[:, None] / shape[0]
    glare = rng.uniform(0.05, 0.25) * np.exp(-(((y - rng.uniform()) / rng.uniform(0.2, 0.5)) ** 2))
    grain = 1 + strength * streaks + 0.02 * rng.normal(size=shape)
    base = (grain + glare)[..., None] * colour
    return base, base * 0.4, 3.0


def stone(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field, float]:
    """Granite: grains of three minerals, told apart by which of three noise fields is highest, speckled."""
    grain = rng.uniform(1.5, 3.5)
    heights = np.stack([noise(rng, shape, grain, grain) + rng.normal(0, 0.35) for _ in range(3)])
    colours = np.stack([tint(rng, base, 0.15) for base in ((0.7, 0.66, 0.62), (0.5, 0.44, 0.42), (0.28, 0.27, 0.28))])
    share = np.exp(heights * rng.uniform(3, 6))
    mixed = np.einsum("khw,kc->hwc", share / share.sum(0), colours)
    base = mixed * (1 + 0.07 * noise(rng, shape, 0.6, 0.6) + 0.05 * noise(rng, shape, 25, 25))[..., None]
    return base, base * 0.35, grain * 3


def wood(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field, float]:
    """A board: rings of a slanted trunk cut lengthwise, and pores along the grain, which is x."""
    period = rng.uniform(9, 22)
    y, _ = places(shape, rng, 0.03)
    wave = y + rng.uniform(4, 9) * noise(rng, shape, 30, 140) + 1.2 * noise(rng, shape, 5, 60)
    ring = (wave / period) % 1
    late = np.where(ring < 0.85, ring / 0.85, (1 - ring) / 0.15) ** rng.uniform(1.5, 3)
    early, dark = tint(rng, (0.72, 0.55, 0.36), 0.15), tint(rng, (0.5, 0.34, 0.2), 0.15)
    base = early + (dark - early) * (late * rng.uniform(0.5, 1))[..., None]
    pores = np.clip(noise(rng, shape, 0.5, 9) - 1.6, 0, None) * rng.uniform(0.05, 0.2)
    base = base * (1 - pores + 0.03 * noise(rng, shape, 0.6, 5))[..., None]
    return base, base * 0.35, period


def dots(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field, float]:
    """Printed dots on paper: a grid of ink, every dot of a slightly different size, in two inks by turns."""
    period = rng.uniform(8, 15)
    y, x = places(shape, rng, 0.3)
    row, column = np.floor(y / period).astype(int), np.floor(x / period).astype(int)
    sizes = rng.uniform(0.22, 0.36) * (1 + 0.05 * rng.normal(size=(256, 256)))
    distance = np.hypot(y / period - row - 0.5, x / period - column - 0.5)
    ink = 1 / (1 + np.exp((distance - sizes[row % 256, column % 256]) * period * rng.uniform(1.5, 3)))
    paper = tint(rng, (0.88, 0.86, 0.8), 0.08) * (1 + 0.02 * noise(rng, shape, 1, 1))[..., None]
    inks = np.stack([tint(rng, (0.25, 0.3, 0.55), 0.3), tint(rng, (0.6, 0.25, 0.25), 0.3)])
    return paper + (inks[(row + column) % 2] - paper) * ink[..., None], paper, period


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], tuple[Field, Field, float]]] = {
    "cloth": cloth,
    "metal": metal,
    "stone": stone,
    "wood": wood,
    "dots": dots,
}
"""Each gives pixels and ground [H, W, 3] and the period in pixels."""


def make_sheet(kind: str, rng: np.random.Generator) -> Sheet:
    """A sheet of `ROWS` by `COLUMNS` crops under a lamp of its own, not overexposed, seen by a lens of its own."""
    shape = (ROWS * SIDE, COLUMNS * SIDE)
    pixels, ground, period = KINDS[kind](rng, shape)
    angle = rng.uniform(0, 2 * np.pi)
    light = (float(np.sin(angle)), float(np.cos(angle)))
    y, x = (axis / max(shape) - 0.4 for axis in np.mgrid[: shape[0], : shape[1]])
    lamp = 1 + rng.uniform(0.1, 0.5) * (y * light[0] + x * light[1])
    lamp *= rng.uniform(0.6, 0.92) / np.quantile(pixels * lamp[..., None], 0.99)
    sharpness = rng.uniform(0.3, 0.8)
    lit = [gaussian_filter(some * lamp[..., None], (sharpness, sharpness, 0)) for some in (pixels, ground)]
    return Sheet(lit[0], lit[1], period, light)


def photograph(pixels: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera makes of `[H, W, 3]` light: exposure that wavers by 2 %, and noise of 1 % of the range."""
    exposed = pixels * np.exp(rng.normal(0, 0.02)) + rng.normal(0, 0.01, pixels.shape)
    return np.asarray(np.clip(exposed * 255, 0, 255).round(), dtype=np.uint8)


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[..., 3]` pixels as their luma, `[..., 1]`."""
    return np.asarray((pixels @ LUMA).round(), dtype=np.uint8)[..., None]
