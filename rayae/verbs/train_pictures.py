"""The pictures of `rayae train`: which are read, where they are kept, which can be used, which are on two sides."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.duplicates import ThumbnailsOf, near_duplicates
from rayae.errors import TrainingError
from rayae.memory import Holding, Room
from rayae.preprocess import Preprocess
from rayae.settings import TrainSettings
from rayae.terminal import say, warn
from rayae.verbs.score import failure_budget
from rayae.verdicts import Twins

HELD_OUT = ("validation", "calibration")
MOST_COMPARED = 20_000
"""Pictures of a side that are looked at for near-duplicates: 17 kB of memory and some milliseconds each. A larger side
is sampled at random: of held-out pictures that leaves the share that is known as it is, but of a training side only the
twins in the sample are found."""


@dataclass(frozen=True)
class Material:
    """The images of a training: all normal ones, and the side of each (`train`, `validation`, `calibration`, ...)."""

    images: pa.Table
    sides: NDArray[np.object_]
    defects: pa.Table
    """The labelled defects by which the primary score may be chosen."""

    def of(self, *sides: str) -> pa.Table:
        """The images on these sides."""
        return self.images.filter(pa.array(np.isin(self.sides.astype(str), sides)))


@dataclass(frozen=True)
class ToRead:
    """The images that training reads: first those to train on, then the held-out ones, then those only compared."""

    images: pa.Table
    """With a column `is_compared`: whether they are looked at for near-duplicates."""
    train: int
    validation: int

    @property
    def kept(self) -> int:
        """Images that are needed again after they were looked at; they are the first."""
        return self.train + self.validation

    @classmethod
    def of(cls, material: Material, seed: int) -> "ToRead":
        sides = {side: material.of(side) for side in ("train", *HELD_OUT)}
        compared = {side: sample(images.num_rows, seed) for side, images in sides.items()}
        for side, images in sides.items():
            if images.num_rows > MOST_COMPARED:
                say(f"near-duplicates are looked for among {MOST_COMPARED:,} of the {images.num_rows:,} on side {side}")
        sides["calibration"] = sides["calibration"].filter(pa.array(compared["calibration"]))
        compared["calibration"] = np.ones(sides["calibration"].num_rows, dtype=bool)
        marks = pa.array(np.concatenate(list(compared.values())))
        images = pa.concat_tables(sides.values()).append_column("is_compared", marks)
        return cls(images, sides["train"].num_rows, sides["validation"].num_rows)


def sample(count: int, seed: int) -> NDArray[np.bool_]:
    """Which of so many images are compared: all, or a random MOST_COMPARED of them."""
    chosen = np.zeros(count, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(count)[:MOST_COMPARED]] = True
    return chosen


def are_held(asked: str, images: int, preprocess: Preprocess, room: Room) -> bool:
    """Whether so many pictures are kept in memory, which is told; TrainingError when they were to be and do not fit."""
    holding = Holding.of(images, (preprocess.height, preprocess.width, preprocess.channels), room)
    if asked == "memory" and not holding.is_held:
        raise TrainingError(
            f"pictures=memory was asked for, and they do not fit: {holding.sum}. Leave it out, so that they are "
            "streamed, or train on fewer or smaller images (`preprocess.height=`, `preprocess.width=`)."
        )
    is_held = holding.is_held and asked != "stream"
    say(f"reading {holding.sum}: {'kept in memory' if is_held else 'streamed, decoded anew in each epoch'}")
    return is_held


def usable(images: pa.Table, became: pd.DataFrame, settings: TrainSettings) -> NDArray[np.int64]:
    """The ids of the images that could be decoded, in seeded random order; TooManyFailures when too many could not."""
    found = became[became["image_id"].isin(images["image_id"].to_numpy())]
    failure_budget(settings, min_sample=1).spend(Counter(found["status"]))
    failed = found[found["status"] != "scored"]
    uris = dict(zip(images["image_id"].to_pylist(), images["uri"].to_pylist(), strict=True)) if len(failed) else {}
    for row in failed.head(5).itertuples():
        say(f"left out: {uris[row.image_id]}: {row.status}: {row.error}")
    ids = found[found["status"] == "scored"]["image_id"].to_numpy(dtype=np.int64)
    if not len(ids):
        raise TrainingError(f"none of {len(found):,} images that are needed could be read; `error` above says why.")
    order = np.random.default_rng(settings.seed).permutation(len(ids))
    return np.asarray(np.sort(ids)[order], dtype=np.int64)


def tell_of_flat(images: pa.Table, became: pd.DataFrame) -> None:
    """Warn when some of the images are flat. They stay, since they can be scored, and somebody may want them."""
    flat = became[became["is_flat"]]["image_id"]
    if not len(flat):
        return
    example = images.filter(pc.equal(images["image_id"], flat.iloc[0]))["uri"][0].as_py()
    warn(
        f"{len(flat):,} of {len(became):,} images are flat, all of one brightness and colour, as when a camera is "
        f"covered; {example} is one. The training takes them for normal: unless they are, leave them out of `images=`, "
        "or label them as defects."
    )


def twins(read: ToRead, became: pd.DataFrame, thumbnails_of: ThumbnailsOf) -> list[Twins]:
    """The held-out pictures that have a near-duplicate among those trained on, a side each that has pictures."""
    train = _names(read.images.slice(0, read.train), became)
    seen = thumbnails_of(train.index.to_numpy(dtype=np.int64))
    parts = (read.images.slice(read.train, read.validation), read.images.slice(read.kept))
    found = []
    for side, names in zip(HELD_OUT, (_names(part, became) for part in parts), strict=True):
        if not len(names):
            continue
        pairs = near_duplicates(seen, thumbnails_of(names.index.to_numpy(dtype=np.int64)))
        found.append(Twins(side, len(names), [(names.iloc[pair.second], train.iloc[pair.first]) for pair in pairs]))
    return found


def _names(images: pa.Table, became: pd.DataFrame) -> "pd.Series[str]":
    """The URIs, by image id, of the images that are compared and could be decoded."""
    decoded = became[became["status"] == "scored"]["image_id"]
    compared = images.filter(images["is_compared"])
    names: pd.Series[str] = compared.select(["image_id", "uri"]).to_pandas().set_index("image_id")["uri"]
    return names[names.index.isin(decoded)]
