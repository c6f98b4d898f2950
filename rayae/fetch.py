"""Home of one try to get bytes from wherever they are, and of what a failed try means: for the image, and for the next.

- A path with nothing behind it is `missing`; so is a name that no file can have (too long, a NUL, links in a circle).
- What is there and is no file (a folder, FIFO, socket, device) is `not_an_image`, and is never waited for.
- Storage that fails to deliver (an I/O error, a lost or cut connection, a server error) is `timeout`, the nearest in
  the closed list: nothing is known against the image, and trying again may help. Asked to slow down: `throttled`.
- What is no fault of an image is raised: ConfigError for an unknown scheme, a missing package, missing or bad
  credentials; as it is, a lack of file handles or memory in this process, or a bug.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from fsspec.core import url_to_fs

from rayae import objects, reach, web
from rayae.errors import ConfigError
from rayae.objects import BAD_CREDENTIALS, HOW_CREDENTIALS_ARE_GIVEN, Answer
from rayae.redaction import redacted
from rayae.results import Status
from rayae.storage import local_path
from rayae.stores import Refusal

LONGEST_SENTENCE = 300
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
    **dict.fromkeys(("404", "410", "NoSuchKey", "NoSuchBucket"), Status.MISSING),
    **dict.fromkeys(("401", "403", "AccessDenied"), Status.FORBIDDEN),
    **dict.fromkeys(("416", "InvalidRange"), Status.EMPTY),  # nothing begins at byte 0
    **dict.fromkeys(("429", "503", "SlowDown", "ServiceUnavailable", "Throttling"), Status.THROTTLED),
    **dict.fromkeys(("ThrottlingException", "TooManyRequests", "RequestLimitExceeded"), Status.THROTTLED),
    **dict.fromkeys(("400", "501"), Status.UNSUPPORTED),
}
LASTING = frozenset(range(300, 500)) - {408, 429}
"""Answers that another try does not change."""
NOTHING = "rayae-asks-whether-anybody-answers"
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


@dataclass(frozen=True)
class Backoff:
    """How to try again: seconds of the first wait, of the longest, and whether storage asked for fewer requests."""

    base_s: float
    longest_s: float
    is_busy: bool = False


THROTTLED = Backoff(0.5, 20.0, is_busy=True)
SERVER_ERROR = Backoff(0.2, 10.0)
NO_ANSWER = Backoff(0.1, 10.0)


class Refused(Exception):
    """No bytes: the status and the sentence of the row, and how to try again, or None where that cannot help."""

    def __init__(
        self, status: Status, sentence: str, size_bytes: int | None = None, again: Backoff | None = None
    ) -> None:
        super().__init__(sentence)
        printable = "".join(c if c.isprintable() else " " for c in redacted(sentence[: 4 * LONGEST_SENTENCE]))
        self.status, self.sentence = status, " ".join(printable.split())[:LONGEST_SENTENCE]
        self.size_bytes, self.again = size_bytes, again


class Expired(Exception):
    """Storage no longer takes the credentials; new ones may be there."""


@dataclass(frozen=True)
class Part:
    """What is asked for: all bytes, or `length` from `first` on; at most `most` and one, where no size is known."""

    first: int = 0
    length: int | None = None
    most: int | None = None


def place_of(uri: str) -> str:
    """The bucket or the server that a remote URI is on: what is asked too much is asked less as a whole."""
    return web.host(uri) if web.is_web(uri) else objects.split(uri)[0]


def another_at(uri: str) -> str:
    """Something else in the same bucket, which need not be there: whoever says so answers."""
    return f"{objects.split(uri)[0]}/{NOTHING}"


def fetch_remote(uri: str, part: Part, judge: Callable[[Answer], None], timeout_s: float) -> bytes:
    """One try; `judge` sees size and etag before the body is taken. Raises Refused, Expired, ConfigError."""
    try:
        if objects.is_object_store(uri):
            return objects.get(uri, judge, part.first, part.length, timeout_s)
        if web.is_web(uri):
            return web.get(uri, judge, part.first, part.length, part.most, timeout_s)
    except Refusal as refusal:
        raise _refused(uri, refusal) from None
    return _fetch_by_fsspec(uri, part, judge)


def _refused(uri: str, refusal: Refusal) -> Refused:
    if refusal.code == "ExpiredToken":
        raise Expired(refusal.sentence)
    if refusal.code == "PermanentRedirect":
        raise ConfigError(f"{redacted(uri)} cannot be read: {refusal.sentence}")
    if refusal.code in BAD_CREDENTIALS:
        raise ConfigError(f"{redacted(uri)} cannot be read: {refusal.sentence} {HOW_CREDENTIALS_ARE_GIVEN}")
    if refusal.status == 0 or refusal.code == "RequestTimeout":
        return Refused(Status.TIMEOUT, refusal.sentence, again=NO_ANSWER)
    known = next((BY_CODE[code] for code in (refusal.code, str(refusal.status)) if code in BY_CODE), None)
    if known == Status.THROTTLED:
        return Refused(known, refusal.sentence, again=THROTTLED)
    if refusal.status in LASTING or known is not None:
        return Refused(known or Status.FORBIDDEN, refusal.sentence)
    return Refused(Status.TIMEOUT, refusal.sentence, again=SERVER_ERROR)


GUARDED = {scheme: {"get_client": reach.guarded_client} for scheme in ("http", "https")}
"""Options of a chain of schemes that leads to the web: its client connects to what `reach` lets through."""


def _fetch_by_fsspec(uri: str, part: Part, judge: Callable[[Answer], None]) -> bytes:
    try:
        filesystem, path = url_to_fs(uri, **(GUARDED if "::" in uri else {}))
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{redacted(uri)} cannot be read: {str(error).rstrip('.')}.") from error
    end = part.first + part.length if part.length is not None else None if part.most is None else part.most + 1
    limit = {} if not part.first and end is None else {"start": part.first, "end": end}
    try:
        data: bytes = filesystem.cat_file(path, **limit)
    except Exception as error:
        raise _refused_by_fsspec(uri, error) from error
    if part.length is None:
        judge(Answer(len(data), None))
    return data


def _refused_by_fsspec(uri: str, error: Exception) -> Refused:
    """Sort what a file system of fsspec raised; libraries differ, so names and codes count, not classes."""
    for one in (error, error.__cause__):
        if isinstance(one, reach.Forbidden):
            return Refused(Status.FORBIDDEN, str(one))
    name, codes = type(error).__name__, {_code(error), _code(error.__cause__)}
    if isinstance(error, ImportError) or "Credential" in name or "ProfileNotFound" in name or codes & BAD_CREDENTIALS:
        said = redacted(f"{uri} cannot be read ({name}: {error})")
        raise ConfigError(f"{said}; set the credentials of its storage.") from error
    for code in codes & BY_CODE.keys():
        status = BY_CODE[code]
        return Refused(status, f"Storage answered {code}: {error}.", again=_again(status))
    if isinstance(error, OSError):
        return refused_by_system(error)
    if type(error).__module__ == "builtins":
        raise error
    return Refused(Status.TIMEOUT, f"Storage did not deliver, {name}: {error}.", again=SERVER_ERROR)


def _code(error: BaseException | None) -> str:
    """The code that a server gave: in botocore's `response`, or the HTTP status of aiohttp, gcsfs and Azure."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return next((str(getattr(error, name)) for name in ("status", "code", "status_code") if hasattr(error, name)), "")


