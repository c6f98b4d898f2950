import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pytest

from rayae.errors import ConfigError
from rayae.reader import Fetched, Image, Reader
from rayae.results import Status

READER = Reader(deadline_s=0.05)


def read(uri: str, size_bytes: int | None = None, etag: str | None = None, reader: Reader = READER) -> Fetched:
    return reader.read(Image(uri, size_bytes, etag))


def refusal(uri: str, reader: Reader = READER, **listed: Any) -> tuple[Status, str | None]:
    """Read what cannot be read, and hold what is true of every refusal."""
    fetched = reader.read(Image(uri, **listed))
    assert fetched.data is None
    assert fetched.error is not None
    assert fetched.error.isprintable()
    assert len(fetched.error) <= 300
    return fetched.status, fetched.error


@contextmanager
def without_root() -> Iterator[None]:
    """Permission bits do not bind root: act as nobody meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("this system lets root be nobody else")
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"some bytes")
    etag = f"{path.stat().st_mtime_ns:x}"
    for uri in (str(path), path.as_uri()):
        fetched = read(uri, 10, etag)
        assert (fetched.data, fetched.status, fetched.error, fetched.size_bytes) == (b"some bytes", "scored", None, 10)
    assert read(str(path)).data == b"some bytes"


@pytest.mark.parametrize("name", ["a b#c?d%20é.png", "new\nline", "100%", "caf\udce9"])
def test_a_file_uri_may_be_percent_encoded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert read("file://" + quote(os.fsencode(tmp_path / name))).data == b"x"
    assert read(str(tmp_path / name)).data == b"x"


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    said = (Status.MISSING, "The file cannot be read: No such file or directory.")
    assert refusal(str(tmp_path / "nowhere")) == said
    assert refusal((tmp_path / "nowhere").as_uri()) == said
    assert refusal(str(tmp_path / "gone")) == said
    assert refusal("") == said
    assert refusal(str(tmp_path / "file" / "below")) == (Status.MISSING, "The file cannot be read: Not a directory.")


def test_names_that_no_file_can_have_are_missing(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert refusal(str(tmp_path / "one"))[0] == Status.MISSING
    assert refusal(str(tmp_path / ("n" * 5000))) == (Status.MISSING, "The file cannot be read: File name too long.")
    assert refusal(f"{tmp_path}/a\0b") == (Status.MISSING, "No file can have this name: embedded null byte.")
    assert refusal(f"{tmp_path}/\ud800")[0] == Status.MISSING


def test_a_folder_and_a_device_are_no_images(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == (Status.NOT_AN_IMAGE, "This is a folder, not a file.")
    assert refusal("/dev/zero") == (Status.NOT_AN_IMAGE, "This is a device, not a file.")


def test_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    started = time.monotonic()
    assert refusal(str(tmp_path / "fifo")) == (Status.NOT_AN_IMAGE, "This is a FIFO, not a file.")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        assert refusal(str(tmp_path / "socket")) == (Status.NOT_AN_IMAGE, "This is a socket, not a file.")
    assert time.monotonic() - started < 1


def test_a_file_and_a_folder_without_permission_are_forbidden(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "file").write_bytes(b"x")
    (tmp_path / "closed").chmod(0)
    said = (Status.FORBIDDEN, "The file cannot be read: Permission denied.")
    with without_root():
        assert refusal(str(tmp_path / "secret")) == said
        assert refusal(str(tmp_path / "closed" / "file")) == said
    (tmp_path / "closed").chmod(0o700)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert refusal(str(tmp_path / "empty")) == (Status.EMPTY, "The file has no bytes.")
    assert read(str(tmp_path / "empty")).size_bytes == 0


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**13)  # sparse: ten terabytes that take no disk, and no memory may hold
    said = (Status.TOO_LARGE, "The file has more than reader.max_bytes=268,435,456 bytes.")
    assert refusal(str(tmp_path / "large")) == said
    assert read(str(tmp_path / "large")).size_bytes == 10**13
    (tmp_path / "ten").write_bytes(b"x" * 10)
    assert read(str(tmp_path / "ten"), reader=Reader(max_bytes=10)).data == b"x" * 10
    assert refusal(str(tmp_path / "ten"), Reader(max_bytes=9))[0] == Status.TOO_LARGE


def test_a_file_that_differs_from_the_manifest_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"some bytes")
    said = (Status.CHANGED, "The file has 10 bytes; it had 9 when it was listed.")
    assert refusal(str(path), size_bytes=9) == said
    said = (Status.CHANGED, "The file was written to after it was listed.")
    assert refusal(str(path), size_bytes=10, etag="17b0") == said
    path.write_bytes(b"")
    assert refusal(str(path), size_bytes=10)[0] == Status.CHANGED


def test_a_lack_of_file_handles_is_not_blamed_on_the_image(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "a").write_bytes(b"x")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            read(str(tmp_path / "a"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/shelf/a.png", b"some bytes")
    filesystem.pipe_file("/shelf/empty.png", b"")
    yield filesystem
    filesystem.rm("/shelf", recursive=True)


@pytest.mark.usefixtures("memory")
def test_an_object_is_read() -> None:
    for size in (None, 10):
        fetched = read("memory://shelf/a.png", size, "ignored")
        assert (fetched.data, fetched.status, fetched.size_bytes) == (b"some bytes", Status.SCORED, 10)


@pytest.mark.usefixtures("memory")
def test_objects_have_the_same_statuses_as_files() -> None:
    assert refusal("memory://shelf/nowhere.png")[0] == Status.MISSING
    assert refusal("memory://shelf/empty.png") == (Status.EMPTY, "The file has no bytes.")
    said = (Status.CHANGED, "The file has 10 bytes; it had 9 when it was listed.")
    assert refusal("memory://shelf/a.png", size_bytes=9) == said
    for size in (None, 10):
        assert refusal("memory://shelf/a.png", Reader(max_bytes=9), size_bytes=size)[0] == Status.TOO_LARGE


class ServerError(Exception):
    """Shaped like botocore's ClientError, which the tests do without."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code}) when calling the GetObject operation")
        self.response = {"Error": {"Code": code}}


