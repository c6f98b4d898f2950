"""Several products with everything on object storage: their bundles lie beside one another under one prefix."""

from pathlib import Path

import pytest

from rayae.bundle_set import INDEX, BundleSet, folder_of
from rayae.cli import main
from rayae.run import Run
from tests.s3.conftest import Bucket
from tests.unit.small_products import products, train


def test_a_set_of_bundles_on_object_storage_scores_as_one_on_the_disk(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, uri = products(tmp_path / "images", defects=4, **{"Nut M4": 40, "bolt": 40}), f"{bucket.uri}/bundles"
    for out in (str(tmp_path / "set"), uri):
        assert train(csv, out) == 0, capsys.readouterr().err
    assert f"bundles/{INDEX}" in bucket.objects()
    assert f"bundles/{folder_of('Nut M4')}/bundle.json" in bucket.objects()
    there, here = BundleSet.open(uri), BundleSet.open(str(tmp_path / "set"))
    assert {value: one.bundle_id for value, one in there.bundles.items()} == {
        value: one.bundle_id for value, one in here.bundles.items()
    }
    found = []
    for bundle, run in ((uri, f"{bucket.uri}/run"), (str(tmp_path / "set"), str(tmp_path / "run"))):
        words = [f"images={csv.parent}", f"labels={csv}", f"bundle={bundle}", f"out={run}", "placement=inline"]
        assert main(["score", *words]) == 0, capsys.readouterr().err
        for verb in ("verify", "evaluate", "report"):
            assert main([verb, run]) == 0, capsys.readouterr().err
        found.append(Run.open(run).results())
    assert found[0].equals(found[1])
