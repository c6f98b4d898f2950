"""Home of the question which bundle scores which image: one bundle all of them, or one those of each value of a column.

A run keeps its assignment in its record, so that bundles that are added or calibrated later change none of its rows.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.errors import ConfigError, DataError
from rayae.manifest import COLUMNS
from rayae.threshold import Threshold

ALL = ""
"""The key of the one bundle that scores all images."""
OWN_PRIMARY = "score"
"""Stands for the primary score where bundles have different ones: the column that holds each image's own."""
GROUP = "group"
Part = tuple[str | None, NDArray[np.int64]]
"""A value, or None for images without a bundle, and the rows that have it, ascending."""


@dataclass(frozen=True)
class Assigned:
    """What decides of a bundle how it judges, at one moment."""

    folder: str
    """Where it lies in the directory of its set; empty for a bundle alone."""
    bundle_id: str
    primary_score: str
    scores: tuple[str, ...]
    calibration: str | None
    """The name of its file of calibration scores."""
    threshold: Threshold | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"scores": list(self.scores)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Assigned":
        """What `to_dict` gave; DataError when the threshold is none, or the primary score none of the scores."""
        if value["primary_score"] not in value["scores"]:
            raise DataError(f"The primary score {value['primary_score']!r} is none of the scores of its bundle.")
        cut = None if value["threshold"] is None else Threshold.from_dict(value["threshold"])
        plain = {name: value[name] for name in ("folder", "bundle_id", "primary_score", "calibration")}
        return cls(**plain, scores=tuple(value["scores"]), threshold=cut)


@dataclass(frozen=True)
class Assignment:
    """The bundles by the value of a column whose images they score; one alone has no column and the key `ALL`."""

    column: str | None
    bundles: Mapping[str, Assigned]

    @property
    def bundle_id(self) -> str:
        """The id of the one bundle, or 12 hex digits that name all of them with their values."""
        if self.column is None:
            return self.bundles[ALL].bundle_id
        return _digest([self.column, {value: one.bundle_id for value, one in self.bundles.items()}])

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that a bundle or another has, in the order in which they are first met."""
        return tuple(dict.fromkeys(name for one in self.bundles.values() for name in one.scores))

    @property
    def primary_score(self) -> str:
        """The primary score of all, or `OWN_PRIMARY` when it is not one."""
        names = {one.primary_score for one in self.bundles.values()}
        return names.pop() if len(names) == 1 else OWN_PRIMARY

    @property
    def threshold(self) -> Threshold | None:
        """The cut of the one bundle; None where there are several."""
        return self.bundles[ALL].threshold if self.column is None else None

    @property
    def calibration(self) -> str | None:
        """What names the calibration scores of all; None when no bundle has any."""
        return self._together({value: one.calibration for value, one in self.bundles.items()})

    @property
    def threshold_id(self) -> str | None:
        """What names the cuts of all; None when no bundle has one."""
        cuts = {value: one.threshold for value, one in self.bundles.items()}
        return self._together({value: None if cut is None else cut.id for value, cut in cuts.items()})

    def _together(self, names: Mapping[str, str | None]) -> str | None:
        if self.column is None:
            return names[ALL]
        return None if not any(names.values()) else _digest(names)

    def parts(self, images: pa.Table) -> list[Part]:
        """The rows of a table by the bundle that scores them, in the order of the values; those without one last.

        The table may be of a manifest or of results, as both have the column.
        """
        if self.column is None:
            return [(ALL, np.arange(images.num_rows, dtype=np.int64))]
        pieces = rows_by_value(images, self.column)
        known = {value: pieces[value] for value in pieces if value in self.bundles}
        others = np.sort(
            np.concatenate([np.empty(0, np.int64), *(pieces[value] for value in pieces if value not in known)])
        )
        return [*known.items(), *([(None, others)] if len(others) else [])]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"column": self.column, "bundles": {value: one.to_dict() for value, one in self.bundles.items()}}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Assignment":
        """What `to_dict` gave; DataError when a threshold is none, or when there is no bundle."""
        if not value["bundles"]:
            raise DataError("A run was planned with a set of bundles, and its record names none of them.")
        return cls(value["column"], {key: Assigned.from_dict(one) for key, one in value["bundles"].items()})


def rows_by_value(images: pa.Table, column: str) -> dict[str | None, NDArray[np.int64]]:
    """The rows of each value of a column, ascending; by value in order, those without one last, if there are some."""
    names = values_of(images, column).dictionary_encode()
    keys = names.dictionary.to_pylist()
    codes = names.indices.fill_null(len(keys)).to_numpy(zero_copy_only=False)
    ends = np.cumsum(np.bincount(codes, minlength=len(keys) + 1))[:-1]
    pieces = np.split(np.argsort(codes, kind="stable").astype(np.int64), ends)
    without = {None: pieces[-1]} if len(pieces[-1]) else {}
    return dict(sorted(zip(keys, pieces[:-1], strict=True))) | without


def why_none(column: str, images: pa.Table) -> list[str]:
    """Why images have no bundle that the values of a column choose, a sentence each."""
    return [
        f"The image has no `{column}`, by which its bundle is chosen."
        if value is None
        else f"There was no bundle for the `{column}` {value!r} when the run was planned."
        for value in values_of(images, column).to_pylist()
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def refuse_column(column: str, names: Sequence[str]) -> None:
    """ConfigError when images with columns of these names cannot be told apart by one of them.

    It is `group` or a column of the user's own: what the listing fills in, and labels and sides, are no products.
    """
    own = [name for name in names if name not in COLUMNS.names]
    if column != GROUP and column not in own:
        has = f"their own columns are {', '.join(own)}" if own else "they have no column of their own"
        raise ConfigError(
            f"a bundle for each `{column}` was asked for, and of these images {has}: give `labels=` with the paths and "
            "that column, or a list that has it; `group` will do as well."
        )


def values_of(table: pa.Table, column: str) -> pa.Array:
    """The values of a column as texts, null where there is none.

    DataError when there is no such column, and when they are neither texts nor whole numbers nor truth values: others
    are written in many ways.
    """
    if column not in table.column_names:
        raise DataError(f"bundles are chosen by the column {column!r}, and there is none among the images.")
    values = table[column]
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise DataError(
            f"the column {column!r} holds values of the type {kind}, and what bundles are chosen by is text or a whole "
            "number; write it as text."
        )
    return pc.cast(values, pa.string()).combine_chunks()
