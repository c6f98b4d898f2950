import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from rayae import bundle, storage
from rayae.assignment import ALL
from rayae.bundle import Bundle
from rayae.cli import main
from rayae.decisions import Ruling, commit, write_flags
from rayae.flags import Cut
from rayae.manifest import complete, plan_chunks, sizes_of, write_manifest
from rayae.preprocess import Preprocess
from rayae.results import PIXEL_STATISTICS, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import Run, total
from rayae.settings import ReportSettings, RunnerSettings
from rayae.threshold import conformal, fixed
from rayae.verbs.report import report
from rayae.verbs.score import fingerprint, plan_run
from tests.unit.small_runs import CALIBRATION, finish, plan
from tests.unit.small_things import DETECTOR, NETWORK, small_weights

GROUPS = {ALL: 0.1, "a": 0.5}
SCORES = [0.01, 0.09, 0.03, 0.05, None]


@pytest.fixture
def calibrated(tmp_path: Path) -> Bundle:
    """A bundle with an untrained network and a cut of 0.04."""
    return created(tmp_path / "bundle")


def created(folder: Path, **training: Any) -> Bundle:
    images = pa.table({"uri": ["t.png"], "size_bytes": [1], "digest": ["0"], "group": ["g"], "split": ["train"]})
    made = bundle.create(
        str(folder),
        weights=small_weights(),
        network=NETWORK,
        detector=DETECTOR,
        preprocess=Preprocess("grey", 32, 32),
        scores=["mse"],
        choice=bundle.Choice("mse", "as asked", {}),
        precision="float32",
        training={"images": {"train": 1}, "best_epoch": 1, "epochs_done": 1} | training,
        training_images=images,
    )
    return calibrate(made, np.linspace(0.001, 0.04, 30))


def calibrate(made: Bundle, scores: np.ndarray) -> Bundle:
    known = scores.astype(np.float32)
    uris = [f"c{row}.png" for row in range(len(known))]
    names = dict.fromkeys(("uri", "group", "digest"), uris)
    table = pa.table({**names, "mse": known, "score": known, "chose_score": [False] * len(uris)})
    return bundle.calibrated(made, table, conformal(known, score="mse", alpha=0.05, bundle_id=made.bundle_id))


@pytest.fixture
def run(tmp_path: Path, calibrated: Bundle) -> Run:
    """A finished run over four real pictures and a file that is not there."""
    return finished(tmp_path, calibrated)


def finished(folder: Path, calibrated: Bundle) -> Run:
    paths = [str(folder / f"{row}.png") for row in range(len(SCORES))]
    rng = np.random.default_rng(0)
    for path in paths[:-1]:
        Pillow.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
    sizes = [*(Path(path).stat().st_size for path in paths[:-1]), None]
    images = complete({"uri": paths, "size_bytes": pa.array(sizes, pa.int64())})
    manifest = write_manifest(images, str(folder / "run" / "manifest.parquet"))
    chunks = plan_chunks(sizes_of(images), None)
    firsts = [chunk.first for chunk in chunks]
    found = fingerprint(manifest.content_hash, manifest.rows, calibrated, firsts, RunnerSettings())
    made = plan_run(str(folder / "run"), calibrated, firsts, found, {"images": str(folder), "settings": {}})
    status = [Status.MISSING if score is None else Status.SCORED for score in SCORES]
    error = ["There is no such file." if score is None else None for score in SCORES]
    scores = {"mse": np.array([0 if score is None else score for score in SCORES], np.float32)}
    scores |= dict.fromkeys(PIXEL_STATISTICS, scores["mse"])
    judge = Judge("mse", calibrated.bundle_id, calibrated.threshold, calibrated.calibration)
    table = result_table(images, Outcome(status, error, [40] * 5, [40] * 5, sizes, scores), judge)
    data = chunk_bytes(table, summarise(0, table, {"model": 1.0}), made.record["fingerprint_hash"])
    storage.write_bytes(made.chunk_uri(0), data)
    made.finish(total(made.summaries()) | {"wall_seconds": 1.0, "images_per_second": 5.0})
    return made


