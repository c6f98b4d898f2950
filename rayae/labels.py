"""Home of labels and groups: from a CSV or from the folder names, onto the images of a manifest or a result table."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae import listing, manifest, storage, tables
from rayae.archives import NOT_LOOKED_INTO, UNREADABLE
from rayae.errors import DataError
from rayae.listing import EVERYTHING, Stream, stream_images
from rayae.manifest import write_manifest
from rayae.selection import Select

LISTED = ("image_id", "uri", "size_bytes", "etag", "container", "place")
"""Columns that the listing fills in, and no labels may."""
HOME = 0
"""The place of the CSV's own folder among those that its paths may be relative to."""
IN_AN_ARCHIVE = r"(?i)(/[^/]*\.(tar|zip|parquet|tiff?)!)+/((row|page)-[0-9]+(/|$))?"
"""Of a member's URI what is no folder: the archive, and the number of a row or page."""
OF_NOTHING = {"nan", "null", "none", "na", "n/a"}
"""What programs write for a value that is not there."""


def labelled_images(
    images: str | Sequence[str], labels: str | None, asked: Select = EVERYTHING
) -> tuple[pa.Table, list[str]]:
    """The images of `images=` with the labels of `labels=`, and what a person should know about them, a line each."""
    stream = stream_labelled(images, labels, asked)
    table = pa.concat_tables(stream)
    return manifest.complete({name: table[name] for name in table.column_names}), stream.notes


def stream_labelled(images: str | Sequence[str], labels: str | None, asked: Select = EVERYTHING) -> "LabelledStream":
    """The images of `images=` with the labels of `labels=`, as tables.

    A path of the CSV may be absolute, or relative to the CSV or to a folder that `images=` names. DataError, at the
    latest after the last table, when no path matches, when an image is named twice, or when the CSV lacks a column.
    """
    stream = stream_images(images, asked)
    labelling = GivenLabels() if labels is None else _labelling(labels, images)
    return LabelledStream(stream, labelling, labelling.label(stream.schema.empty_table()).schema)


def attach_labels(table: pa.Table, labels: str, images: str | Sequence[str]) -> tuple[pa.Table, list[str]]:
    """The table with the columns of `labels=` on its images, and what a person should know; raises as a stream does."""
    labelling = labelling_for([table.select(["uri"])], labels, images)
    labelled = labelling.label(table)
    return labelled, labelling.notes()


def labelling_for(tables: Iterable[pa.Table], labels: str, images: str | Sequence[str]) -> "Labelling":
    """What puts the columns of `labels=` onto tables; those given here have their URIs, in the order of the labelling.

    Raises as a stream does.
    """
    labelling = _labelling(labels, images)
    labelling.look(tables)
    return labelling


def _labelling(labels: str, images: str | Sequence[str]) -> "Labelling":
    return FolderNames(images) if labels == "folder" else LabelFile(labels, images)


@dataclass
class LabelledStream:
    """The images with their labels: tables of one schema, that of a manifest without `image_id`."""

    stream: Stream
    labelling: "Labelling"
    schema: pa.Schema
    notes: list[str] = field(default_factory=list)
    """What a person should know about them, a line each; known at the end."""

    def __iter__(self) -> Iterator[pa.Table]:
        rows = 0
        for table in self._labelled():
            check_splits(table, "the images")
            rows += table.num_rows
            yield table
        passed_over, self.notes = self.stream.passed_over.copy(), [f"{rows:,} images listed"]
        unreadable, too_large = passed_over.pop(UNREADABLE, 0), passed_over.pop(NOT_LOOKED_INTO, 0)
        if self.stream.archives:
            self.notes.append(f"{self.stream.members:,} of them come from {self.stream.archives:,} archive(s)")
        if passed_over:
            endings = ", ".join(f"{count} {ending}" for ending, count in passed_over.most_common(5))
            self.notes.append(f"{passed_over.total():,} other files passed over ({endings})")
        if unreadable:
            self.notes.append(
                f"the columns beside the images are null in {unreadable:,} row group(s): they are damaged"
            )
        if too_large:
            self.notes.append(f"of {too_large:,} TIFF(s) in ZIP archives, too large to be looked into, the first page")
        self.notes += self.labelling.notes()

    def _labelled(self) -> Iterator[pa.Table]:
        if not isinstance(self.labelling, LabelFile):
            yield from map(self.labelling.label, self.stream)
        else:  # which image a relative path means is known when all are listed: they are gone through twice
            with tempfile.TemporaryDirectory(prefix="rayae-") as folder:
                listed = write_manifest(self.stream, storage.join(folder, "listed.parquet"))
                self.labelling.look(listed.columns(["uri"]))
                for table in listed.batches():
                    yield self.labelling.label(table.drop_columns("image_id"))


