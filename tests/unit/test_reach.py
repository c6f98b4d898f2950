"""What a name in a list, or a redirect, may reach: files, this machine itself, metadata services."""

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import access, listing, reach, storage
from rayae.cli import main
from rayae.errors import StorageError
from rayae.reader import Fetched, Image, Reader
from rayae.results import Status
from rayae.tables import read_images
from tests.conftest import write_pictures
from tests.unit.small_server import Answer, Handler, Server, body, serving

READER = Reader(deadline_s=0.05, timeout_s=5.0)
ELSEWHERE = "memory://test-reach"
PLACES = ("uri", "container", "place")
REFUSED_FILE = (
    "The name is that of a file of this machine, in a list that lies elsewhere. storage.allow=file allows it."
)
LOOK_UP = socket.getaddrinfo


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where nobody has allowed anything; no proxy of the tester is in between."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(reach.VARIABLE, "")


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda *kinds: monkeypatch.setenv(reach.VARIABLE, ",".join(kinds))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"a.png": [body(b"some bytes")]}) as found:
        yield found


def read(uri: str, **more: Any) -> Fetched:
    return READER.read(Image(uri, **more))


def refused(fetched: Fetched) -> str:
    """The sentence of a name that is forbidden."""
    assert (fetched.data, fetched.status) == (None, Status.FORBIDDEN), fetched
    assert fetched.error is not None
    return fetched.error


def redirect(to: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def looked_up(monkeypatch: pytest.MonkeyPatch, host: str, *answers: list[str]) -> list[str]:
    """From now on DNS gives these addresses for a host, the last for ever; who has asked for it."""
    asked: list[str] = []

    def look_up(name: Any, port: Any, *words: Any, **more: Any) -> Any:
        if name != host:
            return LOOK_UP(name, port, *words, **more)
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(name)
        return [entry for address in found for entry in LOOK_UP(address, port, *words, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.3.4", "loopback"),
        ("0.0.0.0", "loopback"),
        ("0.1.2.3", "loopback"),
        ("::1", "loopback"),
        ("::", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("169.254.170.2", "link-local"),
        ("fe80::1%lo", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("fd00:ec2::254", "link-local"),
        ("fd00:ec2::23", "link-local"),
        ("fd20:ce::254", "link-local"),
        ("100.100.100.200", "link-local"),
        ("168.63.129.16", "link-local"),
        ("192.0.0.192", "link-local"),
        ("10.0.0.7", None),
        ("172.16.0.7", None),
        ("192.168.1.7", None),
        ("fd12:3456::7", None),
        ("100.100.100.201", None),
        ("93.184.215.14", None),
        ("2606:2800:21f:cb07::1", None),
    ],
)
def test_an_address_is_known_for_what_it_leads_to(address: str, kind: str | None) -> None:
    assert reach.kind_of(address) == kind


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1"),
        *("0", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "user:password@127.0.0.1"),
    ],
)  # fmt: skip
def test_a_name_in_a_list_never_reaches_this_machine_however_it_is_spelled(server: Server, host: str) -> None:
    said = refused(read(f"http://{host}:{server.server_port}/a.png"))
    assert "this machine itself. storage.allow=loopback allows it." in said
    assert not server.asked
    assert "password" not in said


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518"),
        *("[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200", "168.63.129.16"),
    ],
)
def test_a_name_in_a_list_never_reaches_a_metadata_service_however_it_is_spelled(host: str) -> None:
    said = refused(read(f"http://{host}/latest/meta-data/iam/security-credentials/"))
    assert "a link-local address or a metadata service. storage.allow=link-local allows it." in said


def test_what_the_setting_allows_is_read_and_nothing_else(server: Server, allow: Callable[..., None]) -> None:
    uri = f"{server.url}/a.png"
    allow("loopback")
    assert read(uri).data == b"some bytes"
    refused(read("http://169.254.169.254/a.png"))
    allow("link-local", "file", "other")
    refused(read(uri))  # although a connection is still open
    assert server.asked == {"GET a.png": 1}


