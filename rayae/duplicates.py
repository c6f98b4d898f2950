"""Home of near-duplicates: pictures of one side that are also on another, perhaps compressed, resized or shifted.

Pictures of one kind are alike without being duplicates: of the 2,624 cells of the ELPV dataset at 31 x 31, one pair in
10,000 has pixels that correlate by more than 0.989, and half of the cells shifted down by a pixel of 128 correlate by
less than 0.941 with themselves. So the pictures are whitened first: what many of them share counts little, what two of
them share counts much.

The filter before it is a perceptual hash: the signs of the 64 lowest frequencies of the cosine transform, compared by
Hamming distance (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010), here of the
whitened picture, whose frequencies have one scale, so that the sign stands for the comparison with their median.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.fft import dctn

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint64]

CELLS = 16
"""Rows and columns that a picture is reduced to: noise and JPEG leave their means alone, and 256 can be whitened."""
STEPS = 8
"""Steps in a cell: one is the shift that is looked for, 1/132 of the picture."""
REACH = 2
"""Steps that a duplicate may be shifted by, each way."""
SIDE = CELLS * STEPS + 2 * REACH
THUMBNAIL = (SIDE, SIDE, 1)
FLATTEST = 1.0
"""Standard deviation of the cells, in grey levels of 256, below which a picture shows nothing to correlate."""
PRIOR = 16
"""How many pictures the assumption counts for that nothing is shared: with fewer it is more or less the correlation."""
NOISE = 1e-4
"""Share of a picture's variance in each direction that is taken for noise and not amplified."""
BITS = 14
"""Of 64 that may differ: those copies differ in 14 at most, 0.09 % of the pairs of the dataset in no more than that."""
THRESHOLD = 0.92
"""Of the whitened correlation. On ELPV photographs at 128 x 128 it finds 99 % of the copies or more, of eleven kinds:
JPEG of quality 30 and 75, brightness up, brightness down, gamma, noise of 8 grey levels, by way of 512 px, shifts of 1
and 2 px along one side and both; by way of 96 px, 90 %. Above it, unshifted, are 387 of its pairs: those looked at show
a cell twice or two wafers with the same grain, but for 12 of monocrystalline cells that show nothing of their own; at
0.88 those are 117."""
BLOCK = 256
HASHES_AT_ONCE = 1024
CANDIDATES_AT_ONCE = 16384
LEARNT_FROM = 8192


ThumbnailsOf = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""By image id: `[N, 132, 132, 1]`, in the order that is asked for."""


class Pair(NamedTuple):
    """A near-duplicate: places in the first and second side, and their whitened correlation, 1 for the same picture."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class Thumbnails:
    """All that is compared of pictures, by image id: 17 kB each."""

    by_id: Mapping[int, NDArray[np.uint8]]

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Those of these images, in this order, `[N, 132, 132, 1]`."""
        return np.stack([self.by_id[image_id] for image_id in ids.tolist()])


@dataclass(frozen=True)
class _Side:
    """The unshifted pictures of a side that are not flat, whitened, `[N, 256]` of norm 1, and their places there."""

    places: NDArray[np.int64]
    white: Floats
    hashes: Hashes


def near_duplicates(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> list[Pair]:
    """The most alike of the first side for every picture of the second that has a near-duplicate there, best first.

    Pixels are [N, H, W, 1 or 3] uint8, of any size on each side; give the larger side first, from which the whitening
    is learnt. A copy may be shifted by 1.5 % of the picture's side. A flat picture is in no pair: it has no
    correlation, and one blank picture says nothing of another. Memory is 3 kB a picture of the first side and some MB.
    """
    vectors, flat = _unshifted(first)
    places = np.flatnonzero(~flat)
    if not len(places):
        return []
    whitening = _whitening(vectors[places])
    white = _normalised(vectors[places] @ whitening)
    side = _Side(places, white, _hashes(white))
    pairs = [pair for start in range(0, len(second), BLOCK) for pair in _pairs(side, second, start, whitening)]
    return sorted(pairs, key=lambda pair: -pair.correlation)


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All that is compared of a picture, [H, W, 1 or 3]: [132, 132, 1] in grey, which have themselves as thumbnail."""
    picture = Pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
    return np.asarray(picture.resize((SIDE, SIDE), Pillow.Resampling.BILINEAR))[..., None]


