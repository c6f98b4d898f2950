"""The distributions of a report: each product on an axis of its own, with the cut and the calibration of its bundle."""

import numpy as np
import pytest

from rayae import distributions
from rayae.database import opened
from rayae.distributions import chosen, distribution, products_of
from rayae.histogram import Counted
from rayae.overview import Judged, Tally
from rayae.page import render
from rayae.report import compose
from rayae.verbs.report import products
from tests.unit.small_runs import finish, plan
from tests.unit.test_report import HOSTILE, SUCCESS, Seen, asked, fixed, record, results
from tests.unit.test_scoring_products import bundles, finished, images, run_of

__all__ = ["bundles"]  # a fixture


@pytest.fixture
def run(tmp_path, bundles):
    return finished(*run_of(tmp_path / "run", bundles, images(tmp_path / "images")))


def told(run):
    with opened([("main", run)]) as database:
        return products(run, Judged(database), "product")


def test_a_run_with_one_bundle_has_no_products(tmp_path):
    run = finish(plan(tmp_path))
    assert products_of(run.assignment, run.calibrations, [], {}) is None


def test_each_product_is_drawn_with_the_cut_and_the_calibration_of_its_own_bundle(run, bundles):
    rows = run.results()
    found = told(run)
    assert found.undrawn is None
    assert [one.name for one in found.distributions] == ["Bolt", "gear", "nut"]
    for one in found.distributions:
        bundle = bundles.bundles[one.name]
        scores = [row["score"] for row in rows.to_pylist() if row["product"] == one.name and row["score"] is not None]
        assert one.score_name == bundle.primary_score
        assert one.histogram.words.startswith(f"{len(scores)} scores from ")
        assert (one.histogram.cut is None, one.histogram.outline is None) == (one.name == "gear",) * 2
        assert one.calibrated_on == (None if one.name == "gear" else "10")
        if one.name != "gear":
            flagged = sum(score > np.float32(bundle.threshold.cut) for score in scores)
            assert f"; {flagged} above the cut of " in one.histogram.words


def test_the_table_has_a_row_for_each_product_and_one_for_images_without_a_bundle(run):
    table = told(run).table
    assert table.title == "Each product has its bundle and its cut"
    assert [row[:3] for row in table.rows] == [
        ("Bolt", "2", "1"), ("gear", "2", "2"), ("nut", "4", "4"), ("without a bundle", "2", "0"),
    ]  # fmt: skip
    assert [row[-1].split(" above ")[0] for row in table.rows] == ["mae", "–", "mse", "–"]


def test_of_many_products_those_with_the_most_flags_are_drawn_and_the_others_named(run, monkeypatch):
    monkeypatch.setattr(distributions, "MOST_DRAWN", 1)
    tallies = [Tally(name, 4, 2, 2, flagged) for name, flagged in (("gear", 1), ("nut", 2), ("Bolt", 0), (None, 0))]
    assert chosen(run.assignment, tallies) == ["nut"]
    found = products_of(run.assignment, run.calibrations, tallies, {"nut": Counted.of(np.array([0.1, 0.2]))})
    assert [one.name for one in found.distributions] == ["nut"]
    assert found.undrawn == (
        "Drawn are the 1 of 3 values of product with the largest shares of flagged images; not drawn are Bolt, gear."
    )


def test_without_a_score_there_is_no_distribution():
    assert distribution(Counted.of(np.array([])), "mse", fixed(0.1), np.array([0.05], np.float32)) is None


def test_calibration_scores_that_are_no_numbers_are_left_out():
    known = np.array([0.1, np.nan, 0.3, np.inf], np.float32)
    assert distribution(Counted.of(np.array([0.2])), "mse", fixed(0.1), known).calibrated_on == "2"
    assert distribution(Counted.of(np.array([0.2])), "mse", fixed(0.1), known[1:2]).calibrated_on is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_names_each_product_and_executes_no_name(name):
    drawn = [distribution(Counted.of(np.array([0.1, 0.5])), "mse", fixed(0.3), None, one) for one in (name, "nut")]
    table = distributions.Table("Each product", ("product",), ((name,), ("nut",)))
    shown = distributions.Products(table, tuple(drawn), f"Not drawn is {name}.")
    seen = Seen(render(compose("/runs/night", record(4), SUCCESS, *asked(results([0.1, 0.5] * 2)), products=shown)))
    spelt = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    assert seen.text.count(spelt) == 4  # in the table, over its plot, in the title of the plot, among those not drawn
    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert sum(attributes.get("role") == "img" for _, attributes in seen.elements) == 2
    assert [tag for tag, _ in seen.elements].count("script") == 2
