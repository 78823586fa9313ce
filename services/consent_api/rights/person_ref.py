"""Who a right is exercised by, as the tenant names the person: nothing of it is stored in the clear."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from consent_api.domain.addresses import Named, same_place
from consent_api.ledger.erased import subject_keys
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonRef:
    """A subject, an address on a channel, or both: then the address is one that the subject has proven to be theirs."""

    tenant: str
    subject_ref: str | None = field(default=None, repr=False)
    channel: str | None = None
    address: str | None = field(default=None, repr=False)
    """Canonical."""

    @property
    def named(self) -> Named | None:
        """The address on its channel, as the ledger names one."""
        if self.channel is None or self.address is None:
            return None
        return self.tenant, self.channel, self.address

    @property
    def places(self) -> list[Named]:
        """Where the address reaches the person: a number that is proven for messages is proven for calls."""
        if self.channel is None or self.address is None:
            return []
        return [(self.tenant, channel, self.address) for channel in same_place(self.channel)]

    def keys(self, keyring: Keyring) -> list[str]:
        """Keyed hashes by which what is stored about the person is found, under each live hash key."""
        found: list[str] = []
        if self.subject_ref is not None:
            found += subject_keys(keyring, self.tenant, self.subject_ref)
        for named in self.places:
            found += keyring.live_address_keys(*named)
        return found

    def is_within(self, keyring: Keyring, keys: Collection[str]) -> bool:
        """Whether what has these keyed hashes is all of the person: the subject, and the address wherever it is."""
        parts: list[tuple[str, ...]] = []
        if self.subject_ref is not None:
            parts.append(subject_keys(keyring, self.tenant, self.subject_ref))
        if self.places:
            parts.append(tuple(key for named in self.places for key in keyring.live_address_keys(*named)))
        return all(any(key in keys for key in part) for part in parts)

    def without(self, keyring: Keyring, keys: Collection[str]) -> PersonRef | None:
        """What is left once the person with these keyed hashes is erased: the reference, where it is another one's."""
        if self.subject_ref is None or any(key in keys for key in subject_keys(keyring, self.tenant, self.subject_ref)):
            return None
        return PersonRef(tenant=self.tenant, subject_ref=self.subject_ref)

    def seal(self, keyring: Keyring, bound: str) -> bytes:
        """To be opened with the same ``bound`` alone."""
        return keyring.seal_record(
            msgspec.msgpack.encode([self.subject_ref, self.channel, self.address]), bound.encode()
        )


def opened(keyring: Keyring, tenant: str, sealed: bytes | None, bound: str) -> PersonRef | None:
    """None where the person has been erased, or the seal key is gone."""
    if sealed is None:
        return None
    try:
        subject_ref, channel, address = msgspec.msgpack.decode(keyring.open_record(sealed, bound.encode()))
    except DecryptionFailedError:
        return None
    return PersonRef(tenant=tenant, subject_ref=subject_ref, channel=channel, address=address)
