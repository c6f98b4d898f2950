"""One S3 server for all tests of this folder, and a bucket of its own for each."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from rayae import stores
from tests.conftest import write_pictures
from tests.radosgw import radosgw
from tests.servers import Server, haproxy, moto

SERVERS = {"moto": moto, "radosgw": radosgw}
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server."""

    server: Server
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, data: bytes) -> str:
        """Put an object there; its URI."""
        self.server.client().put_object(Bucket=self.name, Key=key, Body=data)
        return f"{self.uri}/{key}"

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Put the files of a folder there, below a prefix; the URI of that."""
        client = self.server.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.put_object(
                    Bucket=self.name, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
                )
        return f"{self.uri}/{prefix}"

    def delete(self, key: str) -> None:
        self.server.client().delete_object(Bucket=self.name, Key=key)

    def names(self) -> list[str]:
        """The keys of all objects; also while others put and delete some."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def objects(self) -> dict[str, bytes]:
        """All that is in the bucket, which nobody changes meanwhile."""
        client = self.server.client()
        return {key: client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in self.names()}


def make_bucket(server: Server) -> Bucket:
    """A new bucket, with a name that no other test has."""
    name = f"bucket-{next(NUMBERS)}"
    server.client().create_bucket(Bucket=name)
    return Bucket(server, name)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The one that RAYAE_S3_SERVER names: moto when it names none, else one of SERVERS."""
    with SERVERS[os.environ.get("RAYAE_S3_SERVER", "moto")]() as found:
        yield found


@pytest.fixture(scope="session")
def front(server: Server) -> Iterator[Server]:
    """haproxy before the server, whose log tells what headers came."""
    with haproxy(server) as found:
        yield found


@pytest.fixture(autouse=True)
def environment(server: Server) -> Iterator[None]:
    """Nothing of the tester's own AWS settings; afterwards all as it was, since a verb may set the environment."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(server.environment() | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull})
    _forget_clients()
    yield
    os.environ.clear()
    os.environ.update(before)
    _forget_clients()


def _forget_clients() -> None:
    """Clients that are kept know the credentials of the environment in which they were made."""
    S3FileSystem.clear_instance_cache()
    stores.forget_stores()


@pytest.fixture
def bucket(server: Server) -> Bucket:
    return make_bucket(server)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 normal pictures and 8 with a scratch, on the disk."""
    return write_pictures(tmp_path_factory.mktemp("few"), 40, seed=2, defects=8)


@pytest.fixture(scope="session")
def remote_bundle(server: Server, bundle: Path) -> str:
    """The bundle of the tests, in a bucket."""
    return make_bucket(server).put_folder(bundle, "the bundle")
