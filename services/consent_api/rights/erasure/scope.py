"""Whom and what an erasure concerns, as the ledger has it now. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from consent_api.domain.addresses import Address, Named, same_place
from consent_api.ledger import addresses, subjects
from consent_api.ledger.erased import subject_keys
from consent_api.rights.erasure.model import Counts
from consent_api.rights.erasure.retention import Retention
from consent_api.rights.person_ref import PersonRef
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

_LINKS = """
SELECT a.address_id,
       EXISTS (SELECT FROM subject_addresses l WHERE l.address_id = a.address_id AND l.subject_id = :subject_id
               AND l.unlinked_at IS NULL) AS linked,
       EXISTS (SELECT FROM subject_addresses l WHERE l.address_id = a.address_id AND l.subject_id <> :subject_id
               AND l.unlinked_at IS NULL) AS shared
"""
_ALONE = text(f"{_LINKS} FROM addresses a WHERE a.address_id = :address_id")
# Of the subject: what is or was linked, and what its decisions reached.
_OF_SUBJECT = text(f"""
{_LINKS}
FROM (
    SELECT address_id FROM subject_addresses WHERE subject_id = :subject_id
    UNION
    SELECT r.address_id FROM decisions d JOIN decision_addresses r USING (decision_id) WHERE d.subject_id = :subject_id
) AS a
""")  # noqa: S608 - constants
_SHARED = text("""
SELECT DISTINCT address_id FROM subject_addresses
WHERE address_id = ANY(CAST(:ids AS bigint[])) AND unlinked_at IS NULL
  AND subject_id IS DISTINCT FROM CAST(:subject_id AS bigint)
""")
_KEYS = text("SELECT address_key FROM address_keys WHERE address_id = ANY(CAST(:ids AS bigint[]))")
_LINKED_SUBJECTS = text("""
SELECT DISTINCT s.tenant, s.subject_ref FROM subject_addresses l JOIN subjects s USING (subject_id)
WHERE l.address_id = ANY(CAST(:ids AS bigint[])) AND l.unlinked_at IS NULL LIMIT 1000
""")
_COUNTS = text("""
SELECT (SELECT count(*) FROM subject_addresses l
        WHERE l.address_id = :address_id AND (:forget OR l.subject_id = :subject_id)) AS links,
       (SELECT count(*) FROM pauses p LEFT JOIN decisions d USING (decision_id)
        WHERE p.address_id = :address_id AND (:forget OR d.subject_id = :subject_id)) AS pauses,
       (SELECT count(DISTINCT receipt_id)
        FROM decision_addresses a JOIN receipt_decisions USING (decision_id) JOIN receipts r USING (receipt_id)
        JOIN address_keys k ON k.address_id = a.address_id AND k.address_key = r.address_key
        WHERE a.address_id = :address_id) AS receipts,
       count(*) AS decisions, count(*) FILTER (WHERE d.status = 'given') AS permissions
FROM decision_addresses r JOIN decisions d USING (decision_id)
WHERE r.address_id = :address_id AND (:forget OR d.subject_id = :subject_id)
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """``forget``: address ids of the person alone; ``keep``: those at which others are, or have been since."""

    tenant: str
    subject_id: int | None
    subject_keys: tuple[str, ...]
    forget: frozenset[int]
    keep: frozenset[int]
    address_keys: tuple[str, ...] = field(repr=False)
    """Of the addresses to be forgotten, under whichever hash keys they are stored; of a number on each channel."""

    @property
    def person_keys(self) -> tuple[str, ...]:
        return self.subject_keys + self.address_keys


def find(connection: Connection, keyring: Keyring, person: PersonRef, *, now: int) -> Scope | None:
    """None where nothing is known of the person. Other forms of a forgotten number are forgotten too, and get a row
    where they have none, within the caller's transaction: an import could name them. So is the number on the other
    channels that use it."""
    subject_id = None
    if person.subject_ref is not None:
        subject_id = subjects.find(connection, person.tenant, person.subject_ref)
    # A number is the person's on each channel that uses it.
    there = [found for place in person.places if (found := addresses.find(connection, keyring, place)) is not None]
    if subject_id is None and not there:
        return None
    forget, keep = _of_subject(connection, subject_id) if subject_id is not None else (set(), set())
    named = {each.address_id for each in there}
    # Named with the subject they are theirs too, linked or not, unless others have them.
    theirs = named if subject_id is None else named - _shared(connection, named, subject_id)
    forget, keep = forget | theirs, keep - theirs
    return _scope(connection, keyring, person.tenant, subject_id, person.subject_ref, forget, keep, now=now)


