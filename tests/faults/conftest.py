"""The servers of `tests/s3`, and its buckets, for what fails on the way to them."""

from tests.s3.conftest import bucket, environment, few, front, server

__all__ = ["bucket", "environment", "few", "front", "server"]
