"""Who asks: credentials from the usual places, checked by a server that checks signatures; what is refused is said."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayae import storage
from rayae.cli import main
from rayae.errors import StorageError
from rayae.run import Run
from tests.faults.processes import PATIENCE_S, start
from tests.s3.conftest import Bucket, make_bucket
from tests.servers import Front, Server, moto


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server that knows one user, and refuses everybody else."""
    with moto(is_strict=True) as found:
        yield found


@pytest.fixture
def guarded(strict: Server, few: Path) -> Bucket:
    """A bucket of that user with four pictures, and no credentials in the environment."""
    bucket = make_bucket(strict)
    for number in range(4):
        bucket.put(f"images/{number}.png", (few / "good" / f"part000{number}.png").read_bytes())
    os.environ["AWS_ENDPOINT_URL"] = strict.url
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        os.environ.pop(name, None)
    return bucket


def score(bucket: Bucket, bundle: Path, run: Path, *more: str) -> tuple[int, str]:
    """The exit code of a scoring in a process of its own, and all that it says."""
    log = run.with_name("log")
    words = [f"images={bucket.uri}/images", f"bundle={bundle}", f"out={run}", "placement=inline"]
    process = start("score", *words, *more, log=log)
    return process.wait(PATIENCE_S), log.read_text()


def check_sentence(said: str) -> str:
    """The one sentence of an error, and no traceback."""
    lines = said.strip().splitlines()
    assert "Traceback" not in said
    assert lines[-1].startswith("error: "), said
    assert sum(line.startswith("error: ") for line in lines) == 1
    return lines[-1]


def test_credentials_come_from_the_environment(guarded: Bucket, bundle: Path, tmp_path: Path) -> None:
    os.environ |= {"AWS_ACCESS_KEY_ID": guarded.server.key_id, "AWS_SECRET_ACCESS_KEY": guarded.server.secret}
    code, said = score(guarded, bundle, tmp_path / "run")
    assert code == 0, said
    assert main(["verify", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("how", ["environment", "setting"])
def test_credentials_come_from_a_profile(guarded: Bucket, bundle: Path, tmp_path: Path, how: str) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile somebody]\naws_access_key_id = AKIANOBODY\naws_secret_access_key = wrong\n"
        f"[profile tester]\naws_access_key_id = {guarded.server.key_id}\n"
        f"aws_secret_access_key = {guarded.server.secret}\nendpoint_url = {guarded.server.url}\nregion = us-east-1\n"
    )
    del os.environ["AWS_ENDPOINT_URL"]
    os.environ["AWS_CONFIG_FILE"] = str(config)
    if how == "environment":
        os.environ["AWS_PROFILE"] = "tester"
    code, said = score(guarded, bundle, tmp_path / "run", *(["storage.profile=tester"] if how == "setting" else []))
    assert code == 0, said


def test_a_public_bucket_is_read_without_credentials(
    bucket: Bucket, few: Path, bundle: Path, tmp_path: Path, front: Front
) -> None:
    client = bucket.server.client()
    client.put_bucket_acl(Bucket=bucket.name, ACL="public-read")
    for number, acl in enumerate(("public-read", "public-read", "private")):
        bucket.put(f"images/{number}.png", (few / "good" / f"part000{number}.png").read_bytes())
        client.put_object_acl(Bucket=bucket.name, Key=f"images/{number}.png", ACL=acl)
    os.environ["AWS_ENDPOINT_URL"] = front.url
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]
    before = len(front.lines())
    code, said = score(bucket, bundle, tmp_path / "run", "storage.anonymous=true")
    assert code == 0, said
    assert Run.open(str(tmp_path / "run")).results(["status"])["status"].to_pylist() == ["scored"] * 2 + ["forbidden"]
    assert {"signed=0" in line for line in front.lines()[before:]} == {True}


