"""READ: home of how an image's bytes are fetched, or the reason why they are not.

The rules; each is held by a test in `test_reader.py`.

- A path with nothing behind it is `missing`; so is a name that no file can have (too long, a NUL, links in a circle).
- What is there and is no file (a folder, FIFO, socket, device) is `not_an_image`, and is never waited for.
- `changed`: size or modification time differ from the manifest's, or move while the file is read. On object storage
  only the size is compared: one GET an image, no HEAD.
- `too_large` is judged before memory is taken; where no size is known, at most `max_bytes` and one are asked for.
- Storage that fails to deliver (an I/O error, a lost connection, a server error) is `timeout`, the nearest in the
  closed list: nothing is known against the image, and trying again may help. Asked to slow down: `throttled`.
- What is no fault of an image is raised: ConfigError for an unknown scheme, a missing package or missing credentials;
  as it is, a lack of file handles or memory in this process, or a bug.
"""

import errno
import os
import stat
from dataclasses import dataclass

from fsspec.core import url_to_fs

from rayae.errors import ConfigError
from rayae.results import Status
from rayae.storage import is_local, local_path

OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
BY_ERRNO = {
    errno.ENOENT: Status.MISSING,
    errno.ENOTDIR: Status.MISSING,
    errno.ELOOP: Status.MISSING,
    errno.ENAMETOOLONG: Status.MISSING,
    errno.EACCES: Status.FORBIDDEN,
    errno.EPERM: Status.FORBIDDEN,
    errno.EISDIR: Status.NOT_AN_IMAGE,
    errno.ENXIO: Status.NOT_AN_IMAGE,
    errno.EBUSY: Status.THROTTLED,  # what s3fs makes of SlowDown
}
BY_CLASS = {
    FileNotFoundError: Status.MISSING,
    PermissionError: Status.FORBIDDEN,
    IsADirectoryError: Status.NOT_AN_IMAGE,
}
BY_CODE = {
    **dict.fromkeys(("404", "410", "NoSuchKey"), Status.MISSING),
    **dict.fromkeys(("401", "403", "AccessDenied"), Status.FORBIDDEN),
    **dict.fromkeys(("416", "InvalidRange"), Status.EMPTY),  # nothing begins at byte 0
    **dict.fromkeys(("429", "503", "SlowDown", "ServiceUnavailable", "Throttling"), Status.THROTTLED),
    **dict.fromkeys(("ThrottlingException", "TooManyRequests", "RequestLimitExceeded"), Status.THROTTLED),
}
BAD_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


@dataclass(frozen=True)
class Fetched:
    """The bytes of an image, with status `scored`; or None, with another status and a sentence."""

    data: bytes | None
    status: Status
    error: str | None
    size_bytes: int | None


@dataclass(frozen=True)
class Reader:
    """Reads the bytes of one image by its URI; many threads may use it at once."""

    max_bytes: int = 256 * 1024**2

    def read(self, uri: str, size_bytes: int | None = None, etag: str | None = None) -> Fetched:
        """Fetch an image; size and etag are the manifest's, compared where they are known."""
        try:
            return self._read_local(uri, size_bytes, etag) if is_local(uri) else self._read_remote(uri, size_bytes)
        except _Refused as refused:
            return Fetched(None, refused.status, refused.sentence, refused.size_bytes)

    def _read_local(self, uri: str, size_bytes: int | None, etag: str | None) -> Fetched:
        try:
            path = local_path(uri)
            _refuse_other_than_file(os.stat(path))
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                before = os.fstat(file.fileno())
                _refuse_other_than_file(before)
                self._refuse_size(before.st_size, size_bytes)
                if etag is not None and etag != _etag(before):
                    raise _Refused(Status.CHANGED, "The file was written to after it was listed.", before.st_size)
                data = file.read(before.st_size + 1)
                if len(data) != before.st_size or _etag(os.fstat(file.fileno())) != _etag(before):
                    raise _Refused(Status.CHANGED, "The file was written to while it was read.", before.st_size)
        except OSError as error:
            raise _refusal_for_os_error(error) from error
        except ValueError as error:  # a NUL, or a character that the file system's encoding lacks
            raise _Refused(Status.MISSING, f"No file can have this name: {error}.") from error
        return Fetched(data, Status.SCORED, None, len(data))

    def _read_remote(self, uri: str, size_bytes: int | None) -> Fetched:
        if size_bytes is not None:
            self._refuse_size(size_bytes, None)
        limit: dict[str, int] = {} if size_bytes is not None else {"start": 0, "end": self.max_bytes + 1}
        try:
            filesystem, path = url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{uri} cannot be read: {str(error).rstrip('.')}.") from error
        try:
            data: bytes = filesystem.cat_file(path, **limit)
        except Exception as error:
            raise _refusal_for_storage_error(uri, error) from error
        self._refuse_size(len(data), size_bytes)
        return Fetched(data, Status.SCORED, None, len(data))

    def _refuse_size(self, found: int, listed: int | None) -> None:
        if listed is not None and found != listed:
            sentence = f"The file has {found:,} bytes; it had {listed:,} when it was listed."
            raise _Refused(Status.CHANGED, sentence, found)
        if found == 0:
            raise _Refused(Status.EMPTY, "The file has no bytes.", 0)
        if found > self.max_bytes:
            sentence = f"The file has more than reader.max_bytes={self.max_bytes:,} bytes."
            raise _Refused(Status.TOO_LARGE, sentence, found)


class _Refused(Exception):
    def __init__(self, status: Status, sentence: str, size_bytes: int | None = None) -> None:
        super().__init__(sentence)
        printable = "".join(c if c.isprintable() else " " for c in sentence)
        self.status, self.sentence, self.size_bytes = status, " ".join(printable.split())[:300], size_bytes


def _refuse_other_than_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "a device")
        raise _Refused(Status.NOT_AN_IMAGE, f"This is {kind}, not a file.")


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}"


def _refusal_for_os_error(error: OSError) -> _Refused:
    if error.errno in OWN_FAULTS:
        raise error
    by_errno = BY_ERRNO.get(error.errno or 0, Status.TIMEOUT)
    status = next((status for known, status in BY_CLASS.items() if isinstance(error, known)), by_errno)
    return _Refused(status, f"The file cannot be read: {error.strerror or str(error) or type(error).__name__}.")


def _refusal_for_storage_error(uri: str, error: Exception) -> _Refused:
    """Sort what a file system of fsspec raised; libraries differ, so names and codes count, not classes."""
    name, codes = type(error).__name__, {_code(error), _code(error.__cause__)}
    if isinstance(error, ImportError) or "Credential" in name or "ProfileNotFound" in name or codes & BAD_CREDENTIALS:
        raise ConfigError(f"{uri} cannot be read ({name}: {error}); set the credentials of its storage.") from error
    for code in codes & BY_CODE.keys():
        return _Refused(BY_CODE[code], f"Storage answered {code}: {error}.")
    if isinstance(error, OSError):
        return _refusal_for_os_error(error)
    if type(error).__module__ == "builtins":
        raise error
    return _Refused(Status.TIMEOUT, f"Storage did not deliver, {name}: {error}.")


def _code(error: BaseException | None) -> str:
    """The code that a server gave: in botocore's `response`, or the HTTP status of aiohttp, gcsfs and Azure."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return next((str(getattr(error, name)) for name in ("status", "code", "status_code") if hasattr(error, name)), "")