def again(connection: Connection, keyring: Keyring, *, tenant: str, subject_id: int, now: int) -> Scope:
    """Of a subject that is being erased: what has come meanwhile."""
    forget, keep = _of_subject(connection, subject_id)
    return _scope(connection, keyring, tenant, subject_id, None, forget, keep, now=now)


def is_alone(connection: Connection, *, subject_id: int, address_id: int) -> bool:
    """Whether an address is the subject's, and by now no other's."""
    row = connection.execute(_ALONE, {"subject_id": subject_id, "address_id": address_id}).one()
    return bool(row.linked and not row.shared)


def holders(connection: Connection, keyring: Keyring, scope: Scope) -> list[str]:
    """The keyed hashes of all whose hold stops the erasure: the person's, and of an address alone its subjects'."""
    found = list(scope.person_keys)
    if scope.subject_id is None:
        rows = connection.execute(_LINKED_SUBJECTS, {"ids": sorted(scope.forget)})
        found += [key for row in rows for key in subject_keys(keyring, row.tenant, row.subject_ref)]
    return found


def counts(
    connection: Connection,
    keyring: Keyring,
    retention: Retention,
    address: Address,
    *,
    subject_id: int | None,
    forget: bool,
) -> Counts:
    """What goes at one address."""
    values = {"address_id": address.address_id, "subject_id": subject_id, "forget": forget}
    row = connection.execute(_COUNTS, values).one()
    keeps_proof = retention.proof(address.channel, opened(keyring, address)) is not None
    return Counts(
        decisions=row.decisions,
        links=row.links,
        pauses=row.pauses,
        proofs=row.permissions if keeps_proof else 0,
        receipts=row.receipts,
    )


def opened(keyring: Keyring, address: Address) -> str | None:
    """The clear address; None where it is erased, or cannot be opened."""
    for key, sealed in address.sealed.items():
        if sealed is not None:
            try:
                return keyring.open(key, sealed)
            except DecryptionFailedError:
                continue
    return None


def _of_subject(connection: Connection, subject_id: int) -> tuple[set[int], set[int]]:
    rows = connection.execute(_OF_SUBJECT, {"subject_id": subject_id}).all()
    forget = {row.address_id for row in rows if row.linked and not row.shared}
    return forget, {row.address_id for row in rows} - forget


def _scope(
    connection: Connection,
    keyring: Keyring,
    tenant: str,
    subject_id: int | None,
    subject_ref: str | None,
    forget: set[int],
    keep: set[int],
    *,
    now: int,
) -> Scope:
    known = addresses.load(connection, keyring, forget, now=now)
    elsewhere = {name: addresses.find(connection, keyring, name) for name in _elsewhere(keyring, known.values())}
    sisters = {each.address_id for each in elsewhere.values() if each is not None}
    shared = _shared(connection, sisters, subject_id) if subject_id is not None else set()
    forget, keep = forget | (sisters - shared), (keep | (sisters & shared)) - (sisters - shared)
    known = addresses.load(connection, keyring, forget, now=now)
    names = {name: None for each in known.values() for name in addresses.alias_names(keyring, each)}
    aliases = {each.address_id for each in addresses.resolve(connection, keyring, names, now=now).values()}
    shared = _shared(connection, aliases, subject_id) if subject_id is not None else set()
    forget, keep = forget | (aliases - shared), (keep | (aliases & shared)) - (aliases - shared)
    # A number that is not known on a channel gets no row there, which an installation may not have, but is refused.
    unknown = [name for name, found in elsewhere.items() if found is None]
    unknown_keys = [key for name in unknown for key in keyring.live_address_keys(*name)]
    keys = connection.execute(_KEYS, {"ids": sorted(forget)}).scalars().all() if forget else ()
    return Scope(
        tenant=tenant,
        subject_id=subject_id,
        subject_keys=subject_keys(keyring, tenant, subject_ref) if subject_ref is not None else (),
        forget=frozenset(forget),
        keep=frozenset(keep),
        address_keys=(*keys, *unknown_keys),
    )


def _elsewhere(keyring: Keyring, forgotten: Iterable[Address]) -> dict[Named, None]:
    """The numbers to be forgotten, and their other forms, on the other channels that use them."""
    found: dict[Named, None] = {}
    for each in forgotten:
        others = [channel for channel in same_place(each.channel) if channel != each.channel]
        canonical = opened(keyring, each) if others else None
        if canonical is not None:
            for named in ((each.tenant, channel, canonical) for channel in others):
                found |= dict.fromkeys((named, *addresses.names_of_aliases(named)))
    return found


def _shared(connection: Connection, ids: Collection[int], subject_id: int | None) -> set[int]:
    if not ids:
        return set()
    return set(connection.execute(_SHARED, {"ids": sorted(ids), "subject_id": subject_id}).scalars())
