"""What a link proves today: its subject, as long as its address has not left them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, text

from consent_api.domain.addresses import same_place
from consent_api.ledger import addresses, subjects
from consent_api.ledger.ledger import Ledger
from consent_api.links.opening import Opened
from consent_api.links.token import Link
from consent_privacy.keyring import Keyring

_LEFT = text("""
SELECT count(*) > 0 AND bool_and(unlinked_at IS NOT NULL) FROM subject_addresses
WHERE subject_id = :subject_id AND address_id = ANY(CAST(:address_ids AS bigint[]))
""")


def proven(ledger: Ledger, opened: Opened) -> Opened:
    """The link without its subject where its address was theirs and is no more: a number that has moved on, or a typing
    error that was corrected. Who reads its messages is another person. An address that was never linked is the word of
    who made the link. Blocks. LedgerUnavailableError."""
    link, keyring = opened.link, ledger.context.keyring
    if link.subject_ref is None or link.address is None:
        return opened
    if not ledger.transact(lambda connection: _has_left(connection, keyring, link)):
        return opened
    return replace(opened, link=replace(link, subject_ref=None))


def _has_left(connection: Connection, keyring: Keyring, link: Link) -> bool:
    subject_id = subjects.find(connection, link.tenant, link.subject_ref or "")
    if subject_id is None:
        return False
    named = [(link.tenant, channel, link.address or "") for channel in same_place(link.channel or "")]
    found = [address for each in named if (address := addresses.find(connection, keyring, each)) is not None]
    values = {"subject_id": subject_id, "address_ids": [each.address_id for each in found]}
    return bool(connection.execute(_LEFT, values).scalar_one())
