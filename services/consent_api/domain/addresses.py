"""An address as decisions reach it: a number, and for each live hash key the address_key and the sealed address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_privacy.addresses import PHONE_CHANNELS

Named = tuple[str, str, str]
"""(tenant, channel, canonical address): only ever in memory."""


def same_place(channel: str) -> tuple[str, ...]:
    """The channels on which an address of ``channel`` reaches the same place: a number takes messages and calls."""
    return tuple(sorted(PHONE_CHANNELS)) if channel in PHONE_CHANNELS else (channel,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """``sealed`` holds the sealed address by address_key, the primary's first; live keys only.

    ``canonical``: the clear address where this submission names it. ``is_new``: this transaction creates it, so
    nothing has been decided there."""

    address_id: int
    tenant: str
    channel: str
    sealed: Mapping[str, bytes]
    canonical: str | None = field(default=None, repr=False)
    is_new: bool = False

    @property
    def key(self) -> str:
        """The address_key under the tenant's primary hash key, or under another live one where it has none there."""
        return next(iter(self.sealed))
