"""A moto server on loopback with a bucket of many keys, put into it without requests: `big_bucket.py PORT KEYS LAYOUT`.

The keys lie below `raw/`; one more is `one/0.jpg`, for what a process costs that lists next to nothing.

moto sorts all keys of a bucket for every page; here they are sorted once, and a page is found by bisection.
"""

import bisect
import copy
import logging
import sys
from collections.abc import Callable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey, S3Backend, s3_backends
from werkzeug.serving import run_simple

BUCKET = "archive"
LAYOUTS: dict[str, Callable[[int], str]] = {
    "sequential": lambda number: f"raw/IMG_{number:09}.jpg",
    "random": lambda number: f"raw/{number * 0x9E3779B97F4A7C15 % 2**64:016x}.jpg",
    "dates": lambda number: f"raw/{2016 + number % 10}/{1 + number % 12:02}/{1 + number % 28:02}/{number:09}.jpg",
}


def main(port: int, count: int, layout: str) -> None:
    """Serve until the process is ended."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    bucket = backend.create_bucket(BUCKET, "us-east-1")
    one = FakeKey(name="", value=b"x", account_id=DEFAULT_ACCOUNT_ID, region_name="us-east-1")
    found = [copy.copy(one) for _ in range(count + 1)]
    for key, name in zip(found, sorted(["one/0.jpg", *map(LAYOUTS[layout], range(count))]), strict=True):
        key.name = name
        bucket.keys[name] = key
    names = [key.name for key in found]

    def list_objects_v2(
        self: S3Backend,
        bucket: Any,
        prefix: str | None,
        delimiter: str | None,
        continuation_token: str | None,
        start_after: str | None,
        max_keys: int,
    ) -> tuple[Any, bool, str | None]:
        after = self._pagination_tokens.get(continuation_token) if continuation_token else start_after
        first = max(bisect.bisect_left(names, prefix or ""), bisect.bisect_right(names, after) if after else 0)
        page = [key for key in found[first : first + max_keys + 1] if key.name.startswith(prefix or "")]
        truncated: tuple[Any, bool, str | None] = self._truncate_result(page, max_keys)
        return truncated

    S3Backend.list_objects_v2 = list_objects_v2
    logging.getLogger("werkzeug").setLevel("ERROR")
    run_simple("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
