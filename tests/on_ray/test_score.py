from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae.cli import main
from rayae.errors import ClusterError
from rayae.on_ray.cluster import Workers, plan_workers
from rayae.run import Run


def scored(images: Path, bundle: Path, out: Path, *words: str) -> pa.Table:
    assert main(["score", f"images={images}", f"bundle={bundle}", f"out={out}", *words]) == 0
    assert main(["verify", str(out)]) == 0
    return Run.open(str(out)).results()


def test_actors_write_the_rows_that_one_process_writes(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    alone = scored(pictures, bundle, tmp_path / "alone", "placement=inline", "chunk_images=50")
    together = scored(pictures, bundle, tmp_path / "together", "workers=2", "chunk_images=50")
    assert together.column_names == alone.column_names
    for name in ("image_id", "uri", "status", "is_anomaly", "bundle_id", "threshold_id"):
        assert together[name].equals(alone[name]), name
    for name in ("mse", "mae", "mse_worst1", "ssim_error", "score"):
        np.testing.assert_allclose(together[name].to_numpy(), alone[name].to_numpy(), rtol=2e-2, atol=1e-6)


def test_a_second_run_touches_nothing(
    pictures: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scored(pictures, bundle, tmp_path / "run", "workers=1", "chunk_images=100")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    scored(pictures, bundle, tmp_path / "run", "workers=1", "chunk_images=100")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    assert "nothing to do: all 264 images" in capfd.readouterr().out


def test_what_storage_refuses_in_a_worker_is_one_sentence_here(
    pictures: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "chunks").write_text("a file where the folder of the chunks must be")
    assert main(["score", f"images={pictures}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "workers=1"]) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"error: cannot write {tmp_path}/run/chunks/chunk-")
    assert "Traceback" not in said


def test_the_failure_budget_stops_the_actors(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.png").write_bytes(b"<html>403</html>")
    words = ["score", f"images={folder}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "workers=1"]
    assert main([*words, "chunk_images=10", "min_failed_sample=20"]) == 1
    said = capfd.readouterr().err
    assert "20 of 20 images failed, more than max_failed_fraction=0.1 allows (20 not_an_image)." in said


def test_a_plan_that_does_not_fit_is_refused_with_the_sum() -> None:
    sentence = (
        r"^the plan needs 9 x 1 CPUs = 9 and 9 x 0 GPUs = 0; the cluster has 6 CPUs and 0 GPUs, enough for 6 "
        r"worker\(s\)\. Ask for fewer with `workers=`, or for less with `resources\.cpus_per_worker=` and "
        r"`resources\.gpus_per_worker=`\.$"
    )
    with pytest.raises(ClusterError, match=sentence):
        plan_workers(9, 1, None)


def test_without_a_number_the_workers_fill_the_cluster() -> None:
    assert plan_workers(None, 2, None) == Workers(3, 2, 0)
