"""A storage server on loopback that answers as a test says, by key, and remembers what it was asked."""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        key = path.removeprefix("/bucket/" if path.startswith("/bucket/") else "/")
        with self.server.lock:
            self.server.asked[f"{self.command} {key}"] += 1
            self.server.headers.append(dict(self.headers))
            left = self.server.answers.get(key, [])
            answer = left.pop(0) if len(left) > 1 else left[0] if left else status(404, "NoSuchKey")
        answer(self)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answers: Mapping[str, list[Answer]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = {key: list(value) for key, value in answers.items()}
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""


@contextmanager
def serving(answers: Mapping[str, list[Answer]]) -> Iterator[Server]:
    """A server with the answers for each key, in turn; the last one stays."""
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def body(data: bytes, etag: str = "e1", length: int | None = None) -> Answer:
    """The object, or the range of it that is asked for; with a longer `length` announced the body ends too early."""

    def answer(handler: Handler) -> None:
        part, code = data, 200
        asked = handler.headers.get("Range", "")
        if asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1, len(data)) if last else len(data)
            part, code = data[int(first or 0) : end], 206
        handler.send_response(code)
        handler.send_header("Content-Length", str(length or len(part)))
        handler.send_header("ETag", f'"{etag}"')
        handler.send_header("Last-Modified", "Tue, 24 Nov 2026 02:00:00 GMT")
        if code == 206:
            handler.send_header("Content-Range", f"bytes {asked[6:].partition('-')[0]}-{end - 1}/{len(data)}")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(part)
        if length is not None:
            handler.close_connection = True

    return answer


def status(code: int, name: str = "", message: str = "as the test says") -> Answer:
    """An error as S3 words it."""

    def answer(handler: Handler) -> None:
        text = f"<Error><Code>{name}</Code><Message>{message}</Message></Error>".encode() if name else b""
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    return answer


def hang_up(handler: Handler) -> None:
    """Reset the connection instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def slowly(seconds: float, then: Answer) -> Answer:
    """Wait before the answer."""

    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        then(handler)

    return answer
