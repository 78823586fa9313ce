"""What the ledger holds of whom a page is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import phonenumbers
from sqlalchemy import Connection, text

from consent_api.console.sessions import Subject
from consent_api.domain.addresses import Named
from consent_api.domain.effects import Outcome
from consent_api.domain.validation import ValidationRules, named_address, subject_reference
from consent_api.errors import SubmissionInvalidError
from consent_api.ledger import addresses, database, queries, subjects
from consent_api.ledger.queries import Explanation, LedgerDecision, SubjectState
from consent_api.links.theme import Theme
from consent_api.rights.person_ref import PersonRef
from consent_contracts.decisions import DELIVERY, EVERY_PURPOSE
from consent_privacy.addresses import PHONE_CHANNELS
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

MOST_PERSONS = 20
"""References of one address that are listed."""
MOST_PURPOSES = 20
MOST_DECISIONS = 200
"""Of a person's history."""
_ADDRESS_CHANNELS = frozenset({*PHONE_CHANNELS, "email"})

_SEALED = text("""
SELECT address_key, sealed_address FROM address_keys
WHERE tenant = :tenant AND address_key = ANY(CAST(:keys AS text[])) AND sealed_address IS NOT NULL
""")

Evaluated = tuple[LedgerDecision, Outcome]


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressFound:
    """Why an address may, or may not, be contacted, by channel and purpose; the references that it is linked to."""

    explanations: Mapping[str, Mapping[str, Explanation]] = field(repr=False)
    persons: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonFound:
    """``addresses``: by address_key, those that can be opened. ``history``: the newest first, ``more`` if there are
    more than are here."""

    state: SubjectState = field(repr=False)
    addresses: Mapping[str, str] = field(repr=False)
    history: tuple[Evaluated, ...] = field(repr=False)
    more: bool


def find(connection: Connection, keyring: Keyring, rules: ValidationRules, tenant: str, query: str) -> Subject | None:
    """Whom someone searches for: a reference that is known; an e-mail address or a phone number, known or not; or an
    address on another channel that is known."""
    try:
        reference = subject_reference(query, rules)
    except SubmissionInvalidError:
        reference = None
    if reference is not None and subjects.find(connection, tenant, reference) is not None:
        return Subject(subject_ref=reference)
    by_address: dict[str, list[str]] = {}
    for channel in rules.channels:
        try:
            canonical = named_address(channel, query, rules)
        except SubmissionInvalidError:
            continue
        named = (tenant, channel, canonical)
        if channel in _ADDRESS_CHANNELS or addresses.find(connection, keyring, named) is not None:
            by_address.setdefault(canonical, []).append(channel)
    for canonical, channels in by_address.items():
        return Subject(address=canonical, channels=tuple(channels))
    return None


def of_address(connection: Connection, keyring: Keyring, tenant: str, subject: Subject, theme: Theme) -> AddressFound:
    """By the theme's purposes, and those that something was decided about there."""
    assert subject.address is not None
    names = [(tenant, channel, subject.address) for channel in subject.channels]
    offered = {each: [of.id for of in theme.purposes if each in of.channels] for each in subject.channels}
    return AddressFound(
        explanations={named[1]: _explained(connection, keyring, named, offered[named[1]]) for named in names},
        persons=tuple(_persons(connection, keyring, names)),
    )


def of_person(connection: Connection, keyring: Keyring, tenant: str, subject_ref: str) -> PersonFound | None:
    now = database.clock(connection)
    state = queries.state(connection, keyring, tenant=tenant, subject_ref=subject_ref, at=now)
    if state is None:
        return None
    decisions = queries.newest(connection, keyring, tenant=tenant, subject_ref=subject_ref, most=MOST_DECISIONS + 1)
    return PersonFound(
        state=state,
        addresses=_opened(connection, keyring, tenant, [each.address_key for each in state.addresses]),
        history=tuple(decisions[:MOST_DECISIONS]),
        more=len(decisions) > MOST_DECISIONS,
    )


def person_ref(tenant: str, subject: Subject) -> PersonRef:
    """As requests and audit entries name whom a page is about."""
    channel = subject.channels[0] if subject.address is not None else None
    return PersonRef(tenant=tenant, subject_ref=subject.subject_ref, channel=channel, address=subject.address)


def written(address: str) -> str:
    """A phone number in groups; another address as it is."""
    if not address.startswith("+"):
        return address
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return address
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def masked(address: str) -> str:
    """Enough to distinguish the addresses of a person."""
    local, at, domain = address.rpartition("@")
    if at:
        return f"{local[:1]}•••@{domain}"
    return f"{address[:3]} ••• {address[-2:]}" if address.startswith("+") else f"{address[:2]}•••"


def _explained(
    connection: Connection, keyring: Keyring, named: Named, purposes: Collection[str]
) -> dict[str, Explanation]:
    whole = queries.explain(connection, keyring, named=named, purpose=EVERY_PURPOSE)
    there = [each.decision.purpose for each, _ in whole.others]
    if whole.deciding is not None:
        there.append(whole.deciding.decision.purpose)
    known = dict.fromkeys((*purposes, *sorted(there)))
    wanted = [each for each in known if each not in (EVERY_PURPOSE, DELIVERY)][:MOST_PURPOSES]
    found = {each: queries.explain(connection, keyring, named=named, purpose=each) for each in wanted}
    return {**found, EVERY_PURPOSE: whole}


def _persons(connection: Connection, keyring: Keyring, names: Sequence[Named]) -> list[str]:
    found = [addresses.find(connection, keyring, each) for each in names]
    ids = [each.address_id for each in found if each is not None]
    return subjects.having(connection, ids, most=MOST_PERSONS)


def _opened(connection: Connection, keyring: Keyring, tenant: str, keys: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in connection.execute(_SEALED, {"tenant": tenant, "keys": list(keys)}):
        try:
            found[row.address_key] = keyring.open(row.address_key, bytes(row.sealed_address))
        except DecryptionFailedError:
            continue
    return found
