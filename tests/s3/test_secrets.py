"""No secret is ever written: not to the terminal, nor to a file of the run, whether it succeeds or fails.

The one exception is the column `uri` of a list that itself holds presigned addresses: it is what the images are named.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from rayae.cli import main
from tests.s3.conftest import Bucket
from tests.servers import SECRET, moto

TOKEN = "token/that+nobody==may/see"
PASSWORD = "a-password-in-a-uri"
SIGNATURE = "5167a70febf00d5167a70febf00d5167a70febf00d"
IN_URI = "token-in-a-presigned-query"
SECRETS = [SECRET, TOKEN, PASSWORD, SIGNATURE, IN_URI]
QUERY = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={IN_URI}"


@pytest.fixture(autouse=True)
def token(environment: None) -> None:
    os.environ["AWS_SESSION_TOKEN"] = TOKEN


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What gives all that a command says."""

    def run(*words: str, code: int | None = None) -> str:
        found = main(list(words))
        said = "".join(capfd.readouterr())
        assert code is None or found == code, said
        return said

    return run


def texts(name: str, data: bytes, *, names_may_be_presigned: bool = False) -> str:
    """All the text in a file, with that of the values and the metadata of a Parquet file."""
    if not name.endswith(".parquet"):
        return data.decode(errors="replace")
    file = pq.ParquetFile(io.BytesIO(data))
    table = file.read()
    if names_may_be_presigned:
        table = table.drop_columns([name for name in ("uri", "container") if name in table.column_names])
    return f"{table.schema.metadata} {file.metadata.metadata} {table.to_pylist()}"


def check(*all_texts: str) -> None:
    for text in all_texts:
        for secret in SECRETS:
            for form in (secret, quote(secret, safe=""), quote(secret)):
                assert form not in text, text[max(0, text.find(form) - 300) :][:600]


