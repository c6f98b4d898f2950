"""AUROC, average precision, rates, intervals: held against slow definitions, scipy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, quantile_test, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from rayae.statistics import (
    Ranking,
    area_under,
    bootstrap,
    clopper_pearson,
    delong,
    delong_interval,
    interval,
    median_interval,
    midranks,
    percent,
    rate,
    resample,
    skills,
)

OPTIONS = {"confidence": 0.95, "resamples": 200, "seed": 0}


@st.composite
def labelled_scores(draw, least=2):
    """Scores with many ties, and at least `least` of both classes."""
    positives, negatives = draw(st.integers(least, 15)), draw(st.integers(least, 15))
    values = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32))
    count = positives + negatives
    scores = draw(st.lists(values, min_size=count, max_size=count))
    positive = draw(st.permutations([True] * positives + [False] * negatives))
    return np.array(scores, dtype=np.float32), np.array(positive)


def u_statistic(scores, positive):
    """DeLong's definition: 1, 1/2 or 0 for every pair, and the variances of its row and column means."""
    x, y = scores[positive][:, None], scores[~positive][None, :]
    kernel = (x > y) + 0.5 * (x == y)
    rows, columns = kernel.mean(axis=1), kernel.mean(axis=0)
    return kernel.mean(), rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)


@given(labelled_scores())
def test_delong_by_midranks_is_the_slow_definition(data):
    scores, positive = data
    area, variance = delong(scores, positive)
    slow_area, slow_variance = u_statistic(scores, positive)
    assert area == pytest.approx(slow_area, abs=1e-12)
    assert variance == pytest.approx(slow_variance, abs=1e-12)


@given(labelled_scores(least=1))
def test_auroc_and_average_precision_are_those_of_scikit_learn(data):
    scores, positive = data
    area, precision = Ranking(scores, positive).skill(np.ones((1, len(scores))))
    assert area[0] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert area_under(scores, positive) == pytest.approx(area[0], abs=1e-12)
    assert precision[0] == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


@given(labelled_scores(), st.integers(0, 100))
def test_weights_are_those_of_scikit_learn(data, seed):
    scores, positive = data
    weights = np.random.default_rng(seed).integers(0, 4, len(scores)).astype(float)
    weights[np.flatnonzero(positive)[0]] = weights[np.flatnonzero(~positive)[0]] = 1
    area, precision = Ranking(scores, positive).skill(weights[None, :])
    assert area[0] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12)
    expected = average_precision_score(positive, scores, sample_weight=weights)
    assert precision[0] == pytest.approx(expected, abs=1e-12)


@given(labelled_scores(least=1))
def test_turning_the_scores_round_turns_auroc_round(data):
    scores, positive = data
    assert area_under(-scores, positive) == pytest.approx(1 - area_under(scores, positive), abs=1e-12)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), min_size=1, max_size=30))
def test_midranks_are_those_of_scipy(values):
    assert midranks(np.array(values)).tolist() == rankdata(values).tolist()


@given(trials=st.integers(1, 200), data=st.data(), confidence=st.sampled_from([0.8, 0.95, 0.999]))
def test_clopper_pearson_is_that_of_scipy(trials, data, confidence):
    hits = data.draw(st.integers(0, trials))
    exact = binomtest(hits, trials).proportion_ci(confidence, method="exact")
    assert clopper_pearson(hits, trials, confidence) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_a_rate_without_a_trial_has_a_reason_and_no_value():
    figure = rate(0, 0, 0.95, "Nothing was tried.")
    assert (figure.value, figure.low, figure.high, figure.reason) == (None, None, None, "Nothing was tried.")


def test_delongs_interval_covers_the_truth_as_often_as_it_says():
    """Two normal distributions one apart: AUROC is 0.7602."""
    generator, covered, times = np.random.default_rng(5), 0, 600
    positive = np.repeat([True, False], [40, 60])
    for _ in range(times):
        area, variance = delong(generator.normal(size=100) + positive, positive)
        low, high = delong_interval(area, variance, 0.95)
        covered += low <= 0.76025 <= high
    assert covered / times == pytest.approx(0.95, abs=0.03)


def test_delongs_interval_stays_inside_0_to_1():
    scores, positive = np.array([0.1, 0.2, 0.3, 0.9, 0.25, 0.8]), np.array([False] * 3 + [True] * 3)
    low, high = delong_interval(*delong(scores, positive), 0.999)
    assert 0 < low < high < 1


def test_whole_groups_are_drawn_with_replacement():
    clusters = np.array([0, 0, 0, 1, 2, 2])
    weights = resample(clusters, 500, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.15)


def test_resamples_with_one_class_only_are_skipped_and_counted():
    positive, clusters = np.array([True, True, False, False]), np.array([0, 0, 1, 1])
    rankings = [Ranking(np.array([0.9, 0.4, 0.5, 0.1]), positive)]
    drawn, skipped = bootstrap(rankings, positive, clusters, 1000, 0)
    assert drawn.shape == (1, 2, 1000 - skipped)
    assert skipped == pytest.approx(500, abs=70)


def test_a_bootstrap_in_parts_is_the_same_as_in_one(monkeypatch):
    generator = np.random.default_rng(2)
    positive = generator.random(50) < 0.4
    rankings = [Ranking(generator.random(50), positive)]
    whole, _ = bootstrap(rankings, positive, np.arange(50), 300, 1)
    monkeypatch.setattr("rayae.statistics.MAX_CELLS", 700)
    parts, _ = bootstrap(rankings, positive, np.arange(50), 300, 1)
    assert (whole == parts).all()


