"""Home of the batches of pictures: taken from memory, or streamed, which means read and decoded anew each time.

Both ways give the same pixels in the same order, so that a training ends with the same weights.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from rayae.errors import PictureLost, StorageError
from rayae.loader import ROWS_AT_ONCE, WHERE, Loaded, Loader
from rayae.results import Status

PASSING = (Status.THROTTLED, Status.TIMEOUT)
"""Why a picture could not be read that may well be read later."""


@dataclass(frozen=True)
class Streamed:
    """Pictures that are read from storage whenever they are needed; a slice of them reads nothing."""

    rows: pa.Table
    """Of a manifest, in one piece, from which images are taken fast."""
    loader: Loader

    @classmethod
    def of(cls, images: pa.Table, ids: NDArray[np.int64], loader: Loader) -> "Streamed":
        """The images of these ids, in this order, of a manifest that holds all of them."""
        places = pd.Index(images["image_id"].to_numpy()).get_indexer(pd.Index(ids))
        return cls(images.select(WHERE).take(places).combine_chunks(), replace(loader, digests=False))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def __getitem__(self, part: slice) -> "Streamed":
        first, end, _ = part.indices(len(self))
        return replace(self, rows=self.rows.slice(first, max(0, end - first)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(N, H, W, C)`, as of an array."""
        preprocess = self.loader.preprocess
        return len(self), preprocess.height, preprocess.width, preprocess.channels

    def load(self, order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.uint8]]:
        """The pictures at these places in batches of `size`, the last one perhaps smaller.

        The next images are under way meanwhile, as many as a Loader holds. Raises PictureLost for one that cannot be
        read any more, and StorageError where storage does not give it for now.
        """
        parts = (self.rows.take(order[first : first + ROWS_AT_ONCE]) for first in range(0, len(order), ROWS_AT_ONCE))
        with closing(self.loader.load_all(parts)) as loading:
            for first in range(0, len(order), size):
                places = order[first : first + size]
                batch = np.empty((len(places), *self.shape[1:]), np.uint8)
                for pixels, place in zip(batch, places.tolist(), strict=True):
                    pixels[...] = self._pixels(next(loading), place)
                yield batch

    def _pixels(self, loaded: Loaded, place: int) -> NDArray[np.uint8]:
        picture = loaded.picture
        if picture.status in PASSING:
            raise StorageError(
                f"{self.rows['uri'][place].as_py()} cannot be read for this epoch: {picture.error} Run the same "
                "command again, which goes on from the last epoch."
            )
        if picture.pixels is None:
            raise PictureLost(
                f"{self.rows['uri'][place].as_py()} could be read when training began, and now it is "
                f"{picture.status}: {picture.error} Run the same command again when it can be read, or without it, "
                "with a new `out=`."
            )
        return picture.pixels


Pictures = NDArray[np.uint8] | Streamed
"""`[N, H, W, C]` uint8."""


def in_batches(pictures: Pictures, size: int, order: NDArray[np.int64] | None = None) -> Iterator[NDArray[np.uint8]]:
    """Batches of `size` pictures, the last one perhaps smaller: all in their order, or those at the places `order`."""
    if isinstance(pictures, Streamed):
        yield from pictures.load(np.arange(len(pictures)) if order is None else order, size)
    else:
        for first in range(0, len(pictures if order is None else order), size):
            part = slice(first, first + size)
            yield pictures[part if order is None else order[part]]


def pixels_of(pictures: Pictures) -> NDArray[np.uint8]:
    """All pictures at once, `[N, H, W, C]`."""
    if isinstance(pictures, Streamed):
        batches = list(in_batches(pictures, max(1, len(pictures))))
        return batches[0] if batches else np.empty(pictures.shape, np.uint8)
    return pictures


def arrange(pictures: NDArray[np.uint8], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """`pictures[order]`, for an order that names no place twice, in the memory of the pictures, which are moved."""
    rest = np.setdiff1d(np.arange(len(pictures)), order)
    comes_from = np.concatenate([order, rest])
    is_placed = comes_from == np.arange(len(pictures))
    for first in range(len(pictures)):
        if is_placed[first]:
            continue
        kept, to = pictures[first].copy(), first
        while comes_from[to] != first:
            pictures[to] = pictures[comes_from[to]]
            is_placed[to] = True
            to = int(comes_from[to])
        pictures[to] = kept
        is_placed[to] = True
    return pictures[: len(order)]
