import json
import re
import shutil
import textwrap
from pathlib import Path

import pytest

from rayae.bundle import Bundle
from rayae.cli import main
from rayae.labels import labelled_images
from rayae.scores import HEAD_SCORES, SCORE_NAMES
from rayae.trial import Trial
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.unit.small_runs import finish, plan


def train(images: Path | str, out: Path, *words: str) -> int:
    return main(["train", f"images={images}", f"out={out}", "placement=inline", "epochs=1", *SMALL_TRAINING, *words])


def test_only_normal_images_are_trained_on(bundle: Path) -> None:
    used = Bundle.open(str(bundle)).training_images()
    assert used.num_rows == 240
    assert {uri.rsplit("/", 2)[1] for uri in used["uri"].to_pylist()} == {"good"}


def test_neighbours_stay_on_one_side(bundle: Path) -> None:
    sides = Bundle.open(str(bundle)).training_images()["split"].to_pylist()
    runs = [sides[first : first + 12] for first in range(0, 240, 12)]
    assert all(len(set(run)) == 1 for run in runs)


def test_the_column_split_decides(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", 60)
    lines = ["path,label,split"]
    for number in range(60):
        side = "train" if number < 30 else "calibration" if number < 55 else "test"
        lines.append(f"good/part{number:04}.png,good,{side}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    assert train(tmp_path / "images", tmp_path / "bundle", f"labels={tmp_path}/labels.csv") == 0
    used = Bundle.open(str(tmp_path / "bundle")).training_images().to_pandas()
    assert used["split"].value_counts().to_dict() == {"train": 27, "calibration": 25, "validation": 3}
    assert used[used["split"] == "calibration"]["uri"].str.extract(r"(\d{4})")[0].astype(int).between(30, 54).all()


def test_labelled_defects_of_the_calibration_choose_the_score_and_are_not_evaluated(
    tmp_path: Path,
) -> None:
    write_pictures(tmp_path / "images", 80, defects=20)
    lines = ["path,label,split"]
    for number in range(80):
        side = "train" if number < 30 else "calibration" if number < 70 else "test"
        lines.append(f"good/part{number:04}.png,good,{side}")
    lines += [f"scratch/part{n:04}.png,scratch,{'calibration' if n < 92 else 'test'}" for n in range(80, 100)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines) + "\n")
    assert train(tmp_path / "images", tmp_path / "bundle", f"labels={labels}") == 0
    opened = Bundle.open(str(tmp_path / "bundle"))
    assert opened.choice.reason.startswith("which ranks 12 labelled defects above 13 normal images with an AUROC of")
    assert opened.primary_score == opened.choice.score
    out = f"out={tmp_path / 'run'}"
    words = [f"images={tmp_path / 'images'}", f"labels={labels}", f"bundle={tmp_path / 'bundle'}", out]
    assert main(["score", *words, "placement=inline"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "resamples=100"]) == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (found["population"]["normal"], found["population"]["defect"]) == (10, 8)


def test_too_few_images_to_calibrate_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(write_pictures(tmp_path / "images", 40), tmp_path / "bundle") == 1
    assert "needs 19 held-out normal images, and there are 8" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_without_a_rule_few_images_make_a_bundle_without_a_threshold(tmp_path: Path) -> None:
    assert train(write_pictures(tmp_path / "images", 40), tmp_path / "bundle", "rule=none") == 0
    assert Bundle.open(str(tmp_path / "bundle")).threshold is None


def test_no_bundle_is_written_into_a_run(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finish(plan(tmp_path / "run"))
    assert main(["train", f"images={pictures}", f"out={run.uri}"]) == 2
    assert f"out={run.uri} holds a run; give the bundle a folder of its own." in capsys.readouterr().err


def test_labels_without_a_normal_image_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures / "scratch", tmp_path / "bundle", "labels=folder") == 1
    assert capsys.readouterr().err == "error: no image is labelled `good` or `normal`; the labels are scratch.\n"


def test_a_broken_image_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_pictures(tmp_path / "images", 100)
    table, _ = labelled_images(str(images), None)
    for uri in table["uri"].to_pylist():
        if uri.endswith("part0050.png"):
            Path(uri).write_bytes(b"")
    assert train(images, tmp_path / "bundle") == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("left out: ") and "part0050.png: empty: " in line for line in said)


def test_too_many_broken_images_stop_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_pictures(tmp_path / "images", 100)
    for path in sorted((images / "good").iterdir())[::4]:
        path.write_bytes(b"")
    assert train(images, tmp_path / "bundle") == 1
    assert "images failed, more than max_failed_fraction=0.1 allows" in capsys.readouterr().err
    assert not Bundle.exists(str(tmp_path / "bundle"))