def grouped(groups=30, each=20, shared=1.0, seed=0):
    """Images whose group shifts all their scores, with both classes in every group."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), each)
    positive = np.tile(np.arange(each) % 2 == 0, groups)
    scores = generator.normal(size=len(codes)) + positive + shared * generator.normal(size=groups)[codes] * positive
    return scores, positive, codes


def test_an_interval_over_groups_is_wider_than_one_over_images_when_groups_differ():
    scores, positive, codes = grouped(shared=2.0)
    [over_groups], [over_images] = (skills([scores], positive, g, **OPTIONS) for g in (codes, None))
    assert over_groups.auroc.value == over_images.auroc.value
    for clustered, alone in zip(
        (over_groups.auroc, over_groups.average_precision),
        (over_images.auroc, over_images.average_precision),
        strict=True,
    ):
        assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)
        assert clustered.low < clustered.value < clustered.high


def test_the_method_is_named():
    scores, positive, codes = grouped(groups=12)
    [over_groups] = skills([scores], positive, codes, **OPTIONS)
    assert over_groups.auroc.method == "bootstrap of 12 groups, 200 resamples"
    [over_images] = skills([scores], positive, None, **OPTIONS)
    assert over_images.auroc.method == "DeLong, logit scale"
    assert over_images.average_precision.method == "bootstrap of images, 200 resamples"


def test_few_groups_are_called_unreliable():
    scores, positive, codes = grouped(groups=6)
    [skill] = skills([scores], positive, codes, **OPTIONS)
    assert skill.auroc.method.endswith("; unreliable, a class comes from 6 groups only")


def test_the_same_seed_gives_the_same_interval():
    scores, positive, codes = grouped()
    first, again, other = (
        skills([scores], positive, codes, confidence=0.95, resamples=200, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("scores", "positive", "groups", "reason"),
    [
        ([1.0, 2, 3, 4], [0, 0, 0, 1], None, "at least two images of each class"),
        ([1.0, 2, 3, 4], [0, 0, 1, 1], [0, 1, 2, 2], "all images of a class are of one group"),
        ([1.0, 2, 3, 4], [0, 0, 1, 1], [0, 0, 0, 0], "all images of a class are of one group"),
        ([1.0, 2, 3, 4], [0, 0, 1, 1], None, "the same in every resample"),
        ([1.0, 1, 1, 1], [0, 0, 1, 1], None, "the same in every resample"),
    ],
)
def test_an_interval_that_would_mean_nothing_is_left_out_with_its_reason(scores, positive, groups, reason):
    codes = None if groups is None else np.array(groups)
    [skill] = skills([np.array(scores)], np.array(positive, dtype=bool), codes, **OPTIONS)
    assert skill.auroc.value is not None
    assert (skill.auroc.low, skill.auroc.high) == (None, None)
    assert reason in skill.auroc.reason


def placements(scores, positive):
    """Of each positive the share of negatives below it, of each negative the share of positives above it."""
    x, y = scores[positive][:, None], scores[~positive][None, :]
    kernel = (x > y) + 0.5 * (x == y)
    return kernel.mean(axis=1), kernel.mean(axis=0)


def test_the_interval_of_a_lead_is_that_of_delong_for_paired_scores():
    generator = np.random.default_rng(0)
    positive, shared = np.arange(600) % 3 == 0, generator.normal(size=600)
    first, second = (shared + spread * generator.normal(size=600) + 1.2 * positive for spread in (0.3, 0.6))
    alone, lagging = skills([first, second], positive, None, **OPTIONS | {"resamples": 2000})
    (rows, columns), (other_rows, other_columns) = placements(first, positive), placements(second, positive)
    variance = (rows - other_rows).var(ddof=1) / 200 + (columns - other_columns).var(ddof=1) / 400
    lead = roc_auc_score(positive, first) - roc_auc_score(positive, second)
    assert alone.lead is None
    assert lagging.lead.value == pytest.approx(lead, abs=1e-12)
    wanted = (lead - 1.96 * variance**0.5, lead + 1.96 * variance**0.5)
    assert (lagging.lead.low, lagging.lead.high) == pytest.approx(wanted, abs=0.3 * variance**0.5)
    apart = [one.auroc.high - one.auroc.low for one in (alone, lagging)]
    assert lagging.lead.high - lagging.lead.low < 0.8 * min(apart)


def test_a_lead_without_an_interval_has_its_reason():
    positive = np.array([False, False, False, True])
    _, lagging = skills([np.arange(4.0), np.array([1.0, 3, 4, 2])], positive, None, **OPTIONS)
    assert lagging.lead.value == pytest.approx(2 / 3)
    assert (lagging.lead.low, lagging.lead.reason) == (None, lagging.auroc.reason)


def test_too_few_usable_resamples_give_no_interval():
    figure = interval(0.5, np.linspace(0, 1, 40), 0.95, "bootstrap")
    assert figure.reason == "No interval: only 40 resamples held both classes, 100 are needed."


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1))
def test_only_one_is_100_percent_and_only_zero_is_0_percent(value):
    assert (percent(value) == "100 %") == (value == 1)
    assert (percent(value) == "0 %") == (value == 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.05, "5 %"), (0.029411, "2.94 %"), (0.95, "95 %"), (0.0001234, "0.0123 %"), (0.99999, "over 99.9 %")],
)
def test_percent_has_three_digits(value, text):
    assert percent(value) == text


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [*range(1, 40), 100, 1001, 20_000])
def test_the_interval_of_a_median_is_that_of_scipy(count, confidence):
    values = np.random.default_rng(count).lognormal(size=count)
    exact = quantile_test(values, p=0.5).confidence_interval(confidence)
    found = median_interval(values, confidence)
    if found is None:
        assert np.isnan([exact.low, exact.high]).all()
    else:
        assert found == (exact.low, exact.high)


def test_nothing_has_no_median():
    assert median_interval(np.empty(0), 0.95) is None
