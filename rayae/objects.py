"""Home of object stores (S3, Google, Azure): GET, LIST and conditional PUT by obstore, many at a time and cheaply.

A key is used as it stands: never decoded, never normalised. What obstore cannot name (`//`, `.` and `..` as a part, a
slash at an end, control characters) goes through botocore on S3.
"""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import obstore
import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import AlreadyExistsError, InvalidPathError, PreconditionError

from rayae import boto
from rayae.access import AZURE, GOOGLE, KINDS, S3, permission
from rayae.errors import ConfigError, StorageError
from rayae.stores import Refusal, patient_store, plain_store, refusal_in, told
from rayae.throttle import backoff_s

PAGE_KEYS = 1000
BAD_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "NoCredentials",
        "RequestTimeTooSkewed",
    }
)
NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
HOW_CREDENTIALS_ARE_GIVEN = (
    "Give credentials in the environment, by storage.profile= or by the role of the machine; "
    "or read without them by storage.anonymous=true."
)
TRIES_OF_A_BODY = 6
WAIT_S = (0.1, 5.0)
"""Before the second try, and at most."""
BUCKET = re.compile(r"(?!\.{1,2}$)[\w.@$-]+")
UNNAMEABLE = re.compile(r"//|^/|/$|(^|/)\.{1,2}(/|$)|[\x00-\x1f\x7f]")
PAGE = pa.schema(
    [("uri", pa.string()), ("size_bytes", pa.int64()), ("etag", pa.string()), ("modified", pa.timestamp("us", "UTC"))]
)


Found = TypeVar("Found")


@dataclass(frozen=True)
class Answer:
    """What storage says with the first bytes of an object: `size_bytes` of the whole object, its etag."""

    size_bytes: int | None
    etag: str | None


def is_object_store(uri: str) -> bool:
    """Whether the URI is of an object store that is read and listed here."""
    return uri.partition("://")[0] in KINDS and "://" in uri


def _kind(uri: str) -> str:
    return KINDS[uri.partition("://")[0]]


def split(uri: str) -> tuple[str, str]:
    """The URI of the bucket (or container), and the key as it stands."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def is_bucket(bucket: str) -> bool:
    """Whether a bucket can have the name in this URI; only Azure has an `@`, elsewhere it would end a password."""
    name = bucket.partition("://")[2]
    return BUCKET.fullmatch(name) is not None and ("@" not in name or _kind(bucket) == AZURE)


def _refuse_odd_bucket(bucket: str) -> None:
    """Refusal for a name that no bucket can have: it would be part of a host's name, on which obstore panics."""
    if not is_bucket(bucket):
        raise Refusal(404, "InvalidBucketName", f"No bucket can have the name in {bucket}.")


def get(
    uri: str,
    judge: Callable[[Answer], None],
    first: int = 0,
    length: int | None = None,
    timeout_s: float = 30.0,
) -> bytes:
    """The bytes of an object, or of a part of it, with one GET and no second try.

    `judge` sees the answer before the body is taken, and may raise. Raises Refusal, and ConfigError when there are no
    credentials.
    """
    bucket, key = split(uri)
    _refuse_odd_bucket(bucket)
    if not key:
        raise Refusal(404, "NoSuchKey", "This names a bucket, and no object in it.")
    if UNNAMEABLE.search(key) and _kind(uri) == S3:
        with told():
            return boto.get(bucket.partition("://")[2], key, lambda *found: judge(Answer(*found)), first, length)
    with told():
        options: Any = None if length is None and not first else {"range": _range(first, length)}
        found = obstore.get(plain_store(bucket, timeout_s), key, options=options)
        meta = found.meta  # which is made anew each time that it is looked at
        judge(Answer(int(meta["size"]), bare_etag(meta["e_tag"])))
        return bytes(found.bytes())


