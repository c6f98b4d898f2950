"""Home of what one word of `images=` is: a folder, a pattern, a file, a list, on whatever storage."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pyarrow as pa

from rayae import archives, folders, manifest, objects, prefixes, storage, tables, web
from rayae.errors import ConfigError
from rayae.folders import GLOB_CHARACTERS
from rayae.formats import PICTURE_SUFFIXES
from rayae.objects import PAGE
from rayae.selection import Select, pictures
from rayae.tables import TABLE_SUFFIXES, suffix

LISTED = PICTURE_SUFFIXES | archives.SUFFIXES
"""Endings of what is taken of a folder."""
FOUND = PAGE.remove(PAGE.get_field_index("modified"))
"""What is known of a file that was listed, and goes into a manifest."""
Read = Callable[[Counter[str]], Iterator[pa.Table]]


@dataclass(frozen=True)
class Source:
    """A part of what `images=` names, that is listed in one go."""

    asked: str
    read: Read
    """Lists it, as tables with `uri` and what else is known, and counts what it passes over."""
    schema: pa.Schema = FOUND
    """Columns of the tables, of which `modified` is none."""
    prefix: str = ""
    """What stands before the path that patterns are held against."""
    is_distinct: bool = False
    """Whether it cannot name an image twice."""
    has_times: bool = True
    has_sizes: bool = True


def sources_of(item: str, asked: Select, *, one_of_many: bool) -> list[Source]:
    """The sources that a word of `images=` names; ConfigError when there is nothing of that name."""
    if not item.strip():
        raise ConfigError("images= is empty; give a folder, a glob, a list or a manifest.")
    item = storage.lower_scheme(item)
    if objects.is_object_store(item):
        found = _of_object_store(item, asked)
    elif web.is_web(item):
        found = _of_web(item, asked)
    elif storage.is_local(item):
        found = _of_folders(storage.absolute(item), asked)
    else:
        found = _of_other_storage(storage.absolute(item), asked)
    if found is not None:
        return found
    uri = item if objects.is_object_store(item) else storage.absolute(item)
    if one_of_many and suffix(uri) in PICTURE_SUFFIXES:
        return [_of_table(uri, storage.canonical(uri))]
    raise ConfigError(f"images={item}: there is no such file or folder (looked at {uri}).")


def is_glob(uri: str) -> bool:
    """Whether a URI is a pattern: a file or folder of that very name comes first."""
    if not GLOB_CHARACTERS & set(uri) or web.is_web(uri):
        return False
    if objects.is_object_store(uri):
        return not _is_object(uri) and not prefixes.is_prefix(f"{uri}/")
    return not storage.exists(uri)


def _of_folders(path: str, asked: Select) -> list[Source] | None:
    if storage.is_directory(path):
        return [_folder(path)]
    if storage.exists(path):
        return _files(path, [path], folders.files_named, asked)
    if not GLOB_CHARACTERS & set(path):
        return None
    files, below = folders.matches(path)
    return _files(path, files, folders.files_named, asked) if files else [_folder(folder) for folder in below]


def _folder(path: str) -> Source:
    return Source(
        asked=path,
        read=lambda passed_over: folders.files_below(path, LISTED, passed_over),
        prefix=path.rstrip("/") + "/",
        is_distinct=True,
    )


def _of_object_store(uri: str, asked: Select) -> list[Source] | None:
    bucket, key = objects.split(uri)
    below = uri if uri.endswith("/") else f"{uri}/"
    if GLOB_CHARACTERS & set(bucket):
        raise ConfigError(f"images={uri}: a pattern may stand for keys, not for buckets; name each bucket.")
    is_named_like_a_file = suffix(key) in LISTED | TABLE_SUFFIXES  # then it comes before what is below it
    if is_named_like_a_file and _is_object(uri):
        return _files(uri, [uri], prefixes.objects_named, asked)
    if prefixes.is_prefix(below):
        return [_prefix(below, below, lambda: prefixes.objects_below([below]))]
    if key and not is_named_like_a_file and _is_object(uri):
        return _files(uri, [uri], prefixes.objects_named, asked)
    if not GLOB_CHARACTERS & set(key):
        return None
    base = prefixes.base_of(uri)
    if next(prefixes.objects_matching(uri), None) is None:
        return [_prefix(uri, base, lambda: prefixes.objects_in_folders_matching(uri))]
    if suffix(uri) in TABLE_SUFFIXES:
        lists = [name for table in prefixes.objects_matching(uri) for name in table["uri"].to_pylist()]
        return _files(uri, lists, prefixes.objects_named, asked)
    return [Source(uri, lambda _: prefixes.objects_matching(uri), prefix=base, is_distinct=True)]


def _is_object(uri: str) -> bool:
    return not uri.endswith("/") and objects.size_and_etag(uri) is not None


def _prefix(uri: str, prefix: str, listed: Callable[[], Iterator[pa.Table]]) -> Source:
    def read(passed_over: Counter[str]) -> Iterator[pa.Table]:
        return (pictures(table, prefix, LISTED, passed_over) for table in listed())

    return Source(uri, read, prefix=prefix, is_distinct=True)


def _of_web(uri: str, asked: Select) -> list[Source]:
    if suffix(uri) in TABLE_SUFFIXES:
        return _lists([uri], asked)
    if suffix(urlsplit(uri).path) in LISTED:
        return [_of_table(uri, uri)]
    raise ConfigError(f"images={uri}: a web server cannot be listed; give a list of addresses (.txt, .csv, .jsonl).")


def _of_other_storage(uri: str, asked: Select) -> list[Source] | None:
    if storage.is_directory(uri):
        table, _ = prefixes.other_files(uri, "find")
        return [_other_folder(uri, table)]
    if storage.exists(uri):
        return _other_files(uri, prefixes.other_files(uri, "find")[0], asked)
    if not GLOB_CHARACTERS & set(uri):
        return None
    table, below = prefixes.other_files(uri, "glob")
    if table.num_rows:
        return _other_files(uri, table, asked)
    return [_other_folder(folder, prefixes.other_files(folder, "find")[0]) for folder in below]


def _other_folder(uri: str, table: pa.Table) -> Source:
    return replace(_prefix(uri, f"{uri.rstrip('/')}/", lambda: iter([table])), has_times=False)


def _other_files(uri: str, table: pa.Table, asked: Select) -> list[Source]:
    found = _files(uri, table["uri"].to_pylist(), lambda _: iter([table]), asked)
    return [replace(source, has_times=False) for source in found]


def _of_table(asked: str, uri: str) -> Source:
    """An image of which nothing but its name is known."""
    table = pa.table({"uri": pa.array([uri], pa.string())})
    return Source(asked, lambda _: iter([table]), schema=table.schema, has_times=False, has_sizes=False)


def _files(
    asked_for: str, uris: list[str], look: Callable[[Iterable[str]], Iterator[pa.Table]], asked: Select
) -> list[Source]:
    """Files that were named: lists are read when a list was asked for, all else is taken for an image or an archive.

    DataError for a compressed tar.
    """
    for uri in filter(archives.is_compressed_tar, uris):
        archives.refuse_compressed(uri)
    if suffix(asked_for) in TABLE_SUFFIXES:
        return _lists(uris, asked)
    above = storage.join(storage.parent(asked_for), "") if uris == [asked_for] else prefixes.base_of(asked_for)
    return [Source(asked_for, lambda _: look(uris), prefix=above, is_distinct=True)]


def _lists(uris: Iterable[str], asked: Select) -> list[Source]:
    return [_images_in_parquet(uri, asked) if _holds_images(uri) else _list(uri) for uri in uris]


def _holds_images(uri: str) -> bool:
    return suffix(uri) == ".parquet" and not manifest.is_manifest(uri) and archives.has_images(uri)


def _list(uri: str) -> Source:
    found = tables.open_list(uri)
    has_sizes = "size_bytes" in found.schema.names
    return Source(uri, lambda _: found.read(), schema=found.schema, has_times=False, has_sizes=has_sizes)


def _images_in_parquet(uri: str, asked: Select) -> Source:
    def read(passed_over: Counter[str]) -> Iterator[pa.Table]:
        return archives.expand(uri, image_column=asked.image_column, passed_over=passed_over)

    first = next(read(Counter()), None)
    schema = manifest.COLUMNS if first is None else first.schema
    above = storage.join(storage.parent(uri), "")
    return Source(uri, read, schema, prefix=above, is_distinct=True, has_times=False, has_sizes=False)
