"""The reader against a server that fails as the test says: how often it asks, and what becomes of the row."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rayae import objects, stores, throttle
from rayae.errors import ConfigError, StorageError
from rayae.fetch import NO_ANSWER, NOTHING, SERVER_ERROR, THROTTLED
from rayae.reader import Fetched, Image, Reader
from rayae.results import Status
from rayae.traffic import Traffic
from tests.unit.small_server import Answer, Handler, body, hang_up, serving, slowly, status

FINE = body(b"some bytes")
ANSWERS = {
    "fine": [FINE],
    "a b+c%20d?e#f&ü漢😀'\"\\": [FINE],
    "busy-twice": [status(503, "SlowDown"), status(503, "SlowDown"), FINE],
    "too-many": [status(429), FINE],
    "error": [status(500, "InternalError"), FINE],
    "cut": [body(b"some", length=10), FINE],
    "hung-up": [hang_up, FINE],
    "slow": [slowly(0.6, FINE), FINE],
    "always-busy": [status(503, "SlowDown")],
    "always-broken": [status(500, "InternalError")],
    "forbidden": [status(403, "AccessDenied")],
    "gone": [status(404, "NoSuchKey")],
    "empty": [body(b"")],
    "expired-once": [status(400, "ExpiredToken"), FINE],
    "expired": [status(400, "ExpiredToken")],
    "unknown-key": [status(403, "InvalidAccessKeyId")],
    "elsewhere": [status(301, "PermanentRedirect")],
}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Wait a hundredth of the time between tries."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (THROTTLED, SERVER_ERROR, NO_ANSWER):
            object.__setattr__(kind, "base_s", kind.base_s / 100)
        patch.setattr(throttle, "SECONDS_BETWEEN_CUTS", 0.01)
        yield
        for kind in (THROTTLED, SERVER_ERROR, NO_ANSWER):
            object.__setattr__(kind, "base_s", kind.base_s * 100)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-nobody-may-see")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    throttle.throttle_of.cache_clear()
    stores.forget_stores()


def ask(
    monkeypatch: pytest.MonkeyPatch, key: str, reader: Reader | None = None, **listed: object
) -> tuple[Fetched, int]:
    """What becomes of an object, and how many requests that took."""
    with serving(ANSWERS) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        fetched = (reader or Reader(deadline_s=20, timeout_s=0.5)).read(Image(f"s3://bucket/{key}", **listed))  # type: ignore[arg-type]
        assert all(request.startswith("GET ") for request in server.asked)
        return fetched, server.asked.total()


def test_an_object_is_read_by_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for listed in ({}, {"size_bytes": 10}, {"size_bytes": 10, "etag": "e1"}):
        fetched, requests = ask(monkeypatch, "fine", **listed)
        assert (fetched.data, fetched.status, requests) == (b"some bytes", Status.SCORED, 1)


@pytest.mark.parametrize(
    ("key", "requests"),
    [("busy-twice", 3), ("too-many", 2), ("error", 2), ("cut", 2), ("hung-up", 2), ("slow", 2), ("expired-once", 2)],
)
def test_what_storage_may_yet_give_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, key: str, requests: int) -> None:
    fetched, asked = ask(monkeypatch, key)
    assert (fetched.data, asked) == (b"some bytes", requests)


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("fine", Traffic(requests=1, bytes=10)),
        ("busy-twice", Traffic(requests=3, retries=2, throttled=2, bytes=10)),
        ("too-many", Traffic(requests=2, retries=1, throttled=1, bytes=10)),
        ("error", Traffic(requests=2, retries=1, bytes=10)),
        ("expired-once", Traffic(requests=2, retries=1, bytes=10)),
        ("gone", Traffic(requests=1)),
    ],
)
def test_what_a_read_took_is_counted(monkeypatch: pytest.MonkeyPatch, key: str, counts: Traffic) -> None:
    assert ask(monkeypatch, key)[0].traffic == counts


@pytest.mark.parametrize(
    ("key", "expected", "sentence"),
    [
        ("gone", Status.MISSING, "Storage answered 404 NoSuchKey: as the test says."),
        ("forbidden", Status.FORBIDDEN, "Storage answered 403 AccessDenied: as the test says."),
        ("empty", Status.EMPTY, "The file has no bytes."),
        ("no-such-answer", Status.MISSING, "Storage answered 404 NoSuchKey: as the test says."),
    ],
)
def test_what_another_try_cannot_change_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, key: str, expected: Status, sentence: str
) -> None:
    fetched, asked = ask(monkeypatch, key)
    assert (fetched.data, fetched.status, fetched.error, asked) == (None, expected, sentence, 1)


@pytest.mark.parametrize(("key", "expected"), [("always-busy", Status.THROTTLED), ("always-broken", Status.TIMEOUT)])
def test_an_image_is_given_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch, key: str, expected: Status) -> None:
    started = time.monotonic()
    fetched, asked = ask(monkeypatch, key, Reader(deadline_s=0.5, timeout_s=0.5))
    assert fetched.status == expected
    assert asked > 2
    assert time.monotonic() - started < 2
    assert fetched.error is not None
    assert "(tried " in fetched.error


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ({"size_bytes": 9}, "The file has 10 bytes; it had 9 when it was listed."),
        ({"size_bytes": 10, "etag": "e0"}, "The file was written to after it was listed."),
    ],
)
def test_an_object_that_was_replaced_is_changed(
    monkeypatch: pytest.MonkeyPatch, listed: dict[str, object], sentence: str
) -> None:
    fetched, asked = ask(monkeypatch, "fine", **listed)
    assert (fetched.status, fetched.error, asked) == (Status.CHANGED, sentence, 1)


def test_a_large_object_is_refused_before_its_body_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, _ = ask(monkeypatch, "fine", Reader(max_bytes=9))
    assert (fetched.status, fetched.size_bytes) == (Status.TOO_LARGE, 10)
    fetched, asked = ask(monkeypatch, "fine", Reader(max_bytes=9), size_bytes=10)
    assert (fetched.status, asked) == (Status.TOO_LARGE, 0)


def test_every_character_of_a_key_reaches_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.parse import unquote

    for key in ("a b+c%20d?e#f&ü漢😀'\"\\", "x//y", "/x", "x/", "./x", "x/../y", "k" * 1000):
        with serving({}) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            Reader().read(Image(f"s3://bucket/{key}"))
            (request,) = server.asked
            assert unquote(request.removeprefix("GET ")) == key


@pytest.mark.parametrize("key", ["expired", "unknown-key"])
def test_bad_credentials_end_the_job_and_blame_no_image(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^s3://bucket/{key} cannot be read: Storage answered .* Give credentials"):
        ask(monkeypatch, key)


def test_without_credentials_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(ConfigError, match=r"^there are no credentials for S3: .* storage\.anonymous=true\.$"):
        ask(monkeypatch, "fine")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert ask(monkeypatch, "fine")[0].data == b"some bytes"


def test_storage_that_answers_nothing_ends_the_job_and_blames_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    reader = Reader(deadline_s=1, timeout_s=0.5)
    with (
        ThreadPoolExecutor(8) as pool,
        pytest.raises(StorageError, match=r"^s3://bucket has answered no request for \d+ s\. .* run the same command"),
    ):
        list(pool.map(lambda number: reader.read(Image(f"s3://bucket/{number}")), range(8)))


@pytest.mark.parametrize("answer", [status(500, "InternalError"), status(503, "SlowDown"), slowly(1, FINE)])
def test_storage_is_out_of_order_only_when_nothing_at_all_is_answered(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """With one request at a time nothing else is asked meanwhile, so it is asked whether anybody answers."""
    reader, images = Reader(deadline_s=1.5, timeout_s=0.3, concurrency=1), ("one", "other")
    with serving({key: [answer] for key in (*images, NOTHING)}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(StorageError, match=r"^s3://bucket has answered no request for \d+ s"):
            reader.read(Image("s3://bucket/one"))
        assert server.asked[f"GET {NOTHING}"] == 1
    with serving({key: [FINE] if key == "fine" else [answer] for key in (*images, "fine")}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        found = [reader.read(Image(f"s3://bucket/{name}")).status for name in (*images, "fine")]
    assert (Status.SCORED in found[:2], found[2]) == (False, Status.SCORED)


def test_an_image_that_waits_for_its_turn_loses_no_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"image-{number}" for number in range(6)]
    answers = {key: [slowly(0.1, status(500))] * 3 + [slowly(0.1, FINE)] for key in keys}  # 2.4 s one after the other
    with serving(answers) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        reader = Reader(concurrency=1, deadline_s=1.2)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda key: reader.read(Image(f"s3://bucket/{key}")).status, keys))
    assert found == [Status.SCORED] * 6


def test_a_reader_that_is_stopped_begins_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    with serving(ANSWERS) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert Reader().read(Image("s3://bucket/fine"), stop).data is None
        assert not server.asked


def test_a_reader_that_is_stopped_asks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    with serving(ANSWERS) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        fetched = Reader(deadline_s=60).read(Image("s3://bucket/always-busy"), stop)
    assert fetched.status == Status.THROTTLED
    assert time.monotonic() - started < 5


def test_a_storm_of_refusals_costs_no_image_and_fewer_requests_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"image-{number}" for number in range(300)]
    answers = {key: [status(503, "SlowDown"), FINE] if number % 5 == 0 else [FINE] for number, key in enumerate(keys)}
    with serving(answers) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        reader = Reader(concurrency=16)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda key: reader.read(Image(f"s3://bucket/{key}")), keys))
        assert [one.data for one in found] == [b"some bytes"] * 300
        assert server.asked.total() == 360


def test_a_web_address_is_read_with_its_query_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"a%20b.png": [status(500), FINE], "large": [body(b"x" * 100)]}) as server:
        address = f"{server.url}/a%20b.png?X-Amz-Signature=abc%2Bd&x=1"
        assert Reader().read(Image(address)).data == b"some bytes"
        assert Reader().read(Image(address, etag="e0")).status == Status.CHANGED
        assert Reader().read(Image(f"{server.url}/none?sig=hidden")).status == Status.MISSING
        assert Reader(max_bytes=99).read(Image(f"{server.url}/large")).status == Status.TOO_LARGE
    fetched = Reader(deadline_s=0.1).read(Image(address))
    assert (fetched.status, "abc" in str(fetched.error)) == (Status.TIMEOUT, False)


@pytest.mark.parametrize(
    "address", ["https://[bad/a.jpg", f"https://{'x' * 70}.example/a.jpg", "https://℀.example/a.jpg", "http://"]
)
def test_a_name_that_no_server_can_have_is_missing(address: str) -> None:
    fetched = Reader(deadline_s=0.1).read(Image(address))
    assert (fetched.status, fetched.error) == (Status.MISSING, "This is no address of a file on the web.")


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("s3://my bucket/k.jpg", "No bucket can have the name in s3://my bucket."),
        ("s3:///k.jpg", "No bucket can have the name in s3://."),
        ("s3://bucket", "This names a bucket, and no object in it."),
        ("gs://a:b/k.jpg", "No bucket can have the name in gs://a:b."),
    ],
)
def test_a_name_that_no_bucket_can_have_is_missing(uri: str, sentence: str) -> None:
    fetched = Reader(deadline_s=0.1).read(Image(uri))
    assert (fetched.status, fetched.error) == (Status.MISSING, sentence)
    with pytest.raises(StorageError):
        list(objects.pages("s3://my bucket/"))


def headers(handler: Handler, *pairs: tuple[str, str], code: int = 200) -> None:
    handler.send_response(code)
    for name, value in pairs:
        handler.send_header(name, value)
    handler.end_headers()
    handler.close_connection = True


@pytest.mark.parametrize("length", ["9" * 40, "²"])
def test_a_length_that_is_none_ends_no_job(length: str) -> None:
    with serving({"odd": [lambda handler: headers(handler, ("Content-Length", length))]}) as server:
        fetched = Reader(deadline_s=0.3, timeout_s=0.3).read(Image(f"{server.url}/odd"))
    assert fetched.status in (Status.TIMEOUT, Status.EMPTY)
    assert not fetched.size_bytes


def test_a_body_of_unknown_length_is_held_to_the_limit() -> None:
    def endless(handler: Handler) -> None:
        headers(handler)
        handler.wfile.write(b"x" * 10_000)

    with serving({"endless": [endless]}) as server:
        fetched = Reader(max_bytes=5000).read(Image(f"{server.url}/endless"))
        assert (fetched.status, fetched.size_bytes) == (Status.TOO_LARGE, None)
        assert Reader(max_bytes=10_000).read(Image(f"{server.url}/endless")).size_bytes == 10_000


@pytest.mark.parametrize(
    ("answer", "expected", "sentence"),
    [
        (lambda handler: headers(handler, ("Location", "/x"), code=302), Status.MISSING, "redirects without end."),
        (lambda handler: headers(handler, ("Content-Length", "5, 6")), Status.TIMEOUT, "headers that contradict"),
        (lambda handler: headers(handler, code=204), Status.EMPTY, "The file has no bytes."),
        (lambda handler: headers(handler, ("Content-Length", "0"), code=206), Status.TIMEOUT, "a part of the file"),
    ],
)
def test_odd_answers_of_the_web_have_a_status(answer: Answer, expected: Status, sentence: str) -> None:
    with serving({"x": [answer]}) as server:
        fetched = Reader(deadline_s=0.2, timeout_s=0.5).read(Image(f"{server.url}/x"))
    assert (fetched.status, sentence in str(fetched.error)) == (expected, True)


@pytest.mark.parametrize("piece", [b"x", b"x" * 40_000])
def test_a_server_that_drips_is_given_up_at_the_time_of_a_request(piece: bytes) -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "2000000")
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.1)

    with serving({"drip": [drip]}) as server:
        started = time.monotonic()
        fetched = Reader(deadline_s=0.5, timeout_s=0.4).read(Image(f"{server.url}/drip"))
    assert fetched.status == Status.TIMEOUT
    assert time.monotonic() - started < 3
