"""Home of all that reads and writes storage by URI: local paths and every URL that fsspec knows.

A file is written whole or not at all: on disk beside its place and then renamed, on object storage by one PUT.
"""

import contextlib
import json
import os
import posixpath
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import unquote

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from rayae import disk, objects, reach
from rayae.access import options_of_fsspec, permission
from rayae.errors import ConfigError, RayaeError, StorageError

LOCAL_SCHEMES = ("file://", "local://")


def is_local(uri: str) -> bool:
    """Whether the URI is a path of this machine's file system, with `file://` before it or without."""
    return "://" not in uri or uri.startswith(LOCAL_SCHEMES)


def absolute(uri: str) -> str:
    """A local path as an absolute path without `.`, `..` or `~`; a URL as it is, without a slash at its end."""
    if not is_local(uri):
        scheme, path = uri.split("://", 1)
        return f"{scheme}://{path.rstrip('/')}"
    return os.path.abspath(os.path.expanduser(local_path(uri)))


def local_path(uri: str) -> str:
    """The path behind a local URI; a percent-encoded `file://` URI may name bytes that are not UTF-8."""
    if not uri.startswith(LOCAL_SCHEMES):
        return uri
    host, slash, path = uri.partition("://")[2].partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigError(f"{uri} names no file of this machine; write file:///absolute/path, or the path alone.")
    return unquote(slash + path, errors="surrogateescape")


def lower_scheme(uri: str) -> str:
    """A URL with its scheme in small letters, as `S3://` means what `s3://` does; a path as it is."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme.lower()}{mark}{rest}" if mark else uri


def canonical(uri: str) -> str:
    """The one form in which manifests hold a URI, whatever form it was given in; a key of an object as it stands.

    A local file is its absolute path, or a percent-encoded `file://` URI where the bytes of the path are not UTF-8 and
    no table could hold it.
    """
    found = absolute(uri) if is_local(uri) else lower_scheme(uri)
    scheme = found.partition("://")[0].rpartition("::")[2]
    if not is_local(uri) and scheme not in fsspec.available_protocols():
        raise ConfigError(
            f"{uri}: nobody knows how to read {scheme}://; s3, gs, az, https and file are known, and more."
        )
    try:
        found.encode()
        return found
    except UnicodeEncodeError as error:
        if not is_local(uri):
            raise ConfigError(f"{uri!r} is not UTF-8; percent-encode it.") from error
        return PurePosixPath(found).as_uri()


def join(uri: str, *parts: str) -> str:
    """The URI of something below another."""
    base = uri if uri.endswith("://") else uri.rstrip("/") + "/"
    return base + "/".join(parts)


def parent(uri: str) -> str:
    """The URI of what a URI lies in."""
    above = uri.rstrip("/").rpartition("/")[0]
    return above + "/" if above.endswith(":/") or not above else above


def resolve(name: str, folder: str) -> str:
    """The canonical URI of a name in a list that lies in a folder: absolute names stand, others are relative to it.

    On object storage only `./` and `../` at the beginning mean something; the rest of a key is taken as it stands.
    """
    if "://" in name or name.startswith(("/", "~/")):
        return canonical(name)
    name = posixpath.normpath(name) if is_local(folder) else name.removeprefix("./")
    top = "" if is_local(folder) else "/".join(folder.split("/")[:3])
    while name.startswith("../"):
        if folder.rstrip("/") == top:
            raise ConfigError(f"{name} in a list below {top} leads out of it; write the whole URI.")
        folder, name = parent(folder), name.removeprefix("../")
    return canonical(join(folder, name))


def exists(uri: str) -> bool:
    """Whether there is a file or directory at the URI."""
    with explained("look for", uri):
        filesystem, path = filesystem_of(uri)
        return bool(filesystem.exists(path))


def is_directory(uri: str) -> bool:
    """Whether there is a directory (on object storage: something below the prefix) at the URI."""
    with explained("look for", uri):
        filesystem, path = filesystem_of(uri)
        return bool(filesystem.isdir(path))


def list_names(uri: str) -> list[str]:
    """Sorted names of what lies directly in a directory, hidden names left out; empty when there is no directory."""
    with explained("list", uri):
        filesystem, path = filesystem_of(uri)
        if not filesystem.isdir(path):
            return []
        names = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in filesystem.ls(path, detail=False))
        return sorted(name for name in names if not name.startswith("."))


def open_read(uri: str) -> IO[bytes]:
    """Open a file for reading; it can seek."""
    with explained("read", uri):
        filesystem, path = filesystem_of(uri)
        opened: IO[bytes] = filesystem.open(path, "rb")
        return opened


def read_bytes(uri: str) -> bytes:
    """The whole of a file."""
    with explained("read", uri), open_read(uri) as file:
        return file.read()


def read_json(uri: str) -> Any:
    """The value in a JSON file."""
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise StorageError(f"{uri} is not valid JSON ({error}); it was damaged or is not a file of rayae.") from error


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file whole or not at all, in place of one that may be there."""
    with explained("write", uri):
        if is_local(uri):
            disk.write(Path(absolute(uri)), data, os.replace)
        else:
            filesystem, path = filesystem_of(uri)
            filesystem.pipe_file(path, data)


