"""Home of the damage: which pictures of a batch get which defects, and where that can be seen."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rayae.defects import contents as fillings
from rayae.defects.shapes import blob, ellipse, rectangle
from rayae.defects.strokes import stroke
from rayae.dice import Dice
from rayae.errors import ConfigError

SHAPES = {"rectangle": rectangle, "ellipse": ellipse, "blob": blob, "stroke": stroke}
CONTENTS = {
    "paste": fillings.paste,
    "blend": fillings.blend,
    "noise": fillings.grain,
    "level": fillings.level,
    "moved": fillings.moved,
    "blurred": fillings.blur,
}
ANOTHER = 0.35
"""The probability that a picture with a defect has one more."""
OPACITY = (0.3, 1.0)
"""Half of the defects let more than a third of the picture through: the subtle ones are what a score has to find."""
VISIBLE = 0.03
"""Mean absolute difference over 3 x 3 pixels from which a place counts as changed."""
LEAST_SIDE = 32


class Damaged(NamedTuple):
    """Pictures `[B, C, H, W]` in [0, 1] with defects, and places `[B, 1, H, W]`: 1 where that can be seen, else 0."""

    pictures: Tensor
    places: Tensor


class Plan(NamedTuple):
    """Which picture, shape and content each defect has, `[n]` each, and how many defects come first, second, ..."""

    which: Tensor
    shape: Tensor
    content: Tensor
    a_round: list[int]


@torch.no_grad()
def damage(
    pictures: Tensor,
    generator: torch.Generator,
    shapes: Sequence[str] = tuple(SHAPES),
    contents: Sequence[str] = tuple(CONTENTS),
    share: float = 0.7,
    most: int = 3,
    neighbours: Tensor | None = None,
    where: Tensor | None = None,
) -> Damaged:
    """Put up to `most` defects into a `share` of the pictures `[B, C, H, W]`, float32 in [0, 1] on any device.

    The rest of the pictures stays as it is, bit by bit. What is pasted comes from the others of the batch and from its
    `neighbours`, of the same shape. Where pixels have weights, `where` `[H, W]`, the middle of each defect and of what
    is pasted is at a place drawn by these. With a generator on the CPU nothing waits for a GPU. Raises ConfigError for
    shapes and contents that are not known, and for sides below 32 pixels.
    """
    _refuse(pictures, shapes, contents)
    dice = Dice(generator, pictures.device, where)
    height, width = pictures.shape[2:]
    plan = _plan(len(pictures), len(shapes), len(contents), share, most, generator)
    masks = pictures.new_empty(len(plan.which), height, width)
    for number, name in enumerate(shapes):
        rows = (plan.shape == number).nonzero()[:, 0]
        if len(rows):
            masks.index_copy_(0, dice.sent(rows), SHAPES[name](len(rows), height, width, dice))
    changes = pictures.new_empty(len(plan.which), *pictures.shape[1:])
    which = dice.sent(plan.which)
    sources = pictures if neighbours is None else torch.cat([pictures, neighbours])
    for number, name in enumerate(contents):
        rows = dice.sent((plan.content == number).nonzero()[:, 0])
        if len(rows):
            changes.index_copy_(0, rows, CONTENTS[name](sources, which[rows], masks.index_select(0, rows), dice))
    changes *= dice.uniform(len(changes), 1, 1, 1, low=OPACITY[0], high=OPACITY[1])
    damaged = _added(pictures, changes, which, plan.a_round)
    return Damaged(damaged, visible(pictures, damaged))


def visible(before: Tensor, after: Tensor) -> Tensor:
    """`[B, 1, H, W]`, 1 where pictures differ by more than 0.03, in the mean over 3 x 3 pixels, in any channel.

    Three sums a direction take a quarter of the time of a window that slides.
    """
    difference = (after - before).abs()
    if difference.shape[1] > 1:
        difference = difference.amax(1, keepdim=True)
    padded = functional.pad(difference, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] > 9 * VISIBLE).float()


def _plan(pictures: int, shapes: int, contents: int, share: float, most: int, generator: torch.Generator) -> Plan:
    """Drawn at once, since each number that Python sees makes it wait for a GPU."""
    drawn = torch.rand(3, most, pictures, generator=generator, device=generator.device).cpu()
    limits = torch.full((most, 1), ANOTHER)
    limits[0] = share
    present = (drawn[0] < limits).cumprod(0).bool()
    which = present.nonzero()[:, 1]
    shape, content = ((drawn[1 + k][present] * kinds).long() for k, kinds in enumerate((shapes, contents)))
    return Plan(which, shape, content, present.sum(1).tolist())


def _added(pictures: Tensor, changes: Tensor, which: Tensor, a_round: list[int]) -> Tensor:
    """Round by round: two changes of one picture in one sum would come in any order on a GPU."""
    damaged = pictures.clone()
    for part, rows in zip(torch.split(changes, a_round), torch.split(which, a_round), strict=True):
        damaged.index_copy_(0, rows, (damaged.index_select(0, rows) + part).clamp_(0, 1))
    return damaged


def _refuse(pictures: Tensor, shapes: Sequence[str], contents: Sequence[str]) -> None:
    for kind, asked, known in (("shapes", shapes, SHAPES), ("contents", contents, CONTENTS)):
        strange = [name for name in asked if name not in known]
        if strange or not asked:
            found = ", ".join(strange) or "none"
            raise ConfigError(f"defects were asked with the {kind} {found}; take some of {', '.join(known)}.")
    height, width = pictures.shape[2:]
    if min(height, width) < LEAST_SIDE:
        raise ConfigError(
            f"defects were asked in pictures of {height} x {width} pixels; both sides must be at least {LEAST_SIDE}."
        )