def test_a_training_cut_short_before_calibration_is_calibrated(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    assert main(["calibrate", str(mine), "rule=none"]) == 0
    record = json.loads((mine / "bundle.json").read_text())
    assert record["threshold"] is None
    words = ["train", f"images={pictures}", "labels=folder", f"out={mine}", "epochs=3", "placement=inline"]
    assert main([*words, *SMALL_TRAINING]) == 0
    again, whole = Bundle.open(str(mine)).threshold, Bundle.open(str(bundle)).threshold
    assert again == whole


def test_another_cut_is_not_ignored_on_a_finished_training(
    bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", f"images={pictures}", "labels=folder", f"out={bundle}", "epochs=3", "placement=inline"]
    assert main([*words, *SMALL_TRAINING, "alpha=0.2"]) == 1
    said = capsys.readouterr().err
    assert f"error: {bundle} was calibrated otherwise (alpha: the run has 0.05, asked is 0.2); `rayae calibrate" in said


@pytest.mark.parametrize("text", ["[]", "null", "3", '"plan"'])
def test_a_damaged_plan_of_a_training_is_a_sentence(
    pictures: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "bundle" / "training" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(text)
    assert train(pictures, tmp_path / "bundle", "labels=folder") == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said.startswith(f"error: {plan} is damaged or was changed by hand: it is {text}")
    assert said.endswith(f"; remove {plan.parent} to train anew.")


def test_by_default_a_detector_of_all_scores_is_trained_and_the_best_decides(bundle: Path) -> None:
    opened = Bundle.open(str(bundle))
    assert (opened.detector["task"], opened.network["kind"]) == ("repair", "unet")
    assert opened.scores == SCORE_NAMES
    trial = Trial(**opened.training["trial"])
    assert opened.primary_score == trial.best
    assert set(trial.auroc) == set(SCORE_NAMES)
    assert trial.images == opened.training["images"]["validation"]


def test_the_primary_score_is_told_with_what_the_others_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(write_pictures(tmp_path / "images", 40), tmp_path / "bundle", "rule=none", "primary_score=mae") == 0
    opened = Bundle.open(str(tmp_path / "bundle"))
    assert opened.primary_score == "mae"
    said = capsys.readouterr().out
    assert f"primary score: {opened.choice.in_words()}\n" in said
    assert said.count(", head_max ") == 1
    assert opened.choice.reason == Trial(**opened.training["trial"]).reason("mae")


@pytest.mark.parametrize("task", ["copy", "denoise", "inpaint"])
def test_another_task_has_no_head(tmp_path: Path, task: str) -> None:
    out = tmp_path / "bundle"
    assert train(write_pictures(tmp_path / "images", 40), out, "rule=none", f"task={task}") == 0
    opened = Bundle.open(str(out))
    assert (opened.detector["task"], opened.detector["head"]) == (task, None)
    assert set(opened.scores) == set(SCORE_NAMES) - set(HEAD_SCORES)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["task=copy", "network.kind=unet"], "task=copy with network.kind=unet learns nothing"),
        (["network.kind=resnet"], "network.kind=resnet was asked for; take one of convolutional, "),
        (["network.latent=4"], "network.latent was set, and a network of the kind 'unet' has none"),
        (
            ["task=copy", "primary_score=head_max"],
            "primary_score=head_max was asked for, and a detector with task=copy",
        ),
        (["region=[0.5,0.5,0.52,0.52]"], "region=(0.5, 0.5, 0.52, 0.52) leaves 1 of 1,024 pixels"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(
    pictures: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures / "good", tmp_path / "bundle", *words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {sentence}")
    assert not (tmp_path / "bundle").exists()


def test_a_region_is_in_the_bundle_and_another_one_is_another_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = write_pictures(tmp_path / "images", 40), tmp_path / "bundle"
    assert train(images, out, "rule=none", "region=[0,0,1,0.5]") == 0
    assert Bundle.open(str(out)).detector["region"] is True
    assert train(images, out, "rule=none", "region=[0,0,1,0.75]") == 1
    assert re.search(r"  region: the run has '?[0-9a-f]{12}'?, asked is '?[0-9a-f]{12}'?", capsys.readouterr().err)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network of one's own, which holds no latent; its kind."""
    (tmp_path / "own_network.py").write_text(
        textwrap.dedent(
            """
            from torch import nn

            class Narrow(nn.Sequential):
                def __init__(self, channels, height, width, base_width, options=None):
                    super().__init__(nn.Conv2d(channels, 1, 3, padding=1), nn.Conv2d(1, channels, 3, padding=1))
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RAYAE_NETWORKS", "")
    return "own_network:Narrow"


def test_a_network_of_one_s_own_is_trained_and_scores_only_where_it_is_trusted(
    tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = write_pictures(tmp_path / "images", 100), tmp_path / "bundle"
    assert train(images, out, f"network.kind={own}") == 0
    assert "latent_distance" not in Bundle.open(str(out)).scores
    words = ["score", f"images={images}", f"bundle={out}", f"out={tmp_path / 'run'}", "placement=inline"]
    monkeypatch.setenv("RAYAE_NETWORKS", "")
    assert main(words) == 1
    assert f"set the environment variable RAYAE_NETWORKS={own}" in capsys.readouterr().err
    monkeypatch.setenv("RAYAE_NETWORKS", own)
    assert main(words) == 0


def test_a_primary_score_that_the_detector_turns_out_not_to_have_is_refused_and_no_bundle_written(
    tmp_path: Path, own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rule=none", "task=copy", f"network.kind={own}", "primary_score=latent_distance"]
    assert train(write_pictures(tmp_path / "images", 40), tmp_path / "bundle", *words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: primary_score=latent_distance was asked for, and this detector cannot measure it, since too little of "
        "it varies on normal images; take one of mse, mae, mse_worst1, ssim_error, ssim_worst1, gradient_mean, "
        "gradient_max, component_mse, component_worst1, component_gradient, texture_worst1, nearest_distance, "
        "combined, or `auto`, with a new `out=`."
    )
    assert not Bundle.exists(str(tmp_path / "bundle"))


@pytest.mark.parametrize("region", ["[0.5,0,0.5,1]", "[0,0.6,1,0.2]"])
def test_a_rectangle_that_spans_nothing_is_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], region: str
) -> None:
    assert train(pictures / "good", tmp_path / "bundle", f"region={region}") == 2
    assert f"region={region}: left " in capsys.readouterr().err


def test_a_network_that_cannot_be_built_is_refused_before_anything_is_read_or_kept(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert train(pictures / "good", out, "network.kind=no_such_module:Net") == 2
    assert capsys.readouterr().err.startswith("error: the network no_such_module:Net cannot be imported: ")
    assert not out.exists()
