"""The first look of `rayae train` at its images, in this process: what can be used, and the pixels if they are kept."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rayae.batches import Pictures, Streamed, arrange
from rayae.duplicates import THUMBNAIL, Thumbnails, thumbnail
from rayae.flatness import is_flat
from rayae.loader import Loader
from rayae.memory import SHARE, Room, free_bytes
from rayae.verbs.train_pictures import ToRead

BECAME = ("image_id", "status", "error", "digest", "is_flat")


@dataclass(frozen=True)
class Looked:
    """What a look at the images has found."""

    read: ToRead
    loader: Loader
    became: pd.DataFrame
    """What became of each image: `image_id`, `status`, `error`, `digest`, `is_flat`."""
    thumbnails: Thumbnails
    pixels: NDArray[np.uint8] | None
    """`[N, H, W, C]` of those that are kept, with nothing at the places of those that could not be decoded."""

    def pictures(self, train: NDArray[np.int64], validation: NDArray[np.int64]) -> tuple[Pictures, Pictures]:
        """The pictures of these ids, in these orders. To be called once: those in memory are moved there."""
        images, begin = self.read.images, self.read.train
        if self.pixels is None:
            return Streamed.of(images, train, self.loader), Streamed.of(images, validation, self.loader)
        ids = pd.Index(images["image_id"].to_numpy())
        return (
            arrange(self.pixels[:begin], ids.get_indexer(pd.Index(train))),
            arrange(self.pixels[begin:], ids.get_indexer(pd.Index(validation)) - begin),
        )


def room_here(read: ToRead) -> Room:
    """The room for pictures in this process, beside the thumbnails."""
    compared = int(np.count_nonzero(read.images["is_compared"].to_numpy()))
    return Room(max(0, SHARE * free_bytes() - compared * math.prod(THUMBNAIL)), "in this process")


def look(read: ToRead, loader: Loader, is_held: bool) -> Looked:
    """Read and decode every image once."""
    preprocess = loader.preprocess
    shape = (read.kept if is_held else 0, preprocess.height, preprocess.width, preprocess.channels)
    pixels, rows, thumbnails = np.empty(shape, np.uint8), [], dict[int, NDArray[np.uint8]]()
    ids, compared = (read.images[name].to_pylist() for name in ("image_id", "is_compared"))
    for place, one in enumerate(loader.load(read.images)):
        picture = one.picture
        flat = picture.pixels is not None and is_flat(picture.pixels)
        rows.append((ids[place], str(picture.status), picture.error or "", one.digest or "", flat))
        if picture.pixels is None:
            continue
        if place < len(pixels):
            pixels[place] = picture.pixels
        if compared[place]:
            thumbnails[ids[place]] = thumbnail(picture.pixels)
    became = pd.DataFrame(rows, columns=list(BECAME))
    return Looked(read, loader, became, Thumbnails(thumbnails), pixels if is_held else None)
