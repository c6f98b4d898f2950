"""The whole line with a set of bundles: score, resume, verify, status, evaluate, report, compact, retry, calibrate."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from rayae.bundle_set import BundleSet
from rayae.cli import main
from rayae.run import Run
from tests.conftest import SMALL_TRAINING
from tests.unit.small_products import products, train


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products of 50 normal pictures and 10 defects each."""
    return products(tmp_path_factory.mktemp("products"), defects=10, Screw=50, nut=50)


@pytest.fixture(scope="module")
def trained(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "set"
    assert train(csv, out, "rule=conformal", "alpha=0.2") == 0
    return out


@pytest.fixture(scope="module")
def done(csv: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert score(csv, trained, out) == 0
    return out


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "run"))


def score(csv: Path, bundle: Path, out: Path, *words: str) -> int:
    given = [f"images={csv.parent}", f"labels={csv}", f"bundle={bundle}", f"out={out}", "placement=inline"]
    return main(["score", *given, *words])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_each_row_is_scored_by_the_bundle_of_its_value(done: Path, trained: Path) -> None:
    rows = pd.read_parquet(done / "chunks")
    ids = {value: bundle.bundle_id for value, bundle in BundleSet.open(str(trained)).bundles.items()}
    assert len(rows) == 120
    assert (rows["status"] == "scored").all()
    assert (rows["bundle_id"] == rows["product"].map(ids)).all()
    cuts = {value: bundle.threshold for value, bundle in BundleSet.open(str(trained)).bundles.items()}
    assert len({cut.cut for cut in cuts.values() if cut}) == 2
    for value, own in rows.groupby("product"):
        cut = cuts[str(value)]
        assert cut is not None
        assert (own["is_anomaly"] == (own["score"] > cut.cut)).all()
        assert (own["threshold_id"] == cut.id).all()


def test_a_set_scores_as_its_bundles_do_by_themselves(done: Path, csv: Path, trained: Path, tmp_path: Path) -> None:
    words = [f"images={csv.parent / 'nut'}", f"bundle={trained / 'nut'}", f"out={tmp_path / 'alone'}"]
    assert main(["score", *words, "placement=inline"]) == 0
    alone = pd.read_parquet(tmp_path / "alone" / "chunks").set_index("uri")
    rows = pd.read_parquet(done / "chunks").set_index("uri").loc[alone.index]
    columns = ["score", "p_value", "is_anomaly", "bundle_id", "threshold_id", "mse"]
    pd.testing.assert_frame_equal(rows[columns], alone[columns])


def test_a_run_with_a_set_is_verified_and_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run)]) == 0
    assert main(["status", str(run)]) == 0
    flagged = int(pd.read_parquet(run / "chunks")["is_anomaly"].sum())
    assert f"flagged as anomalies: {flagged:,}" in capsys.readouterr().out


