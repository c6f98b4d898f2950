"""Listing object storage: prefixes, patterns, lists, hard keys, and many keys by many threads."""

import io
import tarfile

import pytest

from rayae import keyspace, listing, objects
from rayae.cli import main
from rayae.errors import ConfigError, DataError, StorageError
from rayae.manifest import Manifest
from rayae.selection import Select
from tests.conftest import write_pictures
from tests.s3.conftest import Bucket

HARD_KEYS = [
    *("a b.png", "ü.png", "中文/图.png", "🙂.png", "a+b.png", "100%.png", "%41%2F.png", "q?x=1&y#z.png", "'\".png"),
    *("back\\slash.png", "a//b.png", "~.png", ";,.png", "=cmd.png", "k" * 1000 + ".png"),
]


@pytest.fixture
def folders(bucket: Bucket) -> str:
    keys = ["in/a.png", "in/b.JPG", "in/notes.txt", "in/.hidden.png", "in/cam1/1.png", "in/cam1/deep/2.tif"]
    for number, key in enumerate([*keys, "in/cam2/.x/3.png", "in/cam2/4.png", "in-2/5.png", "other/6.dat"]):
        bucket.put(key, b"x" * number)
    return bucket.uri


def names(images: str | list[str], below: str, select: Select = listing.EVERYTHING) -> list[str]:
    return [uri.removeprefix(f"{below}/") for uri in listing.list_images(images, select)[0]["uri"].to_pylist()]


def test_a_prefix_gives_its_pictures_in_the_order_of_the_keys_with_sizes_and_etags(folders: str) -> None:
    for images in (f"{folders}/in", f"{folders}/in/"):
        table, passed_over = listing.list_images(images)
        found = [uri.removeprefix(f"{folders}/in/") for uri in table["uri"].to_pylist()]
        assert found == ["a.png", "b.JPG", "cam1/1.png", "cam1/deep/2.tif", "cam2/4.png"]
        assert table["size_bytes"].to_pylist() == [0, 1, 4, 5, 7]
        assert table["etag"][0].as_py() == "d41d8cd98f00b204e9800998ecf8427e"
        assert passed_over == {"hidden": 2, ".txt": 1}
    assert len(names(folders, folders)) == 6


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", ["in/a.png"]),
        ("in/*", ["in/a.png", "in/b.JPG", "in/notes.txt"]),
        ("in/.*", ["in/.hidden.png"]),
        ("in/cam?/*.png", ["in/cam1/1.png", "in/cam2/4.png"]),
        ("in/**/*.png", ["in/a.png", "in/cam1/1.png", "in/cam2/4.png"]),
        ("in/**", ["in/a.png", "in/b.JPG", "in/cam1/1.png", "in/cam1/deep/2.tif", "in/cam2/4.png", "in/notes.txt"]),
        ("in/cam[!2]/*/*.tif", ["in/cam1/deep/2.tif"]),
        ("in/cam*", ["in/cam1/1.png", "in/cam1/deep/2.tif", "in/cam2/4.png"]),
        ("*/?.*", ["in/a.png", "in/b.JPG", "in-2/5.png", "other/6.dat"]),
        ("oth*/6.dat", ["other/6.dat"]),
    ],
)
def test_a_pattern_gives_the_objects_that_match_or_the_pictures_in_folders_that_match(
    folders: str, pattern: str, expected: list[str]
) -> None:
    assert sorted(names(f"{folders}/{pattern}", folders)) == sorted(expected)


def test_a_list_mixes_prefixes_objects_patterns_and_local_folders(folders: str, tmp_path: object) -> None:
    write_pictures(tmp_path, 2)  # type: ignore[arg-type]
    images = [f"{folders}/in-2", str(tmp_path), f"{folders}/other/6.dat", f"{folders}/in/c*/4*", f"{folders}/gone.png"]
    found = names(images, folders)
    assert found == [
        *(
            "in-2/5.png",
            f"{tmp_path}/good/part0000.png",
            f"{tmp_path}/good/part0001.png",
            "other/6.dat",
            "in/cam2/4.png",
        ),
        "gone.png",
    ]