def test_a_redirect_leads_nowhere_that_a_name_may_not(server: Server, allow: Callable[..., None]) -> None:
    allow("loopback")
    for to in ("http://169.254.169.254/latest/meta-data/", "//2852039166/", "http://[::ffff:169.254.169.254]:80/x"):
        server.answers["go.png"] = [redirect(to)]
        assert "a metadata service" in refused(read(f"{server.url}/go.png"))
    server.answers["go.png"] = [redirect("file:///etc/passwd")]
    fetched = read(f"{server.url}/go.png")
    assert (fetched.status, fetched.error) == (Status.MISSING, "This is no address of a file on the web.")
    server.answers["go.png"] = [redirect("/a.png")]
    assert read(f"{server.url}/go.png").data == b"some bytes"


def test_what_a_redirect_brings_with_it_is_not_taken(server: Server, allow: Callable[..., None]) -> None:
    allow("loopback")
    waits = threading.Event()

    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/a.png")
        handler.send_header("Content-Length", "9")
        handler.end_headers()
        waits.wait(60)  # for a body that never comes

    server.answers["go.png"] = [answer]
    try:
        assert replace(READER, timeout_s=5.0, deadline_s=5.0).read(Image(f"{server.url}/go.png")).data == b"some bytes"
    finally:
        waits.set()


