"""Home of the flaws of the sheets: each is made as it comes about, by geometry, by shading or by a walk.

None is a shape filled with other pixels, which is how a detector may be trained on made defects: else the benchmark
would ask whether it knows its own drawing. Each takes a crop and gives its pixels `[H, W, 3]` with the flaw.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter1d

from benchmarks.quality.textures import SIDE, Field, Sheet, noise

Flaw = Callable[[Sheet, np.random.Generator], Field]
INSIDE = (18, SIDE - 18)


def around(rng: np.random.Generator) -> tuple[Field, Field]:
    """Offsets y and x [H, W] in pixels from a random place off the border."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    at = rng.uniform(*INSIDE, 2)
    return y - at[0], x - at[1]


def warped(pixels: Field, move_y: Field, move_x: Field) -> Field:
    """The pixels that lie so far from each place, [H, W, 3]."""
    y, x = np.mgrid[:SIDE, :SIDE]
    at = np.stack([y + move_y, x + move_x])
    return np.stack([map_coordinates(pixels[..., c], at, order=1, mode="reflect") for c in range(3)], axis=2)


def missing_thread(crop: Sheet, rng: np.random.Generator) -> Field:
    """One thread is gone along a stretch: its neighbours close up on it, and the ground shows between them."""
    y, x = around(rng)
    along, across, is_row = (x, y, True) if rng.random() < 0.5 else (y, x, False)
    reach = rng.uniform(15, 60)
    open_ = 1 / (1 + np.exp((np.abs(along) - reach) / 2))
    pull = open_ * np.sign(across) * crop.period * rng.uniform(0.3, 0.5) * np.exp(-((across / crop.period / 2) ** 2))
    still = np.zeros_like(pull)
    moved = warped(crop.pixels, pull, still) if is_row else warped(crop.pixels, still, pull)
    gap = open_ * np.exp(-((across / (crop.period * rng.uniform(0.15, 0.3))) ** 2)) * rng.uniform(0.4, 0.9)
    return moved + (crop.ground - moved) * gap[..., None]


def kink(crop: Sheet, rng: np.random.Generator) -> Field:
    """The material is twisted about a place."""
    y, x = around(rng)
    angle = rng.choice([-1, 1]) * rng.uniform(0.4, 1.3) * np.exp(-(y**2 + x**2) / rng.uniform(7, 16) ** 2)
    return warped(crop.pixels, y * (np.cos(angle) - 1) + x * np.sin(angle), x * (np.cos(angle) - 1) - y * np.sin(angle))


def dent(crop: Sheet, rng: np.random.Generator) -> Field:
    """A hollow or a bump, seen by how its slopes stand to the light."""
    y, x = around(rng)
    long, short = rng.uniform(6, 14), rng.uniform(4, 9)
    turn = rng.uniform(0, np.pi)
    u, v = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
    height = np.exp(-((u / long) ** 2) - (v / short) ** 2) * rng.choice([-1, 1]) * rng.uniform(0.8, 2.0)
    slope_y, slope_x = np.gradient(height)
    return crop.pixels * np.exp(1.2 * (slope_y * crop.light[0] + slope_x * crop.light[1]))[..., None]


def burn(crop: Sheet, rng: np.random.Generator) -> Field:
    """Scorched from a hot point outward: brown first, since blue goes before red, with a ragged front."""
    y, x = around(rng)
    radius = rng.uniform(5, 14)
    ragged = np.hypot(y, x) / radius * np.exp(0.25 * noise(rng, (SIDE, SIDE), 3, 3))
    heat = rng.uniform(0.15, 0.7) / (1 + np.exp((ragged - 1) * rng.uniform(3, 7)))
    return crop.pixels * np.exp(-heat[..., None] * np.array([0.7, 1.0, 1.35]))


def particle(crop: Sheet, rng: np.random.Generator) -> Field:
    """A crumb with facets lies on the material, and its shadow falls away from the light."""
    y, x = around(rng)
    angles = (np.arange(7) + rng.uniform(-0.35, 0.35, 7)) * 2 * np.pi / 7
    reach = rng.uniform(2.0, 5.5) * rng.uniform(0.7, 1.2, 7)
    planes = reach[:, None, None] - (np.sin(angles)[:, None, None] * y + np.cos(angles)[:, None, None] * x)
    body = np.clip(planes.min(0) + 0.5, 0, 1)
    facet = planes.argmin(0)
    facing = np.sin(angles) * crop.light[0] + np.cos(angles) * crop.light[1]
    colour = rng.uniform(0.1, 0.9) * np.exp(rng.normal(0, 0.1, 3))
    shade = (1 + 0.45 * facing[facet])[..., None] * colour
    throw = reach.mean() * rng.uniform(0.5, 1.2)
    cast = np.roll(body, (round(-throw * crop.light[0]), round(-throw * crop.light[1])), axis=(0, 1))
    shadow = gaussian_filter(cast, 1.2) * rng.uniform(0.2, 0.5)
    lit = crop.pixels * (1 - shadow)[..., None]
    return lit + (shade - lit) * body[..., None]