def written(run: Run, **asked: Any) -> str:
    report(ReportSettings(run=run.uri, **asked))
    folder = Path(run.uri, "decisions", asked["decision"]) if "decision" in asked else Path(run.uri)
    return (folder / "report.html").read_text()


def test_the_highest_scores_come_first_with_their_pictures(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    html = written(run, worst=3)
    assert re.findall(r"<h3 class=\"rank\">\d</h3><b>([\d.]+)</b>", html) == ["0.09", "0.05", "0.03"]
    assert html.count("data:image/png;base64,") == 9
    assert "2 of 4 scored images flagged (50 %); 1 could not be scored." in html
    assert "30 calibration images" in html
    assert capsys.readouterr().out == f"report: {run.uri}/report.html\n"


def test_an_image_that_changed_or_went_is_listed_with_the_reason(run: Run) -> None:
    Path(run.uri).with_name("1.png").unlink()
    html = written(run)
    assert "It could not be read again: " in html
    assert html.count("data:image/png;base64,") == 9


def test_no_pictures_when_none_are_asked_for(run: Run) -> None:
    assert "data:image/png" not in written(run, gallery=0)


def test_without_its_bundle_a_run_keeps_its_report_its_cut_and_its_calibration(
    run: Run, calibrated: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.remove(calibrated.uri)
    html = written(run)
    assert "No image can be reconstructed again, since the bundle cannot be opened: " in html
    assert "data:image/png" not in html
    assert "cut 0.04" in html
    assert "30 calibration images, scaled" in html
    assert capsys.readouterr().err.startswith("warning: No image can be")


def test_what_a_training_found_to_be_wrong_stands_on_the_page(tmp_path: Path) -> None:
    verdicts = [
        {"name": "collapsed", "figure": 0.01, "sentence": "All reconstructions are alike."},
        {"name": "fine", "figure": 1.0, "sentence": "Nothing is wrong."},
    ]
    html = written(finished(tmp_path, created(tmp_path / "bundle", verdicts=verdicts)), gallery=0)
    assert "The training of the bundle says `collapsed`. All reconstructions are alike." in html
    assert "Nothing is wrong." not in html


def test_damaged_figures_of_drift_are_left_out_and_told(run: Run) -> None:
    storage.write_text(storage.join(run.uri, "drift", "abc", "drift.json"), "{")
    assert "What `rayae drift` found is left out: " in written(run, gallery=0)


def test_a_bundle_calibrated_again_changes_neither_cut_nor_calibration_of_a_run(run: Run, calibrated: Bundle) -> None:
    calibrate(calibrated, np.linspace(1, 2, 40))
    html = written(run)
    assert "cut 0.04" in html
    assert "30 calibration images, scaled" in html
    assert html.count("data:image/png;base64,") == 12


def test_the_page_is_written_where_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    report(ReportSettings(run=run.uri, out=str(tmp_path / "elsewhere" / "page.html"), worst=1))
    assert (tmp_path / "elsewhere" / "page.html").read_text().startswith("<!doctype html>")
    assert not Path(run.uri, "report.html").exists()


def test_a_report_replaces_no_file_of_the_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(run.uri, "run.json").read_bytes()
    assert main(["report", run.uri, f"out={run.uri}/run.json"]) == 2
    assert "a report is an HTML page; give it a name that ends in .html." in capsys.readouterr().err
    assert Path(run.uri, "run.json").read_bytes() == before


def test_the_flags_of_a_decision_are_told_instead_of_those_of_the_run(run: Run) -> None:
    assert main(["flag", run.uri, "rule=fixed", "cut=0.02"]) == 0
    (decision,) = Path(run.uri, "decisions").iterdir()
    html = written(run, decision=decision.name)
    assert "3 of 4 scored images flagged (75 %); 1 could not be scored." in html
    assert '<h2 id="gallery">3 flagged images, and 1 more of the highest scores</h2>' in html
    assert "cut 0.02" in html
    assert f'<dt>Decision</dt><dd><bdi class="box">{decision.name}</bdi></dd>' in html
    assert "2 of 4 scored images flagged (50 %)" in written(run)


def test_the_command_that_lists_all_that_a_decision_flags_does_so(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["flag", run.uri, "rule=fixed", "cut=0.02"]) == 0
    (decision,) = Path(run.uri, "decisions").iterdir()
    html = written(run, decision=decision.name, rows=1)
    sql = unescape(html).partition('"SELECT')[2].partition('"')[0]
    assert main(["query", run.uri, f"SELECT{sql}", f"out={tmp_path}/flagged.csv"]) == 0
    assert len((tmp_path / "flagged.csv").read_text().splitlines()) == 1 + 3


def test_a_decision_that_is_not_there_is_refused_with_those_that_are(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", run.uri, "decision=abc"]) == 2
    assert f"{run.uri} has no decision 'abc': it has no decisions yet." in capsys.readouterr().err


def test_a_run_without_results_has_no_report(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path(run.chunk_uri(0)).unlink()
    assert main(["report", run.uri]) == 1
    assert f"{run.uri} has no results yet; `rayae score {run.uri}` scores the rest of it." in capsys.readouterr().err


def test_rows_beyond_the_gallery_stand_on_the_page_without_pictures(run: Run) -> None:
    html = written(run, gallery=1)
    assert html.count("data:image/png;base64,") == 3
    assert "1 of 4 rows are shown with pictures; `gallery=` says how many may be." in html
    assert html.count('"words": [') == 4


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_decision_whose_flags_were_damaged_has_no_page(
    run: Run, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flag", run.uri, "rule=fixed", "cut=0.02", "borderline=0"]) == 0
    (decision,) = Path(run.uri, "decisions").iterdir()
    (flags,) = decision.glob("flags-*")
    if harm == "gone":
        flags.unlink()
    else:
        flags.write_bytes(flags.read_bytes()[:-1])
    assert main(["report", run.uri, f"decision={decision.name}"]) == 1
    assert f"error: the flags of the decision {decision.name} of {run.uri} were damaged" in capsys.readouterr().err
    assert not (decision / "report.html").exists()


def test_where_groups_have_their_own_cuts_there_is_no_verdict_of_one(tmp_path: Path) -> None:
    run = finish(plan(tmp_path / "run", rows=60, group=["a", "b"] * 30))
    cuts = {name: fixed(cut, score="mse", bundle_id="b" * 12, calibration=CALIBRATION) for name, cut in GROUPS.items()}
    ruling = Ruling(run.record["fingerprint_hash"], "0" * 16, {"rule": "fixed"}, cuts)
    flags = {name: Cut(cut, CALIBRATION) for name, cut in cuts.items()}
    decision = commit(run, ruling, write_flags(run, ruling.id, flags, lambda: None))
    html = written(run, decision=decision.id)
    assert '<dd><bdi class="box">1 by group; all other images have the one below</bdi></dd>' in html
    assert 'class="verdict"' not in html
    assert 'class="verdict"' in written(run)


def test_a_decision_that_found_nothing_has_no_cut_on_the_page(tmp_path: Path) -> None:
    run = finish(plan(tmp_path / "run"))
    assert main(["flag", run.uri, "fdr=0.0001", "borderline=0"]) == 0
    (decision,) = Path(run.uri, "decisions").iterdir()
    page = written(run, decision=decision.name)
    assert "So there is no cut, and no normal image is flagged." in page
    assert "False alarms alone" not in page
    assert "e+38" not in page


def test_flags_older_than_the_scores_are_told(tmp_path: Path) -> None:
    run = finish(plan(tmp_path / "run"))
    cuts = {ALL: fixed(0.1, score="mse", bundle_id="b" * 12, calibration=CALIBRATION)}
    ruling = Ruling(run.record["fingerprint_hash"], "0" * 16, {"rule": "fixed"}, cuts)
    flags = write_flags(run, ruling.id, {ALL: Cut(cuts[ALL], CALIBRATION)}, lambda: None)
    decision = commit(run, ruling, replace(flags, counts=replace(flags.counts, scored=8)))
    told = f"The decision {decision.id} was made when 8 images were scored, and 9 are now"
    assert told in written(run, decision=decision.id)
