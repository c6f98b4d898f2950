import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from rayae.bundle import Bundle
from rayae.cli import main
from rayae.statistics import area_under
from rayae.threshold import conformal
from rayae.verbs.calibrate import who_choose
from tests.conftest import write_pictures


@pytest.fixture
def mine(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def calibrate(bundle: Path, *words: str) -> int:
    return main(["calibrate", str(bundle), "placement=inline", *words])


def test_other_images_give_another_threshold_of_the_same_model(mine: Path, tmp_path: Path) -> None:
    before = Bundle.open(str(mine))
    old = before.threshold
    images = write_pictures(tmp_path / "fresh", 60, seed=9)
    assert calibrate(mine, f"images={images}", "alpha=0.1") == 0
    after = Bundle.open(str(mine))
    assert after.bundle_id == before.bundle_id
    assert after.threshold is not None
    assert old is not None
    assert after.threshold.id != old.id
    assert (after.threshold.n, after.threshold.k, after.threshold.alpha) == (60, 55, 0.1)
    assert after.calibration is not None
    assert np.float32(after.threshold.cut) == after.calibration[54]
    assert not (mine / "calibrating").exists()


def test_images_that_it_was_trained_on_are_refused(
    mine: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(mine, f"images={pictures}", "labels=folder") == 1
    said = capsys.readouterr().err
    assert "error: 192 of the 240 calibration images were used to train the bundle, the first is " in said
    assert said.endswith("their errors are too small to set a cut by. Calibrate on images that it has not seen.\n")


def test_images_that_it_was_trained_on_are_known_under_other_names(
    mine: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, path in enumerate(sorted((pictures / "good").iterdir())[:60]):
        (tmp_path / "copies").mkdir(exist_ok=True)
        shutil.copyfile(path, tmp_path / "copies" / f"renamed{number}.png")
    assert calibrate(mine, f"images={tmp_path / 'copies'}") == 1
    assert "calibration images were used to train the bundle" in capsys.readouterr().err


def test_too_few_images_are_refused_before_they_are_scored(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_pictures(tmp_path / "few", 18, seed=9)
    assert calibrate(mine, f"images={images}") == 1
    assert capsys.readouterr().err == (
        "error: rule=conformal with alpha=0.05 needs 19 held-out normal images, and there are 18: give more images, or "
        "of a training's more by calibration_fraction=, alpha=0.053 or more, rule=fixed with a cut of your "
        "own, or rule=none for scores without flags.\n"
    )


def test_a_fixed_cut_needs_no_images_and_keeps_the_calibration_scores(mine: Path) -> None:
    before = Bundle.open(str(mine))
    assert calibrate(mine, "rule=fixed", "cut=0.004") == 0
    after = Bundle.open(str(mine))
    assert after.threshold is not None
    assert after.threshold.cut == float(np.float32(0.004))
    assert after.record["calibration"] == before.record["calibration"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rule=fixed"], "rule=fixed needs cut=, a value of the primary score above which an image is flagged."),
        (["cut=0.1"], "cut=0.1 is only used by rule=fixed, and the rule is conformal."),
        ([], "rule=conformal needs images=, held-out normal images that the model was not trained on."),
    ],
)
def test_a_rule_without_what_it_needs_is_refused(
    mine: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(mine, *words) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_a_calibration_cut_short_is_never_taken_for_another(mine: Path, tmp_path: Path) -> None:
    first, second = (write_pictures(tmp_path / name, 60, seed=seed) for name, seed in (("first", 8), ("second", 9)))
    assert calibrate(mine, f"images={first}") == 0
    one = Bundle.open(str(mine)).calibration
    assert calibrate(mine, f"images={second}") == 0
    other = Bundle.open(str(mine)).calibration
    assert one is not None
    assert other is not None
    assert one.tolist() != other.tolist()
    assert not (mine / "calibrating").exists()


def test_without_groups_the_certificate_names_none(mine: Path, tmp_path: Path) -> None:
    assert calibrate(mine, f"images={write_pictures(tmp_path / 'fresh', 60, seed=9)}") == 0
    threshold = Bundle.open(str(mine)).threshold
    assert threshold is not None
    assert " groups, " not in threshold.guarantee
    assert "only 20 groups" not in threshold.guarantee


def test_broken_images_never_replace_a_calibration(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Bundle.open(str(mine)).record["calibration"]
    images = write_pictures(tmp_path / "images", 60, seed=9)
    for path in sorted((images / "good").iterdir())[:20]:
        path.write_bytes(b"<html>503</html>")
    assert calibrate(mine, f"images={images}") == 1
    assert "20 of 60 images failed, more than max_failed_fraction=0.1 allows" in capsys.readouterr().err
    assert Bundle.open(str(mine)).record["calibration"] == before


def test_the_alpha_that_is_named_is_enough(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_pictures(tmp_path / "images", 48, seed=9)
    assert calibrate(mine, f"images={images}", "alpha=0.01") == 1
    assert "alpha=0.021 or more" in capsys.readouterr().err
    assert calibrate(mine, f"images={images}", "alpha=0.021") == 0


def test_labelled_defects_choose_the_score_that_ranks_them_best(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_pictures(tmp_path / "fresh", 60, seed=9, defects=12)
    assert calibrate(mine, f"images={images}", "labels=folder", "primary_score=auto") == 0
    after = Bundle.open(str(mine))
    table = after.calibration_table()
    assert table is not None
    chose = table["chose_score"].to_numpy()
    assert (int(chose.sum()), table.num_rows) == (12 + 20, 72)
    ranked = table.filter(pa.array(chose))
    is_defect = ["/good/" not in uri for uri in ranked["uri"].to_pylist()]
    assert sum(is_defect) == 12
    areas = {name: roc_auc_score(is_defect, ranked[name].to_numpy()) for name in after.scores}
    assert after.choice.auroc == pytest.approx(areas, abs=1e-4)
    assert areas[after.primary_score] == pytest.approx(max(areas.values()), abs=1e-4)
    assert f"primary score: {after.choice.in_words()}\n" in capsys.readouterr().out
    assert after.threshold is not None
    assert (after.threshold.score, after.threshold.n) == (after.primary_score, 40)  # by those that did not choose
    assert np.array_equal(table["score"].to_numpy(), table[after.primary_score].to_numpy())


def test_few_normal_images_set_the_cut_and_choose_no_score(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Bundle.open(str(mine)).choice
    images = write_pictures(tmp_path / "fresh", 24, seed=9, defects=12)
    assert calibrate(mine, f"images={images}", "labels=folder", "primary_score=auto") == 0
    after = Bundle.open(str(mine))
    assert (after.choice, after.threshold and after.threshold.n) == (before, 24)
    said = capsys.readouterr().out
    assert (
        "of 24 normal images 8 would choose with them and 16 be left to set the cut, where 10 and 19 are needed" in said
    )


@pytest.mark.parametrize(
    ("groups", "choose"), [((22, 22, 23), (22, 23)), ((5, 30, 32), (30, 32, 35, 37)), ((60, 7), ()), ((12,) * 6, (24,))]
)
def test_as_near_to_a_third_of_the_normal_images_choose_as_whole_groups_come(groups, choose) -> None:
    names = [f"g{place}" for place, count in enumerate(groups) for _ in range(count)]
    normals = pa.table({"uri": [f"n{row}" for row in range(len(names))], "group": names})
    assert len(who_choose(normals, 19)) in (choose or (0,))


@pytest.mark.parametrize("count", [31, 62])
def test_the_score_that_labels_choose_keeps_the_rate_of_false_positives(count: int) -> None:
    random, rates, names = np.random.default_rng(0), [], [f"score_{number}" for number in range(20)]
    for _ in range(300):
        normals = pa.table({"uri": [f"n{row}" for row in range(count)], "group": pa.nulls(count, pa.string())})
        choosing = who_choose(normals, 19)
        assert len(choosing) >= 10
        scores = {name: random.normal(size=count) for name in names}
        defects = {name: random.normal(size=12) for name in names}
        chose = np.array([uri in choosing for uri in normals["uri"].to_pylist()])
        is_defect = np.repeat([True, False], [12, int(chose.sum())])
        areas = {name: area_under(np.append(defects[name], scores[name][chose]), is_defect) for name in names}
        best = max(areas, key=lambda name: areas[name])
        cut = conformal(scores[best][~chose], score=best, alpha=0.05, bundle_id="b").cut
        rates.append(stats.norm.sf(cut))
    assert np.mean(rates) <= 0.05 + 3 * np.std(rates) / np.sqrt(300)


@pytest.mark.parametrize(("defects", "words"), [(9, ["primary_score=auto"]), (12, [])])
def test_few_labelled_defects_or_nobody_asking_leave_the_score_as_it_is(
    mine: Path, tmp_path: Path, defects: int, words: list[str]
) -> None:
    before = Bundle.open(str(mine)).choice
    images = write_pictures(tmp_path / "fresh", 40, seed=9, defects=defects)
    assert calibrate(mine, f"images={images}", "labels=folder", *words) == 0
    after = Bundle.open(str(mine))
    assert after.choice == before
    table = after.calibration_table()
    assert table is not None
    assert (table.num_rows, any(table["chose_score"].to_pylist())) == (40, False)


def test_a_score_can_be_named_and_must_be_one_of_the_bundle(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_pictures(tmp_path / "fresh", 40, seed=9)
    assert calibrate(mine, f"images={images}", "primary_score=mae") == 0
    after = Bundle.open(str(mine))
    assert after.threshold is not None
    assert after.primary_score == after.threshold.score == "mae"
    assert calibrate(mine, f"images={images}", "primary_score=lpips") == 2
    assert "primary_score=lpips: the bundle has the scores mse, mae" in capsys.readouterr().err
    assert Bundle.open(str(mine)).record == after.record
