"""Which instances a process has now: one for each address of its host name, as Kubernetes and Compose publish them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from status_page.settings import MOST_TARGETS, Target

SECONDS = 2.0
"""For the addresses of one name."""
Resolve = Callable[[str, int], Awaitable[Collection[str]]]
"""The addresses of a host name and port. Raises OSError."""


async def addresses(host: str, port: int) -> list[str]:
    """By the resolver of this machine: of IPv4, or where there is none, of IPv6, as one instance may have one of each.
    Raises OSError."""
    async with asyncio.timeout(SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families = {family for family, *_ in found}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    return sorted({str(address[0]) for of, _, _, _, address in found if of == family})


class Discovery:
    """Belongs to one event loop. A name with one address, or that cannot be resolved, is one instance, as it is
    declared."""

    def __init__(self, declared: Sequence[Target], resolve: Resolve = addresses) -> None:
        self._declared = declared
        self._resolve = resolve

    async def targets(self) -> list[Target]:
        """In the order in which they are declared; no more than MOST_TARGETS of one name."""
        found = await asyncio.gather(*(self._instances(each) for each in self._declared))
        return [each for instances in found for each in instances]

    async def _instances(self, target: Target) -> list[Target]:
        parts = urlsplit(target.url)
        # The certificate of an instance is of its name, not of its address.
        if parts.scheme != "http" or parts.hostname is None:
            return [target]
        port = parts.port or 80
        try:
            found = await self._resolve(parts.hostname, port)
        except (OSError, UnicodeError):
            return [target]
        if not 1 < len(found) <= MOST_TARGETS:
            return [target]
        return [
            replace(
                target,
                name=f"{target.name} {address}",
                url=parts._replace(netloc=f"{f'[{address}]' if ':' in address else address}:{port}").geturl(),
            )
            for address in found
        ]