def test_the_address_that_was_judged_is_connected_to_and_no_later_one(
    server: Server, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a name that is a harmless address when it is judged, and another when it is connected to."""
    allow("loopback")
    asked = looked_up(monkeypatch, "rebinds.example", ["127.0.0.1"], ["169.254.169.254"])
    assert read(f"http://rebinds.example:{server.server_port}/a.png").data == b"some bytes"
    assert asked == ["rebinds.example"]
    assert server.headers[0]["Host"] == f"rebinds.example:{server.server_port}"
    asked = looked_up(monkeypatch, "both.example", ["127.0.0.1", "169.254.169.254"])
    refused(read(f"http://both.example:{server.server_port}/a.png"))
    assert asked == ["both.example"]


def test_of_the_addresses_of_a_host_the_next_is_tried_when_one_does_not_answer(
    server: Server, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow("loopback")
    looked_up(monkeypatch, "two.example", ["127.0.0.2", "127.0.0.1"])  # the server listens at the second alone
    assert read(f"http://two.example:{server.server_port}/a.png").data == b"some bytes"
    looked_up(monkeypatch, "none.example", ["127.0.0.2", "127.0.0.3"])
    assert read(f"http://none.example:{server.server_port}/a.png").status == Status.TIMEOUT


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=named.example"]
    more = ["-addext", "subjectAltName=DNS:named.example", "-keyout", str(path), "-out", str(tmp_path / "cert")]
    subprocess.run([*words, *more], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "cert").read_bytes())
    return path


class Plain(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


def test_tls_still_asks_for_the_certificate_of_the_name(
    certificate: Path, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow("loopback")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Plain) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        looked_up(monkeypatch, "named.example", ["127.0.0.1"])
        assert read(f"https://named.example:{server.server_port}/a.png").data == b"ok"
        looked_up(monkeypatch, "other.example", ["127.0.0.1"])
        assert read(f"https://other.example:{server.server_port}/a.png").status == Status.TIMEOUT
        server.shutdown()


def test_a_proxy_is_asked_for_no_name_that_is_forbidden_here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)  # it may be on this machine: the environment says so, and no list
    server.answers["http://unknown.invalid/a.png"] = [body(b"by proxy")]
    assert read("http://unknown.invalid/a.png").data == b"by proxy"
    for host in ("169.254.169.254", "2852039166", "127.0.0.1", "localhost"):
        refused(read(f"http://{host}/a.png"))
    server.answers["http://unknown.invalid/go.png"] = [redirect("http://169.254.169.254/")]
    refused(read("http://unknown.invalid/go.png"))
    assert set(server.asked) == {"GET http://unknown.invalid/a.png", "GET http://unknown.invalid/go.png"}


def test_a_list_on_the_web_is_not_fetched_from_where_no_name_may_lead(
    server: Server, allow: Callable[..., None]
) -> None:
    with pytest.raises(StorageError, match=r"storage\.allow=loopback allows it\.$"):
        listing.list_images(f"{server.url}/list.txt")
    assert not server.asked
    allow("loopback")
    server.answers["list.txt"] = [redirect("http://169.254.169.254/list.txt")]
    with pytest.raises(StorageError, match=r"storage\.allow=link-local allows it\.$"):
        listing.list_images(f"{server.url}/list.txt")
    server.answers["list.txt"] = [body(b"https://host/a.png\n/etc/passwd\n")]
    table, _ = listing.list_images(f"{server.url}/list.txt")
    assert table.select(PLACES).to_pylist() == [
        {"uri": "https://host/a.png", "container": None, "place": None},
        {"uri": "/etc/passwd", "container": None, "place": "needs:file:"},
    ]


def written(name: str, lines: list[str]) -> str:
    """A list elsewhere."""
    uri = f"{ELSEWHERE}/{name}"
    storage.write_text(uri, "\n".join(lines) + "\n")
    return uri


LOCAL_NAMES = ("/etc/passwd", "file:///etc/group", "FILE:///etc/hosts", "local:///etc/hostname", "~/.ssh/id_rsa")
FOREIGN_SCHEMES = (
    "simplecache::file:///etc/passwd",
    "filecache::local:///etc/passwd",
    "asynclocal:///etc/passwd",
    "dir::file:///etc",
    "zip://a.png::file:///tmp/a.zip",
    "simplecache::http://169.254.169.254/latest/meta-data/",
    "webhdfs://169.254.169.254/x",
    "ftp://169.254.169.254/x",
)


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl", "parquet"])
def test_a_list_elsewhere_names_no_file_of_this_machine(ending: str, tmp_path: Path) -> None:
    names = [*LOCAL_NAMES, f"{ELSEWHERE}/a.png", "s3://bucket/a.png", "https://host/a.png", "./b.png"]
    uri = f"{ELSEWHERE}/list.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"uri": names}), tmp_path / "list.parquet")
        storage.write_bytes(uri, (tmp_path / "list.parquet").read_bytes())
    else:
        quoted = [f'{{"uri": "{name}"}}' for name in names] if ending == "jsonl" else names
        written(f"list.{ending}", (["uri"] if ending == "csv" else []) + quoted)
    table, _ = listing.list_images(uri)
    assert table["place"].to_pylist() == ["needs:file:"] * len(LOCAL_NAMES) + [None] * 4
    for row in table.slice(0, len(LOCAL_NAMES)).select(PLACES).to_pylist():
        assert refused(read(**row)) == REFUSED_FILE


def test_what_a_list_says_of_itself_takes_no_need_away(allow: Callable[..., None]) -> None:
    rows = [
        "simplecache::http://127.0.0.1:1/a.png,needs:file:,",
        "/etc/passwd,needs:other:,",
        "s3://bucket/a.png,needs:file:,",
    ]
    table, _ = listing.list_images(written("own.csv", ["uri,place,container", *rows]))
    assert table["place"].to_pylist() == ["needs:other:", "needs:file:", "needs:file:"]
    allow("file")
    assert "storage.allow=other" in refused(read(**table.slice(0, 1).select(PLACES).to_pylist()[0]))


def test_a_chain_that_is_allowed_leads_to_the_web_and_not_to_this_machine(
    server: Server, allow: Callable[..., None]
) -> None:
    uri = f"simplecache::{server.url}/a.png"
    allow("other")
    assert read(uri).status != Status.SCORED
    assert server.asked == {}
    allow("other", "loopback")
    assert read(uri).data == b"some bytes"


def test_a_list_on_a_disk_names_files_as_ever(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png\n/etc/passwd\nfile:///etc/group\ns3://bucket/a.png\n")
    assert listing.list_images(str(tmp_path / "list.txt"))[0]["place"].null_count == 4


@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_schemes_that_lead_around_the_rule_are_forbidden_in_every_list(tmp_path: Path, is_elsewhere: bool) -> None:
    (tmp_path / "list.txt").write_text("\n".join(FOREIGN_SCHEMES))
    uri = written("list.txt", list(FOREIGN_SCHEMES)) if is_elsewhere else str(tmp_path / "list.txt")
    table, _ = listing.list_images(uri)
    for row in table.select(PLACES).to_pylist():
        said = refused(read(**row))
        assert said.endswith("they are files, object storage or web addresses. storage.allow=other allows it.")


def test_a_list_names_what_lies_on_its_own_storage(tmp_path: Path) -> None:
    storage.write_bytes(f"{ELSEWHERE}/a.png", b"some bytes")
    row = listing.list_images(written("list.txt", [f"{ELSEWHERE}/a.png"]))[0].select(PLACES).to_pylist()[0]
    assert read(**row).data == b"some bytes"
    chained = listing.list_images(written("list.txt", ["memory://x::file:///etc/passwd"]))[0]
    assert chained["place"].to_pylist() == ["needs:other:"]


def test_a_container_is_judged_like_a_name(tmp_path: Path, allow: Callable[..., None]) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 600)
    rows = {"uri": ["s3://b/a.png"], "container": [str(secret)], "place": ["tar:0"], "size_bytes": [600]}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    storage.write_bytes(f"{ELSEWHERE}/list.parquet", (tmp_path / "list.parquet").read_bytes())
    (row,) = listing.list_images(f"{ELSEWHERE}/list.parquet")[0].select(PLACES).to_pylist()
    assert row["place"] == "needs:file:tar:0"
    assert refused(read(**row)) == REFUSED_FILE
    allow("file")
    assert read(**row).status != Status.FORBIDDEN
    for container in ("HTTP://169.254.169.254/x", "simplecache::file:///etc/passwd"):
        pq.write_table(pa.table(rows | {"container": [container]}), tmp_path / "list.parquet")
        (row,) = listing.list_images(str(tmp_path / "list.parquet"))[0].select(PLACES).to_pylist()
        refused(read(**row))


def test_a_mark_stays_through_a_manifest_on_a_disk(tmp_path: Path, allow: Callable[..., None]) -> None:
    picture = write_pictures(tmp_path / "images", 1) / "good" / "part0000.png"
    hostile, out = written("list.txt", [str(picture)]), str(tmp_path / "manifest.parquet")
    assert main(["index", f"images={hostile}", f"out={out}"]) == 0
    row = read_images(out).select(PLACES).to_pylist()[0]
    assert refused(read(**row)) == REFUSED_FILE
    allow("file")
    assert read(**row).data == picture.read_bytes()


def test_an_archive_that_a_list_may_not_name_is_not_opened_and_keeps_its_row(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", 1)
    subprocess.run(["tar", "cf", str(tmp_path / "a.tar"), "-C", str(tmp_path), "images"], check=True)
    names = [f"{tmp_path}/a.tar", "http://169.254.169.254/a.tar", "http://100.100.100.200/a.zip", "./b.png"]
    table, _ = listing.list_images(written("list.txt", names))
    assert len(table) == 4
    for row in table.slice(0, 3).select(PLACES).to_pylist():
        refused(read(**row))
    assert len(listing.list_images([f"{tmp_path}/a.tar"])[0]) == 1


def test_what_is_no_file_is_a_row_and_never_waited_for(tmp_path: Path) -> None:
    """A FIFO that nobody writes to, a device that never ends, a folder, files of the kernel; also where a list says
    that they are archives, and how large."""
    os.mkfifo(tmp_path / "fifo.png")
    os.mkfifo(tmp_path / "fifo.tar")
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "zero.tar").symlink_to("/dev/zero")
    names = ["fifo.png", "/dev/zero", "/dev/tty", "/proc/self", "fifo.tar", "folder.zip", "zero.tar"]
    (tmp_path / "list.csv").write_text("uri,size_bytes\n" + "".join(f"{name},1000\n" for name in names))
    (tmp_path / "list.txt").write_text("\n".join([*names, "/proc/self/environ", "/proc/self/mem", "/proc/kmsg"]))
    statuses = []
    for name in ("list.csv", "list.txt"):
        table, _ = listing.list_images(str(tmp_path / name))
        assert len(table) == len(names) + 3 * (name == "list.txt")
        statuses += [read(**row).status for row in table.select(PLACES).to_pylist()]
    assert statuses == [Status.NOT_AN_IMAGE] * 14 + [Status.EMPTY] * 3


def test_a_file_uri_of_another_host_is_a_row() -> None:
    fetched = read("a.png", container="file://host/etc/passwd", place="tar:512", size_bytes=9)
    assert (fetched.status, fetched.data) == (Status.MISSING, None)


@pytest.mark.parametrize("name", ["s3://../x/a.png", "s3://./x", "gs://../x", "az://../x"])
def test_a_bucket_is_no_way_up(name: str) -> None:
    fetched = read(name)
    assert fetched.status == Status.MISSING
    assert "No bucket can have the name" in (fetched.error or "")


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[str, Path]:
    """A list elsewhere of five pictures there, and one of this machine; and that one."""
    folder = write_pictures(tmp_path / "images", 6)
    paths = sorted(folder.rglob("*.png"))
    for path in paths[1:]:
        storage.write_bytes(f"{ELSEWHERE}/{path.name}", path.read_bytes())
    return written("hostile.txt", [str(paths[0]), *(f"./{path.name}" for path in paths[1:])]), paths[0]


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "chunks").sort_by("image_id").to_pylist()
    return found


def test_a_refused_name_is_a_row_and_costs_no_neighbour(
    hostile: tuple[str, Path], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, words = tmp_path / "run", [f"images={hostile[0]}", f"bundle={bundle}", "placement=inline"]
    assert main(["score", *words, f"out={out}"]) == 0
    statuses = [(row["status"], row["error"]) for row in rows(out)]
    assert statuses == [("forbidden", REFUSED_FILE), *[("scored", None)] * 5]
    assert main(["report", str(out), f"out={tmp_path}/page.html"]) == 0
    assert main(["retry", str(out), "status=forbidden", "storage.allow=file"]) == 0
    assert [row["status"] for row in rows(out)] == ["scored"] * 6
    page = tmp_path / "page.html"
    monkeypatch.setenv(reach.VARIABLE, "")
    assert main(["report", str(out), f"out={page}"]) == 0
    assert "It could not be read again: The name is that of a file of this machine" in page.read_text()


def test_a_permission_is_not_taken_from_a_runs_directory(
    hostile: tuple[str, Path],
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, words = tmp_path / "run", [f"images={hostile[0]}", f"bundle={bundle}", "placement=inline"]
    assert main(["score", *words, f"out={out}", "storage.allow=file", "chunk_images=3"]) == 0
    assert [row["status"] for row in rows(out)] == ["scored"] * 6
    for name in ("chunks/chunk-000000.parquet", "_SUCCESS.json"):
        (out / name).unlink()
    monkeypatch.setenv(reach.VARIABLE, "")
    for again in (["score", str(out)], ["score", *words, f"out={out}"], ["retry", str(out), "status=forbidden"]):
        assert main(again) == 2
        assert capsys.readouterr().err == (
            f"error: {out} was begun with storage.allow=[file], and a run's directory grants nothing: give it again, "
            "or storage.allow=[] to go on without.\n"
        )
    assert main(["score", str(out), "storage.allow=[]"]) == 0
    assert [row["status"] for row in rows(out)] == ["forbidden", *["scored"] * 5]


def test_a_manifest_elsewhere_has_no_folder_of_this_machine_listed_again(
    hostile: tuple[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = f"{ELSEWHERE}/manifest.parquet"
    assert main(["index", f"images={tmp_path / 'images'}", f"out={out}"]) == 0
    assert f"who reads them by {out} has to say storage.allow=file" in capsys.readouterr().out
    assert main(["index", f"out={out}", "--update"]) == 2
    assert f"{out} says that it was made from {tmp_path / 'images'}, and what lies elsewhere" in capsys.readouterr().err
    assert main(["index", f"out={out}", f"images={tmp_path / 'images'}", "--update"]) == 0
    assert main(["index", f"out={out}", "--update", "storage.allow=file"]) == 0


def test_the_setting_is_told_to_workers_and_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reach.VARIABLE, "file")
    access.Access().apply()
    assert (reach.allowed(), access.in_use()[reach.VARIABLE]) == ({"file"}, "file")
    access.Access(allow=["loopback", "other"]).apply()
    assert access.in_use()[reach.VARIABLE] == "loopback,other"
    access.Access(allow=[]).apply()
    assert reach.allowed() == frozenset()


def test_an_unknown_word_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", f"images={tmp_path}", f"out={tmp_path}/m.parquet", "storage.allow=everything"]) == 2
    assert "storage.allow" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def empty_elsewhere() -> Iterator[None]:
    yield
    memory = fsspec.filesystem("memory")
    if memory.exists("/test-reach"):
        memory.rm("/test-reach", recursive=True)
