"""The calibration scores that a run keeps."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from rayae.assignment import ALL
from rayae.calibrations import from_parquet, to_parquet

LOW, HIGH = (np.array(values, np.float32) for values in ([0.1, 0.2], [1, 2, 3]))


@pytest.mark.parametrize("given", [{ALL: LOW}, {"nut": LOW, "Bolt": HIGH}, {"": LOW, "nut": HIGH}, {"nut": HIGH}])
def test_each_bundle_gets_its_scores_back_in_their_order(given):
    found = from_parquet(to_parquet(given))
    assert list(found) == list(given)
    for value, scores in given.items():
        assert found[value].dtype == np.float32
        assert found[value].tolist() == scores.tolist()


def test_one_bundle_for_all_images_has_a_file_of_scores_alone():
    assert pq.read_table(io.BytesIO(to_parquet({ALL: LOW}))).column_names == ["score"]
