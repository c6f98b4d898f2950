"""Home of the settings of every verb: how it speaks, and how it reaches storage."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

from rayae.settings.base import Settings


def _checked_endpoint(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("it must begin with http:// or https://")
    if "@" in url:
        raise ValueError("it holds a user or a password; give credentials in the environment or by storage.profile=")
    return url


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]
Allowed = Annotated[
    list[Literal["file", "other", "loopback", "link-local"]],
    BeforeValidator(lambda given: given.split(",") if isinstance(given, str) and given else given),
]


class StorageSettings(Settings):
    """How storage is reached. What is not set is found in the usual places: environment, profile, machine."""

    endpoint: Endpoint | None = None
    """URL of an S3 server that is not Amazon's, for example `http://minio:9000`; without TLS when it says so."""
    region: str | None = None
    """Region of the buckets."""
    profile: str | None = None
    """Profile of the AWS configuration files to take credentials from."""
    anonymous: bool = False
    """Whether requests go out without credentials, for public buckets."""
    ca_file: str | None = None
    """PEM file of the authorities to trust besides those of the system, there on every machine."""
    allow: Allowed | None = None
    """What names in lists and redirects may reach besides storage: `file` (files of the machine that reads, for lists
    elsewhere), `other` (schemes of fsspec), `loopback`, `link-local` (metadata services); default: RAYAE_ALLOW."""


class SpokenSettings(Settings):
    log: Literal["text", "json"] = "text"
    """How lines are printed: `text` for people, or `json`, an object a line, for what collects logs."""


class VerbSettings(SpokenSettings):
    storage: StorageSettings = StorageSettings()
