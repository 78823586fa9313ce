"""Which of two sealed forms of one address a list keeps."""

from __future__ import annotations

from collections.abc import Callable

from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

SealRank = Callable[[str, bytes], int]
"""Of a sealed address under its address key; the higher one is kept, whichever came first."""

OPENS, UNKNOWN_KEY, FORGED = 2, 1, 0


def any_seal(_address_key: str, _sealed: bytes) -> int:
    """For a merge without seal keys."""
    return OPENS


def seal_rank(keyring: Callable[[], Keyring]) -> SealRank:
    """What opens comes first. A key id that is not here may be newer than this process, so that what it seals is kept
    where there is nothing better; what does not open under a key that is here is forged or damaged."""

    def rank(address_key: str, sealed: bytes) -> int:
        try:
            keyring().open(address_key, sealed)
        except DecryptionFailedError as error:
            return UNKNOWN_KEY if error.reason == "unknown_key" else FORGED
        return OPENS

    return rank
