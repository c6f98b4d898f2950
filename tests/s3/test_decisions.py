"""A run on S3 is decided about as one on disk is, and what a killed process has left there is no decision."""

from pathlib import Path

import pyarrow as pa
import pytest

from rayae import decisions, storage
from rayae.cli import main
from rayae.database import opened
from rayae.decisions import all_of, read_flags
from rayae.run import Run
from tests.s3.conftest import Bucket
from tests.unit.small_runs import finish, plan
from tests.unit.test_verb_flag_rules import with_bundle

WORDS = ["rule=fixed", "cut=0.13", "borderline=2"]


@pytest.fixture
def local(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def test_its_flags_are_those_of_the_same_run_on_disk(bucket: Bucket, local: Run) -> None:
    remote = Run.open(bucket.put_folder(Path(local.uri), "the run"))
    for run in (local, remote):
        assert main(["flag", run.uri, *WORDS]) == 0
        assert main(["decisions", run.uri]) == 0
    (one,), (other,) = all_of(local), all_of(remote)
    assert other.ruling == one.ruling
    tables = [pa.concat_tables(read_flags(run, one.id)) for run in (local, remote)]
    assert tables[0].equals(tables[1])
    with opened([("main", remote)]) as database:
        found = database.table("SELECT * EXCLUDE (decision, needs_review) FROM flags ORDER BY image_id")
    assert found.to_pylist() == tables[0].to_pylist()
    names = {key.rpartition("/")[2] for key in bucket.names() if f"/{one.id}/" in key}
    others = {"changes-run.parquet", "borderline-2.html", "curve.csv"}
    assert names == {"threshold.json", "flags-000000.parquet", *others}


def test_its_cut_is_evaluated_as_on_disk_and_the_figures_stand_beside_it(bucket: Bucket, tmp_path: Path) -> None:
    local = with_bundle(finish(plan(tmp_path / "run", rows=60)), tmp_path / "bundle")
    remote = Run.open(bucket.put_folder(Path(local.uri), "the run"))
    found = []
    for run in (local, remote):
        assert main(["flag", run.uri, *WORDS]) == 0
        (decision,) = all_of(run)
        assert main(["evaluate", run.uri, f"decision={decision.id}", "resamples=100"]) == 0
        found.append(storage.read_json(decisions.place(run, decision.id, "evaluation.json")))
        assert run.evaluation() is None
    same = [{key: value for key, value in one.items() if key not in ("run", "settings")} for one in found]
    assert same[0] == same[1]


def test_one_without_its_record_is_made_anew(bucket: Bucket, local: Run) -> None:
    remote = Run.open(bucket.put_folder(Path(local.uri), "the run"))
    assert main(["flag", remote.uri, *WORDS]) == 0
    (decision,) = all_of(remote)
    place = f"the run/decisions/{decision.id}"
    bucket.delete(f"{place}/threshold.json")
    bucket.put(f"{place}/flags-000009.parquet", b"of another order of files")
    assert decisions.find(remote, decision.id) is None
    assert main(["flag", remote.uri, *WORDS]) == 0
    assert all_of(remote)[0].ruling == decision.ruling
    assert f"{place}/flags-000009.parquet" not in bucket.names()
