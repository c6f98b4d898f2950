"""A run on S3 is asked by SQL as one on disk is, and a question reaches no other object."""

import re
from pathlib import Path

import pytest

from rayae import storage
from rayae.compaction import compact
from rayae.database import opened
from rayae.errors import ConfigError, RunError, StorageError
from rayae.numbered_files import NumberedFiles
from rayae.run import Run
from tests.s3.conftest import Bucket
from tests.unit.small_runs import finish, plan

BY_NUMBER = "SELECT * FROM results ORDER BY image_id"


def put(bucket: Bucket, folder: Path) -> Run:
    """A finished run, put there under a key that holds what DuckDB takes for a pattern."""
    finish(plan(folder))
    return Run.open(bucket.put_folder(folder, "run [1] it's"))


def test_its_rows_are_those_of_the_files_before_and_after_it_is_compacted(bucket: Bucket, tmp_path: Path) -> None:
    run = put(bucket, tmp_path)
    expected = run.results().to_pylist()
    with opened([("main", run)]) as database:
        assert database.table(BY_NUMBER).to_pylist() == expected
    compact(run, 1024**2, lambda: None)
    with opened([("main", run)]) as database:
        assert database.table(BY_NUMBER).to_pylist() == expected
        assert database.table("SELECT count(*) AS n FROM images").to_pylist() == [{"n": 10}]


def test_no_other_object_is_read(bucket: Bucket, tmp_path: Path) -> None:
    run = put(bucket, tmp_path)
    for name in (f"{bucket.uri}/run/other.parquet", "rayae://99.parquet"):
        with opened([("main", run)]) as database, pytest.raises(ConfigError, match="the tables of the run and nothing"):
            database.table(f"SELECT * FROM read_parquet('{name}')")


def test_an_object_that_is_gone_is_a_sentence(bucket: Bucket, tmp_path: Path) -> None:
    run = put(bucket, tmp_path)
    uri = run.chunk_uri(1)
    storage.remove(uri)
    with pytest.raises(StorageError, match="there is no such bucket or object"):
        NumberedFiles().add([run.chunk_uri(0), uri])


def test_an_object_that_is_damaged_or_goes_meanwhile_is_named(bucket: Bucket, tmp_path: Path) -> None:
    run = put(bucket, tmp_path)
    uri = run.chunk_uri(1)
    whole = storage.read_bytes(uri)
    with opened([("main", run)]) as database:
        storage.write_bytes(uri, whole[:-4] + b"????")
        with pytest.raises(RunError, match=rf"^the results cannot be read: .*'{re.escape(uri)}'; `rayae verify` says"):
            database.table(BY_NUMBER)
        storage.remove(uri)
        with pytest.raises(RunError, match=rf"^the results cannot be read: cannot read {re.escape(uri)}: .*\.$"):
            database.table(BY_NUMBER)
