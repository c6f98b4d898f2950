"""Scores on one scale, against scipy."""

import json
import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation

from rayae.errors import DataError
from rayae.score_names import (
    COMPONENT_SCORES,
    HEAD_SCORES,
    LATENT_SCORES,
    NEAREST_SCORES,
    PICTURE_SCORES,
    PLACE_SCORES,
    SINGLE_SCORES,
    TEXTURE_SCORES,
)
from rayae.scores import Standard

NAMES = ("mse", "ssim_worst1", "head_max", "latent_distance")


def normal_scores(count=200):
    random = np.random.default_rng(0)
    return {
        "mse": np.float32(random.lognormal(-6, 0.3, count)),
        "ssim_worst1": np.float32(random.lognormal(-2, 0.1, count)),
        "head_max": np.float32(random.normal(-8, 2, count)),
        "latent_distance": np.float32(random.chisquare(9, count) ** 0.5),
    }


def test_the_scale_is_that_of_scipy():
    scores, standard = normal_scores(), Standard.fit(normal_scores(), NAMES)
    assert standard.names == NAMES
    for name, centre, spread, is_log in zip(*vars(standard).values(), strict=True):
        values = np.log(scores[name].astype(float)) if is_log else scores[name].astype(float)
        assert centre == pytest.approx(np.median(values))
        assert spread == pytest.approx(median_abs_deviation(values, scale="normal"), rel=1e-5)


def test_errors_of_pictures_are_compared_by_their_logarithms_and_nothing_else():
    random = np.random.default_rng(0)
    standard = Standard.fit({name: random.uniform(1, 2, 50) for name in SINGLE_SCORES}, SINGLE_SCORES)
    is_log = dict(zip(standard.names, standard.is_log, strict=True))
    errors = (*PICTURE_SCORES, *COMPONENT_SCORES, *TEXTURE_SCORES)
    others = (*HEAD_SCORES, *LATENT_SCORES, *PLACE_SCORES, *NEAREST_SCORES)
    assert is_log == dict.fromkeys(errors, True) | dict.fromkeys(others, False)


def test_the_combined_score_is_the_mean_of_the_softened_standardised():
    standard = Standard(("mse", "head_max"), (-6.0, -8.0), (0.5, 2.0), (True, False))
    scores = {"mse": torch.tensor([math.exp(-6), math.exp(-5)]), "head_max": torch.tensor([-8.0, 4.0])}
    assert standard.combined(scores).tolist() == pytest.approx(
        [math.log(2), (math.log1p(math.exp(2)) + math.log1p(math.exp(6))) / 2], abs=1e-5
    )


def test_on_the_normal_images_it_lies_about_that_of_zero():
    scores = normal_scores()
    combined = Standard.fit(scores, NAMES).combined({name: torch.from_numpy(value) for name, value in scores.items()})
    assert combined.dtype == torch.float32
    assert 0.6 < combined.median().item() < 0.9  # ln 2, and more since the positive ones count more
    assert 0.2 < combined.std().item() < 0.35  # four independent scores, softened


def test_a_few_bad_images_among_the_normal_ones_mute_no_score():
    scores = normal_scores()
    clean = Standard.fit(scores, NAMES)
    scores["head_max"][:10] = 60
    assert Standard.fit(scores, NAMES).spread[2] == pytest.approx(clean.spread[2], rel=0.15)


@pytest.mark.parametrize("nothing", [0.0, -1e-9, 1e-20])
def test_a_score_far_below_all_normal_ones_hides_no_other(nothing):
    standard = Standard.fit(normal_scores(), NAMES)
    one = {name: torch.tensor([float(np.median(values))]) for name, values in normal_scores().items()}
    one |= {"mse": torch.tensor([nothing]), "head_max": torch.tensor([60.0])}
    found = standard.combined(one).item()
    usual = 2 * math.log(2)  # the two others lie at their medians
    assert found == pytest.approx((usual + (60 - standard.centre[2]) / standard.spread[2]) / 4, abs=1e-3)
    assert found > 5


def test_a_nan_stays_a_nan():
    scores = {name: torch.full((2,), 0.1) for name in NAMES}
    scores["mse"][1] = torch.nan
    assert Standard.fit(normal_scores(), NAMES).combined(scores).isnan().tolist() == [False, True]


def test_it_comes_out_of_json_as_it_went_in():
    standard = Standard.fit(normal_scores(), NAMES)
    assert Standard.from_dict(json.loads(json.dumps(standard.to_dict(), allow_nan=False))) == standard


CANNOT = "These scores cannot be combined: {}; choose other scores, or more normal images."


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0.5] * 6 + [0.1, 0.2], "mse is the same on more than half of the normal images"),
        ([], "mse has no finite median and spread on the normal images"),
        ([0.1, 0.2, np.nan], "mse has no finite median and spread on the normal images"),
    ],
)
def test_scores_without_a_scale_are_refused(values, problem):
    with pytest.raises(DataError, match=f"^{re.escape(CANNOT.format(problem))}$"):
        Standard.fit({"mse": np.array(values)}, ("mse",))


@pytest.mark.parametrize("names", [(), ("mse", "mse"), ("combined",), ("lpips",)])
def test_only_scores_are_combined_each_once(names):
    problem = f"{list(names)} are not some of {', '.join(SINGLE_SCORES)}, each once"
    with pytest.raises(DataError, match=f"^{re.escape(CANNOT.format(problem))}$"):
        Standard.fit(dict.fromkeys(names, np.arange(9.0)), names)


GOOD = {"names": ["mse"], "centre": [-6.0], "spread": [0.5], "is_log": [True]}


@pytest.mark.parametrize(
    "changed",
    [
        {"spread": [0.0]}, {"spread": [-1.0]}, {"spread": None}, {"centre": [math.nan]}, {"centre": ["-6"]},
        {"centre": []}, {"is_log": [1]}, {"names": [["mse"]]}, {"names": "mse"}, {"author": ["me"]},
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_refused(changed):
    assert Standard.from_dict(GOOD).names == ("mse",)
    with pytest.raises(DataError, match=r"^.*\.$"):
        Standard.from_dict(GOOD | changed)
