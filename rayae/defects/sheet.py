"""Home of the contact sheet: one defect of each shape and content, for the eye."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from rayae.defects.damaged import CONTENTS, SHAPES, damage

GAP_PIXELS = 4
HEADER_PIXELS = 18
MARGIN_PIXELS = 64
TRIES = 8
"""So many defects are made for a field of the sheet, and the one with the most changed pixels is shown."""


def contact_sheet(pictures: Tensor, seed: int) -> Image.Image:
    """A row a shape and two columns a content: a damaged picture, and the places that are to be found in it.

    Takes `[B, C, H, W]` float32 in [0, 1] with C 1 or 3; the fields take the pictures in turn.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = (size + GAP_PIXELS for size in pictures.shape[2:])
    size = (MARGIN_PIXELS + 2 * width * len(CONTENTS), HEADER_PIXELS + height * len(SHAPES))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, content in enumerate(CONTENTS):
        pen.text((MARGIN_PIXELS + 2 * width * column, 2), content, fill="black")
    for row, shape in enumerate(SHAPES):
        pen.text((2, HEADER_PIXELS + height * row), shape, fill="black")
        for column, content in enumerate(CONTENTS):
            turn = (row * len(CONTENTS) + column) % len(pictures)
            left, top = MARGIN_PIXELS + 2 * width * column, HEADER_PIXELS + height * row
            for shift, picture in zip((0, width), _example(pictures, turn, shape, content, generator), strict=True):
                sheet.paste(_drawn(picture), (left + shift, top))
    return sheet


def _example(
    pictures: Tensor, turn: int, shape: str, content: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A damaged picture `[C, H, W]` and its places `[1, H, W]`."""
    batch = pictures.roll(-turn, 0)
    tries = [damage(batch, generator, [shape], [content], share=1.0, most=1) for _ in range(TRIES)]
    largest = max(tries, key=lambda one: float(one.places[0].sum()))
    return largest.pictures[0], largest.places[0]


def _drawn(picture: Tensor) -> Image.Image:
    pixels: np.ndarray = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
