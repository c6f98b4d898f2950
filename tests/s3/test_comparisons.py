"""Runs on S3 are compared, and looked at for drift, as those on disk are, before and after they are compacted."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rayae import storage
from rayae.cli import main
from rayae.compaction import compact
from rayae.run import Run
from tests.s3.conftest import Bucket
from tests.unit.test_verb_compare import made, scores_of
from tests.unit.test_verb_drift import calibrated, scored, values_of


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_comparison_on_s3_is_that_of_the_same_runs_on_disk(
    is_compacted: bool, bucket: Bucket, tmp_path: Path
) -> None:
    local = [made(tmp_path / name, scores_of(seed)) for seed, name in enumerate("ab")]
    remote = [Run.open(bucket.put_folder(Path(run.uri), f"run {name}")) for name, run in zip("ab", local, strict=True)]
    if is_compacted:
        compact(remote[1], 1024**2, lambda: None)
    records = []
    for (a, b), out in ((local, f"{tmp_path}/out"), (remote, f"{bucket.uri}/out")):
        assert main(["compare", a.uri, b.uri, f"out={out}"]) == 0
        records.append(storage.read_json(f"{out}/comparison.json"))
    assert {**records[0], "runs": None} == {**records[1], "runs": None}
    for name in ("disagreements.parquet", "flagged_by_one.parquet"):
        with storage.open_read(f"{bucket.uri}/out/{name}") as file:
            assert pq.read_table(file).equals(pq.read_table(tmp_path / "out" / name))


def test_drift_on_s3_is_that_of_the_same_run_on_disk(bucket: Bucket, tmp_path: Path) -> None:
    local = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 50)), values_of(1, 60))
    remote = Run.open(bucket.put_folder(Path(local.uri), "run"))
    for run in (local, remote):
        assert main(["drift", run.uri, f"out={run.uri}/found"]) == 0
    own, other = (storage.read_json(f"{run.uri}/found/drift.json") for run in (local, remote))
    differ_by_nature = {"run": None, "created": None}
    assert own | differ_by_nature == other | differ_by_nature
