"""Home of what is taken out of every text that leaves rayae: secrets of the environment, and those inside URIs."""

import os
import re
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST_SECRET = 8
"""Characters; a shorter value would blot out ordinary words."""
SECRET_NAMES = re.compile(
    r"SECRET|TOKEN|PASSWORD|ACCOUNT_KEY|STORAGE_KEY|CONNECTION_STRING|ACCESS_KEY$|SAS|CREDENTIALS?$|SERVICE_ACCOUNT_KEY",
    re.IGNORECASE,
)
STORAGE_NAMES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_", "FSSPEC_")
USERINFO = re.compile(r"\b(?P<scheme>\w+)://(?P<user>[^/\s]+)@(?=\[?[\w.:-]+)")
SIGNED = re.compile(
    r"(?i)([?&;](?:x-amz-(?:signature|security-token|credential)|x-goog-(?:signature|credential)|signature|sig|token|"
    r"awsaccesskeyid|access_token|api_?key|password|secret)=)[^&\s'\"#]+"
)
"""Signatures of presigned addresses, whatever they stand in."""
ADDRESS = re.compile(r"(?i)https?://[^\s'\"]*")
PARAMETER = re.compile(r"([?&;#])([^=&;#?\s]{1,64}?)(=|%3[dD])([^&;#\s]+)")
SOUNDS_SECRET = re.compile(r"(?i)sig|token|secret|key|auth|pass|pwd|cred|policy|jwt|code|hmac|md5|hdnea")
"""What the names of parameters hold by which web servers let somebody in."""


def redacted(text: str) -> str:
    """The text with `***` for values of secret environment variables, signatures in URIs, and users with passwords."""
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    text = SIGNED.sub(rf"\g<1>{HIDDEN}", text)
    text = ADDRESS.sub(lambda found: PARAMETER.sub(_without_secret, found[0]), text)
    return USERINFO.sub(_without_password, text)


def kept(value: Any) -> Any:
    """A JSON value that is to be kept in a file, with all its texts redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: kept(inside) for key, inside in value.items()}
    return [kept(inside) for inside in value] if isinstance(value, list | tuple) else value


def _without_secret(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{found[3]}{HIDDEN}" if SOUNDS_SECRET.search(unquote(found[2])) else found[0]


def _without_password(found: re.Match[str]) -> str:
    """`container@account` of Azure stays; `user:password@host` goes, and on the web any user."""
    is_secret = ":" in found["user"] or found["scheme"].lower().startswith("http")
    return f"{found['scheme']}://{HIDDEN}@" if is_secret else found[0]


def _secrets() -> list[str]:
    named = (
        value for name, value in os.environ.items() if name.startswith(STORAGE_NAMES) and SECRET_NAMES.search(name)
    )
    return sorted({value for value in named if len(value) >= SHORTEST_SECRET and not os.path.isfile(value)}, key=len)[
        ::-1
    ]
