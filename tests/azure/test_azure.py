"""Azure's blob storage, as its emulator Azurite has it: the line end to end. `npm install azurite` brings it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayae import objects, storage
from rayae.cli import main
from rayae.run import Run

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every Azurite has; it opens nothing else."""
AZURITE = shutil.which("azurite-blob") or shutil.which("azurite-blob", path="node_modules/.bin")


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An Azurite of our own, and the environment that leads to it."""
    adlfs = pytest.importorskip("adlfs", reason="needs the extra `azure`")
    if AZURITE is None:
        pytest.skip("needs azurite-blob (npm install azurite)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(tmp_path_factory.mktemp("azurite"))]
    process = subprocess.Popen([AZURITE, *where, "--skipApiVersionCheck", "--silent", "--disableTelemetry"])
    url = f"http://127.0.0.1:{port}"
    connection = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}/{ACCOUNT};"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        patch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
        patch.setenv("AZURITE_BLOB_STORAGE_URL", url)
        try:
            _wait_for(port)
            adlfs.AzureBlobFileSystem(connection_string=connection).mkdir("archive")
            yield
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_keys_are_listed_and_read_as_they_stand() -> None:
    names = ["a b", "ü漢😀", "100%+x", "q?x&y#z", "quo'te"]
    for name in names:
        assert objects.create(f"az://archive/keys/{name}", name.encode())
    listed = [uri for page in objects.pages("az://archive/keys/") for uri in page["uri"].to_pylist()]
    assert listed == [f"az://archive/keys/{name}" for name in sorted(names)]
    assert [objects.get(uri, lambda answer: None).decode() for uri in listed] == sorted(names)


def test_of_two_writers_one_succeeds() -> None:
    assert [storage.create("az://archive/lease", data) for data in (b"1", b"2")] == [True, False]
    found = storage.read_version("az://archive/lease")
    assert found is not None
    assert [storage.replace("az://archive/lease", data, found[1]) for data in (b"3", b"4")] == [True, False]
    assert storage.read_tail("az://archive/lease", 8) == b"3"


def test_the_line_runs_on_azure(pictures: Path, bundle: Path) -> None:
    for path in sorted(pictures.glob("*/*.png"))[:40]:
        storage.write_bytes(f"az://archive/parts/{path.parent.name}/{path.name}", path.read_bytes())
    for path in bundle.rglob("*"):
        if path.is_file():
            storage.write_bytes(f"az://archive/bundle/{path.relative_to(bundle)}", path.read_bytes())
    words = ["images=az://archive/parts", "bundle=az://archive/bundle", "out=az://archive/run", "placement=inline"]
    assert main(["score", *words]) == 0
    assert main(["verify", "az://archive/run"]) == 0
    assert set(Run.open("az://archive/run").results()["status"].to_pylist()) == {"scored"}
    assert os.environ["AZURE_STORAGE_ACCOUNT_KEY"] not in storage.read_bytes("az://archive/run/run.json").decode()
