"""Areas between two samples and their intervals: held against slow definitions, the bootstrap and simulations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from rayae.placements import Groups, Keys, Placements, area_figure, difference_figure, place, variance
from rayae.statistics import Floats, delong, resample

VALUES = st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32)), min_size=2, max_size=12)


def own(count: int, first: int = 0) -> Keys:
    """A key an image."""
    return np.arange(first, first + count, dtype=np.uint64)


def singles(first: int, second: int) -> Groups:
    return Groups.of(own(first), own(second, first))


def slow(first: Floats, second: Floats) -> Floats:
    """1, 1/2 or 0 for every pair `[M, N]`."""
    x, y = np.asarray(first)[:, None], np.asarray(second)[None, :]
    return (x > y) + 0.5 * (x == y)


@given(VALUES, VALUES)
def test_placements_are_the_means_of_all_pairs(first: list[float], second: list[float]) -> None:
    found, pairs = place(np.array(first), np.array(second)), slow(np.array(first), np.array(second))
    np.testing.assert_allclose(found.upper, pairs.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.lower, pairs.mean(axis=0), atol=1e-12)
    assert found.area == pytest.approx(pairs.mean(), abs=1e-12)


@given(VALUES, VALUES)
def test_without_groups_the_variance_is_that_of_delong(first: list[float], second: list[float]) -> None:
    scores = np.array([*first, *second])
    positive = np.arange(len(scores)) < len(first)
    found = variance(place(scores[positive], scores[~positive]), singles(len(first), len(second)))
    assert found == pytest.approx(delong(scores, positive)[1], abs=1e-12)


def paired(random: np.random.Generator, count: int) -> tuple[Placements, Placements, Floats]:
    """Two scores of the same `count` defects and `count` normal images, and their pairs `[2, M, N]`."""
    image = random.normal(size=2 * count) + np.repeat([1.0, 0.0], count)
    scores = [image + random.normal(size=2 * count) for _ in range(2)]
    pairs = np.stack([slow(one[:count], one[count:]) for one in scores])
    a, b = (place(one[:count], one[count:]) for one in scores)
    return a, b, pairs


def test_the_variance_of_a_difference_is_that_of_delongs_matrix() -> None:
    a, b, pairs = paired(np.random.default_rng(0), 12)
    covariances = np.cov(pairs.mean(axis=2)) / 12 + np.cov(pairs.mean(axis=1)) / 12
    expected = covariances[0, 0] + covariances[1, 1] - 2 * covariances[0, 1]
    groups = singles(12, 12)
    assert variance(a - b, groups) == pytest.approx(expected, rel=1e-12)
    figure = difference_figure(a, b, groups, 0.9)
    reach = norm.ppf(0.95) * np.sqrt(expected)
    assert (figure.low, figure.high) == pytest.approx((figure.value - reach, figure.value + reach))
    assert figure.method == "DeLong, images counted as independent, paired"


def obuchowski(pairs: Floats, first: Keys, second: Keys) -> float:
    """The variance as it is printed in the paper, group by group."""
    m, n, area, names = *pairs.shape, pairs.mean(), np.unique([*first, *second])
    rows, columns = pairs.mean(axis=1), pairs.mean(axis=0)
    off_rows = [(rows[first == name] - area).sum() for name in names if name in first]
    off_columns = [(columns[second == name] - area).sum() for name in names if name in second]
    together = [(rows[first == name] - area).sum() * (columns[second == name] - area).sum() for name in names]
    ten, one, both = len(off_rows), len(off_columns), len(names)
    s10 = ten / ((ten - 1) * m) * np.square(off_rows).sum()
    s01 = one / ((one - 1) * n) * np.square(off_columns).sum()
    s11 = both / (both - 1) * np.sum(together)
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


@given(st.data())
def test_with_groups_the_variance_is_that_of_the_paper(data: st.DataObject) -> None:
    first, second = (np.array(data.draw(VALUES)) for _ in range(2))
    names = st.integers(0, 4)
    keys = [np.array([0, 1, *data.draw(st.lists(names, min_size=10, max_size=10))], np.uint64) for _ in range(2)]
    first_keys, second_keys = keys[0][: len(first)], keys[1][: len(second)]
    found = variance(place(first, second), Groups.of(first_keys, second_keys))
    assert found == pytest.approx(obuchowski(slow(first, second), first_keys, second_keys), abs=1e-12)


def test_images_that_are_there_three_times_tell_no_more_than_once() -> None:
    a, b, _ = paired(np.random.default_rng(1), 15)
    once = difference_figure(a, b, singles(15, 15), 0.95)
    thrice = [Placements(np.repeat(one.upper, 3), np.repeat(one.lower, 3)) for one in (a, b)]
    grouped = difference_figure(*thrice, Groups.of(np.repeat(own(15), 3), np.repeat(own(15, 15), 3)), 0.95)
    assert (grouped.value, grouped.low, grouped.high) == pytest.approx((once.value, once.low, once.high))
    assert grouped.method == "DeLong by groups (Obuchowski), 30 groups, paired"


def clustered(random: np.random.Generator, count: int) -> tuple[Floats, Floats, Keys]:
    """Two scores `[2, N]` of images in `count` groups of four, half of which have defects; alike within a group."""
    keys, is_defect = np.repeat(own(count), 4), np.tile([True, False, False, False], count)
    is_defect &= keys % 2 == 0
    scores = random.normal(size=(2, count))[:, keys.astype(int)] + random.normal(size=(2, 4 * count)) + is_defect
    return scores, is_defect, keys


def test_with_groups_the_spread_is_about_that_of_the_bootstrap_of_groups() -> None:
    scores, is_defect, keys = clustered(np.random.default_rng(2), 200)
    a, b = (place(one[is_defect], one[~is_defect]) for one in scores)
    found = variance(a - b, Groups.of(keys[is_defect], keys[~is_defect]))
    weights = resample(keys.astype(np.intp), 600, np.random.default_rng(3))
    pairs = slow(scores[0][is_defect], scores[0][~is_defect]) - slow(scores[1][is_defect], scores[1][~is_defect])
    x, y = weights[:, is_defect], weights[:, ~is_defect]
    drawn = ((x @ pairs) * y).sum(axis=1) / (x.sum(axis=1) * y.sum(axis=1))
    assert np.sqrt(found) == pytest.approx(drawn.std(), rel=0.12)


def test_the_interval_of_a_difference_holds_zero_as_often_as_it_says_where_there_is_none() -> None:
    random, hits = np.random.default_rng(4), 0
    for _ in range(600):
        scores, is_defect, keys = clustered(random, 60)
        a, b = (place(one[is_defect], one[~is_defect]) for one in scores)
        found = difference_figure(a, b, Groups.of(keys[is_defect], keys[~is_defect]), 0.9)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0 <= found.high
    assert 0.86 <= hits / 600 <= 0.94


def test_samples_apart_have_an_interval_as_long_as_independent_pairs_allow() -> None:
    first, second, groups = np.array([3.0, 4, 5, 6]), np.array([0.0, 1, 2]), singles(4, 3)
    above, below = (area_figure(place(*pair), groups, 0.95) for pair in ((first, second), (-first, -second)))
    assert (above.value, above.low, above.high) == pytest.approx((1, 0.025 ** (1 / 3), 1))
    assert (below.value, below.low, below.high) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 3)))
    assert above.method == "Clopper-Pearson, 3 pairs of images of different groups"


def test_groups_in_both_samples_allow_half_as_many_pairs() -> None:
    keys = own(10)
    found = place(np.arange(10.0, 20), np.arange(0.0, 10))
    figure = area_figure(found, Groups.of(keys, keys), 0.95)
    assert (figure.value, figure.low) == pytest.approx((1, 0.025 ** (1 / 5)))
    assert figure.method == "Clopper-Pearson, 5 pairs of images of different groups"


def test_groups_in_both_samples_have_an_interval_that_holds_as_often_as_it_says() -> None:
    """One group in five is hard: its defect scores low, its normal image high; pairs of a group do not count."""
    random, truth, missed, draws = np.random.default_rng(0), 0.8**2, 0, 2000
    groups = Groups.of(own(10), own(10))
    for _ in range(draws):
        is_hard = random.random(10) < 0.2
        found = area_figure(place(np.where(is_hard, 0.0, 3.0), np.where(is_hard, 4.0, 1.0)), groups, 0.95)
        missed += found.value == 1 and found.low is not None and found.low > truth
    assert missed / draws < 0.025


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (singles(1, 3), "No interval: it needs at least two images of each kind."),
        (
            Groups.of(np.array([7, 7, 7], np.uint64), own(3)),
            "No interval: all images of a kind are of one group, so nothing tells how groups differ.",
        ),
    ],
)
def test_where_nothing_tells_the_spread_there_is_a_reason_for_no_interval(groups: Groups, reason: str) -> None:
    first = np.array([0.0, 2, 3])[: len(groups.upper)]
    found = place(first, np.array([1.0, 2, 1]))
    assert area_figure(found, groups, 0.95).reason == reason
    assert difference_figure(found, found, groups, 0.95).reason == reason


def test_scores_that_rank_alike_have_a_difference_of_zero_without_interval() -> None:
    found = place(np.array([1.0, 3]), np.array([0.0, 2]))
    figure = difference_figure(found, found, singles(2, 2), 0.95)
    assert (figure.value, figure.low, figure.reason) == (0, None, "No interval: both place every image alike.")


def test_a_difference_without_spread_is_not_said_to_be_none() -> None:
    apart = place(np.array([3.0, 4, 5]), np.array([0.0, 1, 2]))
    inverted = place(np.array([0.0, 1, 2]), np.array([3.0, 4, 5]))
    figure = difference_figure(apart, inverted, singles(3, 3), 0.95)
    assert (figure.value, figure.reason) == (1.0, "No interval: these images leave no spread to judge by.")


def test_values_that_are_all_one_have_an_area_without_interval() -> None:
    figure = area_figure(place(np.ones(4), np.ones(5)), singles(4, 5), 0.95)
    assert (figure.value, figure.low) == (0.5, None)
    assert figure.reason == "No interval: these images leave no spread to judge by."


def test_few_groups_are_said_to_be_unreliable() -> None:
    keys = np.repeat(own(3), 2)
    figure = area_figure(place(np.arange(6.0), np.arange(6.0) - 1), Groups.of(keys, keys), 0.95)
    assert figure.method == (
        "DeLong by groups (Obuchowski), 3 groups; unreliable, a sample comes from 3 groups only, logit scale"
    )
