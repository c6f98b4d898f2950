"""Home of GET from a web server: `https://` names in lists of images, with their query as it stands.

No address is connected to that `reach` does not let through, by whatever name or redirect. Where a proxy of the
environment (HTTPS_PROXY) is in between, it is the proxy that looks names up: here only what they are to us is judged.
"""

import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
)

from rayae import reach
from rayae.objects import Answer, bare_etag
from rayae.stores import Refusal

SCHEMES = ("http://", "https://")
OWN = threading.local()
PIECE_BYTES = 64 * 1024
NO_ADDRESS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError, ValueError)
"""What requests and urllib3 raise for names that no server can have."""
CONNECT_S, LEAST_S = 5.0, 0.1
MOST_REDIRECTS = 30


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
        with _answer(uri, headers, until) as answer:
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
    except reach.Forbidden as forbidden:
        raise Refusal(403, "", str(forbidden)) from None
    except requests.exceptions.InvalidHeader:
        raise Refusal(0, "", "The server gave headers that contradict one another.") from None
    except NO_ADDRESS:
        raise Refusal(404, "", "This is no address of a file on the web.") from None
    except (requests.RequestException, HTTPError):
        raise Refusal(0, "", "The server gave no whole answer: the connection failed, broke or timed out.") from None


def _answer(uri: str, headers: dict[str, str], until: float) -> requests.Response:
    """The answer where the redirects end; what they bring with them is not taken, as it has no limit."""
    session = _session()
    for _ in range(MOST_REDIRECTS):
        left = max(until - time.monotonic(), LEAST_S)
        answer = session.get(uri, headers=headers, stream=True, timeout=(min(CONNECT_S, left), left))
        target = requests.Session.get_redirect_target(session, answer)
        if target is None:
            return answer
        answer.close()
        if time.monotonic() > until:
            raise Refusal(0, "", "The server was too slow: the file did not come within the time of a request.")
        uri = urljoin(answer.url, target)
    raise Refusal(404, "", "The server redirects without end.")


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


class _Guarded(HTTPConnection):
    """A connection to one of the addresses of a host that were judged, and to no other."""

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            addresses = reach.addresses_of(name, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        try:
            for address in addresses[:-1]:
                self._dns_host = address
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError):
                    continue
            self._dns_host = addresses[-1]
            return super()._new_conn()
        finally:
            self._dns_host = name  # which is what TLS and the header `Host` are about


class _GuardedByTLS(_Guarded, HTTPSConnection):
    """The same with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _PoolByTLS(HTTPSConnectionPool):
    ConnectionCls = _GuardedByTLS


class _Adapter(HTTPAdapter):
    """What requests sends a request with: each one that follows a redirect, too."""

    def init_poolmanager(self, *words: Any, **settings: Any) -> None:
        super().init_poolmanager(*words, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolByTLS}

    def send(self, request: requests.PreparedRequest, *words: Any, **settings: Any) -> requests.Response:
        if select_proxy(request.url or "", settings.get("proxies")):
            try:
                reach.addresses_of(host(request.url or ""), 0)
            except (socket.gaierror, UnicodeError):
                pass  # a name that only the proxy knows
        return super().send(request, *words, **settings)


class _Session(requests.Session):
    """Follows no redirect: requests would take the body of each, also where it is asked not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""


def _session() -> requests.Session:
    """The session of this thread, which keeps its connections: those that were let through."""
    allowed = reach.allowed()
    if getattr(OWN, "allowed", None) != allowed:
        OWN.allowed, OWN.session = allowed, _Session()
        for scheme in SCHEMES:
            OWN.session.mount(scheme, _Adapter())
    session: requests.Session = OWN.session
    return session
