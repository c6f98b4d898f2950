"""Home of the pictures that training needs: read and decoded by Ray Data tasks, held by Ray's object store."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from ray.data import DataContext, Dataset
from ray.exceptions import RayError

from rayae.errors import ClusterError
from rayae.loader import Loader
from rayae.on_ray.cluster import last_line

IMAGES_A_BLOCK = 64


def decode_block(rows: pa.Table, loader: Loader) -> dict[str, NDArray[np.generic]]:
    """A Ray Data step: manifest rows in; `image_id`, `pixels` [H, W, C] uint8, `status`, `error`, `digest` out.

    The pixels of a row that could not be decoded are zeros.
    """
    shape = (loader.preprocess.height, loader.preprocess.width, loader.preprocess.channels)
    loaded = list(loader.load(rows))
    pixels = [np.zeros(shape, np.uint8) if one.picture.pixels is None else one.picture.pixels for one in loaded]
    return {
        "image_id": rows["image_id"].to_numpy(),
        "pixels": np.stack(pixels),
        "status": np.array([str(one.picture.status) for one in loaded]),
        "error": np.array([one.picture.error or "" for one in loaded]),
        "digest": np.array([one.digest or "" for one in loaded]),
    }


def decode_on_ray(images: pa.Table, loader: Loader) -> tuple[Dataset, pd.DataFrame]:
    """The pictures of a manifest, decoded once, and what became of each (`image_id`, `status`, `error`, `digest`).

    Epochs read the pixels from Ray's object store, which spills to disk.
    """
    DataContext.get_current().enable_progress_bars = False
    blocks = [images.slice(first, IMAGES_A_BLOCK) for first in range(0, images.num_rows, IMAGES_A_BLOCK)]
    decoded = ray.data.from_arrow(blocks).map_batches(
        partial(decode_block, loader=replace(loader, digests=True)),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
    )
    try:
        held = decoded.materialize()
        return held, held.select_columns(["image_id", "status", "error", "digest"]).to_pandas()
    except RayError as error:
        raise ClusterError(f"reading the training images failed on the cluster: {last_line(error)}.") from error