def test_an_unfinished_run_with_a_set_does_the_rest(
    csv: Path, trained: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert score(csv, trained, out, "chunk_images=25") == 0
    chunk = sorted((out / "chunks").iterdir())[2]
    before = pd.read_parquet(out / "chunks")
    chunk.unlink()
    (out / "_SUCCESS.json").unlink()
    assert main(["score", str(out), "placement=inline"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(out / "chunks"), before)
    same = ["image_id", "score", "is_anomaly"]
    pd.testing.assert_frame_equal(before[same], pd.read_parquet(done / "chunks")[same])


def test_a_run_goes_on_as_planned_when_its_set_has_grown(
    csv: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(trained, tmp_path / "set"))
    assert score(csv, mine, tmp_path / "run", "chunk_images=40") == 0
    assert train(products(tmp_path / "more", bolt=40), mine) == 0
    sorted((tmp_path / "run" / "chunks").iterdir())[1].unlink()
    assert main(["score", str(tmp_path / "run"), "placement=inline"]) == 0
    capsys.readouterr()
    assert score(csv, mine, tmp_path / "run", "chunk_images=40") == 1
    assert "holds a run of another plan" in error_of(capsys)


def test_images_without_a_bundle_are_told_before_and_keep_their_rows(
    csv: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = csv.parent / "other.csv"
    labels.write_text("\n".join(line.replace(",nut,", ",nail,") for line in csv.read_text().splitlines()) + "\n")
    assert score(labels, trained, tmp_path / "run") == 0
    said = capsys.readouterr()
    assert "1 of 2 bundles of the set have images" in said.out
    assert "60 of 120 images have a `product` without a bundle ('nail' 60): they will be `no_bundle`" in said.err
    rows = pd.read_parquet(tmp_path / "run" / "chunks")
    assert rows["status"].value_counts().to_dict() == {"scored": 60, "no_bundle": 60}
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert main(["retry", str(tmp_path / "run"), "status=no_bundle"]) == 1
    assert "goes on as it was planned: train bundles for them" in error_of(capsys)


def test_too_many_images_without_a_bundle_are_refused_before_anything_is_scored(
    csv: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = csv.parent / "other.csv"
    labels.write_text("\n".join(line.replace(",nut,", ",,") for line in csv.read_text().splitlines()) + "\n")
    assert score(labels, trained, tmp_path / "run", "min_failed_sample=100") == 1
    assert "error: 60 of 120 images have no bundle (none 60), more than the limit" in error_of(capsys)
    assert not Run.exists(str(tmp_path / "run"))


def test_images_without_the_column_are_refused(
    csv: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"images={csv.parent / 'nut'}", f"bundle={trained}", f"out={tmp_path / 'run'}", "placement=inline"]
    assert main(["score", *words]) == 2
    assert "a bundle for each `product` was asked for, and of these images" in error_of(capsys)
    assert not (tmp_path / "run").exists()


def test_products_are_evaluated_by_themselves_and_the_mean_is_that_of_the_products(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = products(tmp_path / "new", defects=15, day="later", first_seed=5, Screw=20, nut=10)
    assert score(new, trained, tmp_path / "run") == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "resamples=100"]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    rows, areas = pd.read_parquet(tmp_path / "run" / "chunks"), []
    for value, own in rows.groupby("product"):
        bundle, figures = BundleSet.open(str(trained)).bundles[str(value)], found["products"][value]
        assert bundle.threshold is not None
        areas.append(roc_auc_score(own["label"] == "scratch", own["score"]))
        assert figures["primary"] == bundle.primary_score
        assert figures["at_cut"]["cut"] == bundle.threshold.cut
        assert figures["at_cut"]["flags_that_differ"] == 0
        assert figures["skill"][0]["auroc"]["value"] == pytest.approx(areas[-1])
    assert found["mean_auroc"] == pytest.approx(sum(areas) / 2)
    defects, normal = (rows[rows["label"] == label]["is_anomaly"].astype(float) for label in ("scratch", "good"))
    assert found["at_cuts"]["recall"]["value"] == pytest.approx(defects.mean())
    assert found["at_cuts"]["false_positive_rate"]["value"] == pytest.approx(normal.mean())
    assert "By product" in out
    span = f", from {min(areas):.3f} (" if areas[0] != areas[1] else ". Images are ranked inside"
    assert f"Over 2 products the mean AUROC is {sum(areas) / 2:.3f}{span}" in out


def test_images_that_a_bundle_was_made_with_are_left_out_of_its_figures(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "resamples=100"]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    for figures in found["products"].values():
        assert (figures["population"]["used"], figures["population"]["normal"]) == (50, 0)
        assert figures["population"]["defect"] == 10
    assert found["mean_auroc"] is None
    assert "2 product(s) have no AUROC: Screw, nut." in capsys.readouterr().out


def test_the_report_of_a_run_with_a_set_tells_of_each_product(run: Path) -> None:
    assert main(["evaluate", str(run), "resamples=100"]) == 0
    assert main(["report", str(run), "gallery=4"]) == 0
    page = (run / "report.html").read_text()
    assert "Each product has its bundle and its cut" in page
    assert "Each product by itself" in page
    rows = pd.read_parquet(run / "chunks")
    for _, own in rows.groupby("product"):
        for uri in own.sort_values("score", ascending=False)["uri"].head(2):
            assert uri in page
    assert page.count("<figure>") == 12


def test_a_report_without_a_bundle_of_the_set_says_so_at_its_pictures(csv: Path, trained: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(trained, tmp_path / "set"))
    assert score(csv, mine, tmp_path / "run") == 0
    shutil.rmtree(mine / "nut")
    assert main(["report", str(tmp_path / "run"), "gallery=4"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("It could not be reconstructed: ") == 2
    assert page.count("<figure>") == 6


def test_a_run_with_a_set_is_compacted_and_stays_whole(run: Path) -> None:
    before = pd.read_parquet(run / "chunks").sort_values("image_id").reset_index(drop=True)
    assert main(["compact", str(run)]) == 0
    assert main(["verify", str(run)]) == 0
    after = pd.read_parquet(run / "results").sort_values("image_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(after, before)
    assert main(["evaluate", str(run), "resamples=100"]) == 0
    assert main(["report", str(run)]) == 0


def test_each_bundle_is_calibrated_on_the_images_of_its_value(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(trained, tmp_path / "set"))
    others = products(tmp_path / "others", Screw=25, nut=30)
    lines = [line for line in others.read_text().splitlines() if ",nut," not in line or "part0000" not in line]
    others.write_text("\n".join(lines) + "\n")
    for folder in (tmp_path / "others").iterdir():
        for number, path in enumerate(sorted(folder.rglob("*.png"))):
            data = path.read_bytes()
            path.write_bytes(data + bytes([number]))  # other files than those that were trained on
    words = [f"images={tmp_path / 'others'}", f"labels={others}", "placement=inline", "alpha=0.1"]
    assert main(["calibrate", str(mine), *words]) == 0
    found = BundleSet.open(str(mine))
    for value, count in (("Screw", 25), ("nut", 29)):
        cut = found.bundles[value].threshold
        assert cut is not None
        assert (cut.n, cut.alpha) == (count, 0.1)


def test_one_cut_for_all_bundles_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(trained), "rule=fixed", "cut=0.5"]) == 2
    assert "rule=fixed gives one cut, and each of the 2 bundles" in error_of(capsys)


def test_a_bundle_that_cannot_be_calibrated_costs_no_other(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(trained, tmp_path / "set"))
    before = BundleSet.open(str(mine)).bundles["nut"].threshold
    few = products(tmp_path / "few", Screw=25, nut=3)
    for path in (tmp_path / "few").rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"0")
    words = [f"images={tmp_path / 'few'}", f"labels={few}", "placement=inline", "alpha=0.1"]
    assert main(["calibrate", str(mine), *words]) == 1
    assert "1 of 2 bundles were not calibrated:\n  nut: rule=conformal with alpha=0.1 needs 9" in error_of(capsys)
    found = BundleSet.open(str(mine)).bundles
    assert found["nut"].threshold == before
    cut = found["Screw"].threshold
    assert cut is not None
    assert cut.n == 25


def test_cuts_are_taken_from_all_bundles(trained: Path, csv: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(trained, tmp_path / "set"))
    assert main(["calibrate", str(mine), "rule=none"]) == 0
    assert all(bundle.threshold is None for bundle in BundleSet.open(str(mine)).bundles.values())
    assert score(csv, mine, tmp_path / "run") == 0
    rows = pd.read_parquet(tmp_path / "run" / "chunks")
    assert rows["is_anomaly"].isna().all()
    assert rows["p_value"].notna().all()
    assert main(["verify", str(tmp_path / "run")]) == 0


def parts(folder: Path, *, swapped: int, seed: int) -> Path:
    """Pictures of two products that differ by where a bar is, and a list of them; the last have the other's bar."""
    random, rows = np.random.default_rng(seed), ["uri,label,product"]
    folder.mkdir()
    for number in range(60):
        is_left, is_swapped = number % 2 == 0, number >= 60 - swapped
        picture = 90 + random.normal(0, 6, (32, 32))
        side = slice(4, 10) if is_left != is_swapped else slice(22, 28)
        picture[6:26, side] += 100
        path = folder / f"{number:03}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
        rows.append(f"{path},{'mixed up' if is_swapped else 'good'},{'left' if is_left else 'right'}")
    table = folder / "list.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_a_part_that_is_normal_elsewhere_is_found_by_the_bundle_of_its_product_alone(tmp_path: Path) -> None:
    """One network for both has seen each picture as a normal one, so it cannot know."""
    learnt, seen = parts(tmp_path / "learnt", swapped=0, seed=1), parts(tmp_path / "seen", swapped=30, seed=2)
    words = [f"images={learnt}", "placement=inline", "epochs=2", "rule=none", "task=copy", "network.kind=linear"]
    areas = {}
    for name, more in (("one", []), ("own", ["per_group=product"])):
        assert main(["train", f"out={tmp_path / name}", *words, *SMALL_TRAINING, *more]) == 0
        asked = [f"images={seen}", f"bundle={tmp_path / name}", f"out={tmp_path / name}-run", "placement=inline"]
        assert main(["score", *asked]) == 0
        rows = pd.read_parquet(tmp_path / f"{name}-run" / "chunks")
        areas[name] = np.mean(
            [roc_auc_score(own["label"] == "mixed up", own["component_worst1"]) for _, own in rows.groupby("product")]
        )
    assert areas["own"] > 0.95
    assert areas["one"] < 0.75
