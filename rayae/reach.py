"""Home of what a name may reach: names in lists, and redirects, are nobody's word but that of who wrote them.

- An address of this machine itself (`loopback`), and link-local ones with the metadata services of clouds
  (`link-local`), are not connected to. Checked is the address that is connected to, after DNS, whatever the name looks
  like; so are redirects. Private networks are no matter of this.
- A file of this machine (`file`) is not read when the list that names it lies elsewhere.
- Schemes but those of object storage and the web (`other`) are not used for a name in a list that itself lies
  elsewhere: some of them are chains (`simplecache::file:///etc/passwd`) that lead to all of the above.

`storage.allow=` allows each. What a list may not name as it lies is marked in the manifest, as `place`, and is judged
where it is read: `needs:file:`, with the place in an archive behind it, if it has one.
"""

import ipaddress
import os
import re
import socket
from typing import Any

from rayae.errors import StorageError

VARIABLE = "RAYAE_ALLOW"
"""The environment variable in which `storage.allow` goes to workers; names with commas between them."""
FILE, OTHER, LOOPBACK, LINK_LOCAL = "file", "other", "loopback", "link-local"
SENTENCES = {
    FILE: "The name is that of a file of this machine, in a list that lies elsewhere.",
    OTHER: "The name has a scheme that names in lists may not have: they are files, object storage or web addresses.",
}
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure, beside 169.254.169.254
            "192.0.0.192",  # Oracle, old
            "fd00:ec2::254",  # Amazon
            "fd00:ec2::23",  # its credentials for pods
            "fd20:ce::254",  # Google
        ),
    )
)
"""Metadata services that are not at link-local addresses."""
THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
"""Linux takes 0.0.0.0 for itself."""
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
"""IPv6 addresses whose last 32 bits are the IPv4 address that is meant."""
MARK = re.compile(rf"needs:({FILE}|{OTHER}):(.*)\Z", re.DOTALL)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(StorageError):
    """A name leads to where no setting lets it."""


def allowed() -> frozenset[str]:
    """What `storage.allow` allows in this process."""
    return frozenset(filter(None, os.environ.get(VARIABLE, "").split(",")))


def refusal_of(kind: str) -> str | None:
    """Why a name that needs this is not read, with the setting that allows it; None when it is allowed."""
    return None if kind in allowed() else f"{SENTENCES[kind]} storage.allow={kind} allows it."


def marked(kind: str, place: str | None) -> str:
    """The place of an image whose name needs to be allowed."""
    return f"needs:{kind}:{place or ''}"


def needed(place: str | None) -> tuple[str | None, str | None]:
    """What a place says that must be allowed, or None, and the place itself, or None where there is none."""
    found = MARK.match(place or "")
    return (found[1], found[2] or None) if found else (None, place)


def kind_of(address: str) -> str | None:
    """What must be allowed for this IP address to be connected to, or None."""
    meant = _meant(ipaddress.ip_address(address.partition("%")[0]))
    if meant.is_loopback or meant.is_unspecified or meant in THIS_NETWORK:
        return LOOPBACK
    return LINK_LOCAL if meant.is_link_local or meant in METADATA else None


def _meant(address: Address) -> Address:
    """The IPv4 address behind one of IPv6 that only wraps it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    wrapped = address.ipv4_mapped or address.sixtofour
    if wrapped is not None:
        return wrapped
    if any(address in network for network in TRANSLATED) and not (address.is_loopback or address.is_unspecified):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def refuse_address(address: str) -> None:
    """Forbidden when nobody has allowed that a name leads to this IP address."""
    kind = kind_of(address)
    if kind is not None and kind not in allowed():
        what = "this machine itself" if kind == LOOPBACK else "a link-local address or a metadata service"
        raise Forbidden(f"The name leads to {address}, {what}. storage.allow={kind} allows it.")


def addresses_of(host: str, port: int) -> list[str]:
    """The IP addresses of a host, looked up once; Forbidden when it may not be reached by one of them.

    Who connects must connect to one of these: a name that is looked up again may be another address by then.
    """
    found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        refuse_address(address)
    return list(dict.fromkeys(found))


def guarded_socket(found: tuple[Any, ...]) -> socket.socket:
    """A socket for what `getaddrinfo` has found, as aiohttp asks for it; Forbidden when it may not be reached."""
    family, kind, protocol, _, where = found
    refuse_address(str(where[0]))
    return socket.socket(family, kind, protocol)


async def guarded_client(**settings: Any) -> Any:
    """The client by which fsspec reads the web, which connects to no address that is not allowed."""
    import aiohttp

    one_by_one = aiohttp.TCPConnector(socket_factory=guarded_socket, happy_eyeballs_delay=None)
    return aiohttp.ClientSession(connector=one_by_one, **settings)
