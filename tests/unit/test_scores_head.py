"""Scores of logits, against scipy in float64."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.special import expit, logit

from rayae.scores import HEAD_SCORES, Region, measure

PICTURES = torch.zeros(2, 1, 32, 48)


def scores_of(logits, region=None):
    head = torch.as_tensor(logits).float().expand(2, 1, -1, -1)
    found = measure(PICTURES, PICTURES, head=head, region=region, names=HEAD_SCORES)
    return {name: values[0].item() for name, values in found.items()}


def averaged(logits, weights):
    window = np.ones((3, 3))
    with np.errstate(invalid="ignore"):
        return convolve(logits * weights, window, mode="constant") / convolve(weights, window, mode="constant")


def reference(logits, weights):
    inside = weights > 0
    raised = averaged(logits, weights)[inside] + np.log(weights[inside])
    worst = np.sort(raised)[-int(np.ceil(weights.sum() / 100)) :]
    yes, no = (np.average(expit(sign * logits), weights=weights) for sign in (1, -1))
    return {"head_max": raised.max(), "head_worst1": worst.mean(), "head_mean": np.log(yes / no)}


def random_logits(shape=(16, 24)):
    return np.random.default_rng(0).normal(-3, 3, shape)


def test_the_scores_of_logits_are_those_of_scipy():
    logits = random_logits()
    assert scores_of(logits) == pytest.approx(reference(logits, np.ones((16, 24))), rel=1e-5)
    assert scores_of(logits)["head_mean"] == pytest.approx(logit(expit(logits).mean()), rel=1e-5)


@pytest.mark.parametrize("shape", [(16, 24), (8, 12), (32, 48)])
def test_in_a_region_they_are_weighted(shape):
    mask = np.zeros((32, 48), np.float32)
    mask[8:24, 8:40], mask[12:20, 12:32] = 0.5, 1
    resized = mask.reshape(shape[0], 32 // shape[0], shape[1], 48 // shape[1]).mean((1, 3)).astype(float)
    logits = random_logits(shape)
    found = scores_of(logits, Region.of(torch.from_numpy(mask)))
    assert found == pytest.approx(reference(logits, resized), rel=1e-5)


def test_at_the_border_nothing_from_beyond_is_averaged():
    assert scores_of(np.full((16, 24), -7.0)) == pytest.approx(dict.fromkeys(HEAD_SCORES, -7.0), rel=1e-5)


@pytest.mark.parametrize("level", [-200.0, -30.0, 30.0, 200.0])
def test_no_score_saturates(level):
    for name in HEAD_SCORES:
        at, above = (scores_of(np.full((16, 24), value))[name] for value in (level, level + 1))
        assert (at, above) == pytest.approx((level, level + 1), rel=1e-5)


def test_a_single_place_counts_by_a_ninth_and_a_defect_in_full():
    logits = np.full((16, 24), -9.0)
    logits[8, 12] = 9
    assert scores_of(logits)["head_max"] == pytest.approx(-7.0)
    logits[7:10, 11:14] = 9
    assert scores_of(logits)["head_max"] == pytest.approx(9.0)
