import numpy as np
import pytest

from rayae.histogram import Counted, Histogram, histogram, number


def drawn(scores: list[float], calibration: list[float] | None = None, cut: float | None = None) -> Histogram:
    known = None if calibration is None else Counted.of(np.array(calibration))
    found = histogram(Counted.of(np.array(scores)), known, cut)
    assert found is not None
    for bar in found.bars:
        assert np.isfinite([bar.left, bar.width, bar.height]).all()
        assert bar.left >= -1e-9
        assert bar.left + bar.width <= 100 + 1e-9
        assert 0 < bar.height <= 100
    for tick in (*found.x_ticks, *found.y_ticks):
        assert -1e-9 <= tick.at <= 100 + 1e-9
    return found


def counted(found: Histogram) -> int:
    return sum(int(bar.words.split(": ")[1].split()[0].replace(",", "")) for bar in found.bars)


def test_no_scores_no_histogram() -> None:
    assert histogram(Counted.of(np.array([])), Counted.of(np.array([1.0])), 0.5) is None


@pytest.mark.parametrize("scores", [[0.0], [0.3], [0.3] * 7, [-1.0, -1.0], [1e-30] * 3, [3e38, 0.0]])
@pytest.mark.parametrize("cut", [None, 0.0, 0.3, 5.0])
def test_scores_without_spread_are_drawn(scores: list[float], cut: float | None) -> None:
    assert counted(drawn(scores, None, cut)) == len(scores)


def test_no_bar_straddles_the_cut_and_a_score_equal_to_it_is_not_above() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.1, 2.0):
        scores = np.float32(rng.lognormal(-4, scale, 500)).astype(np.float64)
        cut = float(scores[17])
        flagged = [bar for bar in drawn(list(scores), None, cut).bars if bar.flagged]
        above = sum(int(bar.words.split(": ")[1].split()[0]) for bar in flagged)
        assert above == (scores > cut).sum()


def test_a_wide_spread_makes_the_axis_logarithmic() -> None:
    wide = drawn(list(np.geomspace(1e-5, 1e-1, 200)))
    assert wide.logarithmic
    assert [tick.words for tick in wide.x_ticks] == [
        "1e-5",
        "0.0001",
        "0.001",
        "0.01",
        "0.1",
    ]
    narrow = drawn(list(np.linspace(0.01, 0.05, 200)))
    assert not narrow.logarithmic
    assert [tick.words for tick in narrow.x_ticks] == [
        "0.01",
        "0.02",
        "0.03",
        "0.04",
        "0.05",
    ]


def test_scores_of_zero_on_a_logarithmic_axis_stand_in_the_first_bar() -> None:
    found = drawn([0.0, 0.0, *np.geomspace(1e-4, 1, 50)])
    assert found.logarithmic
    assert found.below_axis >= 2
    assert counted(found) == 52


def test_one_image_among_a_million_is_seen() -> None:
    found = drawn([0.1] * 100_000 + [0.9])
    assert found.raised
    assert min(bar.height for bar in found.bars) > 0.5


def test_the_outline_is_scaled_to_the_number_scored() -> None:
    scores = list(np.linspace(1, 2, 40))
    found = drawn(scores, scores * 3)
    heights = [100 - float(step.split("H")[0]) for step in (found.outline or "").split("V")[1:-1]]
    assert max(heights) == pytest.approx(100)
    assert len(found.bars) == sum(height > 0 for height in heights)


def test_numbers_are_short() -> None:
    assert [number(x) for x in (0.0123456, 12345.6, 0.0, 1.5)] == ["0.01235", "12,346", "0", "1.5"]


def test_counted_scores_are_found_by_their_place_and_joined() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 9, 40).astype(np.float32), rng.integers(5, 12, 30).astype(np.float32)
    both = np.sort(np.concatenate([first, second]))
    found = Counted.of(first).joined(Counted.of(second))
    assert [found.at(place) for place in range(70)] == both.tolist()
    assert found.above(6).total == (both > 6).sum()
    assert found.with_one(20.0).at(70) == 20.0


def test_the_words_say_the_median_of_an_even_number_of_scores() -> None:
    assert drawn([1.0, 2.0, 4.0, 9.0]).words == "4 scores from 1 to 9, median 3."
