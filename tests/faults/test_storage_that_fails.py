"""What happens while storage is busy, cuts its answers, no longer takes the credentials, or changes under a run."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from rayae.cli import main
from rayae.run import Run
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, ends_well, start, wait_for
from tests.s3.conftest import Bucket, make_bucket
from tests.servers import Front, Server, cutting

IMAGES = 240


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("many"), IMAGES, seed=3)


@pytest.fixture(scope="module")
def pool(server: Server, many: Path) -> Bucket:
    """A bucket with those pictures, which no test changes."""
    bucket = make_bucket(server)
    bucket.put_folder(many, "images")
    return bucket


@pytest.fixture(scope="module")
def scores(many: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The score of each picture on the disk, by name."""
    run = tmp_path_factory.mktemp("on-disk") / "run"
    assert main(["score", f"images={many}", f"bundle={bundle}", f"out={run}", "placement=inline"]) == 0
    return {Path(uri).name: score for uri, _, score in rows(run)}


@pytest.fixture
def calm(front: Front) -> Iterator[Front]:
    """haproxy without faults, before and after the test."""
    front.set()
    os.environ["AWS_ENDPOINT_URL"] = front.url
    yield front
    front.set()


def rows(run: Path) -> list[tuple[str, str, float]]:
    table: pa.Table = Run.open(str(run)).results(["uri", "status", "score"])
    return [tuple(row.values()) for row in table.to_pylist()]


def words(images: str, bundle: Path, run: Path, *more: str) -> list[str]:
    return ["score", f"images={images}", f"bundle={bundle}", f"out={run}", "placement=inline", *more]


def written(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (run / "chunks").glob("chunk-*.parquet")}


def check_whole(run: Path, scores: dict[str, float]) -> None:
    assert main(["verify", str(run)]) == 0
    found = rows(run)
    assert {status for _, status, _ in found} == {"scored"}
    assert {Path(uri).name: score for uri, _, score in found} == scores


def test_busy_storage_costs_no_row(
    calm: Front, pool: Bucket, bundle: Path, scores: dict[str, float], tmp_path: Path
) -> None:
    """A fifth of all GETs is refused for most of the run; `benchmarks/storm.py` does so for a minute."""
    run, log = tmp_path / "run", tmp_path / "log"
    calm.set(slow_down=0.2)
    before = len(calm.lines())
    process = start(*words(f"{pool.uri}/images", bundle, run, "chunk_images=24"), log=log)
    wait_for(lambda: len(written(run)) >= 7 or process.poll() is not None, "seven chunks")
    calm.set()
    ends_well(process, log)
    check_whole(run, scores)
    refused = [line for line in calm.lines()[before:] if " 503 " in line]
    assert len(refused) > IMAGES / 20


def test_a_body_cut_short_is_asked_for_again(
    pool: Bucket, server: Server, bundle: Path, scores: dict[str, float], tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.parquet"
    assert main(["index", f"images={pool.uri}/images", f"out={manifest}"]) == 0
    with cutting(server, seed=1) as cutter:
        os.environ["AWS_ENDPOINT_URL"] = cutter.url
        cutter.share = 0.3
        assert main(words(str(manifest), bundle, tmp_path / "run")) == 0
        assert cutter.cuts > IMAGES / 10
    check_whole(tmp_path / "run", scores)


def test_a_listing_cut_short_is_asked_for_again(pool: Bucket, server: Server, tmp_path: Path) -> None:
    with cutting(server, seed=2) as cutter:
        os.environ["AWS_ENDPOINT_URL"] = cutter.url
        cutter.share = 0.5
        for number in range(4):
            out = tmp_path / f"{number}.parquet"
            assert main(["index", f"images={pool.uri}/images", f"out={out}"]) == 0
        assert cutter.cuts
    assert len({(tmp_path / f"{number}.parquet").read_bytes() for number in range(4)}) == 1


def test_credentials_that_expire_stop_the_run_and_the_same_command_goes_on_when_they_are_renewed(
    calm: Front, pool: Bucket, bundle: Path, scores: dict[str, float], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    asked = words(f"{pool.uri}/images", bundle, run, "chunk_images=8", "reader.concurrency=2")
    calm.set(delay_ms=50)
    process = start(*asked, log=log)
    wait_for(lambda: len(written(run)) >= 3 or process.poll() is not None, "three chunks")
    calm.set(is_expired=True)
    assert process.wait(PATIENCE_S) == 2, log.read_text()
    said = log.read_text().splitlines()[-1]
    assert said.startswith("error: "), log.read_text()
    assert "ExpiredToken" in said
    assert "Give credentials in the environment" in said
    left_behind = written(run)
    assert 3 <= len(left_behind) < IMAGES / 8
    assert {status for _, status, _ in rows(run)} == {"scored"}  # no image is blamed
    calm.set()
    ends_well(start(*asked, log=log), log)
    assert {path: mtime for path, mtime in written(run).items() if path in left_behind} == left_behind
    check_whole(run, scores)


def test_objects_deleted_and_replaced_while_the_run_goes_on_cost_their_own_rows_alone(
    calm: Front, bucket: Bucket, many: Path, bundle: Path, scores: dict[str, float], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    bucket.put_folder(many, "images")
    calm.set(delay_ms=100)
    asked = words(f"{bucket.uri}/images", bundle, run, "chunk_images=8", "reader.concurrency=4")
    process = start(*asked, log=log)
    wait_for(lambda: len(written(run)) >= 2 or process.poll() is not None, "two chunks")
    bucket.delete("images/good/part0230.png")
    with Image.open(many / "good" / "part0231.png") as picture:
        picture.save(tmp_path / "other.png", compress_level=1)
    bucket.put("images/good/part0231.png", (tmp_path / "other.png").read_bytes())
    assert len(written(run)) < 27, "too late to be midway"
    calm.set()
    ends_well(process, log)
    assert main(["verify", str(run)]) == 0
    found = {Path(uri).name: (status, score) for uri, status, score in rows(run)}
    assert found.pop("part0230.png") == ("missing", None)
    assert found.pop("part0231.png") == ("changed", None)
    assert found == {name: ("scored", scores[name]) for name in found}
    assert len(found) == IMAGES - 2


def test_storage_that_goes_away_stops_the_run_and_the_same_command_goes_on_when_it_is_back(
    pool: Bucket, server: Server, bundle: Path, scores: dict[str, float], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    manifest = tmp_path / "manifest.parquet"
    assert main(["index", f"images={pool.uri}/images", f"out={manifest}"]) == 0
    asked = words(str(manifest), bundle, run, "chunk_images=8", "reader.deadline_s=4", "reader.concurrency=2")
    with cutting(server) as cutter:
        os.environ["AWS_ENDPOINT_URL"] = cutter.url
        process = start(*asked, log=log)
        wait_for(lambda: len(written(run)) >= 3 or process.poll() is not None, "three chunks")
        cutter.share, cutter.between = 1.0, (0, 0)
        began = time.monotonic()
        assert process.wait(PATIENCE_S) == 1, log.read_text()
        assert time.monotonic() - began < 60
        said = log.read_text().splitlines()[-1]
        assert said.startswith(f"error: {pool.uri} has answered no request for "), said
        assert {status for _, status, _ in rows(run)} == {"scored"}  # no image is blamed
        cutter.share = 0.0
        ends_well(start(*asked, log=log), log)
    check_whole(run, scores)
