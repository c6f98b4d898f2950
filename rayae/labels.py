"""Home of labels and groups: from a CSV or from the folder names, onto the images of a manifest or a result table."""

import os
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

from rayae import listing, manifest, storage, tables
from rayae.errors import DataError

LISTED = ("image_id", "uri", "size_bytes", "etag")
"""Columns that the listing fills in, and no labels may."""


def labelled_images(images: str | Sequence[str], labels: str | None) -> tuple[pa.Table, list[str]]:
    """The images of `images=` with the labels of `labels=`, and what a person should know about them, a line each."""
    table, passed_over = listing.list_images(images)
    notes = [f"{table.num_rows:,} images listed"]
    if passed_over:
        endings = ", ".join(f"{count} {ending}" for ending, count in passed_over.most_common(5))
        notes.append(f"{passed_over.total():,} other files passed over ({endings})")
    if labels is not None:
        table, more = attach_labels(table, labels, images)
        notes += more
    check_splits(table, "the images")
    return table, notes


def attach_labels(table: pa.Table, labels: str, images: str | Sequence[str]) -> tuple[pa.Table, list[str]]:
    """The table with the columns of `labels=` on its images, and what a person should know about them, a line each.

    A path of the CSV may be absolute, or relative to the CSV or to a folder that `images=` names. DataError when no
    path matches, when an image is named twice, or when the CSV lacks a column.
    """
    if labels == "folder":
        roots = [storage.absolute(item) for item in ([images] if isinstance(images, str) else images)]
        folders = [_folder_label(uri, roots) for uri in table["uri"].to_pylist()]
        labelled = _with_columns(table, {"label": pa.array(folders, pa.string())})
        return labelled, [_counted(labelled)]
    rows = _read_labels(labels)
    found = _match(table["uri"].to_pylist(), rows["path"].to_pylist(), labels, images)
    labelled = _with_columns(table, {name: rows[name].take(found) for name in rows.column_names if name != "path"})
    notes = [_counted(labelled)]
    without, unused = labelled["label"].null_count, rows.num_rows - len(found.drop_null())
    if without:
        notes.append(f"{without:,} images have no label in {labels}")
    if unused:
        notes.append(f"{unused:,} paths in {labels} name none of the images")
    return labelled, notes


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


def _counted(table: pa.Table) -> str:
    counts = Counter(label for label in table["label"].to_pylist() if label is not None)
    most = ", ".join(
        f"{count:,} {label}" for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    )
    others = f" and {len(counts) - 5} other labels" if len(counts) > 5 else ""
    normal = sum(count for label, count in counts.items() if manifest.is_normal(label))
    return f"labels: {most}{others}; {normal:,} of {counts.total():,} mean normal (`good` or `normal`)"


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


def _match(uris: list[str], paths: list[str], labels: str, images: str | Sequence[str]) -> pa.Array:
    """For each image the row of its label, or null."""
    home, roots = storage.parent(storage.absolute(labels)), listing.roots(images)
    position = {uri: row for row, uri in enumerate(uris)}
    found: list[int | None] = [None] * len(uris)
    for row, path in enumerate(paths):
        meant = _meant(path, [home], position) or _meant(path, roots, position)
        if len(meant) > 1:
            first, second = (uris[image] for image in meant[:2])
            raise DataError(f"labels={labels}: the path {path!r} may be {first} or {second}; write the whole path.")
        for image in meant:
            if found[image] is not None:
                raise DataError(
                    f"labels={labels} names {uris[image]} more than once, as {paths[found[image] or 0]!r} and {path!r}."
                )
            found[image] = row
    if all(row is None for row in found):
        raise DataError(
            f"labels={labels} names none of the images: its first path is {paths[0] if paths else 'absent'!r}, "
            f"the first image is {uris[0]}; paths are absolute, or relative to the CSV or to the folder of the images."
        )
    return pa.array(found, pa.int64())


def _meant(path: str, folders: Sequence[str], position: dict[str, int]) -> list[int]:
    """The images that a path may name, taken as relative to one of the folders."""
    candidates = dict.fromkeys(storage.resolve(path, folder) for folder in folders)
    return [position[candidate] for candidate in candidates if candidate in position]


def _with_columns(table: pa.Table, columns: dict[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    for name, values in columns.items():
        place = table.column_names.index(name) if name in table.column_names else None
        table = table.append_column(name, values) if place is None else table.set_column(place, name, values)
    return table
