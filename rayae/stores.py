"""Home of the clients of buckets, and of what they say when a request fails."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from obstore.exceptions import BaseError, InvalidPathError
from obstore.store import AzureStore, GCSStore, S3Store

from rayae import boto
from rayae.access import GOOGLE, KINDS, S3
from rayae.boto import is_anonymous
from rayae.errors import ConfigError

CREDENTIALS_HELD = timedelta(minutes=5)
"""How long credentials are used before they are asked for again, so that renewed ones are found."""
PARTS_OF_TEXT = tuple(
    map(re.compile, (r"status code: (\d{3})", r"<Code>(\w+)</Code>", r"<Message>([^<]{1,200})</Message>"))
)
PATIENCE_TRIES = 10


class Refusal(Exception):
    """Storage did not give an object: the HTTP `status` (0 when it gave no answer), its `code`, a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(status, code, sentence)
        self.status, self.code, self.sentence = status, code, sentence


def patient_store(bucket: str) -> Any:
    """The client of a bucket that tries by itself again what storage may yet do."""
    return _store(bucket, _settings(), 60.0, PATIENCE_TRIES)


def plain_store(bucket: str, timeout_s: float) -> Any:
    """The client of a bucket that makes one request at a time of asking."""
    return _store(bucket, _settings(), timeout_s, 0)


Settings = tuple[tuple[str, str], ...]


def _settings() -> Settings:
    """The environment variables that decide how a store is reached, to tell stores apart."""
    names = [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]  # asked for each image
    return tuple((name, os.environ[name]) for name in sorted(names))


@functools.lru_cache(maxsize=256)
def _store(bucket: str, settings: Settings, timeout_s: float, retries: int) -> Any:
    scheme, _, name = bucket.partition("://")
    common: Any = {
        "client_options": _client_options(timeout_s),
        "retry_config": {"max_retries": retries, "retry_timeout": timedelta(seconds=180)},
    }
    with told():
        if KINDS[scheme] == S3:
            return _s3(name, common)
        if is_anonymous():
            common["skip_signature"] = True
        if KINDS[scheme] == GOOGLE:
            return GCSStore(name, **common)
        container, _, host = name.partition("@")
        if host:
            common["account_name"] = host.partition(".")[0]
        return AzureStore(container, **common)


def _client_options(timeout_s: float) -> dict[str, Any]:
    ca_file = os.environ.get("AWS_CA_BUNDLE")
    try:
        trusted = {} if ca_file is None else {"root_certificate": Path(ca_file).read_bytes()}
    except OSError as error:
        raise ConfigError(f"AWS_CA_BUNDLE={ca_file} cannot be read: {error.strerror}.") from error
    is_plain = any(str(url).startswith("http://") for url in (boto.endpoint(), os.environ.get("GOOGLE_BASE_URL")))
    timeouts = {"timeout": timedelta(seconds=timeout_s), "connect_timeout": timedelta(seconds=min(5.0, timeout_s))}
    return {"allow_http": is_plain, "pool_max_idle_per_host": "1024", **timeouts, **trusted}


def _s3(name: str, common: Mapping[str, Any]) -> S3Store:
    endpoint = boto.endpoint()
    place: dict[str, Any] = {"region": boto.region(), **({"endpoint": endpoint} if endpoint else {})}
    if is_anonymous():
        return S3Store(name, **common, **place, skip_signature=True)
    return S3Store(name, **common, **place, credential_provider=S3Credentials())


class S3Credentials:
    """Gives obstore what botocore finds in the usual places: environment, profile, web identity, instance role."""

    def __init__(self) -> None:
        self.found = boto.credentials()

    def __call__(self) -> Any:
        frozen = self.found.get_frozen_credentials()  # botocore renews them when they are about to expire
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_HELD,
        }


def forget_stores() -> None:
    """Ask for credentials anew with the next request."""
    _store.cache_clear()
    boto.forget_clients()


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what obstore and botocore raise into a Refusal; their own text holds whole requests and answers."""
    try:
        yield
    except (InvalidPathError, ValueError) as error:
        if isinstance(error, ValueError) and "parse path" not in str(error):
            raise
        raise Refusal(400, "InvalidPath", "This client cannot name such a key (with `//`, or `.` as a part).") from None
    except (BaseError, FileNotFoundError, NotImplementedError, boto.Failed) as error:
        raise refusal_in(str(error)) from None


def refusal_in(text: str) -> Refusal:
    """What a server said, found in the text of an error; nothing else of that text is kept."""
    status, code, message = (found[1] if (found := part.search(text)) else "" for part in PARTS_OF_TEXT)
    if "redirect without LOCATION" in text:
        status, code, message = "301", "PermanentRedirect", "the bucket is in another region; set storage.region="
    if "credential provider" in text:
        status, code, message = "401", "NoCredentials", text.rpartition("credential provider:")[2].splitlines()[0][:200]
    if not status:
        return Refusal(0, "", "Storage gave no whole answer: the connection failed, broke or timed out.")
    words = " ".join(filter(None, (status, code)))
    return Refusal(int(status), code, f"Storage answered {words}{f': {message.rstrip(chr(46))}' if message else ''}.")
