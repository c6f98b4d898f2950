"""Google's storage, as a small server of our own plays it, with generations; Google itself is never asked."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from rayae import objects, storage, stores
from rayae.errors import ConfigError

TIME = "2026-11-24T02:00:00.000Z"


class Handler(BaseHTTPRequestHandler):
    """Objects of one bucket: bytes and generation, which every PUT raises."""

    protocol_version = "HTTP/1.1"
    held: dict[str, tuple[bytes, int]]
    generation = 1000

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        there = self.held.get(self.key, (b"", 0))[1]
        wanted = self.headers.get("x-goog-if-generation-match")
        if wanted is not None and int(wanted) != there:
            return self.answer(412)
        type(self).generation += 1
        self.held[self.key] = data, self.generation
        self.answer(200, b"", self.generation)

    def do_GET(self) -> None:
        if urlsplit(self.path).query:
            return self.answer(200, self.listing())
        if self.key not in self.held:
            return self.answer(404)
        self.answer(200, *self.held[self.key])

    def do_HEAD(self) -> None:
        self.do_GET()

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path.removeprefix("/archive/"))

    def listing(self) -> bytes:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{TIME}</LastModified><ETag>e</ETag>"
            f"<Size>{len(data)}</Size></Contents>"
            for key, (data, _) in sorted(self.held.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult>{found}</ListBucketResult>".encode()

    def answer(self, status: int, data: bytes = b"", generation: int = 0) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Length", len(data)),
            ("ETag", f'"{generation}"'),
            ("x-goog-generation", generation),
        ):
            self.send_header(name, str(value))
        self.send_header("Last-Modified", "Tue, 24 Nov 2026 02:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    handler = type("Bucket", (Handler,), {"held": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "a-token-for-this-server")
    stores.forget_stores()
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()


def test_keys_of_google_are_listed_and_read_as_they_stand(google: type[Handler]) -> None:
    names = ["100%+x", "a b", "q?x&y#z", "quo'te", "ü漢😀"]
    for name in names:
        assert objects.create(f"gs://archive/keys/{name}", name.encode())
    assert sorted(google.held) == sorted(f"keys/{name}" for name in names)
    listed = [uri for page in objects.pages("gs://archive/keys/") for uri in page["uri"].to_pylist()]
    assert listed == [f"gs://archive/keys/{name}" for name in sorted(names)]
    assert [objects.get(uri, lambda answer: None).decode() for uri in listed] == sorted(names)


def test_of_two_writers_on_google_one_succeeds(google: type[Handler]) -> None:
    assert [storage.create("gs://archive/lease", data) for data in (b"1", b"2")] == [True, False]
    found = storage.read_version("gs://archive/lease")
    assert found == (b"1", str(google.held["lease"][1]))
    assert [storage.replace("gs://archive/lease", data, found[1]) for data in (b"3", b"4")] == [True, False]
    assert google.held["lease"][0] == b"3"


@pytest.mark.parametrize("uri", ["s3://user:password@bucket/key", "s3://user@bucket/key", "gs://user@bucket/key"])
def test_a_user_in_an_address_is_never_asked_for(uri: str, tmp_path: Path) -> None:
    with pytest.raises(objects.Refusal, match="No bucket can have the name"):
        objects.get(uri, lambda answer: None)
    with pytest.raises(ConfigError, match=r"^no bucket can have the name in"):
        storage.write_bytes(uri, b"1")
