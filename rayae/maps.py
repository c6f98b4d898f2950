"""Home of the error maps that a run keeps of flagged images, so that nobody has to read these again to look at them.

    RUN/maps/chunk-000123.parquet    image_id, and as PNG the original as the network saw it, the reconstruction and the
                                     error map, whose brightest pixel is `largest_error`

The worker that scores a chunk writes the file in the same pass, whole, before the chunk file. How many a chunk may keep
follows from the plan alone, and which from `image_id`, so a chunk done twice writes the same file.
"""

import io
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image as Pillow

from rayae import storage
from rayae.errors import RunError
from rayae.manifest import Chunk
from rayae.results import METADATA_KEY, Judge, chunk_name
from rayae.run import MAPS, Run
from rayae.terminal import warn
from rayae.threshold import flag

SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        *((name, pa.binary()) for name in ("original", "reconstruction", "error_map")),
        ("largest_error", pa.float32()),
    ]
)
Pixels = NDArray[np.uint8]
Reconstruct = Callable[[Pixels], tuple[Pixels, NDArray[np.float32]]]
"""What the network makes of pixels [N, H, W, C], likewise, and their error maps [N, H, W]."""


@dataclass(frozen=True)
class StoredMap:
    """A flagged image: pixels [H, W, C] as the network saw them, what it made of them, error of each pixel [H, W]."""

    original: Pixels
    reconstruction: Pixels
    error_map: NDArray[np.float32]
    """In 255 steps up to its highest value."""


def share_of(chunk: Chunk, rows: int, most: int) -> int:
    """How many maps a chunk may keep of the `most` of a run of so many rows: shares of all chunks come to `most`."""
    return most * (chunk.first + chunk.rows) // rows - most * chunk.first // rows


def mixed(image_id: int) -> int:
    """A number that looks like chance and follows from `image_id` (the finaliser of SplitMix64)."""
    value = (image_id + 0x9E3779B97F4A7C15) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> shift)) * factor % 2**64
    return value ^ (value >> 31)