def _pairs(side: _Side, second: NDArray[np.uint8], start: int, whitening: Floats) -> Iterator[Pair]:
    """The pairs of a block of the second side, over all shifts."""
    tables = _reduced(second[start : start + BLOCK])
    best, nearest = np.full(len(tables), -1.0, np.float32), np.zeros(len(tables), np.int64)
    for down in range(2 * REACH + 1):
        for right in range(2 * REACH + 1):
            vectors, flat = _cells(tables, down, right)
            white = _normalised(vectors @ whitening)
            for rows, columns in _candidates(side.hashes, _hashes(white), np.flatnonzero(~flat)):
                correlations = np.einsum("nd,nd->n", side.white[rows], white[columns])
                for at in np.flatnonzero(correlations > np.maximum(best[columns], THRESHOLD)):
                    if correlations[at] > best[columns[at]]:
                        best[columns[at]], nearest[columns[at]] = correlations[at], side.places[rows[at]]
    for column in np.flatnonzero(best > THRESHOLD):
        yield Pair(int(nearest[column]), start + int(column), float(min(best[column], 1.0)))


def _candidates(
    first: Hashes, second: Hashes, usable: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places in both whose hashes differ in few bits, a bounded number at a time."""
    for start in range(0, len(first), HASHES_AT_ONCE):
        differing = np.bitwise_count(first[start : start + HASHES_AT_ONCE, None] ^ second[None, usable])
        rows, columns = np.divmod(np.flatnonzero(differing <= BITS), max(1, len(usable)))
        for at in range(0, len(rows), CANDIDATES_AT_ONCE):
            part = slice(at, at + CANDIDATES_AT_ONCE)
            yield start + rows[part], usable[columns[part]]


def _unshifted(pixels: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.bool_]]:
    blocks = [_cells(_reduced(pixels[start : start + BLOCK]), REACH, REACH) for start in range(0, len(pixels), BLOCK)]
    if not blocks:
        return np.zeros((0, CELLS**2), np.float32), np.zeros(0, bool)
    vectors, flat = zip(*blocks, strict=True)
    return np.concatenate(vectors), np.concatenate(flat)


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Summed-area tables (Crow 1984) of grey pictures of 132 x 132, [N, 133, 133]: a cell is the sum of four."""
    tables = np.zeros((len(pixels), SIDE + 1, SIDE + 1), np.int32)
    for one, table in zip(pixels, tables, strict=True):
        table[1:, 1:] = thumbnail(one)[..., 0]
    return tables.cumsum(1, dtype=np.int32).cumsum(2, dtype=np.int32)


def _cells(tables: NDArray[np.int32], down: int, right: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Means of the cells, [N, 256] of mean 0 and norm 1, the grid so many steps from the corner; and which are flat."""
    size = CELLS * STEPS + 1
    corners = tables[:, down : down + size : STEPS, right : right + size : STEPS]
    sums = np.diff(np.diff(corners, axis=1), axis=2).reshape(len(tables), -1)
    vectors: Floats = sums.astype(np.float32) / np.float32(STEPS**2)
    vectors -= vectors.mean(1, keepdims=True)
    return _normalised(vectors), vectors.std(1) < FLATTEST


def _whitening(vectors: Floats) -> Floats:
    """The symmetric matrix, [256, 256], after which what the pictures share has no more weight than anything else."""
    sample = vectors[:: -(-len(vectors) // LEARNT_FROM)].astype(np.float64)
    prior = PRIOR / (PRIOR + len(sample))
    moments = (1 - prior) * (sample.T @ sample) / len(sample)
    variances, directions = np.linalg.eigh(moments)
    scales = 1 / np.sqrt(np.maximum(variances, 0) + prior / CELLS**2 + NOISE)
    return np.asarray((directions * scales) @ directions.T, dtype=np.float32)


def _hashes(white: Floats) -> Hashes:
    """The signs of the 64 lowest frequencies but that of the mean, which is 0, as 64 bits."""
    frequencies = dctn(white.reshape(-1, CELLS, CELLS), axes=(1, 2)).reshape(-1, CELLS**2)[:, _LOWEST]
    packed: Hashes = np.ascontiguousarray(np.packbits(frequencies > 0, axis=1)).view(np.uint64)[:, 0]
    return packed


def _normalised(vectors: Floats) -> Floats:
    """Rows of norm 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    norms[norms == 0] = 1
    normalised: Floats = vectors / norms
    return normalised


_LOWEST = np.argsort(np.add.outer(np.arange(CELLS), np.arange(CELLS)).ravel(), kind="stable")[1:65]
