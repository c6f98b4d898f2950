"""`rayae score` without Ray: plan, resume, refusal, bad inputs; the chain itself is in `test_scoring`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rayae.cli import main
from rayae.run import Run
from tests.conftest import write_pictures


def score(images: Path, bundle: Path, out: Path, *words: str) -> int:
    return main(["score", f"images={images}", f"bundle={bundle}", f"out={out}", "placement=inline", *words])


def test_the_readme_reads_the_results_in_three_lines(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    assert score(pictures, bundle, tmp_path / "run", "labels=folder") == 0
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) == 3
    seen: dict[str, Any] = {}
    exec(code.replace("/data/run", str(tmp_path / "run")).replace("print(", "seen = ("), {}, seen)
    assert len(seen["rows"]) == 264
    flagged = int((seen["rows"]["is_anomaly"] == True).sum())  # noqa: E712
    assert flagged > 0
    assert len(seen["seen"].splitlines()) == 1 + min(flagged, 20)


def test_an_unfinished_run_does_the_rest_and_only_the_rest(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    assert score(pictures, bundle, tmp_path / "run", "chunk_images=40") == 0
    before = Run.open(str(tmp_path / "run")).results()
    chunks = sorted((tmp_path / "run" / "chunks").iterdir())
    untouched = {path: path.stat().st_mtime_ns for path in chunks if path != chunks[2]}
    chunks[2].unlink()
    (tmp_path / "run" / "_SUCCESS.json").unlink()
    assert main(["score", str(tmp_path / "run"), "placement=inline"]) == 0
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert Run.open(str(tmp_path / "run")).results().equals(before)


def test_another_bundle_is_refused_with_the_difference(
    pictures: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(pictures, bundle, tmp_path / "run") == 0
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    assert main(["calibrate", str(other), "rule=fixed", "cut=0.5"]) == 0
    capsys.readouterr()
    assert score(pictures, other, tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert f"error: {tmp_path}/run holds a run of another plan, so its rows would not mean the same:\n" in said
    assert "  threshold: the run has " in said
    assert "bundle: the run" not in said


def test_an_image_more_is_another_plan(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_pictures(tmp_path / "images", 20)
    assert score(images, bundle, tmp_path / "run") == 0
    shutil.copy(images / "good" / "part0000.png", images / "good" / "part9999.png")
    assert score(images, bundle, tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "images: the run has 20, asked is 21" in said
    assert "part9999.png" in said


def test_what_is_missing_is_said_before_anything_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", f"out={tmp_path / 'run'}"]) == 2
    needed = "so scoring also needs images= and bundle=."
    assert capsys.readouterr().err == f"error: {tmp_path}/run holds no run yet, {needed}\n"
    assert not (tmp_path / "run").exists()


def test_bad_inputs_keep_their_rows_and_cost_no_neighbour(bundle: Path, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 6) / "good"
    whole = (images / "part0000.png").read_bytes()
    (images / "part0000b.png").write_bytes(whole[: len(whole) // 2])
    (images / "part0001b.png").write_bytes(b"")
    (images / "part0002b.jpg").write_bytes(b"<!DOCTYPE html><title>503</title>")
    (images / "part0003b.png").symlink_to(tmp_path / "nowhere.png")
    undisturbed = write_pictures(tmp_path / "undisturbed", 6) / "good"
    assert score(images, bundle, tmp_path / "run", "micro_batch=4") == 0
    assert score(undisturbed, bundle, tmp_path / "alone", "micro_batch=4") == 0
    rows = pd.read_parquet(tmp_path / "run" / "chunks")
    assert rows["status"].tolist() == [
        "scored", "truncated", "scored", "empty", "scored", "not_an_image", "scored", "missing", "scored", "scored",
    ]  # fmt: skip
    failed = rows[rows["status"] != "scored"]
    assert failed[["score", "mse", "p_value", "is_anomaly"]].isna().all(axis=None)
    assert failed["error"].str.endswith(".").all()
    alone = pd.read_parquet(tmp_path / "alone" / "chunks")
    assert rows[rows["status"] == "scored"]["mse"].tolist() == pytest.approx(alone["mse"].tolist(), rel=1e-2)


def test_user_columns_are_carried_to_the_results(bundle: Path, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 3)
    lines = ["path,label,shift,weight_g", "good/part0000.png,good,007,1.5", "good/part0002.png,,008,"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    assert score(images, bundle, tmp_path / "run", f"labels={tmp_path}/labels.csv") == 0
    rows = pd.read_parquet(tmp_path / "run" / "chunks")
    assert rows["label"].fillna("none").tolist() == ["good", "none", "none"]
    assert rows["weight_g"].tolist()[0] == 1.5
    assert rows.columns.tolist()[:6] == ["image_id", "uri", "label", "group", "shift", "weight_g"]


def test_a_bundle_without_a_threshold_gives_scores_and_null_flags(
    pictures: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    assert main(["calibrate", str(other), "rule=none"]) == 0
    assert score(pictures, other, tmp_path / "run") == 0
    assert "has no threshold: `is_anomaly` will be null" in capsys.readouterr().err
    rows = pd.read_parquet(tmp_path / "run" / "chunks")
    assert rows["is_anomaly"].isna().all()
    assert rows["score"].notna().all()
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_the_record_has_no_more_than_it_needs(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    assert score(pictures, bundle, tmp_path / "run", "chunk_images=100") == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["chunks"] == [0, 100, 200]
    assert record["rows"] == 264
    assert record["settings"]["chunk_images"] == 100


def test_an_unfinished_run_goes_on_with_its_cut_when_the_bundle_has_another_by_now(
    pictures: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    assert score(pictures, mine, tmp_path / "run", "chunk_images=40") == 0
    whole = Run.open(str(tmp_path / "run")).results()
    (tmp_path / "run" / "_SUCCESS.json").unlink()
    next((tmp_path / "run" / "chunks").iterdir()).unlink()
    assert main(["calibrate", str(mine), "rule=fixed", "cut=0.5"]) == 0
    assert score(pictures, mine, tmp_path / "run", "chunk_images=40") == 1
    assert f"finish the run as it was planned with `rayae score {tmp_path}/run`" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "run")]) == 0
    assert Run.open(str(tmp_path / "run")).results().equals(whole)
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_chunk_files_without_their_plan_are_not_taken_for_this_one(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(write_pictures(tmp_path / "a", 20), bundle, tmp_path / "run") == 0
    (tmp_path / "run" / "run.json").unlink()
    assert score(write_pictures(tmp_path / "b", 20, seed=5), bundle, tmp_path / "run") == 1
    assert "holds chunk files but no run.json" in capsys.readouterr().err


def test_a_run_without_a_single_score_is_no_success(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"")
    assert score(tmp_path / "images", bundle, tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said == f"error: none of the 1 images of {tmp_path}/run could be scored; the column `error` says why.\n"
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_labels_cannot_be_changed_under_a_run(
    pictures: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(pictures, bundle, tmp_path / "run") == 0
    assert main(["score", str(tmp_path / "run"), "labels=folder"]) == 2
    assert "labels= belongs to images=" in capsys.readouterr().err


def test_a_folder_with_other_things_in_it_is_no_place_for_a_run(
    pictures: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(pictures, bundle, pictures / "good") == 2
    said = f"out={pictures}/good is no run and holds other files (part0000.png); give the run a folder of its own."
    assert capsys.readouterr().err == f"error: {said}\n"
    assert not (pictures / "good" / "run.json").exists()


def test_a_chunk_file_in_the_place_of_another_is_found_by_the_next_run(
    pictures: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(pictures, bundle, tmp_path / "run", "chunk_images=88") == 0
    first, second, _ = sorted((tmp_path / "run" / "chunks").iterdir())
    shutil.copy(first, second)
    assert score(pictures, bundle, tmp_path / "run", "chunk_images=88") == 1
    assert "chunk-000001.parquet has rows of another plan or chunk" in capsys.readouterr().err
