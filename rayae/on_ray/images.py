"""Home of the pictures that training needs: looked at by Ray Data tasks, and held by Ray's object store or streamed."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import DataContext, Dataset
from ray.exceptions import RayError, UserCodeException
from ray.util.annotations import RayDeprecationWarning

from rayae.batches import Streamed
from rayae.duplicates import THUMBNAIL, Thumbnails, ThumbnailsOf, thumbnail
from rayae.errors import ClusterError, RayaeError
from rayae.flatness import is_flat
from rayae.loader import Loader
from rayae.on_ray.cluster import last_line, refusal

IMAGES_A_BLOCK = 64
BECAME = ("image_id", "status", "error", "digest", "is_flat", "refused_by")
BOUNDED_RETRIES: dict[str, Any] = {"max_retries": 2}
"""A block whose task dies is not tried for ever, as it is by Ray Data's default."""


@dataclass(frozen=True)
class OnStorage:
    """Pictures that every worker of a training streams from storage: the manifest, in Ray's object store, and how."""

    images: "ray.ObjectRef[pa.Table]"
    loader: Loader

    @classmethod
    def of(cls, images: pa.Table, loader: Loader) -> "OnStorage":
        return cls(ray.put(images), loader)

    def pictures(self, ids: NDArray[np.int64]) -> Streamed:
        """Those of these ids, in this order."""
        return Streamed.of(ray.get(self.images), ids, self.loader)


def decode_block(rows: pa.Table, loader: Loader) -> dict[str, NDArray[np.generic]]:
    """A Ray Data step: manifest rows in; `image_id`, `pixels`, `status`, `error`, `digest`, `is_flat` out.

    Pixels are [H, W, C] uint8, and zeros for a row that could not be decoded.
    """
    shape = (loader.preprocess.height, loader.preprocess.width, loader.preprocess.channels)
    pixels = np.zeros((rows.num_rows, *shape), np.uint8)
    return _became(rows, loader, pixels.__setitem__) | {"pixels": pixels}


def look_at_block(rows: pa.Table, loader: Loader) -> pa.Table:
    """A Ray Data step: manifest rows in; `image_id`, `thumbnail`, `status`, `error`, `digest`, `is_flat` out.

    The thumbnail is that for near-duplicates, as bytes; null where `is_compared` is false and where there is none.
    """
    thumbnails: list[bytes | None] = [None] * rows.num_rows
    compared = rows["is_compared"].to_pylist()

    def take(place: int, pixels: NDArray[np.uint8]) -> None:
        if compared[place]:
            thumbnails[place] = thumbnail(pixels).tobytes()

    return pa.table({**_became(rows, loader, take), "thumbnail": pa.array(thumbnails, pa.binary())})


def _became(
    rows: pa.Table, loader: Loader, take: Callable[[int, NDArray[np.uint8]], None]
) -> dict[str, NDArray[np.generic]]:
    """What became of each row, by column, when `take` was given the pixels of those that could be decoded.

    A RayaeError is sent back as rows, with its class as `refused_by` and its sentence as `error`: to an exception Ray
    Data adds words of its own, and it logs it.
    """
    became = []
    try:
        for place, one in enumerate(loader.load(rows)):
            pixels = one.picture.pixels
            flat = pixels is not None and is_flat(pixels)
            became.append((str(one.picture.status), one.picture.error or "", one.digest or "", flat, ""))
            if pixels is not None:
                take(place, pixels)
    except RayaeError as error:
        became = [("", str(error), "", False, type(error).__name__)] * rows.num_rows
    words = {name: np.array(column) for name, column in zip(BECAME[1:], zip(*became, strict=True), strict=True)}
    return {"image_id": rows["image_id"].to_numpy(), **words}


