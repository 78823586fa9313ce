"""The hash keys under which the entries of a list are stored, by tenant. A process that lacks a newer one does not see
all decisions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from consent_contracts.reading import KEY_ID
from consent_privacy.keyring import Keyring, key_order

_BEFORE_DOT = re.compile(f"({KEY_ID})\\.".encode())
_SHARE = 2


class KeyIds:
    """Counts entries. One thread counts, any may ask.

    One record proves nothing: a client that may write to the list may name any key in it. But no key is retired before
    every address has an entry under the newer one (docs/decisions/0009), so one that is in use has many.
    """

    def __init__(self) -> None:
        self._present: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        self._most: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        """The highest that each count has been: what is erased has been in use all the same."""

    def add(self, tenant: str, key: bytes) -> None:
        """There is an entry under `key`."""
        # What has not the form of a key id is not kept: it would get into logs, and could be anything.
        if (match := _BEFORE_DOT.match(key)) is not None:
            present, most, key_id = self._present[tenant], self._most[tenant], match[1]
            present[key_id] += 1
            most[key_id] = max(most[key_id], present[key_id])

    def remove(self, tenant: str, key: bytes) -> None:
        """It is there no more."""
        if (match := _BEFORE_DOT.match(key)) is not None:
            self._present[tenant][match[1]] -= 1

    def most(self, tenant: str) -> Counter[bytes]:
        """How many entries there have been at once, by key id."""
        return self._most[tenant]

    def newest(self, tenant: str) -> str | None:
        """Also of entries that have gone since."""
        ids = list(self._most[tenant])
        return max(ids, key=key_order).decode("ascii") if ids else None

    def newer_in_use(self, tenant: str, keyring: Keyring) -> str | None:
        """The newest key id that `keyring` is outdated by, once entries under such ids are at least half as many as
        those under its own."""
        seen = {key_id.decode("ascii"): count for key_id, count in list(self._most[tenant].items())}
        newer = {key_id: count for key_id, count in seen.items() if keyring.is_older_than(tenant, key_id)}
        ours = sum(self._present[tenant][key.id.encode("ascii")] for key in keyring.hash_keys[tenant])
        return max(newer, key=key_order) if newer and _SHARE * sum(newer.values()) >= ours else None
