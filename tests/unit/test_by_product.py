"""Figures of several products side by side, by numbers that can be counted by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from rayae import evaluation
from rayae.by_product import ByProduct
from rayae.evaluated import NOTHING_MORE, About
from rayae.gates import Training
from rayae.results import PIXEL_STATISTICS
from rayae.score_names import UNTRAINED_SCORES

NUT = ([1, 2, 3, 4], [2.5, 5, 6], 3.5)
"""Scores of normal images and of defects, and the cut: AUROC (2 + 4 + 4) / 12."""
BOLT = ([100, 300], [200, 400], 250)
"""On another scale: AUROC 3 / 4."""


def evaluated(normal, defects, cut, beside=None, about=NOTHING_MORE):
    scores = np.array([*normal, *defects], np.float32)
    count = len(scores)
    columns = {
        "uri": [f"{row}.png" for row in range(count)],
        "label": ["good"] * len(normal) + ["crack"] * len(defects),
        "group": pa.nulls(count, pa.string()),
        "status": ["scored"] * count,
        "size_bytes": [1000] * count,
        **(beside or dict.fromkeys(PIXEL_STATISTICS, np.linspace(0, 1, count, dtype=np.float32))),
        "score": scores,
        "mse": scores,
        "is_anomaly": pa.nulls(count, pa.bool_()) if cut is None else scores > cut,
    }
    roles = [None] * count
    given = {"primary": "mse", "scores": ["mse"], "cut": cut, "roles": roles, "about": about}
    return evaluation.evaluate(pa.table(columns), **given, resamples=100)


@pytest.fixture
def both():
    return ByProduct("product", 0.95, {"bolt": evaluated(*BOLT), "nut": evaluated(*NUT)})


def test_the_mean_auroc_counts_each_product_once(both):
    assert both.areas == {"bolt": pytest.approx(3 / 4), "nut": pytest.approx(10 / 12)}
    assert both.mean_auroc == pytest.approx((3 / 4 + 10 / 12) / 2)


def test_the_floor_of_a_product_is_the_best_of_what_needs_no_trained_network(both):
    """Their pixel statistics rise from row to row, and the defects are the last rows."""
    assert both.floors == {"bolt": 1.0, "nut": 1.0}


def test_components_and_the_nearest_image_are_floors_of_a_product_too():
    names = (*PIXEL_STATISTICS, *UNTRAINED_SCORES)
    level = dict.fromkeys(names, np.ones(4, np.float32))
    for name in UNTRAINED_SCORES:
        beside = level | {name: np.float32([1, 2, 3, 4])}
        assert ByProduct("product", 0.95, {"bolt": evaluated(*BOLT, beside)}).floors == {"bolt": 1.0}
    assert ByProduct("product", 0.95, {"bolt": evaluated(*BOLT, level)}).floors == {"bolt": 0.5}


def test_flags_are_counted_over_all_products_at_the_cut_of_each(both):
    counts = {"recall": (3, 5), "false_positive_rate": (2, 6), "precision": (3, 5)}
    for name, (hits, trials) in counts.items():
        found, exact = both.at_cuts[name], binomtest(hits, trials).proportion_ci(0.95, "exact")
        assert found.value == pytest.approx(hits / trials)
        assert (found.low, found.high) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_a_product_without_defects_has_no_auroc_and_is_named():
    found = ByProduct("product", 0.95, {"gear": evaluated([1, 2], [], 1.5), "nut": evaluated(*NUT)})
    assert found.areas == {"nut": pytest.approx(10 / 12)}
    assert "1 product(s) have no AUROC: gear." in found.words
    assert found.at_cuts["false_positive_rate"].value == pytest.approx(2 / 6)


def test_without_any_auroc_there_is_no_mean():
    found = ByProduct("product", 0.95, {"gear": evaluated([1, 2], [], None)})
    assert found.mean_auroc is None
    assert found.at_cuts["recall"].value is None
    reason = "No unseen defect is scored and labelled, so recall and ranking cannot be had."
    assert found.words[1:] == ["1 product(s) have no AUROC: gear.", reason]


def test_the_words_say_the_mean_the_worst_and_the_best(both):
    assert both.words[0] == ("Ready for production: 0 of 2 products pass all gates; look at the gates of bolt, nut.")
    assert both.words[1].startswith("Over 2 products the mean AUROC is 0.792, from 0.750 (bolt) to 0.833 (nut).")
    assert both.words[2].startswith("The best floor of each, which needs no trained network, has a mean AUROC of ")
    assert both.words[3:] == [
        "Of 2 products 2 have not been shown to beat each of their floors: bolt, nut. Look whether their detectors are "
        "worth their training.",
        "At their cuts 60 % of the defects of all products are flagged.",
        "At their cuts 33.3 % of the normal images of all products are flagged.",
    ]


def test_a_product_that_passes_all_gates_is_ready():
    """The score of the pixels is level, so that the score beats it; the cut promises 5 % and flags none."""
    generator = np.random.default_rng(0)
    normal, defects = generator.uniform(0, 1, 60), [0.9, *generator.uniform(2, 3, 40)]
    level = dict.fromkeys(PIXEL_STATISTICS, generator.normal(size=101).astype(np.float32))
    one = evaluated(normal, defects, 1.5, level, About(promised=0.05, training=Training(1.0)))
    assert {gate.name: gate.passed for gate in one.gates if not gate.passed} == {}
    assert ByProduct("product", 0.95, {"nut": one}).words[0] == (
        "Ready for production: 1 of 1 products pass all gates."
    )


def test_the_table_has_a_row_a_product(both):
    title, columns, rows = both.table()
    assert title == "By product"
    assert [dict(zip(columns, row, strict=True))["product"] for row in rows] == ["bolt", "nut"]
    assert dict(zip(columns, rows[1], strict=True))["AUROC"] == "0.833"


def test_the_whole_is_json(both):
    found = json.loads(json.dumps(both.to_dict(), allow_nan=False))
    assert list(found["products"]) == ["bolt", "nut"]
    assert found["mean_auroc"] == both.mean_auroc
