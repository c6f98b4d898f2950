"""From the listing to the report with everything on object storage: the same rows as on the disk, one GET an image."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae.bundle import Bundle
from rayae.cli import main
from rayae.run import Run
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import ends_well, start
from tests.s3.conftest import Bucket
from tests.s3.test_secrets import check, check_bucket


def score(images: str, bundle: str, out: str, *more: str) -> list[str]:
    return ["score", f"images={images}", f"bundle={bundle}", f"out={out}", "placement=inline", *more]


def rows(run: str, below: str) -> pa.Table:
    """The rows of a run, with the part of each URI that does not depend on where the images are."""
    table = Run.open(run).results()
    at = table.column_names.index("uri")
    return table.set_column(at, "uri", [[uri.removeprefix(below) for uri in table["uri"].to_pylist()]])


@pytest.fixture(scope="module")
def on_disk(few: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The rows of the same run without object storage."""
    run = tmp_path_factory.mktemp("on-disk") / "run"
    assert main([*score(str(few), str(bundle), str(run)), "labels=folder"]) == 0
    return rows(str(run), f"{few}/")


def test_the_whole_line_on_object_storage_gives_the_rows_of_the_disk(
    bucket: Bucket, few: Path, remote_bundle: str, on_disk: pa.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = bucket.put_folder(few, "my images"), f"{bucket.uri}/runs/one"
    manifest = f"{bucket.uri}/lists/manifest.parquet"
    assert main(["index", f"images={images}", "labels=folder", f"out={manifest}"]) == 0
    assert main(score(manifest, remote_bundle, run)) == 0
    assert rows(run, f"{images}/").equals(on_disk)
    for verb in ("verify", "evaluate", "report"):
        assert main([verb, run]) == 0, capsys.readouterr().err
    found = bucket.objects()
    assert b"</html>" in found["runs/one/report.html"]
    assert json.loads(found["runs/one/_SUCCESS.json"])["statistics"]["images"] == 48
    assert pq.read_metadata(io.BytesIO(found["lists/manifest.parquet"])).num_rows == 48
    assert not [key for key in found if key.startswith("runs/one/") and ("lease" in key or "in_hand" in key)]


def test_an_image_costs_one_get_and_no_head(bucket: Bucket, few: Path, remote_bundle: str) -> None:
    images = bucket.put_folder(few, "images")
    asked = bucket.server.asked()
    assert main(score(images, remote_bundle, f"{bucket.uri}/run", "labels=folder")) == 0
    of_images = {what: count for what, count in asked.count().items() if what.endswith(".png")}
    names = {path.relative_to(few).as_posix() for path in few.rglob("*.png")}
    assert of_images == {f"GET {bucket.name}/images/{name}": 1 for name in names}


def test_a_second_run_fetches_no_image_and_writes_nothing(
    bucket: Bucket, few: Path, remote_bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = bucket.put_folder(few, "images"), f"{bucket.uri}/run"
    assert main(score(images, remote_bundle, run)) == 0
    asked = bucket.server.asked()
    assert main(score(images, remote_bundle, run)) == 0
    assert "nothing to do: all 48 images" in capsys.readouterr().out
    assert asked.of("GET", ".png") == asked.of("HEAD", ".png") == 0
    assert asked.of("PUT") == asked.of("POST") == asked.of("DELETE") == 0


def test_a_chunk_is_written_by_one_put(bucket: Bucket, few: Path, remote_bundle: str) -> None:
    images = bucket.put_folder(few, "images")
    asked = bucket.server.asked()
    assert main(score(images, remote_bundle, f"{bucket.uri}/run", "chunk_images=16")) == 0
    chunks = {what: count for what, count in asked.count().items() if "/chunks/" in what and not what.startswith("GET")}
    assert {what: count for what, count in chunks.items() if what.startswith("PUT")} == {
        f"PUT {bucket.name}/run/chunks/chunk-00000{number}.parquet": 1 for number in range(3)
    }
    assert not [what for what in chunks if what.startswith(("POST", "DELETE"))]


def test_an_unfinished_run_on_object_storage_does_the_rest_and_only_the_rest(
    bucket: Bucket, few: Path, remote_bundle: str, on_disk: pa.Table
) -> None:
    images, run = bucket.put_folder(few, "images"), f"{bucket.uri}/run"
    assert main(score(images, remote_bundle, run, "chunk_images=16", "labels=folder")) == 0
    for key in ("run/_SUCCESS.json", "run/chunks/chunk-000001.parquet"):
        bucket.delete(key)
    asked = bucket.server.asked()
    assert main(["score", run]) == 0
    assert asked.of("GET", ".png") == 16
    assert rows(run, f"{images}/").equals(on_disk)


def test_workers_of_ray_write_the_rows_of_the_disk_and_no_secret(
    bucket: Bucket, few: Path, remote_bundle: str, on_disk: pa.Table, tmp_path: Path
) -> None:
    images, run, log = bucket.put_folder(few, "images"), f"{bucket.uri}/run", tmp_path / "log"
    asked = bucket.server.asked()
    words = [word for word in score(images, remote_bundle, run, "labels=folder") if word != "placement=inline"]
    ends_well(start(*words, "workers=2", "chunk_images=8", log=log), log)
    assert rows(run, f"{images}/").equals(on_disk)
    assert asked.of("GET", ".png") == 48
    assert main(["verify", run]) == 0
    check(log.read_text())
    assert check_bucket(bucket) > 50


@pytest.mark.parametrize("placement", ["inline", "together"])
def test_a_training_keeps_its_checkpoints_and_its_bundle_on_object_storage(
    bucket: Bucket, few: Path, tmp_path: Path, placement: str
) -> None:
    images, out, log = bucket.put_folder(few, "images"), f"{bucket.uri}/bundle", tmp_path / "log"
    asked = bucket.server.asked()
    words = ["train", f"images={images}", "labels=folder", f"out={out}", "epochs=2", "alpha=0.2", *SMALL_TRAINING]
    more = ["placement=inline"] if placement == "inline" else ["workers=2"]
    ends_well(start(*words, *more, log=log), log)
    read = {what.rpartition("/")[2]: count for what, count in asked.count().items() if what.endswith(".png")}
    bundle = Bundle.open(out)
    sides = bundle.training_images().select(["uri", "split"]).to_pylist()
    # those of the calibration are held against the others in training, and scored afterwards
    wanted = {one["uri"].rpartition("/")[2]: 1 + (one["split"] == "calibration") for one in sides}
    assert read == wanted
    assert bundle.training["epochs_done"] == 2
    assert bundle.threshold is not None
    assert [what for what in asked.count() if what.startswith("PUT") and what.endswith("checkpoint.pt")]
    assert not [key for key in bucket.names() if key.endswith("checkpoint.pt")]
