"""Home of a chunk's pictures on their way from the process that decodes them to the one that scores them.

One row of a table a chunk: which images these are, all their pixels as one value, whose bytes are used where they lie,
and what became of each.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayae.errors import ConfigError
from rayae.loader import Loaded
from rayae.preprocess import Picture, Preprocess
from rayae.results import Status
from rayae.traffic import Traffic

MOST_BYTES = 1024**3
"""Pixels of one chunk: a process holds them whole, and Ray's object store some of them."""
SCHEMA = pa.schema([("image_ids", pa.list_(pa.int64())), ("pixels", pa.large_binary()), ("became", pa.string())])
NOTHING = pa.Table.from_pylist([{}], schema=SCHEMA)
"""One row without pictures."""


def pixel_bytes(rows: int, preprocess: Preprocess) -> int:
    """The bytes of the pixels of so many pictures."""
    return rows * math.prod((preprocess.height, preprocess.width, preprocess.channels))


def refuse_large_chunks(rows: int, preprocess: Preprocess) -> None:
    """ConfigError, with the sum, when the pixels of a chunk of so many rows do not fit into one value."""
    shape, picture_bytes = (preprocess.height, preprocess.width, preprocess.channels), pixel_bytes(1, preprocess)
    if rows * picture_bytes > MOST_BYTES:
        raise ConfigError(
            f"a chunk has {rows:,} pictures of {' x '.join(map(str, shape))} bytes = "
            f"{rows * picture_bytes / 1024**3:.1f} GiB, and with placement=apart at most {MOST_BYTES // 1024**3} GiB "
            "go from one process to another; score with placement=together, or into a new `out=` with "
            f"chunk_images={MOST_BYTES // picture_bytes}."
        )


def packed(loaded: Iterable[Loaded], images: pa.Table, preprocess: Preprocess) -> pa.Table:
    """The pictures of manifest rows as one row of SCHEMA; `loaded` has one for each, in their order."""
    shape = (preprocess.height, preprocess.width, preprocess.channels)
    pixels = np.empty((images.num_rows, *shape), dtype=np.uint8)
    became, there = list[dict[str, Any]](), 0
    for one in loaded:
        became.append(asdict(_Image.of(one)))
        if one.picture.pixels is not None:
            pixels[there] = one.picture.pixels
            there += 1
    ids = pa.array([images["image_id"].to_pylist()], SCHEMA.field("image_ids").type)
    return pa.table([ids, _one_value(pixels[:there]), pa.array([json.dumps(became)])], schema=SCHEMA)


def _one_value(pixels: NDArray[np.uint8]) -> pa.Array:
    """An array of one value, which is the memory of the pixels itself."""
    ends = np.array([0, pixels.nbytes], dtype=np.int64)
    return pa.Array.from_buffers(
        pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(pixels.reshape(-1).data)]
    )


def are_of(table: pa.Table, images: pa.Table) -> bool:
    """Whether the pictures are those of these manifest rows."""
    return bool(table["image_ids"][0].as_py() == images["image_id"].to_pylist())


def unpacked(table: pa.Table, preprocess: Preprocess) -> Iterator[Loaded]:
    """The images of a chunk again, in their order, with pixels that lie in the memory of the table."""
    shape = (preprocess.height, preprocess.width, preprocess.channels)
    pixels = np.frombuffer(_where_it_lies(table["pixels"].chunk(0)), dtype=np.uint8).reshape(-1, *shape)
    left = iter(pixels)
    for about in json.loads(table["became"][0].as_py()):
        image = _Image(**about)
        yield image.loaded(next(left) if image.status == Status.SCORED else None)


def _where_it_lies(values: pa.Array) -> pa.Buffer:
    """The memory of the first of these values; a scalar of pyarrow is a copy of it."""
    _, ends, data = values.buffers()
    begin, end = np.frombuffer(ends, dtype=np.int64)[values.offset : values.offset + 2].tolist()
    return data.slice(begin, end - begin)


@dataclass(frozen=True)
class _Image:
    """What became of one image, but for its pixels."""

    status: str
    error: str | None
    width: int | None
    height: int | None
    size_bytes: int | None
    fetch_seconds: float
    decode_seconds: float
    traffic: dict[str, int]

    @classmethod
    def of(cls, one: Loaded) -> "_Image":
        picture = one.picture
        seen = (str(picture.status), picture.error, picture.width, picture.height, one.size_bytes)
        return cls(*seen, one.fetch_seconds, one.decode_seconds, one.traffic.to_dict())

    def loaded(self, pixels: NDArray[np.uint8] | None) -> Loaded:
        picture = Picture(pixels, Status(self.status), self.error, self.width, self.height)
        traffic = Traffic.from_dict(self.traffic)
        return Loaded(picture, self.size_bytes, None, self.fetch_seconds, self.decode_seconds, traffic)
