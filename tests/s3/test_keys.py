"""Keys as people really have them: each is listed, read and written down as it stands."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import storage
from rayae.cli import main
from rayae.run import Run
from tests.s3.conftest import Bucket

ODD = [
    "a b.png",
    "ü/ß.png",
    "漢字.png",
    "😀.png",
    "a+b.png",
    "100%.png",
    "a%20b.png",
    "a%2Fb.png",
    "q?x&y#z.png",
    "quo'te\"d.png",
    "back\\slash.png",
    "double//slash.png",
    "/leading.png",
    "//leading twice.png",
    "brackets [1] {2} *.png",
    "semi;colon:comma,at@=$!~^`|<>.png",
    "x" * 996 + ".png",
]
HIDDEN = ["dot/./x.png", "dots/../y.png", ".z.png"]
"""What begins with a dot is passed over by a prefix and a glob, as on a disk; a list may name it."""


@pytest.fixture
def odd(bucket: Bucket, few: Path) -> Bucket:
    """A bucket with a different picture under each odd key."""
    for key, path in zip([*ODD, *HIDDEN], sorted(few.rglob("*.png")), strict=False):
        bucket.put(key, path.read_bytes())
    return bucket


def check(run: str, bucket: Bucket, keys: list[str]) -> None:
    """Each key is a row, scored, and no two have the same score."""
    table = Run.open(run).results(["uri", "status", "error", "score"])
    assert sorted(table["uri"].to_pylist()) == sorted(f"{bucket.uri}/{key}" for key in keys)
    assert set(table["status"].to_pylist()) == {"scored"}, table["error"].to_pylist()
    assert len(set(table["score"].to_pylist())) == len(keys)
    assert main(["verify", run]) == 0


def score(images: str, bundle: str, out: str) -> None:
    assert main(["score", f"images={images}", f"bundle={bundle}", f"out={out}", "placement=inline"]) == 0


def test_every_key_is_found_below_a_prefix_and_read(odd: Bucket, remote_bundle: str, tmp_path: Path) -> None:
    asked = odd.server.asked()
    score(odd.uri, remote_bundle, str(tmp_path / "run"))
    assert asked.of("GET", ".png") == len(ODD)
    check(str(tmp_path / "run"), odd, ODD)


def test_every_key_is_found_by_a_glob_and_read(odd: Bucket, remote_bundle: str, tmp_path: Path) -> None:
    score(f"{odd.uri}/**/*.png", remote_bundle, str(tmp_path / "run"))
    check(str(tmp_path / "run"), odd, ODD)


@pytest.mark.parametrize("kind", ["txt", "parquet"])
def test_every_key_can_stand_in_a_list(odd: Bucket, remote_bundle: str, tmp_path: Path, kind: str) -> None:
    uris, path = [f"{odd.uri}/{key}" for key in [*ODD, *HIDDEN]], tmp_path / f"list.{kind}"
    if kind == "txt":
        path.write_text("".join(f"{uri}\n" for uri in uris))
    else:
        pq.write_table(pa.table({"uri": uris}), path)
    score(str(path), remote_bundle, str(tmp_path / "run"))
    check(str(tmp_path / "run"), odd, [*ODD, *HIDDEN])


def test_a_run_may_lie_under_an_odd_key(bucket: Bucket, few: Path, remote_bundle: str) -> None:
    run = f"{bucket.uri}/my runs/ü 漢字 😀 +%20&=/run"
    score(str(few), remote_bundle, run)
    assert main(["verify", run]) == 0
    assert main(["report", run]) == 0
    assert storage.exists(f"{run}/report.html")
    assert {key.rpartition("/run/")[0] for key in bucket.names()} == {"my runs/ü 漢字 😀 +%20&="}
