"""Home of the tasks: what a network is shown in training, in place of the picture that it is to give back."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor

from rayae.defects import damage
from rayae.dice import Dice
from rayae.errors import ConfigError

SIGMA = (0.02, 0.2)
"""Standard deviation of the Gaussian noise, pixels being in [0, 1]."""
MOST_SALT = 0.01
"""The largest share of pixels that are made black or white besides."""
CELLS = (32, 16, 8)
"""Cells along the shorter side, a scale each: a defect is hidden whole by cells that are larger than it."""
HIDDEN = (0.25, 0.6)
"""Share of the cells that are hidden in training, around what 2 to 4 disjoint masks hide in scoring."""
MASKS = 3
"""Disjoint masks a scale in scoring, as in the paper: 9 passes through the network a picture in all."""


class Posed(NamedTuple):
    """What the network sees `[B, C, H, W]`, and where that was changed `[B, 1, H, W]`, 0 or 1; None for everywhere."""

    seen: Tensor
    places: Tensor | None


@torch.no_grad()
def posed(
    task: str,
    pictures: Tensor,
    generator: torch.Generator,
    neighbours: Tensor | None = None,
    where: Tensor | None = None,
) -> Posed:
    """Pose the task `copy`, `denoise`, `inpaint` or `repair` with pictures `[B, C, H, W]`, float32 in [0, 1].

    Defects are made of the others of the batch and of its `neighbours`, and put where the pixels have weights,
    `[H, W]`. Raises ConfigError for any other task.
    """
    if task not in TASKS:
        raise ConfigError(f"the task {task!r} was asked; take one of {', '.join(TASKS)}.")
    return TASKS[task](pictures, generator, neighbours, where)


def with_neighbours(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Each batch, and beside one of a single picture another picture: of the batch before, at first of that after.

    None where there is no other, and beside batches of several pictures, which are neighbours of one another. Many
    workers have one picture each in a step, and a patch of a picture in itself would be all that they learn to find.
    """
    left = iter(batches)
    begin = list(islice(left, 1))
    if begin and len(begin[0]) == 1:
        begin += islice(left, 1)
    neighbour = begin[1][:1] if len(begin) > 1 else None
    for batch in chain(begin, left):
        yield batch, neighbour if len(batch) == 1 else None
        neighbour = batch[:1].clone()


def copy(
    pictures: Tensor, generator: torch.Generator, neighbours: Tensor | None = None, where: Tensor | None = None
) -> Posed:
    """The picture as it is: only a narrow network learns from it."""
    return Posed(pictures, None)


def denoise(
    pictures: Tensor, generator: torch.Generator, neighbours: Tensor | None = None, where: Tensor | None = None
) -> Posed:
    """Gaussian noise, of a strength of its own in each picture, and a few pixels black or white."""
    dice, count = Dice(generator, pictures.device), len(pictures)
    sigma = dice.log_uniform(count, 1, 1, 1, low=SIGMA[0], high=SIGMA[1])
    noisy = (pictures + sigma * dice.normal(*pictures.shape)).clamp(0, 1)
    drawn = dice.uniform(count, 1, *pictures.shape[2:])
    salt = dice.uniform(count, 1, 1, 1, high=MOST_SALT)
    return Posed(torch.where(drawn < salt, (drawn < salt / 2).to(noisy.dtype), noisy), None)


def inpaint(
    pictures: Tensor, generator: torch.Generator, neighbours: Tensor | None = None, where: Tensor | None = None
) -> Posed:
    """About half of the cells hidden, their size one of three in each picture (Zavrtanik et al., "RIAD", 2021)."""
    dice, count = Dice(generator, pictures.device), len(pictures)
    share = dice.uniform(count, 1, 1, 1, low=HIDDEN[0], high=HIDDEN[1])
    scale = dice.below(len(CELLS), count, 1, 1, 1)
    places = pictures.new_zeros(count, 1, *pictures.shape[2:])
    for number, cells in enumerate(CELLS):
        rows, columns, shape = _grid(pictures.shape[2], pictures.shape[3], cells, pictures.device)
        hidden = (dice.uniform(count, 1, *shape) < share).to(places.dtype)
        places = torch.where(scale == number, hidden[:, :, rows[:, None], columns], places)
    return Posed(hidden_under(pictures, places), places)


def repair(
    pictures: Tensor, generator: torch.Generator, neighbours: Tensor | None = None, where: Tensor | None = None
) -> Posed:
    """Synthetic defects in most pictures."""
    return Posed(*damage(pictures, generator, neighbours=neighbours, where=where))


TASKS: dict[str, Callable[[Tensor, torch.Generator, Tensor | None, Tensor | None], Posed]] = {
    "copy": copy,
    "denoise": denoise,
    "inpaint": inpaint,
    "repair": repair,
}


def hidden_under(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures with the mean grey, or mean colour, of all that is left to see in the places that are hidden."""
    seen = pictures * (1 - places)
    mean = seen.sum((2, 3), keepdim=True) / (1 - places).sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(places > 0, mean, pictures)


def disjoint_masks(height: int, width: int, cells: int, count: int, generator_seed: int) -> Tensor:
    """Masks `[count, 1, H, W]` of 0 and 1 that hide every pixel exactly once, in cells of 1 / `cells` of the side.

    A mask hides a random 1 / `count` of the cells, one more or less. Raises ConfigError when one mask would hide all.
    """
    rows, columns, shape = _grid(height, width, cells, torch.device("cpu"))
    number = shape[0] * shape[1]
    if not 2 <= count <= number:
        raise ConfigError(f"{count} masks were asked over {number} cells; take at least 2, and no more than cells.")
    generator = torch.Generator().manual_seed(generator_seed)
    turn = (torch.randperm(number, generator=generator) % count).view(shape)
    mask = turn[rows[:, None], columns]
    return (mask == torch.arange(count)[:, None, None]).float()[:, None]


def inpainted(
    network: Callable[[Tensor], Tensor], pictures: Tensor, count: int = MASKS, scales: tuple[int, ...] = CELLS
) -> Tensor:
    """Pictures `[B, C, H, W]` in which every pixel is predicted from others alone, the mean over the scales.

    The network runs `count` times a scale, and each time only what was hidden is taken from it. The masks are the same
    in every call, so a picture has one score.
    """
    whole = torch.zeros_like(pictures)
    for cells in scales:
        masks = disjoint_masks(pictures.shape[2], pictures.shape[3], cells, count, cells).to(
            pictures.device, pictures.dtype
        )
        for mask in masks:
            whole = whole + network(hidden_under(pictures, mask.expand(len(pictures), -1, -1, -1))) * mask
    return whole / len(scales)


def _grid(height: int, width: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """The cell's row `[H]` and column `[W]` of each pixel, and how many rows and columns of cells there are."""
    side = max(1, min(height, width) // cells)
    rows, columns = (torch.arange(size, device=device) // side for size in (height, width))
    return rows, columns, (-(-height // side), -(-width // side))
