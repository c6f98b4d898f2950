"""Objects that are replaced or deleted after they were listed: a row each, with the reason, and no neighbour's."""

from pathlib import Path

import pytest

from rayae.cli import main
from rayae.run import Run
from tests.s3.conftest import Bucket


@pytest.fixture
def listed(bucket: Bucket, few: Path) -> str:
    """A manifest of pictures on object storage."""
    images, manifest = bucket.put_folder(few, "images"), f"{bucket.uri}/manifest.parquet"
    assert main(["index", f"images={images}", f"out={manifest}"]) == 0
    return manifest


def statuses(run: str) -> dict[str, str]:
    """The statuses of the images that were not scored, by name."""
    table = Run.open(run).results(["uri", "status"]).to_pylist()
    return {row["uri"].rpartition("/")[2]: row["status"] for row in table if row["status"] != "scored"}


def test_an_object_replaced_after_the_listing_is_changed_and_one_deleted_is_missing(
    bucket: Bucket, few: Path, listed: str, remote_bundle: str, tmp_path: Path
) -> None:
    one, other = (few / "good" / f"part000{number}.png" for number in (3, 4))
    bucket.put("images/good/part0003.png", other.read_bytes())
    bucket.put("images/good/part0005.png", one.read_bytes()[:-1] + b"\0")
    bucket.delete("images/good/part0007.png")
    run = str(tmp_path / "run")
    asked = bucket.server.asked()
    assert main(["score", f"images={listed}", f"bundle={remote_bundle}", f"out={run}", "placement=inline"]) == 0
    assert statuses(run) == {"part0003.png": "changed", "part0005.png": "changed", "part0007.png": "missing"}
    assert asked.of("GET", ".png") == 48  # what is changed or missing is not asked for again
    assert main(["verify", run]) == 0


def test_an_object_that_is_the_same_again_is_no_change(
    bucket: Bucket, few: Path, listed: str, remote_bundle: str, tmp_path: Path
) -> None:
    bucket.put("images/good/part0003.png", (few / "good" / "part0003.png").read_bytes())
    run = str(tmp_path / "run")
    assert main(["score", f"images={listed}", f"bundle={remote_bundle}", f"out={run}", "placement=inline"]) == 0
    assert statuses(run) == {}
