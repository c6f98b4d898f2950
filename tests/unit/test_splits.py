"""Splits: groups stay together, shares come out, the same seed gives the same sides."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayae.manifest import complete
from rayae.splits import assign_sides, groups_of, split_by_group


def images(groups: Sequence[str | None], split: Sequence[str | None] | None = None) -> pa.Table:
    uris = pa.array([str(row) for row in range(len(groups))], pa.string())
    known = {"group": pa.array(groups, pa.string())}
    return complete({"uri": uris} | known | ({} if split is None else {"split": pa.array(split, pa.string())}))


def test_groups_are_numbers_that_differ_where_the_names_do() -> None:
    found = groups_of(images(["007", "7", "", "007", "b"]))
    assert len(set(found)) == 4
    assert found[0] == found[3]


def test_images_without_a_group_stay_with_their_neighbours_and_with_no_named_group() -> None:
    found = groups_of(images([None] * 60 + ["a"] + [None] * 60))
    alone = np.delete(found, 60)
    assert found[60] not in set(alone)
    assert np.unique(alone, return_counts=True)[1].tolist() == [6] * 20


@pytest.mark.parametrize(
    ("count", "largest", "runs"), [(0, 0, 0), (1, 1, 1), (19, 1, 19), (100, 5, 20), (10_000, 64, 157)]
)
def test_runs_are_of_at_most_64_images_and_at_least_20_in_number(count: int, largest: int, runs: int) -> None:
    sizes = np.unique(groups_of(images([None] * count)), return_counts=True)[1]
    assert len(sizes) == runs
    assert sizes.max(initial=0) == largest


def test_groups_do_not_depend_on_how_arrow_lays_the_table_out() -> None:
    table = images(["a", None, "b", "a", None])
    pieces = pa.concat_tables([table.slice(0, 2), table.slice(2, 0), table.slice(2)])
    assert groups_of(pieces).tolist() == groups_of(table).tolist()
    assert groups_of(table.slice(1)).tolist() == groups_of(images([None, "b", "a", None])).tolist()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.floats(0, 0.6), st.floats(0, 0.4), st.integers(0, 5))
def test_a_group_is_never_on_two_sides_and_shares_are_right_to_half_a_group(
    groups: list[int], first: float, second: float, seed: int
) -> None:
    numbers = np.array(groups, dtype=np.int64)
    shares = {"calibration": first, "test": second}
    sides = split_by_group(numbers, shares, "train", seed)
    assert len({(group, side) for group, side in zip(groups, sides, strict=True)}) == len(set(groups))
    half = np.unique(numbers, return_counts=True)[1].max() / 2
    filled = sum(share > 0 and len(set(np.array(groups)[sides == side])) == 1 for side, share in shares.items())
    most = half * (1 + 2 * filled) + 1e-9  # a side that would have been empty has a whole group
    assert abs((sides == "calibration").sum() - first * len(groups)) <= most
    assert abs(np.isin(sides, ["calibration", "test"]).sum() - (first + second) * len(groups)) <= most
    assert (split_by_group(numbers, {"calibration": first, "test": second}, "train", seed) == sides).all()


def test_another_seed_gives_another_split_and_the_golden_one_does_not_move() -> None:
    groups = np.arange(20) // 2
    sides = [split_by_group(groups, {"test": 0.3}, "train", seed) for seed in (0, 1)]
    assert (sides[0] != sides[1]).any()
    assert np.flatnonzero(sides[0] == "test").tolist() == [4, 5, 8, 9, 12, 13]


def test_sides_are_drawn_by_group_when_the_column_says_nothing() -> None:
    groups = [f"g{row // 10}" for row in range(1000)]
    sides = assign_sides(images(groups), 0.2, 0.1, seed=3)
    assert {side: int((sides == side).sum()) for side in ("train", "validation", "calibration")} == {
        "train": 720,
        "validation": 80,
        "calibration": 200,
    }
    assert len(set(zip(groups, sides, strict=True))) == 100


def test_the_column_decides_where_it_says_anything() -> None:
    split = ["train"] * 50 + ["calibration"] * 5 + ["test"] * 5 + [None] * 5
    sides = assign_sides(images([None] * 65, split), 0.5, 0.2, seed=0)
    assert sides[50:].tolist() == split[50:]
    assert set(sides[:50]) == {"train", "validation"}
    assert abs((sides == "validation").sum() - 10) <= 1.5  # half a run of neighbours


def test_a_validation_of_the_users_own_is_left_as_it_is() -> None:
    split = ["train"] * 8 + ["validation"] * 2
    assert assign_sides(images([None] * 10, split), 0.5, 0.5, seed=0).tolist() == split


def test_a_split_without_a_training_side_is_left_as_it_is() -> None:
    assert assign_sides(images([None] * 3, ["test"] * 3), 0.5, 0.5, seed=0).tolist() == ["test"] * 3


def test_a_side_that_would_get_no_group_takes_one_as_long_as_another_is_left() -> None:
    for seed in range(20):
        sides = split_by_group(np.repeat(np.arange(6), 32), {"calibration": 0.2, "validation": 0.01}, "train", seed)
        assert Counter(sides.tolist()).keys() == {"calibration", "validation", "train"}
        assert (sides == "validation").sum() == 32
    assert set(split_by_group(np.zeros(9, int), {"validation": 0.1}, "train", 0).tolist()) == {"train"}
    assert set(split_by_group(np.arange(9), {"validation": 0.0}, "train", 0).tolist()) == {"train"}
