"""Home of the set of bundles: one for each value of a column, side by side in a directory.

bundles.json        the column; of each value the folder of its bundle, and the bundle's id
screw/bundle.json   the bundle of the value `screw`, a bundle as any other
nut-m4~1f0c.../     that of `Nut M4`: what is not safe as the name of a folder everywhere gets a digest
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayae import __version__, storage
from rayae.assignment import ALL, Assigned, Assignment
from rayae.bundle import BUNDLE, Bundle
from rayae.errors import BundleError, ConfigError, RunError, StorageError
from rayae.preprocess import Preprocess
from rayae.records import Each, misfit

INDEX = "bundles.json"
SCHEMA_VERSION = 1
SHAPE = {"schema_version": int, "column": str, "bundles": Each({"folder": str, "bundle_id": str})}
OPENED_AT_ONCE = 16
PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Values that are the names of their folders: alike on file systems that take large letters for small ones, too."""
NOT_ON_WINDOWS = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
LONGEST_NAME = 40


@dataclass(frozen=True)
class BundleSet:
    """The bundles of a set, each opened and verified, by their values in order."""

    uri: str
    column: str
    bundles: Mapping[str, Bundle]

    @classmethod
    def exists(cls, uri: str) -> bool:
        """Whether the directory holds a set of bundles."""
        return storage.exists(storage.join(storage.absolute(uri), INDEX))

    @classmethod
    def open(cls, uri: str) -> "BundleSet":
        """Open a set and all its bundles.

        ConfigError when there is none, BundleError when its index or a bundle is damaged, when a bundle is another
        than the index says, or when they take other pixels than one another.
        """
        uri = storage.absolute(uri)
        index = read_index(uri)
        if index is None:
            raise ConfigError(f"{uri} is no set of bundles: it has no {INDEX}; `rayae train per_group=` makes one.")
        named = sorted(index["bundles"].items())
        with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
            opened = list(pool.map(lambda item: _open_one(uri, *item), named))
        found = cls(uri, index["column"], {value: bundle for (value, _), bundle in zip(named, opened, strict=True)})
        _refuse_other_pixels(found)
        return found

    def limited(self, values: Collection[str]) -> "BundleSet":
        """The set without the bundles of other values; BundleError when none would be left."""
        kept = {value: one for value, one in self.bundles.items() if value in values}
        if not kept:
            raise BundleError(
                f"the set {self.uri} has none of the bundles that are wanted, those of {', '.join(values)}; "
                "put the former set back."
            )
        return replace(self, bundles=kept)

    @property
    def preprocess(self) -> Preprocess:
        """That of all the bundles."""
        return next(iter(self.bundles.values())).preprocess

    @cached_property
    def precision(self) -> str:
        """The precision of all, or the several that bundles have."""
        return ", ".join(sorted({bundle.precision for bundle in self.bundles.values()}))

    @property
    def calibration(self) -> dict[str, NDArray[np.float32]] | None:
        """Primary scores of the normal calibration images by value, of the bundles that have some."""
        known = {value: bundle.calibration for value, bundle in self.bundles.items()}
        return {value: scores for value, scores in known.items() if scores is not None} or None


Model = Bundle | BundleSet


def open_model(uri: str) -> Model:
    """The bundle, or the set of bundles, of a directory; ConfigError when it is neither, BundleError as they say."""
    try:
        is_set = not Bundle.exists(uri) and BundleSet.exists(uri)
    except StorageError:  # S3 refuses a name that is not there to who may not list the bucket
        is_set = BundleSet.exists(uri)
    return BundleSet.open(uri) if is_set else Bundle.open(uri)


def assignment_of(model: Model) -> Assignment:
    """Which of the bundles scores which image, as they are now."""
    if isinstance(model, Bundle):
        return Assignment(None, {ALL: _assigned(model, "")})
    return Assignment(model.column, {value: _assigned(one, folder_of(value)) for value, one in model.bundles.items()})


def _assigned(bundle: Bundle, folder: str) -> Assigned:
    calibration = bundle.record["calibration"]
    return Assigned(folder, bundle.bundle_id, bundle.primary_score, bundle.scores, calibration, bundle.threshold)


def open_assigned(uri: str, assigned: Assigned, run: str) -> Bundle:
    """A bundle that a run was planned with, of the bundle or set at `uri`.

    RunError when it is another by now: a worker may open it hours later.
    """
    bundle = Bundle.open(storage.join(uri, assigned.folder) if assigned.folder else uri)
    if bundle.bundle_id != assigned.bundle_id:
        raise RunError(
            f"{bundle.uri} was replaced after {run} was planned: it is {bundle.bundle_id}, the plan says "
            f"{assigned.bundle_id}. Put the former bundle back, or score into a new `out=`."
        )
    return bundle