def test_without_credentials_a_sentence_says_how_they_are_given(guarded: Bucket, bundle: Path, tmp_path: Path) -> None:
    code, said = score(guarded, bundle, tmp_path / "run")
    assert code == 2
    assert "credentials" in check_sentence(said)
    assert "storage.anonymous=true" in said
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials_are_a_sentence(guarded: Bucket, bundle: Path, tmp_path: Path, wrong: str) -> None:
    os.environ["AWS_ACCESS_KEY_ID"] = "AKIANOBODY" if wrong == "key" else guarded.server.key_id
    os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong-secret-wrong-secret"
    code, said = score(guarded, bundle, tmp_path / "run")
    assert code == 2
    assert ("InvalidAccessKeyId" if wrong == "key" else "SignatureDoesNotMatch") in check_sentence(said)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_credentials_that_are_wrong_for_images_alone_blame_no_image(
    guarded: Bucket, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    images = tmp_path / "list.txt"
    images.write_text("".join(f"{guarded.uri}/images/{number}.png\n" for number in range(4)))
    os.environ["AWS_ACCESS_KEY_ID"] = "AKIANOBODY" if wrong == "key" else guarded.server.key_id
    os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong-secret-wrong-secret"
    run = tmp_path / "run"
    words = [f"images={images}", f"bundle={bundle}", f"out={run}", "placement=inline"]
    assert main(["score", *words]) == 2
    assert check_sentence(capsys.readouterr().err)
    assert not list(run.glob("chunks/*.parquet"))


@pytest.mark.parametrize("where", ["images", "bundle", "out", "manifest", "run"])
def test_a_bucket_that_does_not_exist_is_a_sentence(
    bucket: Bucket, few: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    nowhere = "s3://no-such-bucket"
    whole = ["score", f"images={few}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "placement=inline"]
    words = {
        "images": ["index", f"images={nowhere}/images", f"out={tmp_path / 'm.parquet'}"],
        "manifest": ["index", f"images={few}", f"out={nowhere}/m.parquet"],
        "bundle": [*whole, f"bundle={nowhere}/bundle"],
        "out": [*whole, f"out={nowhere}/run"],
        "run": ["verify", f"{nowhere}/run"],
    }[where]
    assert main(words) in (1, 2)
    sentence = check_sentence(capsys.readouterr().err)
    assert nowhere in sentence
    assert re.search(r"NoSuchBucket|there is no such|is no run|is no bundle|bucket does not exist", sentence), sentence
    assert not list(tmp_path.glob("*.parquet"))


def test_images_in_a_bucket_that_does_not_exist_are_missing_and_stop_the_run(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "list.txt"
    images.write_text("".join(f"s3://no-such-bucket/{number}.png\n" for number in range(4)))
    run = str(tmp_path / "run")
    assert main(["score", f"images={images}", f"bundle={bundle}", f"out={run}", "placement=inline"]) == 1
    assert "none of the 4 images" in check_sentence(capsys.readouterr().err)
    assert Run.open(run).results(["status"])["status"].to_pylist() == ["missing"] * 4


@pytest.mark.parametrize("rule", ["when_required", "when_supported"])
def test_the_rule_for_checksums_of_the_environment_is_kept(
    front: Front, bucket: Bucket, few: Path, bundle: Path, tmp_path: Path, rule: str
) -> None:
    os.environ |= {"AWS_REQUEST_CHECKSUM_CALCULATION": rule, "AWS_ENDPOINT_URL": front.url}
    bucket.put("images/0.png", (few / "good" / "part0000.png").read_bytes())
    log = tmp_path / "log"
    words = [f"images={bucket.uri}/images", f"bundle={bundle}", f"out={bucket.uri}/run", "placement=inline"]
    before = len(front.lines())
    assert start("score", *words, log=log).wait(PATIENCE_S) == 0, log.read_text()
    puts = [line for line in front.lines()[before:] if line.startswith("PUT")]
    assert [line for line in puts if "/chunks/chunk-000000.parquet" in line]
    with_checksum = [line for line in puts if " checksum=- " not in line]
    assert bool(with_checksum) == (rule == "when_supported"), puts


def test_an_address_where_nothing_answers_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    with pytest.raises(StorageError, match=r"^cannot read s3://bucket/key at http://127\.0\.0\.1:9: "):
        storage.read_tail("s3://bucket/key", 8)
