"""Golden cases: five errors and a cut, a network that memorised, a low cut against a high one, pixels of two scales."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rayae import bundle
from rayae.bundle import Bundle
from rayae.cli import main
from rayae.errors import BundleError
from rayae.threshold import fixed
from tests.unit.small_things import GREY, small_bundle
from tests.unit.test_evaluation import archive, judge, table
from tests.unit.test_verb_evaluate import LABELS, calibrate, judging, score

__all__ = ["judging"]
ERRORS = [0.002, 0.0015, 0.005, 0.0008, 0.007]


def test_of_five_errors_the_third_and_the_fifth_are_above_the_cut():
    results = table(ERRORS, ["good", "good", "crack", "good", "crack"], cut=0.004)
    evaluation = judge(results, cut=0.004)
    flags = {example.uri: example.flagged for example in evaluation.examples.highest}
    assert [flags[f"/images/{number:03}.png"] for number in range(5)] == [False, False, True, False, True]
    assert evaluation.at_cut.flags_that_differ == 0
    assert (evaluation.at_cut.precision.value, evaluation.at_cut.recall.value) == (1.0, 1.0)


def test_an_error_at_the_cut_is_not_above_it():
    at = judge(table(ERRORS, ["good", "good", "crack", "good", "crack"], cut=0.005), cut=0.005).at_cut
    assert (at.true_positives, at.false_negatives) == (1, 1)


def test_a_training_error_of_0_0005_against_0_01_on_new_images_is_no_it_memorised():
    results = table([0.0005] * 40 + [0.01] * 60 + [0.02] * 30, ["good"] * 100 + ["crack"] * 30, cut=0.015)
    evaluation = judge(results, roles=["train"] * 40 + [None] * 90, cut=0.015)
    (gate,) = [gate for gate in evaluation.gates if gate.name == "memorised"]
    assert (gate.passed, gate.figure, gate.limit) == (False, pytest.approx(20), 2.0)
    verdict = evaluation.words[0]
    assert verdict.startswith("Ready for production: no, ")
    assert (
        "No: it memorised. The median mse of unseen normal images over that of the training images is 20, and has to "
        "be below 2."
    ) in verdict
    assert evaluation.skill[0].auroc.value == 1.0


def test_a_low_error_alone_makes_nothing_ready():
    """All errors are below 0.001, and defects look as normal images do."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.0001, 0.0009, 200).tolist()
    evaluation = judge(table(scores, ["good", "crack"] * 100, cut=0.0008), cut=0.0008)
    assert {gate.name for gate in evaluation.gates if gate.passed is False} >= {"overlap", "floors"}


def test_a_higher_cut_finds_less_and_is_right_more_often():
    results, _, _ = archive(count=400)
    low, high = (judge(results, cut=cut).at_cut for cut in (0.5, 6.0))
    assert low.recall.value > high.recall.value
    assert low.precision.value < high.precision.value
    assert low.false_positive_rate.value > high.false_positive_rate.value


def test_pixels_of_0_to_255_and_of_0_to_1_make_bundles_that_cannot_share_a_cut(tmp_path: Path):
    """How floats become pixels is a part of the bundle's id, and a cut belongs to one bundle."""
    one, other = (
        small_bundle(tmp_path / str(white), preprocess=replace(GREY, float_range=(0.0, white)))
        for white in (1.0, 255.0)
    )
    assert one.bundle_id != other.bundle_id
    known = np.linspace(0.1, 1, 50, dtype=np.float32)
    cut = fixed(0.5, score="mse", bundle_id=one.bundle_id, calibration=known)
    with pytest.raises(BundleError, match=f"is a cut on mse of the bundle {one.bundle_id}, and this is the bundle "):
        bundle.calibrated(other, None, cut)


def test_scores_of_another_scale_are_refused_as_incomparable(
    tmp_path: Path, judging: Bundle, capsys: pytest.CaptureFixture[str]
):
    """A run is evaluated with the bundle that scored it, and with no other that has taken its place."""
    run = score(tmp_path, judging, LABELS)
    scaled = replace(judging.preprocess, float_range=(0.0, 255.0))
    for path in sorted(Path(judging.uri).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    other = calibrate(small_bundle(judging.uri, preprocess=scaled), tmp_path, 0.04 * 255**2)
    assert main(["evaluate", run.uri]) == 1
    assert capsys.readouterr().err == (
        f"error: {run.uri} was scored with the bundle {judging.bundle_id}, but {judging.uri} is now {other.bundle_id}; "
        "put the former back, or score again into a new directory.\n"
    )