def folder_of(value: str) -> str:
    """The name of the folder of a value's bundle: the value itself, or what is readable of it with a digest.

    Different values have different names, in whatever letters a file system keeps them.
    """
    if PLAIN.fullmatch(value) and not NOT_ON_WINDOWS.fullmatch(value):
        return value
    readable = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:LONGEST_NAME]
    return f"{readable or 'value'}~{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def read_index(uri: str) -> dict[str, Any] | None:
    """What `bundles.json` in a directory says, or None when there is none; BundleError when it is damaged.

    A folder is where its value puts it, so that none can lead out of the directory.
    """
    if not BundleSet.exists(uri):
        return None
    path = storage.join(storage.absolute(uri), INDEX)
    try:
        found: dict[str, Any] = storage.read_json(path)
    except StorageError as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    wrong = misfit(found, SHAPE)
    if wrong is None and found["schema_version"] != SCHEMA_VERSION:
        wrong = f"its schema version is {found['schema_version']}, and this rayae reads {SCHEMA_VERSION}"
    if wrong is None and not found["bundles"]:
        wrong = "it names no bundle"
    if wrong is None:
        strange = [value for value, one in found["bundles"].items() if one["folder"] != folder_of(value)]
        wrong = f"the bundle of {strange[0]!r} is not in the folder of this value" if strange else None
    if wrong is not None:
        raise BundleError(f"{path} is damaged: {wrong}; take an undamaged copy of the set.")
    return found


def write_index(uri: str, column: str, bundles: Iterable[tuple[str, Bundle]]) -> None:
    """Name these bundles, by their values, in the index of the set; those that it names already stay in it.

    ConfigError when it is by another column.
    """
    before = read_index(uri)
    refuse_other_set(uri, column, before)
    named = {} if before is None else dict(before["bundles"])
    named |= {value: {"folder": folder_of(value), "bundle_id": one.bundle_id} for value, one in bundles}
    about = {"schema_version": SCHEMA_VERSION, "rayae": __version__, "column": column}
    storage.write_json(storage.join(uri, INDEX), about | {"bundles": dict(sorted(named.items()))})


def refuse_other_set(uri: str, column: str | None, index: Mapping[str, Any] | None) -> None:
    """ConfigError when a directory holds a set by another column, a bundle where a set is asked for, or the reverse."""
    asked = "one bundle for all images" if column is None else f"a bundle for each value of `{column}`"
    found = None if index is None else f"a set of bundles, one for each value of `{index['column']}`"
    if column is not None and storage.exists(storage.join(uri, BUNDLE)):
        found = "one bundle for all images"
    if found is not None and (column is None or index is None or index["column"] != column):
        raise ConfigError(f"{asked} was asked for, and out={uri} holds {found}; give a new `out=`.")


def refuse_other_pixels(uri: str, preprocess: Preprocess) -> None:
    """BundleError, before anything is trained, when the bundles that a set has already take other pixels."""
    index = read_index(uri)
    folders = [] if index is None else [storage.join(uri, one["folder"]) for one in index["bundles"].values()]
    there = next((folder for folder in folders if Bundle.exists(folder)), None)
    if there is not None and Bundle.open(there).preprocess.hash() != preprocess.hash():
        raise BundleError(
            f"{there} takes other pixels than `preprocess` asks for, and the images of a run are decoded once, for all "
            f"bundles of a set; take the same `preprocess` as there, or a new `out=`."
        )


def _open_one(uri: str, value: str, named: Mapping[str, str]) -> Bundle:
    try:
        bundle = Bundle.open(storage.join(uri, named["folder"]))
    except ConfigError as error:
        raise BundleError(
            f"{storage.join(uri, INDEX)} names a bundle for {value!r} that is not there: "
            f"{str(error).partition(';')[0]}. Put it back, or run the same `rayae train per_group=` into this set "
            "again, which trains what is missing."
        ) from error
    if bundle.bundle_id != named["bundle_id"]:
        raise BundleError(
            f"{bundle.uri} is the bundle {bundle.bundle_id}, and {INDEX} says {named['bundle_id']} for {value!r}; "
            "put the former bundle back, or remove its folder and train it again with `per_group=`."
        )
    return bundle


def _refuse_other_pixels(found: BundleSet) -> None:
    hashes = {value: bundle.preprocess.hash() for value, bundle in found.bundles.items()}
    first, *others = hashes
    odd = next((value for value in others if hashes[value] != hashes[first]), None)
    if odd is not None:
        raise BundleError(
            f"the bundles of {found.uri} take different pixels, as those of {first!r} and {odd!r} do, and the images "
            "of a run are decoded once, for all of them; train them with one `preprocess`."
        )
