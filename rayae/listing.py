"""LIST: home of what `images=` means: a folder, a glob, a list or a manifest becomes a table in a fixed order."""

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayae import manifest, results, storage, tables
from rayae.errors import ConfigError, DataError
from rayae.tables import TABLE_SUFFIXES, suffix

COMMON_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
PICTURE_SUFFIXES = COMMON_SUFFIXES | {".jp2", ".j2k", ".heic", ".heif", ".avif"}
"""A folder gives the files with these endings, in any case; a glob or a list gives what it names."""
GLOB_CHARACTERS = frozenset("*?[")
HIDDEN = "hidden"
NO_FILE = "no regular file"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a folder or a glob: its URI, bytes and etag, as far as they are known."""

    uri: str
    size_bytes: int | None = None
    etag: str | None = None
    is_regular: bool = True


@dataclass
class Listing:
    """What was found, in order: images, and files that were passed over with the ending they have."""

    pieces: list[pa.Table] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def add_file(self, file: File) -> None:
        self.files.append(file)

    def add_table(self, table: pa.Table) -> None:
        self.close()
        self.pieces.append(table)

    def close(self) -> None:
        """Make a piece of the files that were added one by one."""
        if self.files:
            columns = {
                "uri": pa.array([file.uri for file in self.files], pa.string()),
                "size_bytes": pa.array([file.size_bytes for file in self.files], pa.int64()),
                "etag": pa.array([file.etag for file in self.files], pa.string()),
            }
            self.pieces.append(pa.table(columns))
            self.files = []


def list_images(images: str | Sequence[str]) -> tuple[pa.Table, Counter[str]]:
    """The table of the images that `images=` names, and the endings of files in folders that are no pictures.

    ConfigError when something named is not there; DataError when a folder cannot be read, when nothing is found,
    or when an image is named twice.
    """
    items = [images] if isinstance(images, str) else list(images)
    listing = Listing()
    for item in items:
        _list_item(item, listing, one_of_many=not isinstance(images, str))
    listing.close()
    if not sum(piece.num_rows for piece in listing.pieces):
        raise DataError(_nothing_found(items, listing.passed_over))
    table = _as_table(listing.pieces)
    _refuse_duplicates(table["uri"].to_pylist())
    return table, listing.passed_over


def roots(images: str | Sequence[str]) -> list[str]:
    """The folders that relative paths of labels may be relative to: those named, or those that hold what is named."""
    found = []
    for item in [images] if isinstance(images, str) else images:
        uri = storage.absolute(item)
        while _is_glob(uri):
            uri = storage.parent(uri)
        found += [uri, storage.parent(uri)]
    return list(dict.fromkeys(found))


def refuse_reserved(names: Sequence[str], what: str, score_names: Sequence[str] = ()) -> None:
    """DataError when one of the user's own columns has the name of a result column, in whatever letters."""
    reserved, allowed = results.reserved_columns(score_names), set(manifest.COLUMNS.names)
    for name in names:
        if name.lower() in allowed - {name}:
            raise DataError(f"{what}: the column {name!r} is written {name.lower()!r}; or give it another name.")
        if name.lower() in reserved - allowed:
            raise DataError(f"{what}: the column {name!r} has the name of a result column; give it another name.")


def _is_glob(uri: str) -> bool:
    """Whether a URI is a pattern: a file or folder of that very name comes first."""
    return bool(GLOB_CHARACTERS & set(uri)) and not storage.exists(uri)


def _list_item(item: str, listing: Listing, *, one_of_many: bool) -> None:
    if not item.strip():
        raise ConfigError("images= is empty; give a folder, a glob, a list or a manifest.")
    uri = storage.absolute(item)
    if storage.is_directory(uri):
        _list_folder(uri, listing)
    elif storage.exists(uri):
        _list_files([_look_at(uri)], uri, listing)
    elif _is_glob(uri):
        _list_glob(uri, listing)
    elif one_of_many and suffix(uri) in PICTURE_SUFFIXES:
        listing.add_file(File(storage.canonical(uri)))
    else:
        raise ConfigError(f"images={item}: there is no such file or folder (looked at {uri}).")


def _list_folder(uri: str, listing: Listing) -> None:
    for file in sorted(_files_below(uri), key=lambda file: file.uri):
        if file.uri.rsplit("/", 1)[-1].startswith("."):
            listing.passed_over[HIDDEN] += 1
        elif not file.is_regular:  # opening a pipe would wait for ever
            listing.passed_over[NO_FILE] += 1
        elif suffix(file.uri) in PICTURE_SUFFIXES:
            listing.add_file(file)
        else:
            listing.passed_over[suffix(file.uri) or "no ending"] += 1


def _files_below(uri: str) -> Iterator[File]:
    if storage.is_local(uri):
        for folder, names in _folders(storage.local_path(uri)):
            yield from (_look_at(os.path.join(folder, name)) for name in names)
        return
    top = uri.split("://")[1].strip("/")
    for file, _ in _remote(uri, "find"):
        below = file.uri.split("://", 1)[1].strip("/").removeprefix(top)
        if not any(folder.startswith(".") for folder in below.split("/")[:-1]):
            yield file


