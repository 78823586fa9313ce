"""Which URLs may be called: over TLS where credentials are sent, and a webhook on public hosts only, checked at the
very address that is then called.

Checking a name and then letting the HTTP client resolve it again would leave a gap for a name server that
answers a public address first and a private one afterwards (DNS rebinding). Here the client's only resolver
is the one that checks. It is not asked for a literal address, which `url_error` therefore reads.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import SplitResult, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from consent_http.errors import PrivateTargetError

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is assigned of IPv6. Outside are the unspecified and IPv4-compatible addresses, local translation
(64:ff9b:1::/48), unique-local, link-local and the old site-local ones, and what is not assigned yet."""
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""What a DNS64 makes of a host that has IPv4 only (RFC 6052): as public as that."""
_TUNNELS = tuple(map(ipaddress.ip_network, ("2001::/32", "2002::/16")))
"""Teredo and 6to4: what is at the other end is an IPv4 address of the relay's choice, and no provider is there."""
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001:db8::/32", "3fff::/20")))
"""What some versions of Python take for global: protocol assignments, the 6to4 relay, documentation."""
_ENDS_IN_NUMBER = re.compile(r"(?:\A|\.)(?:\d+|0x[0-9a-f]*)\.?\Z", re.ASCII)
"""No name of a host does. Clients take 127.1, 0x7f000001 and 2130706433 for addresses, each in its own way."""
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The first half of an interface's identifier that holds an IPv4 address (RFC 5214)."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet. Of an IPv6 form that carries an IPv4 address, that one
    counts, or the form is none that a public host has."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip.ipv4_mapped is not None or ip in _TRANSLATED:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
    if ip not in _UNICAST or any(ip in tunnel for tunnel in _TUNNELS):
        return False
    return ip.is_global and int(ip) >> 32 & 0xFFFF_FFFF not in _ISATAP


def url_error(url: str, *, allow_private: bool, switch: str = "`allow_private: true`") -> str | None:
    """What is wrong with a target before anything is resolved, and the fix; None when nothing is.
    ``switch``: what permits private ones."""
    parts = _parts(url)
    if isinstance(parts, str):
        return parts
    if allow_private:
        return None
    if parts.scheme != "https":
        return f"only https: a message names people (for a test on this machine set {switch})"
    literal = _literal(parts)
    if literal is None or is_public(literal):
        return None
    return f"a private address: use a public host, or set {switch}"


def credentials_url_error(url: str) -> str | None:
    """What is wrong with a URL that credentials are sent to, and the fix; None when nothing is."""
    parts = _parts(url)
    if isinstance(parts, str):
        return parts
    literal = _literal(parts)
    loopback = parts.hostname == "localhost" if literal is None else ipaddress.ip_address(literal).is_loopback
    if parts.scheme != "https" and not loopback:
        return "only https: credentials are sent there (http is for a provider on this machine, such as the sandbox)"
    return None


def _parts(url: str) -> SplitResult | str:
    """The URL's parts, or what is wrong with it, and the fix."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL: write https://host/path"
    if parts.scheme not in ("https", "http") or not host:
        return "not an http(s) URL: write https://host/path"
    if parts.username is not None or parts.password is not None:
        return "a URL with a login shows up in logs: leave the login out, credentials have a place of their own"
    if _literal(parts) is None and _ENDS_IN_NUMBER.search(host):
        return "not a host's name, and no IPv4 address as it is sent: write four numbers, as in 192.0.2.1"
    if "#" in url:
        return "a fragment is never sent: leave out everything from `#` on"
    if not url.isascii() or not url.isprintable() or set(url) & set(" \\"):
        return "not as it is sent: write the host in ASCII (xn--...) and the path percent-encoded"
    return parts


def _literal(parts: SplitResult) -> str | None:
    """The IP address in the URL; None where it has a name."""
    host = (parts.hostname or "").partition("%")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


class PublicOnlyResolver(AbstractResolver):
    """Resolves a name. PrivateTargetError when any of its addresses is not public."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or _system_lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise PrivateTargetError
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


async def _system_lookup(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
