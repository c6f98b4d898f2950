"""A set of bundles: which folder is whose, and what is refused of what somebody has changed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayae.bundle import Bundle
from rayae.bundle_set import INDEX, BundleSet, assignment_of, folder_of, open_assigned, write_index
from rayae.errors import BundleError, ConfigError, RunError
from rayae.preprocess import Preprocess
from tests.unit.small_things import NETWORK, SIDE, small_bundle, small_weights


def small_set(folder, values, **changed):
    """A set of bundles with random weights, a seed each."""
    for seed, value in enumerate(values):
        bundle = small_bundle(folder / folder_of(value), weights=small_weights(seed), **changed)
        write_index(str(folder), "product", [(value, bundle)])
    return BundleSet.open(str(folder))


@given(st.lists(st.text(), unique=True, max_size=8))
def test_different_values_have_different_folders_in_whatever_letters(values):
    names = [folder_of(value) for value in values]
    assert len({name.lower() for name in names}) == len(values)
    for name in names:
        assert 0 < len(name.encode()) <= 64
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_-~")


@pytest.mark.parametrize("value", ["screw", "m4_nut-2", "7"])
def test_a_plain_value_is_the_name_of_its_folder(value):
    assert folder_of(value) == value


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "Screw", "con", "com1", "schraube ß", "a" * 300, "\ud800"])
def test_a_value_that_is_no_safe_name_gets_a_digest(value):
    readable, _, digest = folder_of(value).partition("~")
    assert readable
    assert len(digest) == 12
    assert ".." not in folder_of(value)
    assert "/" not in folder_of(value)


def test_a_set_opens_its_bundles_by_value_in_order(tmp_path):
    found = small_set(tmp_path, ["nut", "Bolt", "gear"])
    assert list(found.bundles) == ["Bolt", "gear", "nut"]
    assert found.bundles["nut"].bundle_id == Bundle.open(str(tmp_path / "nut")).bundle_id


def test_bundles_of_other_pixels_are_refused(tmp_path):
    small_set(tmp_path, ["nut"])
    other = Preprocess("grey", SIDE, 2 * SIDE)
    network = NETWORK | {"width": 2 * SIDE}
    wide = small_bundle(tmp_path / "wide", preprocess=other, network=network, weights=small_weights(0, network))
    write_index(str(tmp_path), "product", [("wide", wide)])
    with pytest.raises(BundleError, match="take different pixels, as those of 'nut' and 'wide' do"):
        BundleSet.open(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"folder": "../elsewhere"}, "the bundle of 'nut' is not in the folder of this value"),
        ({"bundle_id": "0" * 12}, "and bundles.json says 000000000000 for 'nut'"),
        ({"bundle_id": 7}, "bundles.nut.bundle_id is 7"),
    ],
)
def test_an_index_that_was_changed_is_refused(tmp_path, change, sentence):
    small_set(tmp_path, ["nut"])
    index = json.loads((tmp_path / INDEX).read_text())
    index["bundles"]["nut"] |= change
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BundleError, match=sentence):
        BundleSet.open(str(tmp_path))


def test_a_bundle_that_is_gone_is_named(tmp_path):
    small_set(tmp_path, ["nut", "gear"])
    (tmp_path / "nut" / "bundle.json").unlink()
    with pytest.raises(BundleError, match="names a bundle for 'nut' that is not there"):
        BundleSet.open(str(tmp_path))


def test_a_set_by_another_column_is_not_written_over(tmp_path):
    found = small_set(tmp_path, ["nut"])
    with pytest.raises(ConfigError, match="holds a set of bundles, one for each value of `product`"):
        write_index(str(tmp_path), "line", found.bundles.items())


def test_a_folder_without_an_index_is_no_set(tmp_path):
    with pytest.raises(ConfigError, match=r"is no set of bundles: it has no bundles\.json"):
        BundleSet.open(str(tmp_path))


def test_a_bundle_that_was_replaced_since_the_plan_is_refused(tmp_path):
    found = small_set(tmp_path, ["nut", "gear"])
    planned = assignment_of(found).bundles["nut"]
    assert open_assigned(found.uri, planned, "RUN").bundle_id == planned.bundle_id
    (tmp_path / "nut").rename(tmp_path / "former")
    (tmp_path / "gear").rename(tmp_path / "nut")
    with pytest.raises(RunError, match="was replaced after RUN was planned"):
        open_assigned(found.uri, planned, "RUN")


def test_a_set_can_be_limited_to_some_of_its_values_and_not_to_none(tmp_path):
    found = small_set(tmp_path, ["nut", "gear"])
    assert list(found.limited(["nut", "bolt"]).bundles) == ["nut"]
    with pytest.raises(BundleError, match="has none of the bundles that are wanted, those of bolt"):
        found.limited(["bolt"])
