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


def own_first(channel: str) -> list[str]:
    """The same, ``channel`` before the others."""
    return sorted(same_place(channel), key=lambda each: each != channel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """``sealed`` holds the sealed address by address_key, the primary's first; live keys only.

    ``canonical``: the clear address where this submission names it. ``is_new``: this transaction creates it, so
    nothing has been decided there.

    An address that has been erased has no sealed form: None. ``erased_at`` (micros) stays after the person has come
    back, and goes with each message. ``erasing``: an erasure is in progress."""

    address_id: int
    tenant: str
    channel: str
    sealed: Mapping[str, bytes | None]
    canonical: str | None = field(default=None, repr=False)
    is_new: bool = False
    erasing: bool = False
    erased_at: int | None = None

    @property
    def is_erased(self) -> bool:
        """Whether it is known by its keyed hash alone."""
        return None in self.sealed.values()

    @property
    def key(self) -> str:
        """The address_key under the tenant's primary hash key, or under another live one where it has none there."""
        return next(iter(self.sealed))
