"""What a link proves today: its subject, as long as its address has not left them."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

from sqlalchemy import Connection, text

from consent_api.domain.addresses import own_first
from consent_api.ledger import addresses, erased, subjects
from consent_api.ledger.ledger import Ledger
from consent_api.links.opening import Opened
from consent_api.links.token import Link
from consent_privacy.keyring import Keyring

_LINKED = text("""
SELECT l.address_id, bool_or(l.unlinked_at IS NULL) AS is_linked FROM subject_addresses l
WHERE l.subject_id = :subject_id AND l.address_id = ANY(CAST(:address_ids AS bigint[])) GROUP BY l.address_id
""")


class _Subject(Enum):
    """Of a link, as its address is theirs or not."""

    PROVEN = auto()
    LEFT = auto()
    ERASED = auto()
    """The ledger has no such subject, and they or the address have been erased."""


def proven(ledger: Ledger, opened: Opened) -> Opened:
    """The link without its subject where its address was theirs and is no more: a number that has moved on, or a typing
    error that was corrected. Who reads its messages is another person, or the subject with an old message: it shows and
    permits nothing of the subject, and refuses for them (``Opened.left``).

    An address that was never linked is the word of who made the link, unless it or the subject has been erased: an
    erasure removes the links that there were. Blocks. LedgerUnavailableError."""
    link, keyring = opened.link, ledger.context.keyring
    if link.subject_ref is None or link.address is None:
        return opened
    subject = ledger.transact(lambda connection: _subject(connection, keyring, link))
    if subject is _Subject.PROVEN:
        return opened
    left = link.subject_ref if subject is _Subject.LEFT else None
    return replace(opened, link=replace(link, subject_ref=None), left=left)


def _subject(connection: Connection, keyring: Keyring, link: Link) -> _Subject:
    ref, own = link.subject_ref or "", link.channel or ""
    # That of the link's own channel decides before those where the number is an address too.
    named = [(link.tenant, channel, link.address or "") for channel in own_first(own)]
    found = [address for each in named if (address := addresses.find(connection, keyring, each)) is not None]
    subject_id = subjects.find(connection, link.tenant, ref)
    if subject_id is not None:
        values = {"subject_id": subject_id, "address_ids": [each.address_id for each in found]}
        linked = {row.address_id: row.is_linked for row in connection.execute(_LINKED, values)}
        for each in found:
            if each.address_id in linked and (linked[each.address_id] or each.channel == own):
                return _Subject.PROVEN if linked[each.address_id] else _Subject.LEFT
        if linked:
            return _Subject.LEFT
    was_erased = any(each.erasing or each.erased_at is not None for each in found)
    if was_erased or erased.find(connection, keyring, [(link.tenant, ref), *named]):
        return _Subject.LEFT if subject_id is not None else _Subject.ERASED
    return _Subject.PROVEN