def hole(crop: Sheet, rng: np.random.Generator) -> Field:
    """Pierced down to the ground: the rim is bright where it faces the light, and dark on the other side."""
    y, x = around(rng)
    radius = rng.uniform(2.5, 7)
    wobble = 1 + 0.12 * noise(rng, (SIDE, SIDE), 4, 4)
    distance = np.hypot(y, x) * wobble - radius
    facing = (y * crop.light[0] + x * crop.light[1]) / np.maximum(np.hypot(y, x), 1e-6)
    rim = np.exp(-((distance / 1.3) ** 2)) * facing * rng.uniform(0.1, 0.4)
    depth = rng.uniform(0.4, 1) / (1 + np.exp(distance * 2))
    return (crop.pixels + (crop.ground - crop.pixels) * depth[..., None]) * (1 + rim)[..., None]


def smear(crop: Sheet, rng: np.random.Generator) -> Field:
    """Something was dragged over it: what it touched is drawn out that way, most where it pressed.

    The way is the one on which the material changes more, since a smear along brushed streaks is not seen.
    """
    y, x = around(rng)
    changes = [float(np.abs(np.diff(crop.pixels, axis=axis)).mean()) for axis in (0, 1)]
    axis = int(np.argmax(changes))
    along, across = (y, x) if axis == 0 else (x, y)
    length = int(rng.integers(11, 31))
    dragged = uniform_filter1d(crop.pixels, length, axis=axis, mode="nearest", origin=length // 3)
    press = np.exp(-((along / rng.uniform(12, 26)) ** 4) - (across / rng.uniform(4, 9)) ** 4) * rng.uniform(0.6, 1)
    return crop.pixels + (dragged * rng.uniform(0.9, 1.05) - crop.pixels) * press[..., None]


def misprint(crop: Sheet, rng: np.random.Generator) -> Field:
    """The paper slipped under a part of the plate, or ink did not reach it: dots stand off their grid or are thin."""
    y, x = around(rng)
    size = crop.period * rng.uniform(0.6, 1.6)
    part = 1 / (1 + np.exp((np.maximum(np.abs(y), np.abs(x)) - size) * 2))
    if rng.random() < 0.5:
        turn = rng.uniform(0, 2 * np.pi)
        slip = crop.period * rng.uniform(0.2, 0.45)
        return warped(crop.pixels, part * slip * np.sin(turn), part * slip * np.cos(turn))
    return crop.pixels + (crop.ground - crop.pixels) * (part * rng.uniform(0.35, 1))[..., None]


def crack(crop: Sheet, rng: np.random.Generator) -> Field:
    """A hairline that walks on with a wandering heading, and now and then sends out a thinner branch."""
    depth = np.zeros((SIDE, SIDE))
    tips = [(rng.uniform(*INSIDE, 2), rng.uniform(0, 2 * np.pi), rng.uniform(25, 90), rng.uniform(0.5, 1.0))]
    while tips:
        at, heading, left, width = tips.pop()
        while left > 0 and np.all((at >= 0) & (at < SIDE - 1)):
            draw_point(depth, at, width)
            heading += rng.normal(0, 0.16)
            at = at + 0.5 * np.array([np.sin(heading), np.cos(heading)])
            left -= 0.5
            if rng.random() < 0.012:
                tips.append((at, heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1), left * 0.6, width * 0.6))
    line = np.clip(gaussian_filter(depth, 0.5), 0, 1)
    edge = np.roll(line, (round(-crop.light[0]), round(-crop.light[1])), axis=(0, 1))
    strength = rng.uniform(0.2, 0.65)
    return crop.pixels * (1 - strength * line + 0.25 * strength * np.clip(edge - line, 0, 1))[..., None]


def draw_point(field: Field, at: Field, weight: float) -> None:
    """Share a weight among the four pixels about a place, as near as they are to it."""
    (y, x), (v, u) = np.floor(at).astype(int), at % 1
    field[y : y + 2, x : x + 2] += weight * np.outer([1 - v, v], [1 - u, u])


FLAWS: dict[str, tuple[Flaw, ...]] = {
    "cloth": (missing_thread, kink, hole, burn, particle),
    "metal": (dent, crack, smear, particle, burn),
    "stone": (crack, hole, burn, particle, dent),
    "wood": (crack, kink, burn, hole, dent),
    "dots": (misprint, smear, particle, kink, burn),
}
