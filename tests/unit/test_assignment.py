"""Which bundle scores which image, and what names the whole."""

import json

import pyarrow as pa
import pytest

from rayae.assignment import ALL, OWN_PRIMARY, Assigned, Assignment, refuse_column, rows_by_value, values_of, why_none
from rayae.errors import ConfigError, DataError
from tests.unit.small_runs import THRESHOLD


def assigned(bundle_id="b" * 12, primary="mse", scores=("mse", "mae"), threshold=THRESHOLD, calibration="c"):
    return Assigned("folder", bundle_id, primary, scores, calibration, threshold)


def by_product(**bundles):
    return Assignment("product", bundles)


def images(values, kind=None):
    return pa.table({"uri": [str(row) for row in range(len(values))], "product": pa.array(values, kind)})


def rows(parts):
    return [(value, found.tolist()) for value, found in parts]


def test_one_bundle_scores_all_images():
    assert rows(Assignment(None, {ALL: assigned()}).parts(images(["a", None]))) == [(ALL, [0, 1])]


def test_each_image_is_in_the_part_of_its_value_in_the_order_of_the_rows():
    found = by_product(nut=assigned(), bolt=assigned()).parts(images(["nut", "bolt", "gear", None, "nut", "bolt"]))
    assert rows(found) == [("bolt", [1, 5]), ("nut", [0, 4]), (None, [2, 3])]


def test_without_images_there_are_no_parts():
    assert by_product(nut=assigned()).parts(images([], pa.string())) == []


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([7, 12], pa.int32(), ["7", "12"]),
        ([True, None], pa.bool_(), ["true", None]),
        (["a", "a"], pa.dictionary(pa.int8(), pa.string()), ["a", "a"]),
        (["a", ""], pa.large_string(), ["a", ""]),
        ([None, None], pa.null(), [None, None]),
    ],
)
def test_texts_and_whole_numbers_are_values(values, kind, texts):
    assert values_of(images(values, kind), "product").to_pylist() == texts


def test_other_numbers_are_no_values():
    with pytest.raises(DataError, match="the column 'product' holds values of the type double"):
        values_of(images([0.5]), "product")


def test_a_column_that_is_not_there_is_told():
    with pytest.raises(DataError, match="chosen by the column 'line', and there is none"):
        values_of(images(["a"]), "line")


def test_rows_by_value_are_in_the_order_of_the_values_and_those_without_one_last():
    found = rows_by_value(images([None, "b", "a", "b"]), "product")
    assert [(value, found[value].tolist()) for value in found] == [("a", [2]), ("b", [1, 3]), (None, [0])]


def test_a_reason_names_the_value():
    assert why_none("product", images(["nut", None])) == [
        "There was no bundle for the `product` 'nut' when the run was planned.",
        "The image has no `product`, by which its bundle is chosen.",
    ]


def test_a_column_is_group_or_one_of_the_users_own():
    refuse_column("group", ["uri", "group"])
    refuse_column("product", ["uri", "group", "product"])
    with pytest.raises(
        ConfigError,
        match=r"a bundle for each `split` .* of these images they have no column of their own: give",
    ):
        refuse_column("split", ["uri", "split"])


def test_the_whole_is_named_by_its_column_its_values_and_their_bundles():
    one = by_product(nut=assigned())
    others = [
        Assignment("line", one.bundles),
        by_product(bolt=assigned()),
        by_product(nut=assigned("a" * 12)),
        by_product(nut=assigned(), bolt=assigned()),
    ]
    assert len({one.bundle_id, *(other.bundle_id for other in others)}) == 5
    assert Assignment(None, {ALL: assigned()}).bundle_id == "b" * 12


def test_the_scores_of_all_are_those_of_any():
    found = by_product(nut=assigned(scores=("mse", "mae")), bolt=assigned(scores=("mse", "head_max")))
    assert found.scores == ("mse", "mae", "head_max")


def test_the_primary_score_of_all_is_that_of_each_or_each_has_its_own():
    assert by_product(nut=assigned(), bolt=assigned()).primary_score == "mse"
    assert by_product(nut=assigned(), bolt=assigned(primary="mae")).primary_score == OWN_PRIMARY


def test_cuts_and_calibrations_are_named_together_and_there_is_no_name_without_any():
    none = by_product(nut=assigned(threshold=None, calibration=None), bolt=assigned(threshold=None, calibration=None))
    assert (none.threshold_id, none.calibration) == (None, None)
    some = by_product(nut=assigned(), bolt=assigned(threshold=None, calibration=None))
    assert len({none.threshold_id, some.threshold_id, by_product(nut=assigned()).threshold_id}) == 3
    alone = Assignment(None, {ALL: assigned()})
    assert (alone.threshold_id, alone.calibration) == (THRESHOLD.id, "c")


def test_json_gives_it_back():
    found = by_product(nut=assigned(), bolt=assigned(threshold=None))
    assert Assignment.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_record_without_bundles_is_refused():
    with pytest.raises(DataError, match="its record names none of them"):
        Assignment.from_dict({"column": "product", "bundles": {}})


def test_a_primary_score_that_a_bundle_has_not_is_refused():
    with pytest.raises(DataError, match="The primary score 'ssim' is none of the scores of its bundle"):
        Assigned.from_dict(assigned(primary="ssim").to_dict())