def write_text(uri: str, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all."""
    write_bytes(uri, text.encode())


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity are refused, since JSON has none."""
    write_text(uri, json.dumps(value, indent=2, allow_nan=False) + "\n")


def create_json(uri: str, value: Any) -> bool:
    """Write a JSON file, whole or not at all, unless there is one already; whether it was written."""
    return create(uri, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def create(uri: str, data: bytes) -> bool:
    """Write a file, whole or not at all, unless there is one already; whether it was written.

    Of several processes that try at once one succeeds, on a disk and on object storage; where a file system of fsspec
    knows no such write, it is asked first and written then.
    """
    if is_local(uri):
        with explained("write", uri):
            return disk.write(Path(absolute(uri)), data, os.link)
    if objects.is_object_store(uri):
        return objects.create(absolute(uri), data)
    if exists(uri):
        return False
    write_bytes(uri, data)
    return True


def read_version(uri: str) -> tuple[bytes, str] | None:
    """The content of a file, and what to name it by in `replace`; None when there is no file."""
    if objects.is_object_store(uri):
        return objects.read_version(absolute(uri))
    try:
        with explained("read", uri), open_read(uri) as file:
            data = file.read()
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    return data, sha256(data).hexdigest()


def replace(uri: str, data: bytes, version: str) -> bool:
    """Write a file in place of the one of that version; False, and nothing is written, when it is no longer there.

    Compare and swap: on a disk under a lock, on object storage by a conditional PUT. Where a file system of fsspec, or
    a server that ignores the condition, knows no such write, a race of two may let both believe that they won.
    """
    if objects.is_object_store(uri):
        return objects.replace(absolute(uri), data, version)
    with _locked(uri):
        found = read_version(uri)
        if found is None or found[1] != version:
            return False
        write_bytes(uri, data)
        return True


@contextlib.contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Hold the lock file beside a local file; elsewhere nothing."""
    if not is_local(uri):
        yield
        return
    with explained("lock", uri), disk.locked(Path(absolute(uri))):
        yield


def list_files(uri: str) -> list[disk.Entry]:
    """The files that lie directly in a directory, by name, hidden ones left out; none when there is no directory."""
    if objects.is_object_store(uri):
        found = objects.level(absolute(uri) + "/")[0].to_pylist()
        entries = [
            disk.Entry(one["uri"].rpartition("/")[2], one["size_bytes"], one["modified"].timestamp()) for one in found
        ]
    elif is_local(uri):
        with explained("list", uri):
            entries = disk.list_files(absolute(uri))
    else:
        with explained("list", uri):
            filesystem, path = filesystem_of(uri)
            below = filesystem.ls(path, detail=True) if filesystem.isdir(path) else []
            entries = [
                disk.Entry(one["name"].rpartition("/")[2], one["size"], None) for one in below if one["type"] == "file"
            ]
    return sorted((entry for entry in entries if entry.name and entry.name[0] != "."), key=lambda entry: entry.name)


def read_tail(uri: str, count: int) -> bytes:
    """The last `count` bytes of a file, or all of a shorter one, by one request."""
    if objects.is_object_store(uri):
        return objects.read_tail(absolute(uri), count)
    with explained("read", uri):
        if is_local(uri):  # a tenth of what fsspec takes to open it: a resumed run reads the tails of all its files
            return disk.read_tail(local_path(uri), count)
        with open_read(uri) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count))
            return file.read()


@contextlib.contextmanager
def open_write(uri: str) -> Iterator[IO[bytes]]:
    """A file to write piece by piece; it appears whole when the block ends, and not at all when it raises.

    For object storage it grows in a temporary file of this machine first.
    """
    if is_local(uri):
        with explained("write", uri), disk.growing(Path(absolute(uri))) as file:
            yield file
        return
    with tempfile.NamedTemporaryFile(prefix="rayae-") as grown:
        with explained("write", grown.name):
            yield cast(IO[bytes], grown)
            grown.flush()
        with explained("write", uri):
            filesystem, path_there = filesystem_of(uri)
            filesystem.put_file(grown.name, path_there)


def sweep(uri: str) -> None:
    """Remove what killed writers have left in a local directory; a writer of the last hour is left alone."""
    if is_local(uri):
        with explained("clean", uri):
            disk.sweep(Path(absolute(uri)))


def remove(uri: str) -> None:
    """Remove a file, or a directory with all that is in it; nothing happens when there is none."""
    with explained("remove", uri):
        filesystem, path = filesystem_of(uri)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if not is_local(uri) and filesystem.info(path)["type"] == "file":
                filesystem.rm_file(path)
            elif filesystem.exists(path):
                filesystem.rm(path, recursive=True)
                if not is_local(uri):
                    _check_removed(filesystem, path)


def _check_removed(filesystem: fsspec.AbstractFileSystem, path: str) -> None:
    """PermissionError when a directory is still there: s3fs says nothing of the objects that S3 did not let go."""
    filesystem.invalidate_cache()
    if filesystem.exists(path):
        raise PermissionError("what lies there was not let go, or another process writes to it")


def filesystem_of(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI, and its path there."""
    path = absolute(uri)
    if is_local(path):  # not by url_to_fs, which takes `::` in a file name for a chain of URLs
        return LocalFileSystem(), path
    if objects.is_object_store(path) and not objects.is_bucket(objects.split(path)[0]):
        raise ConfigError(f"no bucket can have the name in {objects.split(path)[0]}; mend the URI.")
    filesystem, path = url_to_fs(path, **options_of_fsspec(uri))
    filesystem.invalidate_cache()  # other processes write to the same places
    return filesystem, path


@contextlib.contextmanager
def explained(verb: str, uri: str) -> Iterator[None]:
    """Turn what the storage raises into the sentence "cannot VERB URI: why"."""
    try:
        yield
    except RayaeError:
        raise
    except FileNotFoundError as error:
        if isinstance(error.__cause__, reach.Forbidden):  # so fsspec tells of what its client for the web refuses
            raise error.__cause__ from None
        what = "file or directory" if is_local(uri) else "bucket or object"
        raise StorageError(f"cannot {verb} {uri}: there is no such {what}.") from error
    except PermissionError as error:
        raise StorageError(f"cannot {verb} {uri}: {error.strerror or error}.{permission(verb, uri)}") from error
    except OSError as error:
        raise StorageError(f"cannot {verb} {uri}: {error.strerror or error}.") from error
    except (ImportError, ValueError) as error:  # fsspec: an unknown scheme, or the package of a known one is missing
        raise ConfigError(f"cannot {verb} {uri}: {error}.") from error
    except Exception as error:  # clients of object storage raise classes of their own, as for missing credentials
        if is_local(uri):
            raise
        raise StorageError(f"cannot {verb} {uri}: {type(error).__name__}: {error}.") from error
