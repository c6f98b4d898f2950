"""Home of how storage is reached: by which server, in which region, as whom, and what a name may reach; told to every
client alike."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rayae import boto, reach
from rayae.boto import is_anonymous
from rayae.errors import ConfigError

S3, GOOGLE, AZURE = "s3", "gs", "az"
KINDS = {"s3": S3, "s3a": S3, "gs": GOOGLE, "gcs": GOOGLE, "az": AZURE, "abfs": AZURE, "abfss": AZURE}
ONLY_FROM_OUTSIDE = (
    "AWS_ENDPOINT",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "GOOGLE_BASE_URL",
    "STORAGE_EMULATOR_HOST",
)
"""Variables that clients obey as well, and no setting stands for."""
_READING = "s3:GetObject on it, and s3:ListBucket on the bucket {bucket}, without which what is missing is refused too"
PERMISSIONS = {
    "list": "s3:ListBucket on the bucket {bucket}",
    "look for": _READING,
    "read": _READING,
    "write": "s3:PutObject on it",
    "remove": "s3:DeleteObject on it and s3:ListBucket on the bucket {bucket}",
}
"""What S3 asks of whoever does one of these, in the words of its policies."""


@dataclass(frozen=True)
class Access:
    """How object storage is reached; what is None is found in the usual places (environment, profile, instance)."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool = False
    ca_file: str | None = None
    allow: Sequence[str] | None = None
    """What names in lists may reach, see `reach`; None: what the environment says."""

    def environment(self) -> dict[str, str]:
        """The environment variables that say so to every client, this one, botocore and pyarrow alike."""
        skip = "true" if self.anonymous else None
        found = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_PROFILE": self.profile,
            "AWS_CA_BUNDLE": self.ca_file,
            "AWS_SKIP_SIGNATURE": skip,
            "GOOGLE_SKIP_SIGNATURE": skip,
            "AZURE_SKIP_SIGNATURE": skip,
            reach.VARIABLE: None if self.allow is None else ",".join(self.allow),
        }
        return {name: value for name, value in found.items() if value is not None}

    def apply(self) -> None:
        """Use it in this process and those it starts. ConfigError when the CA file cannot be read."""
        if self.ca_file is not None and not os.access(self.ca_file, os.R_OK):
            raise ConfigError(f"storage.ca_file={self.ca_file} cannot be read; it is a PEM file on every machine.")
        os.environ.update(self.environment())


def permission(verb: str, uri: str) -> str:
    """The sentence that says what a policy must allow for this; empty where nobody here knows."""
    scheme, _, rest = uri.partition("://")
    if KINDS.get(scheme) != S3 or verb not in PERMISSIONS:
        return ""
    return f" It takes {PERMISSIONS[verb].format(bucket=rest.partition('/')[0])}."


def in_use() -> dict[str, str]:
    """The environment variables of this process that say how storage is reached; none of them is a credential."""
    names = [*Access(*("",) * 3, True, "", ()).environment(), *ONLY_FROM_OUTSIDE]
    return {name: os.environ[name] for name in names if name in os.environ}


def options_of_fsspec(uri: str) -> dict[str, Any]:
    """What the file system of fsspec for a URI must be told to reach the same storage in the same way."""
    kind = KINDS.get(uri.partition("://")[0])
    if kind == S3:
        url = boto.endpoint()
        config = {"s3": {"addressing_style": "path"}} if url else {}
        return {
            "endpoint_url": url,
            "anon": is_anonymous(),
            "profile": os.environ.get("AWS_PROFILE"),
            "config_kwargs": config,
        }
    if kind == GOOGLE and is_anonymous():
        return {"token": "anon"}
    if uri.startswith(("http://", "https://")):
        return {"get_client": reach.guarded_client}
    return {"anon": True} if kind == AZURE and is_anonymous() else {}
