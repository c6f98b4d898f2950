import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ray.data import DataContext

from rayae.cli import main
from rayae.on_ray import score as scoring_on_ray
from rayae.run import Run
from tests.on_ray import faulty


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


def test_decoding_apart_writes_the_rows_that_actors_write_together(
    pictures: Path, bundle: Path, tmp_path: Path
) -> None:
    (pictures_and_more := tmp_path / "images").mkdir()
    for path in sorted(pictures.rglob("*.png")):
        (pictures_and_more / path.name).hardlink_to(path)
    (pictures_and_more / "empty.png").touch()
    (pictures_and_more / "html.png").write_bytes(b"<html>")
    together = scored(pictures_and_more, bundle, tmp_path / "together", "workers=2", "chunk_images=50")
    asked = ["placement=apart", "workers=2", "resources.decoders=3", "chunk_images=50"]
    assert scored(pictures_and_more, bundle, tmp_path / "apart", *asked).equals(together)
    summaries = Run.open(str(tmp_path / "apart")).summaries()
    assert all(summary.seconds["decode"] > 0 for summary in summaries)


def test_a_retry_apart_mends_what_came_late(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(pictures, folder)
    late = sorted(folder.rglob("*.png"))[7:200:9]
    kept = {path: path.read_bytes() for path in late}
    manifest = tmp_path / "m.parquet"
    assert main(["index", str(folder), f"out={manifest}"]) == 0
    whole = scored(folder, bundle, tmp_path / "whole", "workers=1")
    for path in late:
        path.rename(path.with_suffix(".away"))
    broken = scored(manifest, bundle, tmp_path / "run", "workers=1", "max_failed_fraction=1", "placement=apart")
    assert broken["status"].to_pylist().count("missing") == len(kept)
    for path in late:
        path.with_suffix(".away").rename(path)
    assert main(["retry", str(tmp_path / "run"), "status=missing"]) == 0
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert Run.open(str(tmp_path / "run")).results()["score"].equals(whole["score"])


def test_what_the_decoding_tasks_are_refused_is_one_sentence_here(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("uri,container,place\na.png,/a.tar,tar:5:x\n")
    words = [f"images={tmp_path / 'list.csv'}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "workers=1"]
    assert main(["score", *words, "placement=apart"]) == 1
    said = capfd.readouterr().err
    sentence = (
        "error: the manifest has place='tar:5:x', which is no place in an archive; write it with `rayae index`.\n"
    )
    assert said.endswith(sentence)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["workers=6"],
            "the plan needs 6 x 1 CPUs for scoring and 1 for decoding = 7; the cluster has 6 CPUs and 0 GPUs.",
        ),
        (
            ["workers=2", "resources.decoders=5"],
            "2 x 1 CPUs for scoring and 5 for decoding = 7; the cluster has 6 CPUs and 0 GPUs.",
        ),
    ],
)
def test_a_plan_apart_that_does_not_fit_is_refused_with_the_sum(
    pictures: Path, bundle: Path, tmp_path: Path, words: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = [f"images={pictures}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "placement=apart", *words]
    assert main(["score", *asked]) == 1
    assert sentence in capfd.readouterr().err


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


def faulty_run(images: Path, bundle: Path, out: Path, actor: type, patched: pytest.MonkeyPatch) -> list[str]:
    """Words that score in six chunks with another actor, a chunk tried once and one chunk forgiven."""
    patched.setattr(scoring_on_ray, "ScoringActor", actor)
    patched.setattr(scoring_on_ray, "FORGIVEN_CHUNKS", 1)
    patched.setitem(scoring_on_ray.BOUNDED_RETRIES, "max_task_retries", 0)
    return ["score", f"images={images}", f"bundle={bundle}", f"out={out}", "workers=2", "chunk_images=50"]


def test_more_deaths_than_are_forgiven_leave_the_rest_to_the_careful_pass(
    pictures: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(faulty_run(pictures, bundle, tmp_path / "run", faulty.Mortal, monkeypatch)) == 0
    assert main(["verify", str(tmp_path / "run")]) == 0
    said = capfd.readouterr().err
    assert said.count("warning: more than 1 chunks ended each worker that tried them (") == 1
    assert "Traceback" not in said


def test_deaths_in_the_careful_pass_end_the_run_with_a_sentence(
    pictures: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(faulty_run(pictures, bundle, tmp_path / "run", faulty.Doomed, monkeypatch)) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-1].startswith("error: the workers failed more often than is forgiven: ")
    assert said[-1].endswith("The chunks that were written stay; run the same command again to do the rest.")


def test_a_bug_in_an_actor_keeps_its_traceback(
    pictures: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = faulty_run(pictures, bundle, tmp_path / "run", faulty.Buggy, monkeypatch)
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*faulty\.py.*ZeroDivisionError: a bug in an actor"):
        main(words)


def test_an_error_of_an_actor_keeps_its_class(
    pictures: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(faulty_run(pictures, bundle, tmp_path / "run", faulty.Refusing, monkeypatch)) == 2
    assert capfd.readouterr().err == "error: this was asked wrongly.\n"


def test_a_worker_whose_device_is_lost_is_replaced(
    pictures: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = faulty_run(pictures, bundle, tmp_path / "run", faulty.LosesItsDevice, monkeypatch)
    monkeypatch.setitem(scoring_on_ray.BOUNDED_RETRIES, "max_task_retries", 1)
    assert main([*words, "workers=1"]) == 0
    assert (tmp_path / "run" / "device_was_lost").exists()
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_a_worker_that_finds_no_bundle_says_so_in_a_sentence(
    pictures: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    moving = tmp_path / "bundle"
    shutil.copytree(bundle, moving)
    words = faulty_run(pictures, moving, tmp_path / "run", scoring_on_ray.ScoringActor, monkeypatch)
    monkeypatch.setattr(scoring_on_ray, "_dataset", after(lambda: shutil.rmtree(moving), scoring_on_ray._dataset))
    assert main(words) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: {moving} ")
    assert len(said.splitlines()) == 1


def after(first: Callable[[], None], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any) -> Any:
        first()
        return then(*arguments)

    return both


def test_ray_data_is_left_as_it_was(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    context = DataContext.get_current()
    before = context.enable_progress_bars, context.max_errored_blocks, list(warnings.filters)
    scored(pictures, bundle, tmp_path / "run", "workers=1", "chunk_images=300")
    assert DataContext.get_current() is context
    assert (context.enable_progress_bars, context.max_errored_blocks, list(warnings.filters)) == before