def _folders(top: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder below a local one, once, with the names of what else is in it; hidden folders are left out.

    Links to folders are followed last, so that an image has the name of its real place where it has one.
    """
    waiting, visited = [top], set()
    while waiting:
        linked: list[str] = []
        for start in sorted(waiting):
            for path, folders, names in os.walk(start, onerror=_refuse_folder):
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in visited:
                    folders.clear()
                    continue
                visited.add((status.st_dev, status.st_ino))
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                linked += (below for name in folders if os.path.islink(below := os.path.join(path, name)))
                yield path, names
        waiting = linked


def _refuse_folder(error: OSError) -> None:
    raise DataError(
        f"cannot list the folder {error.filename}: {error.strerror}; give this user access to it, "
        "or name the images without it."
    ) from error


def _list_glob(pattern: str, listing: Listing) -> None:
    """The files that match; where only folders match, the pictures in them."""
    if storage.is_local(pattern):
        paths = sorted(set(_matches("/", [part for part in pattern.split("/") if part])))
        folders = [path for path in paths if os.path.isdir(path)]
        files = [_look_at(path) for path in paths if not os.path.isdir(path)]
    else:
        found = list(_remote(pattern, "glob"))
        folders = sorted(file.uri for file, is_folder in found if is_folder)
        files = sorted((file for file, is_folder in found if not is_folder), key=lambda file: file.uri)
    if files:
        _list_files(files, pattern, listing)
    else:
        for folder in folders:
            _list_folder(folder, listing)


def _matches(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """The paths below a folder that match a pattern; as a shell does, but a folder that cannot be read is an error."""
    if not parts:
        yield folder
    elif not os.path.isdir(folder):
        return
    elif list(parts[:2]) == ["**", "**"]:
        yield from _matches(folder, parts[1:])
    elif parts[0] == "**":
        for path, names in _folders(folder):
            visible = (os.path.join(path, name) for name in names if not name.startswith("."))
            yield from _matches(path, parts[1:]) if parts[1:] else visible
    elif GLOB_CHARACTERS & set(parts[0]):
        for name in _names(folder):
            if fnmatch.fnmatchcase(name, parts[0]) and (parts[0].startswith(".") or not name.startswith(".")):
                yield from _matches(os.path.join(folder, name), parts[1:])
    elif os.path.lexists(os.path.join(folder, parts[0])):
        yield from _matches(os.path.join(folder, parts[0]), parts[1:])


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        _refuse_folder(error)
        raise


def _list_files(files: Iterable[File], asked: str, listing: Listing) -> None:
    """Files that were named: lists are read when a list was asked for, all else is taken for an image."""
    for file in files:
        if suffix(asked) in TABLE_SUFFIXES:
            listing.add_table(tables.read_images(file.uri))
        else:
            listing.add_file(file)


def _remote(uri: str, method: str) -> Iterator[tuple[File, bool]]:
    """The files of an object store below a prefix or matching a pattern, and whether each is a folder."""
    with storage.explained("list", uri):
        filesystem, path = storage.filesystem_of(uri)
        for found in getattr(filesystem, method)(path, detail=True).values():
            uri_of_it = filesystem.unstrip_protocol(found["name"])
            if found["type"] == "file":
                yield _remote_file(uri_of_it, found), False
            elif found["type"] == "directory":
                yield File(uri_of_it), True


def _remote_file(uri: str, found: Mapping[str, Any]) -> File:
    etag = found.get("ETag") or found.get("etag")
    return File(uri, found.get("size"), etag and str(etag).strip('"'))


def _look_at(uri: str) -> File:
    """A file with its size and etag; a link that leads nowhere has none, and comes out as `missing` later."""
    if not storage.is_local(uri):
        with storage.explained("look at", uri):
            filesystem, path = storage.filesystem_of(uri)
            return _remote_file(uri, filesystem.info(path))
    path = storage.local_path(uri)
    try:
        status = os.stat(path)
    except OSError:
        return File(storage.canonical(path))
    return File(storage.canonical(path), status.st_size, f"{status.st_mtime_ns:x}", stat.S_ISREG(status.st_mode))


def _as_table(pieces: Sequence[pa.Table]) -> pa.Table:
    try:
        table = pa.concat_tables(pieces, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"the lists of images= do not fit together: a column has several types ({error}).") from error
    refuse_reserved(table.column_names, "images")
    return manifest.complete({name: table[name] for name in table.column_names})


def _refuse_duplicates(uris: list[str]) -> None:
    twice = [uri for uri, count in Counter(uris).items() if count > 1]
    if twice:
        raise DataError(
            f"images names {len(twice)} image(s) more than once, the first is {twice[0]}; "
            "name each once (folders that lie in one another overlap)."
        )


def _nothing_found(items: Sequence[str], passed_over: Counter[str]) -> str:
    others = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common(5))
    found = f"only other files ({others})" if others else "nothing"
    asked = ", ".join(items[:3])
    return f"images={asked} holds no images: found {found}; a folder gives files ending in .jpg, .png, .tif and so on."