class HttpError(Exception):
    """Shaped like the errors of aiohttp, gcsfs and Azure."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class NoCredentialsError(Exception):
    """Named like botocore's."""


class Broken(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Storage that has no objects, and answers for `.png` with the error that the test put here."""

    protocol = "broken"
    error: BaseException = OSError()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        raise self.error if path.endswith(".png") else FileNotFoundError(path)


def translated(code: str) -> OSError:
    """What s3fs makes of a server's error."""
    error = OSError(errno.EIO, "said so")
    error.__cause__ = ServerError(code)
    return error


@pytest.fixture
def broken() -> type[Broken]:
    fsspec.register_implementation("broken", Broken, clobber=True)
    return Broken


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError("gone"), Status.MISSING),
        (HttpError(404), Status.MISSING),
        (PermissionError("no"), Status.FORBIDDEN),
        (HttpError(403), Status.FORBIDDEN),
        (ServerError("SlowDown"), Status.THROTTLED),
        (ServerError("503"), Status.THROTTLED),
        (HttpError(429), Status.THROTTLED),
        (translated("SlowDown"), Status.THROTTLED),
        (OSError(errno.EBUSY, "reduce your request rate"), Status.THROTTLED),
        (translated("InvalidRange"), Status.EMPTY),
        (TimeoutError(), Status.TIMEOUT),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Status.TIMEOUT),
        (OSError(errno.EIO, "Input/output error"), Status.TIMEOUT),
        (translated("InternalError"), Status.TIMEOUT),
        (ServerError("InternalError\n\x1b[31m" + "x" * 5000), Status.TIMEOUT),
        (HttpError(500), Status.TIMEOUT),
    ],
)
def test_what_storage_answers_becomes_a_status(broken: type[Broken], error: Exception, status: Status) -> None:
    broken.error = error
    assert refusal("broken://shelf/a.png")[0] == status


@pytest.mark.parametrize(
    "error", [NoCredentialsError("Unable to locate credentials"), translated("SignatureDoesNotMatch"), ImportError("x")]
)
def test_missing_credentials_are_not_blamed_on_the_image(broken: type[Broken], error: Exception) -> None:
    broken.error = error
    with pytest.raises(ConfigError, match=r"^broken://shelf/a\.png cannot be read \(.*\); set the credentials of its"):
        read("broken://shelf/a.png")


@pytest.mark.parametrize("error", [KeyError("x"), AttributeError("x"), OSError(errno.EMFILE, "Too many open files")])
def test_our_own_faults_are_not_blamed_on_the_image(broken: type[Broken], error: Exception) -> None:
    broken.error = error
    with pytest.raises(type(error)):
        read("broken://shelf/a.png")


def test_an_unknown_scheme_is_a_mistake_of_the_asker() -> None:
    with pytest.raises(ConfigError, match=r"^nowhere://a/b\.png cannot be read: Protocol not known: nowhere\.$"):
        read("nowhere://a/b.png")
