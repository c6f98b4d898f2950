"""Scoring by lanes, as on a GPU: the scores are those of `score`, and what fails is scored again to find the blame."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rayae import lanes
from rayae.bundle import Bundle
from rayae.micro_batch import fastest_micro_batch
from rayae.results import PIXEL_STATISTICS
from rayae.run import Run
from rayae.scorer import LANE_TRIES, Scorer
from rayae.scores import PICTURE_SCORES
from rayae.scoring import score_inline
from tests.unit.small_things import detector_around, pictures
from tests.unit.test_scorer import Same, is_marked, marked, whole_bundle
from tests.unit.test_scoring import bundle, images, rows_of, run_of

__all__ = ["bundle", "images"]


@pytest.fixture(autouse=True)
def by_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that is taken for a GPU, as far as the way of the pixels goes."""
    monkeypatch.setattr(Scorer, "ahead", property(lambda scorer: 1 if scorer.tries else 0))


def scorer_of(network: torch.nn.Module, micro_batch: int = 8) -> Scorer:
    names = (*PICTURE_SCORES, *PIXEL_STATISTICS)
    return Scorer(detector_around(network), names, torch.device("cpu"), "float32", micro_batch)


@pytest.mark.parametrize("count", [8, 3, 1])
def test_scores_are_those_of_score(count: int, tmp_path: Path) -> None:
    scorer, pixels = Scorer.open(whole_bundle(tmp_path / "bundle"), 8), pictures(count)
    expected, _ = scorer.score(pixels)
    found, blamed = scorer.begin(list(pixels))()
    assert scorer.lanes is not None
    assert not blamed
    for name in scorer.score_names:
        np.testing.assert_array_equal(found[name], expected[name])


class Picky(Same):
    """Raises where a picture has a corner of 255."""

    def forward(self, images: torch.Tensor) -> object:
        if is_marked(images).any():
            raise RuntimeError("this network does not take such pictures")
        return super().forward(images)


def test_a_micro_batch_that_fails_is_scored_again_and_one_picture_is_blamed() -> None:
    scorer = scorer_of(Picky())
    for tries in range(LANE_TRIES, 0, -1):
        assert (scorer.tries, scorer.ahead) == (tries, 1)
        scores, blamed = scorer.begin(list(marked(8, 5)))()
        assert list(blamed) == [5]
        assert np.isfinite(scores["mse"]).sum() == 7
        assert not scorer.begin(list(marked(8)))()[1]
    assert scorer.ahead == 0  # what fails again and again does not go by lanes any more
    assert list(scorer.begin(list(marked(8, 5)))()[1]) == [5]


class Blown(Same):
    """Gives infinity for such a picture."""

    def forward(self, images: torch.Tensor) -> object:
        found = super().forward(images)
        return torch.where(is_marked(images)[:, None, None, None], torch.inf, found)


def test_pictures_without_a_finite_score_are_blamed_and_the_lanes_stay() -> None:
    scorer = scorer_of(Blown())
    scores, blamed = scorer.begin(list(marked(8, 2, 6)))()
    assert sorted(blamed) == [2, 6]
    assert np.isnan(scores["mse"][[2, 6]]).all()
    assert scorer.tries == LANE_TRIES


def test_an_error_that_comes_late_is_met_when_the_scores_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(Same())
    scorer.begin(list(marked(8)))()

    def late(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(lanes._Lane, "take", late)
    scores, blamed = scorer.begin(list(marked(8)))()
    assert not blamed
    assert np.isfinite(scores["mse"]).all()
    assert scorer.tries == LANE_TRIES - 1


def test_a_broken_device_is_no_image_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(lanes.Lanes, "begin", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        scorer_of(Same()).begin(list(marked(8)))


def test_a_batch_that_was_gathered_before_the_micro_batch_was_halved_is_scored_whole() -> None:
    scorer = scorer_of(Same(), micro_batch=4)
    scores, blamed = scorer.begin(list(marked(7)))()
    assert not blamed
    assert np.isfinite(scores["mse"]).all()


def test_a_run_by_lanes_has_the_same_rows(
    tmp_path: Path, bundle: Bundle, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list[Run]()
    for name in ("lanes", "plain"):
        run, plan = run_of(tmp_path / name, bundle, images)
        list(score_inline(plan, run, run.chunks))
        found.append(run)
        monkeypatch.setattr(Scorer, "ahead", 0)
    assert rows_of(found[0]) == rows_of(found[1])
    assert any(row["status"] == "scored" for row in rows_of(found[0]))


RATES = {8: 100.0, 16: 180.0, 32: 300.0, 64: 310.0, 128: 305.0}


def test_the_smallest_micro_batch_that_is_almost_as_fast_is_taken() -> None:
    assert fastest_micro_batch(32, lambda size: size / RATES[size]) == 32


def test_the_probe_ends_where_memory_does() -> None:
    def seconds_of(size: int) -> float:
        if size > 16:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return size / RATES[size]

    assert fastest_micro_batch(32, seconds_of) == 16


def test_without_memory_for_any_the_usual_is_tried() -> None:
    def seconds_of(_: int) -> float:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    assert fastest_micro_batch(32, seconds_of) == 32