@dataclass
class Keeper:
    """Keeps the maps of at most `share` of the images that it is offered: those whose `mixed` number is lowest.

    Their pixels wait until a micro-batch of them is there, since the network takes no less time for one.
    """

    share: int
    batch: int
    kept: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows of SCHEMA by their image_id."""
    waiting: list[tuple[int, Pixels]] = field(default_factory=list)

    def offer(self, image_ids: Sequence[int], pixels: Sequence[Pixels], reconstruct: Reconstruct) -> None:
        """Take flagged images in, as far as they may be among those that are kept."""
        self.waiting += zip(image_ids, pixels, strict=True)
        chosen = set(self._lowest([*self.kept, *(image_id for image_id, _ in self.waiting)]))
        self.waiting = [one for one in self.waiting if one[0] in chosen]
        if len(self.waiting) >= self.batch:
            self.settle(reconstruct)

    def settle(self, reconstruct: Reconstruct) -> None:
        """Make the maps of the images that wait, all of which one network has scored."""
        for first in range(0, len(self.waiting), self.batch):
            batch = self.waiting[first : first + self.batch]
            originals = np.stack([pixels for _, pixels in batch])
            for (image_id, _), *parts in zip(batch, originals, *reconstruct(originals), strict=True):
                self.kept[image_id] = _row(image_id, *parts)
        self.waiting.clear()
        self.kept = {image_id: self.kept[image_id] for image_id in self._lowest(list(self.kept))}

    def table(self) -> pa.Table:
        """What is kept, by image_id."""
        return pa.Table.from_pylist([self.kept[image_id] for image_id in sorted(self.kept)], SCHEMA)

    def _lowest(self, image_ids: Sequence[int]) -> list[int]:
        return sorted(image_ids, key=mixed)[: self.share]


@dataclass(frozen=True)
class Watch:
    """Offers the flagged ones of some images of a chunk, which one network scores, to the keeper."""

    keeper: Keeper
    judge: Judge
    image_ids: pa.ChunkedArray

    def see(
        self,
        rows: Sequence[int],
        pixels: Sequence[Pixels],
        scores: Mapping[str, NDArray[np.float32]],
        reconstruct: Reconstruct,
    ) -> None:
        """Look at a micro-batch that has been scored, of pixels [H, W, C]; `rows` are its places among the images."""
        if not self.keeper.share or self.judge.threshold is None:
            return
        flagged = np.flatnonzero(flag(scores[self.judge.primary_score], self.judge.threshold)).tolist()
        image_ids = [self.image_ids[rows[place]].as_py() for place in flagged]
        self.keeper.offer(image_ids, [pixels[place] for place in flagged], reconstruct)


def _row(image_id: int, original: Pixels, reconstruction: Pixels, error_map: NDArray[np.float32]) -> dict[str, Any]:
    largest = np.float32(error_map.max())
    steps = np.rint(error_map / (largest or np.float32(1)) * 255).astype(np.uint8)
    pictures = {"original": original, "reconstruction": reconstruction, "error_map": steps[..., None]}
    return {"image_id": image_id, "largest_error": largest} | {name: _png(one) for name, one in pictures.items()}


def write(run: Run, chunk: Chunk, keeper: Keeper) -> None:
    """Write the maps of a chunk, whole or not at all; nothing for a chunk that has none."""
    table = keeper.table()
    if not table.num_rows:
        return
    about = {"fingerprint": run.record["fingerprint_hash"], "chunk": chunk.number}
    buffer = io.BytesIO()
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()})
    pq.write_table(table, buffer, compression="none", write_page_checksum=True)  # PNG is compressed already
    storage.write_bytes(_uri(run, chunk.number), buffer.getvalue())


def rows_of(run: Run, chunk: int) -> list[dict[str, Any]]:
    """The rows of a chunk's file, none when there is no file; RunError when it is damaged or of another plan."""
    uri = _uri(run, chunk)
    found = storage.read_version(uri)
    if found is None:
        return []
    try:
        table = pq.ParquetFile(io.BytesIO(found[0]), page_checksum_verification=True, pre_buffer=False).read()
        about = json.loads((table.schema.metadata or {})[METADATA_KEY])
        planned = {"fingerprint": run.record["fingerprint_hash"], "chunk": chunk}
        if about != planned or table.schema.names != SCHEMA.names:
            raise RunError(f"{uri} has maps of another plan or chunk; remove it.")
        return list(table.to_pylist())
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise RunError(f"{uri} cannot be read ({' '.join(str(error).split())}); remove it.") from error


def stored(run: Run, image_ids: Sequence[int]) -> Iterator[tuple[int, StoredMap]]:
    """The image_id and the maps of those of these images that a run has kept, one at a time."""
    there = set(storage.list_names(storage.join(run.uri, MAPS)))
    if not there:
        return
    firsts, by_chunk = [chunk.first for chunk in run.chunks], defaultdict[int, set[int]](set)
    for image_id in image_ids:
        by_chunk[bisect_right(firsts, image_id) - 1].add(image_id)
    for chunk in by_chunk:
        rows = _rows_if_whole(run, chunk) if chunk_name(chunk) in there else []
        yield from ((row["image_id"], _stored(row)) for row in rows if row["image_id"] in by_chunk[chunk])


def _rows_if_whole(run: Run, chunk: int) -> list[dict[str, Any]]:
    """The rows of a chunk's file, none of a damaged one, which is told: its images can be read again."""
    try:
        return rows_of(run, chunk)
    except RunError as error:
        warn(f"maps are left out: {error}")
        return []


def _stored(row: dict[str, Any]) -> StoredMap:
    steps = _pixels(row["error_map"])[..., 0].astype(np.float32)
    error_map = steps * np.float32(row["largest_error"] / 255)
    return StoredMap(_pixels(row["original"]), _pixels(row["reconstruction"]), error_map)


def _uri(run: Run, chunk: int) -> str:
    return storage.join(run.uri, MAPS, chunk_name(chunk))


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(png: bytes) -> Pixels:
    picture = Pillow.open(io.BytesIO(png))
    return np.asarray(picture).reshape(picture.height, picture.width, -1)