class Labelling:
    """Puts labels onto tables of images, one after the other."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def look(self, images: Iterable[pa.Table]) -> None:
        """Go through the URIs of all images, before the first is labelled."""

    def label(self, images: pa.Table) -> pa.Table:
        """The next images, with their labels."""
        labelled = _with_columns(images, self.columns(images))
        for counted in pc.value_counts(labelled["label"].drop_null()).to_pylist():
            self.counts[counted["values"]] += counted["counts"]
        return labelled

    def columns(self, images: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        """What the next images get."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """What a person should know about the labels, a line each."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        most = ", ".join(f"{count:,} {label}" for label, count in ordered[:5])
        others = f" and {len(ordered) - 5} other labels" if len(ordered) > 5 else ""
        normal = sum(count for label, count in ordered if manifest.is_normal(label))
        told = [f"labels: {most}{others}; {normal:,} of {self.counts.total():,} mean normal (`good` or `normal`)"]
        for label, count in ordered:
            if label.strip().lower() in OF_NOTHING:
                told.append(f"{count:,} images have the label {label!r}, a defect; an empty cell is no label")
        return told


class GivenLabels(Labelling):
    """The labels that stand in lists and archives themselves."""

    def columns(self, images: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        return {"label": images["label"]}

    def notes(self) -> list[str]:
        return super().notes() if self.counts else []


class FolderNames(Labelling):
    """The names of the folders that images lie in, as labels."""

    def __init__(self, images: str | Sequence[str]) -> None:
        super().__init__()
        self.roots = [storage.absolute(item) for item in ([images] if isinstance(images, str) else images)]
        self.known: dict[str, str | None] = {}

    def columns(self, images: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        addresses = pc.replace_substring_regex(images["uri"], tables.WEB_QUERY, r"\1")
        files = pc.replace_substring_regex(addresses, IN_AN_ARCHIVE, "/")
        folders = pc.replace_substring_regex(files, r"(?s)/[^/]*$", "/").combine_chunks().dictionary_encode()
        for folder in folders.dictionary.to_pylist():
            if folder not in self.known:
                self.known[folder] = _folder_label(folder, self.roots)
        labels = pa.array([self.known[folder] for folder in folders.dictionary.to_pylist()], pa.string())
        return {"label": labels.take(folders.indices)}


class LabelFile(Labelling):
    """A CSV with `path`, `label` and perhaps `group`, `split` and columns of the user's own; it is held in memory."""

    def __init__(self, labels: str, images: str | Sequence[str]) -> None:
        super().__init__()
        self.labels, self.images = labels, images
        self.rows = _read_labels(labels)
        self.images_found = np.zeros(0, np.int64)
        """Numbers of the images that have a label, ascending, ..."""
        self.rows_found = np.zeros(0, np.int64)
        """... and of their rows in the CSV."""
        self.done = self.without = 0

    def look(self, images: Iterable[pa.Table]) -> None:
        found = _match(images, self.rows["path"].to_pylist(), self.labels, self.images)
        order = sorted(found)
        self.images_found = np.array(order, dtype=np.int64)
        self.rows_found = np.array([found[image] for image in order], dtype=np.int64)

    def columns(self, images: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        begin, end = np.searchsorted(self.images_found, [self.done, self.done + images.num_rows])
        place = np.full(images.num_rows, -1, dtype=np.int64)
        place[self.images_found[begin:end] - self.done] = self.rows_found[begin:end]
        self.done += images.num_rows
        taken = pa.array(place, mask=place < 0)
        columns = {name: self.rows[name].take(taken) for name in self.rows.column_names if name != "path"}
        self.without += columns["label"].null_count
        return columns

    def notes(self) -> list[str]:
        notes, unused = super().notes(), self.rows.num_rows - len(self.images_found)
        if self.without:
            notes.append(f"{self.without:,} images have no label in {self.labels}")
        if unused:
            notes.append(f"{unused:,} paths in {self.labels} name none of the images")
        return notes


def check_splits(table: pa.Table, what: str) -> None:
    """DataError when the column `split` has a value that nobody knows."""
    strangers = set(table["split"].drop_null().to_pylist()) - set(manifest.SPLITS)
    if strangers:
        raise DataError(
            f"{what}: the split {sorted(strangers)[0]!r} is unknown; it is one of {', '.join(manifest.SPLITS)}."
        )


def _folder_label(uri: str, roots: Sequence[str]) -> str | None:
    """The name of the folder that an image lies in; or of one above it, below `images=`, that means normal."""
    root = max((root for root in roots if uri.startswith(f"{root}/")), key=len, default=None)
    if root is not None:
        above = uri.removeprefix(f"{root}/").split("/")[:-1]
        normal = next((name for name in reversed(above) if manifest.is_normal(name)), None)
        if normal is not None:
            return normal
    return _folder_name(uri)


def _folder_name(uri: str) -> str | None:
    """The name of the folder that an image lies in, as people see it; None at the top of a file system."""
    above = uri.rsplit("/", 2)[-2] if uri.count("/") > 1 else ""
    if uri.startswith("file://"):
        above = os.fsencode(unquote(above, errors="surrogateescape")).decode(errors="backslashreplace")
    return above or None


def _read_labels(labels: str) -> pa.Table:
    rows = tables.read_csv(storage.absolute(labels))
    missing = [name for name in ("path", "label") if name not in rows.column_names]
    if missing:
        raise DataError(
            f"labels={labels} has no column `{missing[0]}`; it needs `path` and `label` and may have `group`, `split` "
            f"and columns of your own. Its columns are {', '.join(rows.column_names)}."
        )
    listing.refuse_reserved(rows.column_names, f"labels={labels}")
    wrong = [name for name in rows.column_names if name in LISTED]
    if wrong:
        raise DataError(f"labels={labels}: the column {wrong[0]!r} is filled in by the listing; leave it out.")
    if rows["path"].null_count:
        raise DataError(f"labels={labels} has {rows['path'].null_count} row(s) without a path.")
    if "split" in rows.column_names:
        check_splits(rows, f"labels={labels}")
    return rows


def _match(images: Iterable[pa.Table], paths: list[str], labels: str, asked: str | Sequence[str]) -> dict[int, int]:
    """For the images that have a label, by their number, the row of it."""
    found, first = _candidates_found(images, paths, labels, asked)
    row_of: dict[int, int] = {}
    for row, candidates in enumerate(found):
        meant = [candidates[HOME]] if HOME in candidates else [candidates[place] for place in sorted(candidates)]
        if len(meant) > 1:
            one, other = (uri for _, uri in meant[:2])
            raise DataError(f"labels={labels}: the path {paths[row]!r} may be {one} or {other}; write the whole path.")
        for image, uri in meant:
            if image in row_of:
                raise DataError(
                    f"labels={labels} names {uri} more than once, as {paths[row_of[image]]!r} and {paths[row]!r}; "
                    "keep one line for each image."
                )
            row_of[image] = row
    if not paths:
        raise DataError(f"labels={labels} has no rows below its header; give a line with `path` and `label` an image.")
    if not row_of:
        raise DataError(
            f"labels={labels} names none of the images: its first path is {paths[0]!r}, "
            f"the first image is {first}; paths are absolute, or relative to the CSV or to the folder of the images."
        )
    return row_of


def _candidates_found(
    images: Iterable[pa.Table], paths: list[str], labels: str, asked: str | Sequence[str]
) -> tuple[list[dict[int, tuple[int, str]]], str | None]:
    """For each path the images that it may name, as number and URI, by the folder that it is then relative to.

    The second value is the URI of the first image of all.
    """
    folders = [storage.parent(storage.absolute(labels)), *listing.roots(asked)]
    meanings: dict[str, dict[int, int]] = {}
    for row, path in enumerate(paths):
        for place, folder in enumerate(folders):
            meanings.setdefault(storage.resolve(path, folder), {}).setdefault(row, place)
    found: list[dict[int, tuple[int, str]]] = [{} for _ in paths]
    number, first = 0, None
    for table in images:
        for uri in table["uri"].to_pylist():
            first = uri if first is None else first
            for row, place in meanings.get(uri, {}).items():
                found[row][place] = (number, uri)
            number += 1
    return found, first


def _with_columns(table: pa.Table, columns: dict[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    for name, values in columns.items():
        place = table.column_names.index(name) if name in table.column_names else None
        table = table.append_column(name, values) if place is None else table.set_column(place, name, values)
    return table
