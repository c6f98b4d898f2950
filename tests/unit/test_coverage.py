"""The simulations of guarantees, with fewer rounds: each is kept, and one that holds far less often is noticed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import (
    SIMULATIONS,
    SOURCES,
    Claim,
    Source,
    of_certified,
    of_conformal,
    of_peaks,
    of_recall,
)
from rayae.threshold import exceeds

JUDGED = [(simulation, sizes[0]) for simulation, sizes in SIMULATIONS if simulation is not of_peaks]


@pytest.mark.parametrize(("simulation", "n"), JUDGED)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_guarantee_is_kept(simulation, n, source):
    rounds = 400 if simulation in (of_conformal, of_certified, of_recall) else 40
    claims = list(simulation(source, n, rounds, np.random.default_rng(0)))
    assert [claim.words for claim in claims if not claim.is_kept] == []
    assert any(claim.stated is not None for claim in claims)


@pytest.mark.parametrize(("simulation", "rule", "n"), [(of_certified, "certified", 1000), (of_recall, "recall", 200)])
def test_a_rule_with_less_confidence_than_it_states_is_noticed(simulation, rule, n, monkeypatch):
    honest = getattr(coverage, rule)
    monkeypatch.setattr(coverage, rule, lambda basis, *rest: honest(replace(basis, confidence=0.85), *rest))
    (claim,) = simulation(SOURCES[0], n, 400, np.random.default_rng(0))
    assert not claim.is_kept


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
@pytest.mark.parametrize("cut", [0.5, 1.3])
def test_the_true_shares_are_those_of_many_draws(source: Source, cut):
    drawn = source.draw(np.random.default_rng(1), 20_000)
    assert exceeds(drawn, cut).mean() == pytest.approx(source.above(cut), abs=4 * 0.5 / np.sqrt(20_000))


def test_a_promise_that_is_broken_is_noticed():
    assert not Claim("rate", "normal", 9, 0.95, (1.0, 0.0) * 50).is_kept
    assert not Claim("rate", "normal", 9, 0.05, (0.06, 0.07) * 50, at_least=False).is_kept
    assert Claim("rate", "normal", 9, 0.95, (1.0,) * 93 + (0.0,) * 7).is_kept
    assert Claim("rate", "normal", 9, None, (0.0, 1.0)).is_kept
