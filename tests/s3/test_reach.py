"""Lists and manifests on S3: they name objects and web addresses, and nothing of the machine that reads them."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae.cli import main
from rayae.listing import list_images
from tests.s3.conftest import Bucket

FILE = "The name is that of a file of this machine, in a list that lies elsewhere. storage.allow=file allows it."


@pytest.fixture(autouse=True)
def nothing_allowed(environment: None) -> None:
    os.environ["RAYAE_ALLOW"] = ""


def rows(out: Path) -> list[tuple[str, str | None]]:
    found = pq.read_table(out / "chunks").sort_by("image_id")
    return list(zip(found["status"].to_pylist(), found["error"].to_pylist(), strict=True))


def test_a_manifest_on_s3_opens_no_file_of_a_worker_unless_a_setting_allows_it(
    bucket: Bucket, few: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shared disk, and its manifest on S3: who wrote the manifest there is not known to who reads it."""
    manifest = f"s3://{bucket.name}/manifest.parquet"
    assert main(["index", f"images={few}/good", f"out={manifest}"]) == 0
    assert f"who reads them by {manifest} has to say storage.allow=file" in capsys.readouterr().out
    words = ["score", f"images={manifest}", f"bundle={bundle}", "placement=inline"]
    assert main([*words, f"out={tmp_path}/closed"]) == 1
    assert rows(tmp_path / "closed") == [("forbidden", FILE)] * 40
    assert main([*words, f"out={tmp_path}/open", "storage.allow=file"]) == 0
    assert rows(tmp_path / "open") == [("scored", None)] * 40


def test_a_run_on_s3_over_local_images_needs_no_setting(bucket: Bucket, few: Path, bundle: Path) -> None:
    """Its manifest lies on S3 too, and was made from what was typed: going on with it and retrying read it as it is."""
    out = f"s3://{bucket.name}/run"
    broken = few.parent / "with-a-gap"
    broken.mkdir()
    (broken / "a.png").symlink_to(few / "good" / "part0000.png")
    (broken / "b.png").write_bytes(b"no picture yet")
    words = ["score", f"images={broken}", f"bundle={bundle}", f"out={out}", "placement=inline", "chunk_images=1"]
    assert main([*words, "max_failed_fraction=1"]) == 0
    bucket.server.client().delete_object(Bucket=bucket.name, Key="run/chunks/chunk-000000.parquet")
    assert main(["score", out]) == 0
    assert main(["retry", out, "status=not_an_image"]) == 0
    assert main(["verify", out]) == 0
    found = [key for key in bucket.names() if key.startswith("run/chunks/")]
    assert len(found) == 2


def test_a_hostile_list_on_s3_is_rows_in_every_format(bucket: Bucket, tmp_path: Path) -> None:
    names = ["/etc/passwd", "file:///etc/group", "simplecache::file:///etc/hosts", "./a.png", "https://host/a.png"]
    pq.write_table(pa.table({"uri": names}), tmp_path / "list.parquet")
    bodies = {
        "list.txt": "\n".join(names).encode(),
        "list.csv": "\n".join(["path", *names]).encode(),
        "list.jsonl": "\n".join(f'{{"uri": "{name}"}}' for name in names).encode(),
        "list.parquet": (tmp_path / "list.parquet").read_bytes(),
    }
    for key, body in bodies.items():
        bucket.server.client().put_object(Bucket=bucket.name, Key=key, Body=body)
        table, _ = list_images(f"s3://{bucket.name}/{key}")
        assert table["place"].to_pylist() == ["needs:file:", "needs:file:", "needs:other:", None, None], key


def test_a_local_list_names_objects_without_a_setting(bucket: Bucket, few: Path, bundle: Path, tmp_path: Path) -> None:
    picture = few / "good" / "part0000.png"
    bucket.server.client().upload_file(str(picture), bucket.name, "a.png")
    (tmp_path / "list.txt").write_text(f"s3://{bucket.name}/a.png\n{picture}\n")
    words = ["score", f"images={tmp_path}/list.txt", f"bundle={bundle}", f"out={tmp_path}/run", "placement=inline"]
    assert main(words) == 0
    assert rows(tmp_path / "run") == [("scored", None)] * 2