def taken_in(images: pa.Table, loader: Loader, is_held: bool) -> tuple[Dataset | OnStorage, pd.DataFrame, ThumbnailsOf]:
    """The pictures of a manifest, held in Ray's object store or streamed, what became of each, and the thumbnails."""
    if is_held:
        held, became = decode_on_ray(images, loader)
        return held, became, partial(thumbnails_of, held)
    became, thumbnails = look_on_ray(images, loader)
    return OnStorage.of(images, loader), became, thumbnails.of


def decode_on_ray(images: pa.Table, loader: Loader) -> tuple[Dataset, pd.DataFrame]:
    """The pictures of a manifest, decoded once, and what became of each (`image_id`, `status`, `error`, `digest`,
    `is_flat`).

    Epochs read the pixels from Ray's object store, which spills to disk. Raises the RayaeErrors of the workers, and
    ClusterError when they die.
    """
    with _deaths_told():
        held = _each_block(images, decode_block, loader).materialize()
        became: pd.DataFrame = held.select_columns(list(BECAME)).to_pandas()
    return held, _without_refusals(became)


def look_on_ray(images: pa.Table, loader: Loader) -> tuple[pd.DataFrame, Thumbnails]:
    """The same without the pixels, which are dropped; and the thumbnails of those that are compared."""
    parts, thumbnails = [], dict[int, NDArray[np.uint8]]()
    block: pa.Table
    with _deaths_told():
        looked = _each_block(images, look_at_block, loader)
        for block in looked.iter_batches(batch_size=None, batch_format="pyarrow"):
            parts.append(block.select(BECAME).to_pandas())
            found = block.filter(pc.is_valid(block["thumbnail"]))
            for image_id, data in zip(found["image_id"].to_pylist(), found["thumbnail"].to_pylist(), strict=True):
                thumbnails[image_id] = np.frombuffer(data, np.uint8).reshape(THUMBNAIL)
    return _without_refusals(pd.concat(parts, ignore_index=True)), Thumbnails(thumbnails)


@contextmanager
def _deaths_told() -> Iterator[None]:
    """Tells in a ClusterError that workers have died; a bug keeps the worker's traceback."""
    try:
        yield
    except RayError as error:
        if isinstance(getattr(error, "cause", None), UserCodeException):
            raise
        raise ClusterError(f"reading the training images failed on the cluster: {last_line(error)}.") from error


def _without_refusals(became: pd.DataFrame) -> pd.DataFrame:
    for refused in became[became["refused_by"] != ""].itertuples():
        raise refusal(str(refused.refused_by), str(refused.error))
    return became.drop(columns="refused_by")


def _each_block(images: pa.Table, step: Callable[..., Any], loader: Loader) -> Dataset:
    """The dataset of what a step makes of the images; it keeps the context that it is made in."""
    blocks = [images.slice(first, IMAGES_A_BLOCK) for first in range(0, images.num_rows, IMAGES_A_BLOCK)]
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    with DataContext.current(context), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
        return ray.data.from_arrow(blocks).map_batches(
            partial(step, loader=replace(loader, digests=True)),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            **BOUNDED_RETRIES,
        )


def thumbnails_of(held: Dataset, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The thumbnails of these images, in this order, `[N, 132, 132, 1]` uint8, brought to this process.

    ClusterError when the pictures are lost.
    """

    def made(batch: Any) -> dict[str, NDArray[Any]]:
        chosen = np.isin(batch["image_id"], wanted)
        small = [thumbnail(pixels) for pixels in batch["pixels"][chosen]]
        return {"image_id": batch["image_id"][chosen], "thumbnail": np.array(small, np.uint8).reshape(-1, *THUMBNAIL)}

    with _deaths_told():
        batches = held.map_batches(made, batch_format="numpy", num_cpus=1).iter_batches(batch_format="numpy")
        found = {
            image_id: small
            for batch in batches
            for image_id, small in zip(batch["image_id"].tolist(), batch["thumbnail"], strict=True)
        }
    return Thumbnails(found).of(wanted)