def check_files(folder: Path, *, names_may_be_presigned: bool = False) -> int:
    """Look into every file below a folder; how many there are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        check(texts(path.name, path.read_bytes(), names_may_be_presigned=names_may_be_presigned))
    return len(files)


def check_bucket(bucket: Bucket) -> int:
    found = bucket.objects()
    for key, data in found.items():
        check(texts(key, data))
    return len(found)


def test_a_run_that_succeeds_holds_no_secret(
    run: Callable[..., str], bucket: Bucket, few: Path, remote_bundle: str, tmp_path: Path
) -> None:
    images, out = bucket.put_folder(few, "images"), f"{bucket.uri}/run"
    words = [f"images={images}", f"bundle={remote_bundle}", f"out={out}", "placement=inline"]
    check(run("score", *words, code=0))
    check(run("score", *words, "--dry-run", code=0))
    for verb in ("verify", "report", "status"):
        check(run(verb, out, code=0))
    assert check_bucket(bucket) > 50


@pytest.mark.parametrize(
    "broken",
    ["images=s3://no-such-bucket/x", "bundle=s3://no-such-bucket/x", "out=s3://no-such-bucket/x", "storage.ca_file=no"],
)
def test_a_command_that_fails_says_no_secret(
    run: Callable[..., str], bucket: Bucket, few: Path, remote_bundle: str, tmp_path: Path, broken: str
) -> None:
    whole = {"images": str(few), "bundle": remote_bundle, "out": f"{bucket.uri}/run", "placement": "inline"}
    key, _, value = broken.partition("=")
    said = run("score", *(f"{k}={v}" for k, v in (whole | {key: value}).items()))
    assert "error: " in said
    check(said)
    check_bucket(bucket)


def test_a_server_that_refuses_the_signature_is_told_without_it(
    run: Callable[..., str], few: Path, bundle: Path, tmp_path: Path
) -> None:
    with moto(is_strict=True) as strict:
        strict.client().create_bucket(Bucket="guarded")
        os.environ |= {"AWS_ENDPOINT_URL": strict.url, "AWS_ACCESS_KEY_ID": strict.key_id}
        more = [f"bundle={bundle}", "placement=inline"]
        listing = ["score", "images=s3://guarded/images", f"out={tmp_path / 'one'}", *more]
        writing = ["score", f"images={few}", "out=s3://guarded/run", *more]
        (tmp_path / "list.txt").write_text("s3://guarded/images/0.png\n")
        reading = ["score", f"images={tmp_path / 'list.txt'}", f"out={tmp_path / 'two'}", *more]
        for words in (listing, writing, reading):
            said = run(*words)
            assert "error: " in said
            assert "Traceback" not in said
            check(said)
    check_files(tmp_path)


def presigned(bucket: Bucket, key: str, at: str = "") -> str:
    return f"http://{at}{bucket.server.url.partition('://')[2]}/{bucket.name}/{key}?{QUERY}"


def with_public_picture(bucket: Bucket, few: Path) -> Bucket:
    bucket.put("0.png", (few / "good" / "part0000.png").read_bytes())
    bucket.server.client().put_object_acl(Bucket=bucket.name, Key="0.png", ACL="public-read")
    return bucket


def test_presigned_addresses_stay_in_the_column_uri_alone(
    run: Callable[..., str], bucket: Bucket, few: Path, bundle: Path, tmp_path: Path
) -> None:
    if os.environ.get("RAYAE_S3_SERVER") == "radosgw":
        pytest.skip("the signatures are made up, and this server verifies them")
    with_public_picture(bucket, few)
    addresses = [
        presigned(bucket, "0.png"),
        presigned(bucket, "missing.png"),
        presigned(bucket, "0.png", at=f"somebody:{PASSWORD}@"),
        f"http://somebody:{PASSWORD}@127.0.0.1:9/0.png?{QUERY}",
    ]
    folder = tmp_path / "run"
    (tmp_path / "list.txt").write_text("".join(f"{address}\n" for address in addresses))
    words = [f"images={tmp_path / 'list.txt'}", f"bundle={bundle}", f"out={folder}", "placement=inline"]
    said = run("score", *words, "reader.deadline_s=2", "max_failed_fraction=1", code=0)
    check(said)
    assert check_files(folder, names_may_be_presigned=True) >= 4
    rows = pq.read_table(folder / "chunks").to_pylist()
    assert [row["uri"] for row in rows] == addresses
    assert {row["status"] for row in rows} > {"scored"}
    check(run("verify", str(folder), code=0))


def test_a_presigned_address_in_a_refused_command_is_told_without_its_signature(
    run: Callable[..., str], bucket: Bucket, few: Path, bundle: Path, tmp_path: Path
) -> None:
    more = [f"out={tmp_path / 'run'}", "placement=inline"]
    for words in (
        ["score", f"images={presigned(bucket, '0.png')}", f"bundle={bundle}", *more],
        ["score", f"images=[{presigned(bucket, '0.png')!r}]", f"bundle={bundle}", *more],
        ["score", f"images={few}", f"bundle={presigned(bucket, 'bundle')}", *more],
        ["index", f"images={few}", f"out={presigned(bucket, 'manifest.parquet')}"],
        ["report", presigned(bucket, "run")],
    ):
        said = run(*words)
        assert "error: " in said
        assert "Traceback" not in said
        check(said)


@pytest.mark.parametrize("user", ["somebody:{0}", "some'body:{0}", "{0}", "some/body:{0}"])
def test_a_password_in_an_endpoint_is_refused_and_not_told(
    run: Callable[..., str], few: Path, bundle: Path, tmp_path: Path, user: str
) -> None:
    words = [f"images={few}", f"bundle={bundle}", f"out={tmp_path / 'run'}"]
    for more in ([], ["--dry-run"]):
        said = run("score", *words, f"storage.endpoint=http://{user.format(PASSWORD)}@[::1]:59", *more, code=2)
        assert "storage.endpoint: it holds a user or a password; give credentials in the environment" in said
        check(said)
    assert not (tmp_path / "run").exists()


def test_a_bug_shows_its_traceback_without_a_secret(few: Path, bundle: Path, tmp_path: Path) -> None:
    """Python prints no values of variables; this holds it so for what rayae puts into the words of exceptions."""
    code = "import sys, rayae.verbs.score as s; s.failure_budget = None; from rayae.cli import main; main(sys.argv[1:])"
    words = ["score", f"images={few}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "placement=inline"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert "Traceback" in done.stderr
    check(done.stdout, done.stderr)
