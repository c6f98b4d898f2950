"""The part of `rayae train` that makes a bundle for each value of a column, one after the other, from one listing.

The images of a value are split into sides by themselves: over all values together a rare one might get no image to be
calibrated on. `group` keeps its meaning inside a value.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from rayae import storage
from rayae.assignment import refuse_column
from rayae.bundle import Bundle
from rayae.bundle_set import BundleSet, folder_of, write_index
from rayae.errors import ClusterError, ConfigError, DataError, RayaeError, StorageError, TrainingError
from rayae.terminal import say, show_table, warn
from rayae.verbs.products import products_of
from rayae.verbs.train_pictures import Material

Prepare = Callable[[pa.Table], Material]
TrainOne = Callable[[str, Material], Bundle]
NAMED = 5


@dataclass(frozen=True)
class Ended:
    """What became of a value: its bundle, or the sentence that says why it has none."""

    value: str
    images: int
    bundle: Bundle | None = None
    reason: str = ""


def train_each(table: pa.Table, column: str, out: str, prepare: Prepare, train_one: TrainOne) -> None:
    """Train on the images of each value of a column, and name the bundles in the index of the set `out`.

    A value whose images do not suffice, or whose training fails, costs no other one. TrainingError at the end when a
    value has no bundle, with the reasons; the same command then trains those alone.
    """
    refuse_column(column, table.column_names)
    products = products_of(table, column)
    ready = dict[str, Material]()
    ended = dict[str, Ended]()
    for value, images in products.items():  # all of them first: what is wrong with the images is told at once
        say(f"{column}={value}: {images.num_rows:,} images")
        try:
            ready[value] = prepare(images)
        except DataError as error:
            ended[value] = _without(column, Ended(value, images.num_rows, reason=str(error)))
    for number, (value, material) in enumerate(ready.items(), 1):
        say(f"\n--- {column}={value}, {number:,} of {len(ready):,} ---")
        ended[value] = _train(value, products[value].num_rows, material, column, out, train_one)
    _conclude(column, out, [ended[value] for value in products])


def _train(value: str, images: int, material: Material, column: str, out: str, train_one: TrainOne) -> Ended:
    try:
        bundle = train_one(storage.join(out, folder_of(value)), material)
    except (ConfigError, ClusterError, StorageError):
        raise  # of what every value needs: the settings, the cluster, the storage
    except RayaeError as error:
        return _without(column, Ended(value, images, reason=str(error)))
    write_index(out, column, [(value, bundle)])
    say(f"bundle: {bundle.uri} (id {bundle.bundle_id})")
    return Ended(value, images, bundle)


def _without(column: str, ended: Ended) -> Ended:
    warn(f"{column}={ended.value} gets no new bundle: {ended.reason}")
    return ended


def _conclude(column: str, out: str, ended: list[Ended]) -> None:
    columns = (column, "images", "trained on", "best epoch", "primary score", "AUROC", "verdicts")
    made = sum(one.bundle is not None for one in ended)
    title = f"{made:,} of {len(ended):,} values of `{column}` have a bundle; AUROC is that on synthetic defects"
    show_table(title, columns, [_row(one) for one in ended])
    lacking = [one for one in ended if one.bundle is None]
    if made:
        say(f"set of bundles: {out} ({len(BundleSet.open(out).bundles):,} bundles, one for each `{column}`)")
    if lacking:
        reasons = "\n".join(f"  {one.value}: {one.reason}" for one in lacking[:NAMED])
        more = f"\n  and {len(lacking) - NAMED:,} more, named above" if len(lacking) > NAMED else ""
        raise TrainingError(
            f"{len(lacking):,} of {len(ended):,} values of `{column}` have no bundle of this training:\n"
            f"{reasons}{more}\n"
            "Mend these and run the same command again, which trains them alone, or leave their images out. A former "
            "bundle stays in the set; images that are scored without any bundle for their value are `no_bundle`."
        )


def _row(one: Ended) -> tuple[str, ...]:
    if one.bundle is None:
        return (one.value, f"{one.images:,}", "-", "-", "-", "-", "no bundle")
    training, choice = one.bundle.training, one.bundle.choice
    area = choice.auroc.get(choice.score)
    return (
        one.value,
        f"{one.images:,}",
        f"{training['images'].get('train', 0):,}",
        f"{training['best_epoch']} of {training['epochs_done']}",
        choice.score,
        "-" if area is None else f"{area:.3f}",
        ", ".join(verdict["name"] for verdict in training["verdicts"]),
    )
