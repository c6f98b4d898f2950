"""Storage: URIs in all the forms that people write, whole-or-nothing writes, errors in a sentence."""

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rayae import storage
from rayae.errors import ConfigError, StorageError

NASTY = ["a::b", "a#b?c", "[ab]*", "-x", "~", "a b", "é🙂", "quo'te\"", "new\nline", "100%41", ".hidden", "file:"]


@pytest.mark.parametrize("name", NASTY)
def test_a_file_of_any_name_is_written_found_read_and_removed(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    storage.write_bytes(path, b"one")
    assert os.listdir(tmp_path) == [name]
    assert storage.exists(path)
    assert storage.read_bytes(path) == b"one"
    storage.remove(path)
    assert not storage.exists(path)


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127, "🙂" * 63):
        storage.write_bytes(str(tmp_path / name), b"one")
    assert len(os.listdir(tmp_path)) == 3


def test_a_name_that_is_not_utf8_goes_through_its_percent_encoded_uri(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff%.png")
    storage.write_bytes(path, b"one")
    uri = storage.canonical(path)
    assert uri == f"file://{tmp_path}/%FF%25.png"
    assert storage.read_bytes(uri) == b"one"
    assert storage.canonical(uri) == uri


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("pictures", "{cwd}/pictures"),
        ("./pictures/", "{cwd}/pictures"),
        ("pictures//sub/../x.png", "{cwd}/pictures/x.png"),
        (".", "{cwd}"),
        ("..", "{above}"),
        ("~/x", "{home}/x"),
        ("file:///a/b%20c.png", "/a/b c.png"),
        ("file://localhost/a", "/a"),
        ("file:///a#b?c", "/a#b?c"),
        ("s3://bucket/prefix//", "s3://bucket/prefix"),
        ("memory://", "memory://"),
    ],
)
def test_every_form_of_a_place_has_one_absolute_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, absolute: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/me")
    assert storage.absolute(given) == absolute.format(cwd=tmp_path, above=tmp_path.parent, home="/home/of/me")
    assert storage.absolute(storage.absolute(given)) == storage.absolute(given)


def test_a_file_uri_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        storage.absolute("file://pictures/a.png")
    assert str(error.value) == (
        "file://pictures/a.png names no file of this machine; write file:///absolute/path, or the path alone."
    )


@pytest.mark.parametrize(
    ("uri", "parent"),
    [("/a/b", "/a"), ("/a", "/"), ("/", "/"), ("s3://b/c/d", "s3://b/c"), ("memory://a", "memory://")],
)
def test_a_parent_joined_with_the_name_is_the_thing_again(uri: str, parent: str) -> None:
    assert storage.parent(uri) == parent
    if uri != "/":
        assert storage.join(parent, uri.rsplit("/", 1)[-1]) == uri


@pytest.mark.parametrize(
    ("name", "folder", "uri"),
    [
        ("a.png", "/data", "/data/a.png"),
        ("./a.png", "/data", "/data/a.png"),
        ("../a.png", "/data/sub", "/data/a.png"),
        ("/x/../a.png", "/data", "/a.png"),
        ("~tilde.png", "/data", "/data/~tilde.png"),
        ("file:///x/a%20b.png", "/data", "/x/a b.png"),
        ("s3://b/x.png", "/data", "s3://b/x.png"),
        ("./a.png", "s3://b/c", "s3://b/c/a.png"),
        ("../a.png", "s3://b/c", "s3://b/a.png"),
    ],
)
def test_a_name_in_a_list_is_relative_to_the_list(name: str, folder: str, uri: str) -> None:
    assert storage.resolve(name, folder) == uri


def test_a_write_replaces_what_was_there_and_makes_folders(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "file")
    storage.write_bytes(path, b"old, and longer")
    storage.write_bytes(path, b"new")
    assert storage.read_bytes(path) == b"new"
    assert storage.list_names(str(tmp_path / "a" / "b")) == ["file"]


def test_a_write_that_the_system_cuts_short_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = f"from rayae import storage; storage.write_bytes({str(path)!r}, b'x' * 100_000)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert f"StorageError: cannot write {path}: File too large." in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as error:
        storage.write_bytes(str(path), b"new")
    assert str(error.value) == f"cannot write {path}: No space left on device."
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_is_not_overwritten_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError) as error:
        storage.write_bytes(str(tmp_path / "folder"), b"new")
    assert str(error.value) == f"cannot write {tmp_path}/folder: Is a directory."
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_in_the_way_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"^cannot write .*/file/below: (Not a directory|File exists)\.$"):
        storage.write_bytes(str(tmp_path / "file" / "below"), b"new")


