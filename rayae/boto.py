"""Home of botocore: where S3 and its credentials are, and the few keys that the fast client cannot name."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ReadTimeoutError

from rayae.errors import ConfigError

DEFAULT_REGION = "us-east-1"
Rows = tuple[list[str], list[int], list[str], list[Any]]
"""Keys, sizes in bytes, etags and times of objects."""


class Failed(Exception):
    """S3 refused or did not answer; the text is as obstore writes it, with the status and the code."""


def endpoint() -> str | None:
    """The URL of the S3 server when it is not Amazon's: from the environment or the profile."""
    named = (
        os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    )
    found = named or _session(os.environ.get("AWS_PROFILE")).get_scoped_config().get("endpoint_url")
    return None if found is None else str(found).rstrip("/")


def region() -> str:
    """The region of the environment or the profile."""
    found = os.environ.get("AWS_REGION") or _session(os.environ.get("AWS_PROFILE")).get_config_variable("region")
    return str(found or DEFAULT_REGION)


def is_anonymous() -> bool:
    """Whether requests go out unsigned."""
    return os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes")


def credentials() -> Any:
    """Credentials from the usual places, which renew themselves; ConfigError when there are none."""
    try:
        found = botocore.session.Session(profile=os.environ.get("AWS_PROFILE")).get_credentials()
    except BotoCoreError as error:
        raise ConfigError(f"the credentials of S3 cannot be found: {error}") from error
    if found is None:
        raise ConfigError(
            "there are no credentials for S3: none in the environment, in a profile (storage.profile=), or from the "
            "role of the machine. Give them there; or read without them by storage.anonymous=true."
        )
    return found


def get(
    bucket: str, key: str, judge: Callable[[int | None, str | None], None], first: int = 0, length: int | None = None
) -> bytes:
    """The bytes of an object, or of a part; `judge` sees its whole size and its etag before the body is taken."""
    part = (
        {}
        if length is None and not first
        else {"Range": f"bytes={first}-{'' if length is None else first + length - 1}"}
    )
    with_part: Any = {"Bucket": bucket, "Key": key, **part}
    try:
        found = _client().get_object(**with_part)
        total = str(found.get("ContentRange", "")).rpartition("/")[2]
        with contextlib.closing(found["Body"]) as body:
            judge(int(total) if total.isdigit() else found["ContentLength"], str(found["ETag"]).strip('"'))
            return bytes(body.read())
    except (ClientError, BotoCoreError, HTTPClientError, ReadTimeoutError) as error:
        raise _failed(error) from None


def pages(bucket: str, prefix: str, after: str | None = None) -> Iterator[Rows]:
    """The objects below a prefix, keys above `after`, a request's worth at a time."""
    begin = {} if after is None else {"StartAfter": after}
    try:
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **begin):
            if page.get("Contents"):
                yield _rows(page["Contents"])
    except (ClientError, BotoCoreError) as error:
        raise _failed(error) from None


def level(bucket: str, prefix: str) -> tuple[Rows, list[str]]:
    """The objects directly below a prefix, and the prefixes one level down."""
    objects: list[Any] = []
    below: list[str] = []
    try:
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            objects += page.get("Contents", [])
            below += [str(found["Prefix"]) for found in page.get("CommonPrefixes", [])]
    except (ClientError, BotoCoreError) as error:
        raise _failed(error) from None
    return _rows(objects), below


def _rows(objects: list[Any]) -> Rows:
    return (
        [found["Key"] for found in objects],
        [found["Size"] for found in objects],
        [found["ETag"] for found in objects],
        [found["LastModified"] for found in objects],
    )


def _failed(error: Exception) -> Failed:
    response: dict[str, Any] = getattr(error, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status is None:
        return Failed(type(error).__name__)
    told = response.get("Error", {})
    return Failed(
        f"status code: {status} <Code>{told.get('Code', '')}</Code><Message>{told.get('Message', '')}</Message>"
    )


@functools.lru_cache(maxsize=8)
def _session(profile: str | None) -> Any:
    """A session, for what it reads from files; ConfigError when there is no such profile."""
    session = botocore.session.Session(profile=profile)
    try:
        session.get_scoped_config()
    except BotoCoreError as error:
        raise ConfigError(f"the settings of S3 cannot be read: {error}") from error
    return session


def forget_clients() -> None:
    """Ask for credentials anew with the next request."""
    _client_of.cache_clear()


def _client() -> Any:
    return _client_of(
        endpoint(), region(), os.environ.get("AWS_PROFILE"), is_anonymous(), os.environ.get("AWS_ACCESS_KEY_ID")
    )


@functools.lru_cache(maxsize=8)
def _client_of(url: str | None, in_region: str, profile: str | None, unsigned: bool, _key_id: str | None) -> Any:
    config = Config(
        retries={"max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=64,
        s3={"addressing_style": "path"} if url else {},
    )
    if unsigned:
        config = config.merge(Config(signature_version=botocore.UNSIGNED))
    session = botocore.session.Session(profile=profile)
    return session.create_client("s3", region_name=in_region, endpoint_url=url, config=config)
