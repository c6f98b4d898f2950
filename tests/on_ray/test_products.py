"""Several products on Ray: their bundles are trained one after the other, and actors hold all of them."""

from pathlib import Path

import numpy as np
import pytest

from rayae.bundle_set import BundleSet
from rayae.cli import main
from rayae.run import Run
from tests.conftest import SMALL_TRAINING
from tests.unit.small_products import products

ALIKE = ("image_id", "uri", "product", "status", "error", "is_anomaly", "bundle_id", "threshold_id")


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products; beside their CSV a list with both of them mixed, and two images that are of neither."""
    csv = products(tmp_path_factory.mktemp("products"), defects=6, Screw=50, nut=50)
    _, *lines = csv.read_text().splitlines()
    rows = [line.split(",") for pair in zip(lines[:56], lines[56:], strict=True) for line in pair]
    rows[5][2], rows[80][2] = "nail", ""
    mixed = "".join(f"{','.join(row)}\n" for row in rows)
    (csv.parent / "mixed.csv").write_text(f"uri,label,product,group\n{mixed}")
    return csv


def test_bundles_of_products_are_trained_and_score_on_ray_as_in_one_process(csv: Path, tmp_path: Path) -> None:
    words = [f"images={csv.parent}", f"labels={csv}", f"out={tmp_path / 'set'}", "per_group=product", "epochs=2"]
    assert main(["train", *words, "alpha=0.2", "workers=1", *SMALL_TRAINING]) == 0
    assert list(BundleSet.open(str(tmp_path / "set")).bundles) == ["Screw", "nut"]
    found = {}
    for placement in ("inline", "together", "apart"):
        out = tmp_path / placement
        asked = [f"images={csv.parent / 'mixed.csv'}", f"bundle={tmp_path / 'set'}", f"out={out}", "chunk_images=30"]
        workers = [] if placement == "inline" else ["workers=2"]
        assert main(["score", *asked, f"placement={placement}", *workers]) == 0
        assert main(["verify", str(out)]) == 0
        found[placement] = Run.open(str(out)).results()
    assert found["apart"].equals(found["together"])
    assert found["inline"]["status"].to_pylist().count("no_bundle") == 2
    for name in ALIKE:
        assert found["together"][name].equals(found["inline"][name]), name
    scores = [found[placement]["score"].fill_null(0).to_numpy() for placement in ("together", "inline")]
    np.testing.assert_allclose(*scores, rtol=2e-2, atol=1e-6)
