"""Home of the pictures that training needs: read and decoded by Ray Data tasks, held by Ray's object store."""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from ray.data import DataContext, Dataset
from ray.exceptions import RayError, UserCodeException
from ray.util.annotations import RayDeprecationWarning

from rayae.errors import ClusterError, RayaeError
from rayae.loader import Loader
from rayae.on_ray.cluster import last_line, refusal

IMAGES_A_BLOCK = 64
BECAME = ("image_id", "status", "error", "digest", "refused_by")
BOUNDED_RETRIES: dict[str, Any] = {"max_retries": 2}
"""A block whose task dies is not tried for ever, as it is by Ray Data's default."""


def decode_block(rows: pa.Table, loader: Loader) -> dict[str, NDArray[np.generic]]:
    """A Ray Data step: manifest rows in; `image_id`, `pixels` [H, W, C] uint8, `status`, `error`, `digest` out.

    The pixels of a row that could not be decoded are zeros. A RayaeError is sent back as rows, with its class as
    `refused_by` and its sentence as `error`: to an exception Ray Data adds words of its own, and it logs it.
    """
    shape = (loader.preprocess.height, loader.preprocess.width, loader.preprocess.channels)
    try:
        loaded = list(loader.load(rows))
    except RayaeError as error:
        nothing = np.zeros((rows.num_rows, *shape), np.uint8)
        return _block(rows, nothing, [("", str(error), "", type(error).__name__)] * rows.num_rows)
    pixels = [np.zeros(shape, np.uint8) if one.picture.pixels is None else one.picture.pixels for one in loaded]
    became = [(str(one.picture.status), one.picture.error or "", one.digest or "", "") for one in loaded]
    return _block(rows, np.stack(pixels), became)


def _block(
    rows: pa.Table, pixels: NDArray[np.uint8], became: list[tuple[str, str, str, str]]
) -> dict[str, NDArray[np.generic]]:
    words = {name: np.array(column) for name, column in zip(BECAME[1:], zip(*became, strict=True), strict=True)}
    return {"image_id": rows["image_id"].to_numpy(), "pixels": pixels, **words}


def decode_on_ray(images: pa.Table, loader: Loader) -> tuple[Dataset, pd.DataFrame]:
    """The pictures of a manifest, decoded once, and what became of each (`image_id`, `status`, `error`, `digest`).

    Epochs read the pixels from Ray's object store, which spills to disk. Raises the RayaeErrors of the workers, and
    ClusterError when they die.
    """
    try:
        held = _decoded(images, loader).materialize()
        became: pd.DataFrame = held.select_columns(list(BECAME)).to_pandas()
    except RayError as error:
        if isinstance(getattr(error, "cause", None), UserCodeException):
            raise  # a bug, with the worker's traceback
        raise ClusterError(f"reading the training images failed on the cluster: {last_line(error)}.") from error
    for refused in became[became["refused_by"] != ""].itertuples():
        raise refusal(str(refused.refused_by), str(refused.error))
    return held, became.drop(columns="refused_by")


def _decoded(images: pa.Table, loader: Loader) -> Dataset:
    """The dataset of the pictures; it keeps the context that it is made in."""
    blocks = [images.slice(first, IMAGES_A_BLOCK) for first in range(0, images.num_rows, IMAGES_A_BLOCK)]
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    with DataContext.current(context), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
        return ray.data.from_arrow(blocks).map_batches(
            partial(decode_block, loader=replace(loader, digests=True)),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            **BOUNDED_RETRIES,
        )


def pixels_of(held: Dataset, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pixels of these images, in this order, `[N, H, W, C]` uint8, brought to this process."""
    chosen = held.map_batches(
        lambda batch: {name: batch[name][np.isin(batch["image_id"], wanted)] for name in ("image_id", "pixels")},
        batch_format="numpy",
        num_cpus=1,
    )
    found = {
        image_id: pixels
        for batch in chosen.iter_batches(batch_format="numpy")
        for image_id, pixels in zip(batch["image_id"].tolist(), batch["pixels"], strict=True)
    }
    return np.stack([found[image_id] for image_id in wanted.tolist()])