def pages(prefix_uri: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
    """The objects whose URI begins with `prefix_uri`, in the order of their keys, a batch of about 1,000 a request.

    Columns are those of PAGE; with `after` only keys above it. Closing the iterator ends the listing. A listing that
    breaks goes on from the last key that came.
    """
    reached, failures = after, 0
    while True:
        try:
            _refuse_odd_bucket(split(prefix_uri)[0])
            with told():
                for batch in _pages(prefix_uri, reached):
                    reached, failures = split(batch["uri"][-1].as_py())[1], 0
                    yield batch
                return
        except Refusal as refusal:
            failures += 1
            _wait_or_raise(prefix_uri, "list", refusal, failures)


def _pages(prefix_uri: str, after: str | None) -> Iterator[pa.RecordBatch]:
    bucket, prefix = split(prefix_uri)
    folder = prefix[: prefix.rfind("/") + 1]
    reached = after
    try:
        offset = _offset(prefix, after)
        if UNNAMEABLE.search(folder[:-1]) or (offset is not None and UNNAMEABLE.search(offset)):
            raise InvalidPathError
        listing = patient_store(bucket).list(folder or None, offset=offset, chunk_size=PAGE_KEYS, return_arrow=True)
        for page in listing:
            batch, is_beyond = _within(pa.record_batch(page), bucket, prefix)
            if batch.num_rows:
                reached = split(batch["uri"][-1].as_py())[1]
                yield batch
            if is_beyond:
                return
    except InvalidPathError:
        _refuse_unnameable(prefix_uri)
        for rows in boto.pages(bucket.partition("://")[2], prefix, reached):
            yield _batch(bucket, *rows)


def level(prefix_uri: str) -> tuple[pa.RecordBatch, list[str]]:
    """One level below a prefix: the objects whose rest of the key holds no `/`, and the URIs of the prefixes below."""
    return _ask(prefix_uri, "list", lambda: _level(prefix_uri))


def _level(prefix_uri: str) -> tuple[pa.RecordBatch, list[str]]:
    bucket, prefix = split(prefix_uri)
    folder = prefix[: prefix.rfind("/") + 1]
    try:
        if folder != prefix or UNNAMEABLE.search(folder[:-1]):
            raise InvalidPathError
        found = patient_store(bucket).list_with_delimiter(folder or None, return_arrow=True)
        batch, _ = _within(_one_batch(pa.table(found["objects"])), bucket, prefix)
        return batch, sorted(f"{bucket}/{below}/" for below in found["common_prefixes"])
    except InvalidPathError:
        _refuse_unnameable(prefix_uri)
        rows, prefixes = boto.level(bucket.partition("://")[2], prefix)
        return _batch(bucket, *rows), sorted(f"{bucket}/{below}" for below in prefixes)


def size_and_etag(uri: str) -> Answer | None:
    """What a HEAD says of an object; None when there is none."""
    bucket, key = split(uri)
    if UNNAMEABLE.search(key) and _kind(uri) == S3:
        rows = _ask(uri, "read", lambda: next(boto.pages(bucket.partition("://")[2], key), None))
        return Answer(rows[1][0], bare_etag(rows[2][0])) if rows is not None and rows[0][0] == key else None
    found = _ask_for(uri, lambda: obstore.head(patient_store(bucket), key))
    return None if found is None else Answer(int(found["size"]), bare_etag(found["e_tag"]))


def read_part(uri: str, first: int, length: int) -> bytes:
    """Bytes of an object from `first` on; fewer at the end of the object."""
    bucket, key = split(uri)
    return _ask(uri, "read", lambda: bytes(obstore.get_range(patient_store(bucket), key, start=first, length=length)))


def read_tail(uri: str, count: int) -> bytes:
    """The last bytes of an object, by one request; Azure, which knows no end to count from, takes two."""
    bucket, key = split(uri)
    if _kind(uri) == AZURE:
        answer = size_and_etag(uri)
        size = 0 if answer is None or answer.size_bytes is None else answer.size_bytes
        return read_part(uri, max(0, size - count), min(count, size)) if size else b""
    end: Any = {"range": {"suffix": count}}
    return _ask(uri, "read", lambda: bytes(obstore.get(patient_store(bucket), key, options=end).bytes()))


def read_version(uri: str) -> tuple[bytes, str] | None:
    """An object and what to name it by in `replace`; None when there is none."""
    bucket, key = split(uri)

    def ask() -> tuple[bytes, str]:
        found = obstore.get(patient_store(bucket), key)
        return bytes(found.bytes()), _version(uri, found.meta)

    return _ask_for(uri, ask)


def create(uri: str, data: bytes) -> bool:
    """PUT an object unless there is one already; whether it holds these bytes now."""
    return _put(uri, data, "create")


def replace(uri: str, data: bytes, version: str) -> bool:
    """PUT an object in place of the one of this version; False when another one lies there."""
    return _put(uri, data, {"version" if _kind(uri) == GOOGLE else "e_tag": version})


def bare_etag(etag: str | None) -> str | None:
    """An etag without its quotes."""
    return None if etag is None else etag.removeprefix("W/").strip('"')


def _version(uri: str, meta: Any) -> str:
    """What names an object in a condition: Google its generation; Ceph the bare etag only, Azure that with quotes."""
    if _kind(uri) == GOOGLE:
        return str(meta["version"])
    return str(bare_etag(meta["e_tag"]) if _kind(uri) == S3 else meta["e_tag"])


def _put(uri: str, data: bytes, mode: Any) -> bool:
    bucket, key = split(uri)

    def ask() -> bool:
        try:
            obstore.put(patient_store(bucket), key, data, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):  # perhaps by a try of ours whose answer was lost
            return bytes(obstore.get(patient_store(bucket), key).bytes()) == data
        return True

    return bool(_ask_for(uri, ask, "write"))  # None: what was to be replaced is gone


def _ask(uri: str, verb: str, ask: Callable[[], Found]) -> Found:
    """Ask storage, and again what it may yet answer. StorageError or ConfigError: "cannot VERB URI: why"."""
    for failures in itertools.count(1):
        try:
            _refuse_odd_bucket(split(uri)[0])
            with told():
                return ask()
        except Refusal as refusal:
            _wait_or_raise(uri, verb, refusal, failures)
    raise AssertionError("unreachable: the tries are counted without end")


def _ask_for(uri: str, ask: Callable[[], Found], verb: str = "read") -> Found | None:
    """The same, but None when there is no such object."""

    def ask_or_none() -> Found | None:
        try:
            return ask()
        except FileNotFoundError as error:
            refusal = refusal_in(str(error))
            if refusal.code in NO_BUCKET:
                raise refusal from None
            return None

    return _ask(uri, verb, ask_or_none)


def _wait_or_raise(uri: str, verb: str, refusal: Refusal, failures: int) -> None:
    """Wait before another try where one may help; the client itself has tried again whatever came without a body."""
    if (refusal.status == 0 or refusal.status >= 500) and failures < TRIES_OF_A_BODY:
        time.sleep(backoff_s(*WAIT_S, failures))
        return
    asked = boto.endpoint() if refusal.status == 0 and _kind(uri) == S3 else None
    if asked is not None:
        raise StorageError(f"cannot {verb} {uri} at {asked}: {refusal.sentence}") from None
    if refusal.code in BAD_CREDENTIALS:
        raise ConfigError(f"cannot {verb} {uri}: {refusal.sentence} {HOW_CREDENTIALS_ARE_GIVEN}") from None
    needed = permission(verb, uri) if refusal.status == 403 else ""
    raise StorageError(f"cannot {verb} {uri}: {refusal.sentence}{needed}") from None


def _refuse_unnameable(uri: str) -> None:
    if _kind(uri) != S3:
        raise StorageError(
            f"cannot list {uri}: there is a key below it that the client cannot name (with `//`, or `.` as a part)."
        )


def _range(first: int, length: int | None) -> Any:
    return {"offset": first} if length is None else (first, first + length)


def _offset(prefix: str, after: str | None) -> str | None:
    """Where obstore, which lists whole folders only, begins: just before the first key with the prefix."""
    folder = prefix[: prefix.rfind("/") + 1]
    begin = None if prefix == folder else prefix[:-1] + chr(max(ord(prefix[-1]) - 1, 0)) + "\uffff"
    return max(filter(None, (begin, after)), default=None)


def _within(page: pa.RecordBatch, bucket: str, prefix: str) -> tuple[pa.RecordBatch, bool]:
    """A page of obstore as PAGE, less what does not begin with the prefix; whether it reaches beyond the prefix."""
    paths = page["path"].cast(pa.string())
    fits = pc.starts_with(paths, prefix)
    is_beyond = bool(len(paths) and not fits[-1].as_py() and paths[-1].as_py() > prefix)
    columns: Any = (paths, page["size"], page["e_tag"], page["last_modified"])
    kept = columns if pc.all(fits).as_py() else [column.filter(fits) for column in columns]
    return _batch(bucket, *kept), is_beyond


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _batch(bucket: str, keys: Any, sizes: Any, etags: Any, modified: Any) -> pa.RecordBatch:
    keys, etags = (pa.array(values, pa.string()) if isinstance(values, list) else values for values in (keys, etags))
    sizes = pa.array(sizes, pa.int64()) if isinstance(sizes, list) else sizes.cast(pa.int64())
    times = pa.array(modified, PAGE.field("modified").type) if isinstance(modified, list) else modified
    uris = pc.binary_join_element_wise(f"{bucket}/", keys, "")
    bare = pc.utf8_trim(etags.cast(pa.string()), '"')
    return pa.record_batch([uris, sizes, bare, times.cast(PAGE.field("modified").type)], schema=PAGE)
