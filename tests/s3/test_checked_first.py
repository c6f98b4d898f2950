"""Storage that refuses is told before a cluster is asked for anything; the trap is that of `test_verb_checks_first`."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayae import stores
from rayae.cli import main
from tests.conftest import SMALL_TRAINING
from tests.s3.conftest import Bucket, make_bucket
from tests.servers import Server, free_port, moto

JOINED = "no Ray cluster can be joined at RAY_ADDRESS="
NAME = "reader"


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    with moto(is_strict=True) as server:
        yield server


@pytest.fixture
def held_back(strict: Server) -> Iterator[Any]:
    """Makes this process one that may do only these things in S3; afterwards it is gone."""
    identities = strict.client("iam")
    identities.create_user(UserName=NAME)
    key = identities.create_access_key(UserName=NAME)["AccessKey"]
    policies: list[str] = []

    def become(*actions: str) -> None:
        statement = [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        identities.put_user_policy(UserName=NAME, PolicyName="own", PolicyDocument=document)
        policies.append("own")
        os.environ.update(replace(strict, key_id=key["AccessKeyId"], secret=key["SecretAccessKey"]).environment())
        os.environ["RAY_ADDRESS"] = f"127.0.0.1:{free_port()}"
        stores.forget_stores()

    yield become
    for name in set(policies):
        identities.delete_user_policy(UserName=NAME, PolicyName=name)
    identities.delete_access_key(UserName=NAME, AccessKeyId=key["AccessKeyId"])
    identities.delete_user(UserName=NAME)


@pytest.fixture
def bucket(strict: Server, few: Path, bundle: Path) -> Bucket:
    found = make_bucket(strict)
    found.put_folder(few, "images")
    found.put_folder(bundle, "bundle")
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 1) -> str:
    found = main(list(words))
    error = capsys.readouterr().err
    assert (found, error.startswith("error: "), JOINED in error) == (code, True, False), error
    return error


def test_an_out_that_may_not_be_written_is_told_before_a_gpu_is_asked_for(
    held_back: Any, bucket: Bucket, few: Path, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = f"s3://{bucket.name}"
    held_back("s3:GetObject", "s3:ListBucket", "s3:ListAllMyBuckets")
    images = f"images={top}/images/good"
    said = refused(capsys, "score", images, f"bundle={top}/bundle", f"out={top}/run")
    assert f"cannot write {top}/run/" in said
    said = refused(capsys, "train", images, f"out={top}/new", "alpha=0.2", *SMALL_TRAINING)
    assert f"cannot write {top}/new/training/plan.json" in said
    said = refused(capsys, "calibrate", f"{top}/bundle", images, "alpha=0.2")
    assert f"cannot write {top}/bundle/calibrating-" in said
    assert {key.partition("/")[0] for key in bucket.names()} == {"images", "bundle"}


def test_images_and_bundles_that_may_not_be_read_are_told_before_a_gpu_is_asked_for(
    held_back: Any, bucket: Bucket, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = f"s3://{bucket.name}"
    held_back("s3:GetObject", "s3:PutObject")
    said = refused(capsys, "score", f"images={top}/images/good", f"bundle={bundle}", f"out={tmp_path}/run")
    assert f"cannot list {top}/images/good" in said
    said = refused(capsys, "train", f"images={top}/images/good", f"out={tmp_path}/new", *SMALL_TRAINING)
    assert f"cannot list {top}/images/good" in said
    held_back("s3:ListBucket", "s3:PutObject")
    said = refused(capsys, "score", f"images={top}/images/good", f"bundle={top}/bundle", f"out={tmp_path}/run")
    assert f"{top}/bundle" in said
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
