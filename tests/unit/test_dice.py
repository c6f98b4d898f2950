"""Random numbers: of the distributions that they say, and of their generator alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from rayae.dice import Dice

COUNT = 20_000


def dice(seed=0, where=None):
    return Dice(torch.Generator().manual_seed(seed), torch.device("cpu"), where)


DRAWS = {
    "uniform": lambda one: one.uniform(COUNT, low=-2.0, high=3.0),
    "log_uniform": lambda one: one.log_uniform(COUNT, low=0.02, high=0.2),
    "normal": lambda one: one.normal(COUNT),
    "below": lambda one: one.below(5, COUNT),
    "chance": lambda one: one.chance(0.2, COUNT),
    "sign": lambda one: one.sign(COUNT),
}


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("uniform", stats.uniform(-2, 5)),
        ("log_uniform", stats.loguniform(0.02, 0.2)),
        ("normal", stats.norm()),
    ],
)
def test_numbers_are_of_the_distribution(name, distribution):
    drawn = DRAWS[name](dice())
    assert drawn.dtype == torch.float32
    assert stats.kstest(drawn.double().numpy(), distribution.cdf).pvalue > 1e-3


def test_whole_numbers_below_a_bound_are_equally_frequent():
    drawn = DRAWS["below"](dice())
    assert drawn.dtype == torch.int64
    values, counts = np.unique(drawn.numpy(), return_counts=True)
    assert values.tolist() == [0, 1, 2, 3, 4]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_chance_holds_with_its_probability_and_signs_are_even():
    assert DRAWS["chance"](dice()).dtype == torch.bool
    assert stats.binomtest(int(DRAWS["chance"](dice()).sum()), COUNT, 0.2).pvalue > 1e-3
    signs = DRAWS["sign"](dice())
    assert set(signs.tolist()) == {-1, 1}
    assert stats.binomtest(int((signs == 1).sum()), COUNT, 0.5).pvalue > 1e-3


def pixels_of(places):
    """The rows and the columns of the pixels that points are in."""
    return tuple(place.floor().long().flatten().numpy() for place in places)


def test_places_are_anywhere_in_the_picture():
    y, x = dice().place(20, 50, COUNT, 1)
    assert y.shape == x.shape == (COUNT, 1)
    assert stats.kstest(y.flatten().double().numpy(), stats.uniform(0, 20).cdf).pvalue > 1e-3
    assert stats.kstest(x.flatten().double().numpy(), stats.uniform(0, 50).cdf).pvalue > 1e-3


def test_places_fall_on_pixels_as_often_as_these_weigh_and_anywhere_in_them():
    weights = torch.zeros(6, 9)
    weights[2:4, 3:8] = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    weights[5, 0] = 1.0
    places = dice(where=weights).place(6, 9, COUNT, 1)
    found = np.zeros((6, 9))
    np.add.at(found, pixels_of(places), 1)
    inside = weights.numpy() > 0
    assert found[~inside].sum() == 0
    wanted = weights.double().numpy()[inside] / weights.double().sum().item() * COUNT
    assert stats.chisquare(found[inside], wanted).pvalue > 1e-3
    for place in places:
        assert place.dtype == torch.float32
        assert stats.kstest((place - place.floor()).flatten().double().numpy(), "uniform").pvalue > 1e-3


def test_a_single_pixel_with_a_weight_is_where_all_places_are():
    weights = torch.zeros(6, 9)
    weights[4, 7] = 0.1
    rows, columns = pixels_of(dice(where=weights).place(6, 9, 100))
    assert (rows == 4).all()
    assert (columns == 7).all()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_only_the_generator_decides(draw):
    torch.manual_seed(1)
    first = draw(dice(3))
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(draw(dice(3)), first)
    assert not torch.equal(draw(dice(4)), first)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)
