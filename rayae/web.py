"""Home of GET from a web server: `https://` names in lists of images, with their query as it stands."""

import re
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, LocationValueError

from rayae.objects import Answer, bare_etag
from rayae.stores import Refusal

SCHEMES = ("http://", "https://")
OWN = threading.local()
PIECE_BYTES = 64 * 1024
NO_ADDRESS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError, ValueError)
"""What requests and urllib3 raise for names that no server can have."""
CONNECT_S = 5.0


def is_web(uri: str) -> bool:
    """Whether the URI is a web address."""
    return uri.startswith(SCHEMES)


def host(uri: str) -> str:
    """The server of a web address."""
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


def get(
    uri: str,
    judge: Callable[[Answer], None],
    first: int = 0,
    length: int | None = None,
    most: int | None = None,
    timeout_s: float = 30.0,
) -> bytes:
    """The bytes at a web address, or a part of them, with one GET and no second try; at most `most` and one.

    `judge` sees the answer before the body is taken, and may raise. Raises Refusal.
    """
    end = "" if length is None else first + length - 1
    part = {} if length is None and not first else {"Range": f"bytes={first}-{end}"}
    headers = {"Accept-Encoding": "identity", **part}
    until = time.monotonic() + timeout_s
    try:
        with _session().get(
            uri, headers=headers, stream=True, timeout=(min(CONNECT_S, timeout_s), timeout_s)
        ) as answer:
            if answer.status_code not in (200, 204, 206):
                raise Refusal(answer.status_code, "", f"The server answered {answer.status_code} {answer.reason}.")
            if not part and answer.status_code == 206:
                raise Refusal(0, "", "The server gave a part of the file without being asked for one.")
            if part and answer.status_code != 206:
                raise Refusal(501, "", "The server gives no parts of a file; an archive there cannot be read.")
            if part and not answer.headers.get("Content-Range", "").startswith(f"bytes {first}-"):
                raise Refusal(0, "", "The server gave another part of the file than was asked for.")
            judge(Answer(_whole_size(answer), bare_etag(answer.headers.get("ETag"))))
            return _body(answer, length if most is None else most, until)
    except requests.TooManyRedirects:
        raise Refusal(404, "", "The server redirects without end.") from None
    except requests.exceptions.InvalidHeader:
        raise Refusal(0, "", "The server gave headers that contradict one another.") from None
    except NO_ADDRESS:
        raise Refusal(404, "", "This is no address of a file on the web.") from None
    except (requests.RequestException, HTTPError):
        raise Refusal(0, "", "The server gave no whole answer: the connection failed, broke or timed out.") from None


def _whole_size(answer: requests.Response) -> int | None:
    total = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length", "")
    return int(total) if re.fullmatch("[0-9]{1,18}", total) else None


def _body(answer: requests.Response, most: int | None, until: float) -> bytes:
    """The body as it comes, so that a server that sends a byte now and then is seen to be too slow."""
    pieces, taken = [], 0
    while (most is None or taken <= most) and (piece := answer.raw.read1(PIECE_BYTES, decode_content=True)):
        pieces.append(piece)
        taken += len(piece)
        if time.monotonic() > until:
            raise Refusal(0, "", "The server was too slow: the file did not come within the time of a request.")
    return b"".join(pieces)


def _session() -> requests.Session:
    """The session of this thread, which keeps its connections."""
    if not hasattr(OWN, "session"):
        OWN.session = requests.Session()
    session: requests.Session = OWN.session
    return session
