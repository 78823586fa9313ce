"""The ledger's history in pages: each decision with each address it reached, as messages to publish.

Pages by key instead of one long cursor: memory is bounded either way, but a cursor would hold a snapshot of the
database for hours, under which no table can be vacuumed, and would have to start again after a broken connection.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.domain.addresses import Address
from consent_api.ledger import addresses
from consent_api.ledger.lanes import MARK, Lane
from consent_api.ledger.outbox_messages import ChangeMessages, Message
from consent_api.ledger.rows import choice_of
from consent_contracts.decisions import GIVEN
from consent_privacy.keyring import Keyring

# The page is cut before it is filtered, so that a selection that matches little does not scan without end.
_PAGE = text(
    f"""
    SELECT page.address_id, page.decision_id::text AS decision_id, page.reached_at, a.tenant, a.channel,
           d.purpose, d.status, d.effective_at, d.recorded_at, d.expires_at, d.spreads, d.source_system,
           s.subject_ref, {MARK}
    FROM (SELECT address_id, decision_id, reached_at FROM decision_addresses
          WHERE (address_id, decision_id) > (:address_id, CAST(:decision_id AS uuid))
          ORDER BY address_id, decision_id LIMIT :size) AS page
    JOIN addresses a USING (address_id)
    JOIN decisions d USING (decision_id)
    LEFT JOIN subjects s ON s.subject_id = d.subject_id
    ORDER BY page.address_id, page.decision_id
    """  # noqa: S608 - constants
)
# Linked, and nothing decided yet: no event to publish, but under a new hash key it has to be found all the same.
_UNREACHED = text(
    """
    SELECT a.address_id FROM addresses a
    WHERE a.address_id > :after
      AND (CAST(:tenant AS text) IS NULL OR a.tenant = :tenant)
      AND (CAST(:channel AS text) IS NULL OR a.channel = :channel)
      AND NOT EXISTS (SELECT FROM decision_addresses r WHERE r.address_id = a.address_id)
    ORDER BY a.address_id LIMIT :size
    """
)
_ABOUT = text("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'decision_addresses'::regclass")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What to publish; None means all. `since`: reached its address at or after this moment (microseconds)."""

    tenant: str | None = None
    channel: str | None = None
    since: int | None = None
    key_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """How far a run has come: everything up to here has been published.

    A run goes through the history twice: refusals first, then `permissions`. A reader of a list that
    is being rebuilt from nothing then never finds a permission before the refusals that overrule it.
    """

    permissions: bool = False
    address_id: int = -1
    decision_id: str = str(UUID(int=0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """`read` rows of history, those `selected`, the messages they make, and where the next page starts.

    `unknown_tenants`: of the selected rows, those that the keyring does not know."""

    read: int
    selected: int
    messages: list[Message]
    end: Cursor
    unknown_tenants: frozenset[str]


Wanted = Callable[[str, int], bool]
"""(channel, partition): whether what belongs there is published. For a repair, which is limited to its holes."""


def everywhere(channel: str, partition: int) -> bool:
    return True


def page(
    connection: Connection,
    keyring: Keyring,
    outbox: ChangeMessages,
    selection: Selection,
    after: Cursor,
    *,
    size: int,
    now: int,
    wanted: Wanted = everywhere,
    unknown_as_stored: bool = False,
) -> Page | None:
    """The next page of refusals, or of permissions, depending on `after`; None at the end of these.

    The messages go to the bulk topic, and each decision keeps its mark. An address that has no key yet under a live
    hash key gains it here (R12), within the caller's transaction.
    `unknown_as_stored`: addresses of a tenant that the keyring does not know are published under their stored keys.
    UnknownTenantError (without that) or DecryptionFailedError when the keyring lacks what the history needs.
    """
    where = {"address_id": after.address_id, "decision_id": after.decision_id, "size": size}
    rows = connection.execute(_PAGE, where).all()
    if not rows:
        return None
    selected = [row for row in rows if (row.status == GIVEN) == after.permissions and _selects(selection, row)]
    ids = {row.address_id for row in selected}
    stored = addresses.load(connection, keyring, ids, now=now, unknown_as_stored=unknown_as_stored)
    found = {address_id: _limited(address, outbox, selection.key_id, wanted) for address_id, address in stored.items()}
    messages = [
        message for row in selected for message in outbox.changes(choice_of(row), found[row.address_id], Lane.BULK)
    ]
    end = replace(after, address_id=rows[-1].address_id, decision_id=rows[-1].decision_id)
    unknown = frozenset({row.tenant for row in selected} - keyring.hash_keys.keys())
    return Page(read=len(rows), selected=len(selected), messages=messages, end=end, unknown_tenants=unknown)


def in_two_passes(read: Callable[[Cursor], Page | None], start: Cursor) -> Iterator[Page]:
    """The pages of the refusals, then those of the permissions, from `start` on. `read` gets where a page begins."""
    cursor = start
    if not cursor.permissions:
        yield from _one_pass(read, cursor)
        cursor = Cursor(permissions=True)
    yield from _one_pass(read, cursor)


def _one_pass(read: Callable[[Cursor], Page | None], cursor: Cursor) -> Iterator[Page]:
    while (page := read(cursor)) is not None:
        yield page
        cursor = page.end


def backfill_unreached_keys(
    connection: Connection, keyring: Keyring, selection: Selection, after: int, *, size: int, now: int
) -> int | None:
    """Give addresses that no decision has reached their keys under every live hash key (R12), a page at a time.

    The last address of the page, None at the end. Once a hash key is retired, an address that lacked its successor
    would be taken for a new one.
    """
    where = {"after": after, "tenant": selection.tenant, "channel": selection.channel, "size": size}
    ids = connection.execute(_UNREACHED, where).scalars().all()
    addresses.load(connection, keyring, set(ids), now=now)
    return ids[-1] if ids else None


def estimated_rows(connection: Connection) -> int:
    """The length of the history as PostgreSQL estimates it: for a progress display, nothing else."""
    return int(connection.execute(_ABOUT).scalar_one())


def _selects(selection: Selection, row: Row[tuple[object, ...]]) -> bool:
    return (
        (selection.tenant is None or row.tenant == selection.tenant)
        and (selection.channel is None or row.channel == selection.channel)
        and (selection.since is None or row.reached_at >= selection.since)
    )


def _limited(address: Address, outbox: ChangeMessages, key_id: str | None, wanted: Wanted) -> Address:
    """The address under those of its keys that are published."""
    sealed = {
        key: value
        for key, value in address.sealed.items()
        if (key_id is None or key.startswith(f"{key_id}.")) and wanted(address.channel, outbox.partition(key))
    }
    return replace(address, sealed=sealed)