@pytest.mark.parametrize(("name", "reason"), [("gone", "there is no such file or directory"), ("", "Is a directory")])
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, name: str, reason: str) -> None:
    path = f"{tmp_path}/{name}" if name else str(tmp_path)
    with pytest.raises(StorageError) as error:
        storage.read_bytes(path)
    assert str(error.value) == f"cannot read {path}: {reason}."


def test_a_failure_while_reading_is_a_sentence_too(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^cannot read /proc/self/mem: .+\.$"):
        storage.read_bytes("/proc/self/mem")


@pytest.mark.parametrize("uri", ["nothing-known://x/y", "a\0b"])
def test_what_no_storage_can_be_asked_for_is_the_askers_to_mend(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read "):
        storage.read_bytes(uri)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe{", b"NaN}"])
def test_json_that_is_none_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(StorageError, match=r"is not valid JSON \(.*\); it was damaged or is not a file of rayae\.$"):
        storage.read_json(str(tmp_path / "run.json"))


def test_json_comes_back_as_it_was_and_holds_no_nan(tmp_path: Path) -> None:
    value = {"name": "é\udcff", "list": [1, 2.5, None, True]}
    storage.write_json(str(tmp_path / "x.json"), value)
    assert storage.read_json(str(tmp_path / "x.json")) == value
    with pytest.raises(ValueError, match="JSON"):
        storage.write_json(str(tmp_path / "y.json"), {"x": float("nan")})
    assert storage.list_names(str(tmp_path)) == ["x.json"]


def test_names_are_sorted_and_leave_out_parts_of_a_write(tmp_path: Path) -> None:
    for name in ("b", "a", ".a.1234.part", "10", "9"):
        (tmp_path / name).write_bytes(b"")
    assert storage.list_names(f"{tmp_path}/") == ["10", "9", "a", "b"]
    assert storage.list_names(str(tmp_path / "gone")) == []


def test_removing_takes_folders_whole_and_nothing_is_no_error(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "a" / "b"), b"")
    storage.remove(str(tmp_path / "a"))
    storage.remove(str(tmp_path / "a"))
    assert os.listdir(tmp_path) == []


def test_an_object_store_holds_the_same_contract() -> None:
    place = "memory://test-storage"
    storage.write_bytes(f"{place}/chunks/a", b"one")
    storage.write_bytes(f"{place}/chunks/a", b"two")
    storage.write_json(f"{place}/run.json", {"rows": 2})
    assert storage.read_bytes(f"{place}/chunks/a") == b"two"
    assert storage.read_json(f"{place}/run.json") == {"rows": 2}
    assert storage.list_names(f"{place}/chunks/") == ["a"]
    assert storage.is_directory(place)
    assert not storage.exists(f"{place}/gone")
    with storage.open_read(f"{place}/chunks/a") as file:
        file.seek(1)
        assert file.read() == b"wo"
    with pytest.raises(StorageError) as error:
        storage.read_bytes(f"{place}/gone")
    assert str(error.value) == f"cannot read {place}/gone: there is no such bucket or object."
    storage.remove(place)
    assert not storage.exists(place)


def test_what_a_client_of_object_storage_raises_is_a_sentence() -> None:
    class NoCredentialsError(Exception):  # as botocore has it: neither OSError nor ValueError
        pass

    with pytest.raises(StorageError) as error, storage.explained("read", "s3://b/x"):
        raise NoCredentialsError("Unable to locate credentials")
    assert str(error.value) == "cannot read s3://b/x: NoCredentialsError: Unable to locate credentials."


def test_of_two_that_create_a_file_the_first_succeeds(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.json")
    assert storage.create_json(uri, 1)
    assert not storage.create_json(uri, 2)
    assert storage.read_json(uri) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_writer_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    for name, age in (("old", 7200), ("young", 60)):
        part = tmp_path / f".{name}.part"
        part.write_bytes(b"half")
        os.utime(part, (time.time() - age,) * 2)
    storage.sweep(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".young.part"]


def test_a_list_on_object_storage_names_nothing_outside_its_bucket() -> None:
    assert storage.resolve("../b.png", "s3://bucket/lists") == "s3://bucket/b.png"
    with pytest.raises(ConfigError, match=r"^\.\./a\.png in a list below s3://bucket leads out of it; write the whole"):
        storage.resolve("../../a.png", "s3://bucket/lists")