def test_an_object_with_the_ending_of_a_picture_comes_before_what_is_below_it(bucket: Bucket) -> None:
    for key in ("x.png", "x.png/y.png", "day/z.png", "day"):
        bucket.put(key, b"x")
    assert names(f"{bucket.uri}/x.png", bucket.uri) == ["x.png"]
    assert names(f"{bucket.uri}/x.png/", bucket.uri) == ["x.png/y.png"]
    assert names(f"{bucket.uri}/day", bucket.uri) == ["day/z.png"]


def test_what_is_named_twice_is_refused_across_prefixes(folders: str) -> None:
    with pytest.raises(DataError, match=r"images names 1 image\(s\) more than once, the first is .*/in/cam2/4\.png"):
        listing.list_images([f"{folders}/in", f"{folders}/in/cam2"])


@pytest.mark.parametrize("key", ["gone", "gone.png", "in/gone/", "gone*"])
def test_what_is_not_there_is_told(folders: str, key: str) -> None:
    with pytest.raises((ConfigError, DataError), match=r"no such file or folder|holds no images"):
        listing.list_images(f"{folders}/{key}")


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket) -> None:
    with pytest.raises(StorageError, match="cannot list s3://no-such-bucket-here"):
        listing.list_images("s3://no-such-bucket-here/x")
    with pytest.raises(ConfigError) as error:
        listing.list_images("s3://buck*/x.png")
    assert str(error.value) == (
        "images=s3://buck*/x.png: a pattern may stand for keys, not for buckets; name each bucket."
    )


def test_hard_keys_are_listed_as_they_stand_and_found_again_by_name(bucket: Bucket) -> None:
    for key in HARD_KEYS:
        bucket.put(f"hard/{key}", b"x")
    expected = sorted(f"{bucket.uri}/hard/{key}" for key in HARD_KEYS)
    assert listing.list_images(f"{bucket.uri}/hard")[0]["uri"].to_pylist() == expected
    assert listing.list_images(f"{bucket.uri}/hard/**/*.png")[0]["uri"].to_pylist() == expected
    for uri in (uri for uri in expected if "//b" not in uri):
        table = listing.list_images(uri)[0]
        assert table["uri"].to_pylist() == [uri]
        assert table["size_bytes"].to_pylist() == [1]


def test_sizes_and_times_are_selected_by_what_the_listing_says(folders: str) -> None:
    assert names(f"{folders}/in", folders, Select(min_bytes=1, max_bytes=5)) == [
        *("in/b.JPG", "in/cam1/1.png", "in/cam1/deep/2.tif")
    ]


def test_an_archive_in_a_prefix_is_opened(bucket: Bucket) -> None:
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        member = tarfile.TarInfo("1.png")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    bucket.put("shards/0.tar", shard.getvalue())
    table = listing.list_images(f"{bucket.uri}/shards")[0]
    assert table["uri"].to_pylist() == [f"{bucket.uri}/shards/0.tar!/1.png"]
    assert table["place"].to_pylist() == ["tar:512"]


def test_a_large_prefix_is_listed_by_many_threads_and_each_key_comes_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"many/{number * 7919 % 1000:03}/é {number}.png" for number in range(300)]
    for key in keys:
        bucket.put(key, b"")
    monkeypatch.setattr(objects, "PAGE_KEYS", 20)
    monkeypatch.setattr(keyspace, "FULL_PAGE_ROWS", 20)
    for images in (f"{bucket.uri}/many", f"{bucket.uri}/many/*/*.png"):
        assert names(images, bucket.uri) == sorted(keys)


def test_a_manifest_on_object_storage_is_updated(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("in/a.png", "in/b.png"):
        bucket.put(key, b"x")
    out = f"{bucket.uri}/manifests/m.parquet"
    assert main(["index", f"{bucket.uri}/in", f"out={out}"]) == 0
    assert main(["index", "--update", f"out={out}"]) == 0
    assert "nothing differs" in capsys.readouterr().out
    bucket.put("in/b.png", b"longer")
    bucket.put("in/c.png", b"x")
    bucket.delete("in/a.png")
    assert main(["index", "--update", f"out={out}"]) == 0
    new = Manifest.open(f"{bucket.uri}/manifests/m.new.parquet").read()
    assert new["uri"].to_pylist() == [f"{bucket.uri}/in/b.png", f"{bucket.uri}/in/c.png"]
    gone = Manifest.open(f"{bucket.uri}/manifests/m.gone.parquet").read()
    assert gone["uri"].to_pylist() == [f"{bucket.uri}/in/a.png"]