def _again(status: Status) -> Backoff | None:
    return {Status.THROTTLED: THROTTLED, Status.TIMEOUT: NO_ANSWER}.get(status)


def fetch_local(uri: str, part: Part, judge: Callable[[Answer], None]) -> bytes:
    """The bytes of a file, or a part of it; `changed` when it is written to meanwhile. Raises Refused."""
    try:
        path = local_path(uri)
        _refuse_other_than_file(os.stat(path))
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            before = os.fstat(file.fileno())
            _refuse_other_than_file(before)
            judge(Answer(before.st_size, _etag(before)))
            file.seek(part.first)
            wanted = before.st_size - part.first if part.length is None else part.length
            data = file.read(wanted + 1 if part.length is None else wanted)
            is_cut = part.length is None and len(data) != wanted
            if is_cut or _etag(os.fstat(file.fileno())) != _etag(before):
                raise Refused(Status.CHANGED, "The file was written to while it was read.", before.st_size)
    except OSError as error:
        raise refused_by_system(error) from error
    except ConfigError as error:  # `file://` with a host
        raise Refused(Status.MISSING, str(error)) from error
    except ValueError as error:  # a NUL, or a character that the file system's encoding lacks
        raise Refused(Status.MISSING, f"No file can have this name: {error}.") from error
    return data


def refused_by_system(error: OSError) -> Refused:
    """What an error of the operating system means for an image."""
    if error.errno in OWN_FAULTS:
        raise error
    by_errno = BY_ERRNO.get(error.errno or 0, Status.TIMEOUT)
    status = next((status for known, status in BY_CLASS.items() if isinstance(error, known)), by_errno)
    reason = error.strerror or str(error) or type(error).__name__
    return Refused(status, f"The file cannot be read: {reason}.", again=_again(status))


def _refuse_other_than_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "a device")
        raise Refused(Status.NOT_AN_IMAGE, f"This is {kind}, not a file.")


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}"
