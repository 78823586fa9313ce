"""What the ledger holds of the person of a link: each setting of the preference centre, and the history."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, text

from consent_api.domain.addresses import same_place
from consent_api.ledger import addresses, subjects, writes
from consent_api.ledger.current import CurrentDecisions
from consent_api.links import pauses
from consent_api.links.theme import Theme
from consent_api.links.token import Link
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN
from consent_contracts.verdict import EXPIRED, Verdict, effective_verdict
from consent_privacy.keyring import Keyring

MOST_IN_HISTORY = 200


class State(StrEnum):
    ON = "on"
    OFF = "off"
    PAUSED = "paused"
    ENDED = "ended"
    UNSET = "unset"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One purpose on one channel, over all addresses of the person there; times in micros.

    ``until``: the end of a pause. ``expires_at``: of the permission. ``permitted``: addresses that may be contacted.
    ``tools``: how many destinations are concerned by what decides, and ``applied`` how many of them took it."""

    purpose: str
    channel: str
    state: State
    since: int | None = None
    until: int | None = None
    expires_at: int | None = None
    permitted: tuple[int, ...] = ()
    tools: int = 0
    applied: int = 0

    @property
    def key(self) -> str:
        return f"{self.channel}.{self.purpose}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """``at``: the ledger's clock. ``settings``: by the theme's order. ``channels``: those by which the person can be
    reached, whether the page has a setting of them or not."""

    at: int
    settings: tuple[Setting, ...]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A decision in the history. ``status``: as in the contracts; ``until``: of a pause that has not ended."""

    at: int
    channel: str
    purpose: str
    status: str
    method: str | None
    decision_id: str
    until: int | None = None


_LINKED = text("""
SELECT l.address_id, a.channel FROM subject_addresses l JOIN addresses a USING (address_id)
WHERE l.subject_id = :subject_id AND l.unlinked_at IS NULL ORDER BY l.address_id
""")
# The last stage of each push counts; a destination may be informed again and again.
_RECEIPTS = text("""
SELECT DISTINCT ON (d.decision_id, r.destination, r.address_key, r.target)
       d.decision_id::text AS decision_id, r.destination, r.stage IN ('accepted', 'effective') AS applied
FROM receipt_decisions d JOIN receipts r USING (receipt_id)
WHERE d.decision_id = ANY(CAST(:ids AS uuid[])) AND r.tenant = :tenant AND r.stage <> 'queued'
ORDER BY d.decision_id, r.destination, r.address_key, r.target, r.reached_at DESC, r.receipt_id DESC
""")
_QUEUED = text("""
SELECT DISTINCT d.decision_id::text AS decision_id, r.destination
FROM receipt_decisions d JOIN receipts r USING (receipt_id)
WHERE d.decision_id = ANY(CAST(:ids AS uuid[])) AND r.tenant = :tenant
""")
# Of an address that several people share, only what was decided about the address itself.
_HISTORY = text("""
SELECT d.decision_id::text AS decision_id, d.effective_at, d.channel, d.purpose, d.status,
       d.evidence ->> 'capture_method' AS method
FROM decisions d
WHERE d.decision_id IN (
    SELECT o.decision_id FROM decisions o WHERE o.subject_id = :subject_id
    UNION
    SELECT r.decision_id FROM decision_addresses r JOIN decisions o USING (decision_id)
    WHERE r.address_id = ANY(CAST(:address_ids AS bigint[])) AND o.subject_id IS NULL)
  AND d.purpose <> '@delivery'
ORDER BY d.recorded_at DESC, d.decision_id DESC LIMIT :most
""")


def read(connection: Connection, keyring: Keyring, link: Link, theme: Theme, *, now: int) -> Person:
    """The settings of the person now. A channel without an address is not shown, but for the link's own."""
    by_channel = _addresses(connection, keyring, link)
    everywhere = [each for of_channel in by_channel.values() for each in of_channel]
    current = CurrentDecisions()
    current.need(GIVEN, 0, None, everywhere)
    current.read(connection)
    found = [
        (purpose.id, channel, _verdicts(current, by_channel[channel], purpose.id, now))
        for purpose in theme.purposes
        for channel in purpose.channels
        if channel in by_channel
    ]
    deciding = {v.decision_id for *_, of_setting in found for v in of_setting.values() if v.decision_id is not None}
    tools = _tools(connection, link.tenant, deciding)
    ends = pauses.ends(connection, deciding)
    settings = tuple(_setting(*each, tools=tools, ends=ends) for each in found)
    # A number that was never called may be.
    of_link = same_place(link.channel) if link.channel is not None else ()
    channels = dict.fromkeys([*(each.channel for each in settings), *by_channel, *of_link])
    return Person(at=now, settings=settings, channels=tuple(channels))


def refused_everywhere(connection: Connection, link: Link) -> frozenset[tuple[str, str]]:
    """Channel and purpose of what the link's subject has refused once for all addresses, those to come included."""
    subject_id = subjects.find(connection, link.tenant, link.subject_ref) if link.subject_ref else None
    if subject_id is None:
        return frozenset()
    found = writes.inherited_refusals(connection, [subject_id])
    return frozenset((channel, refusal.decision.purpose) for _, channel, refusal in found)


def history(connection: Connection, keyring: Keyring, link: Link) -> list[Event]:
    """What is recorded of the person, the newest first, `MOST_IN_HISTORY` at most."""
    address_ids = [each for of_channel in _addresses(connection, keyring, link).values() for each in of_channel]
    rows = connection.execute(
        _HISTORY,
        {
            "subject_id": subjects.find(connection, link.tenant, link.subject_ref) if link.subject_ref else None,
            "address_ids": address_ids,
            "most": MOST_IN_HISTORY,
        },
    ).all()
    ends = pauses.ends(connection, {row.decision_id for row in rows})
    return [
        Event(
            at=row.effective_at,
            channel=row.channel,
            purpose=row.purpose,
            status=row.status,
            method=row.method,
            decision_id=row.decision_id,
            until=ends.get(row.decision_id),
        )
        for row in rows
    ]


def _addresses(connection: Connection, keyring: Keyring, link: Link) -> dict[str, list[int]]:
    """The ids of the person's addresses, by channel."""
    found: dict[str, list[int]] = {}
    if link.channel is not None and link.address is not None:
        for channel in same_place(link.channel):
            own = addresses.find(connection, keyring, (link.tenant, channel, link.address))
            if own is not None or channel == link.channel:
                found[channel] = [own.address_id] if own is not None else []
    subject_id = subjects.find(connection, link.tenant, link.subject_ref) if link.subject_ref else None
    if subject_id is not None:
        for row in connection.execute(_LINKED, {"subject_id": subject_id}):
            of_channel = found.setdefault(row.channel, [])
            if row.address_id not in of_channel:
                of_channel.append(row.address_id)
    return found


def _verdicts(current: CurrentDecisions, address_ids: Sequence[int], purpose: str, now: int) -> dict[int, Verdict]:
    return {
        each: effective_verdict({EVERY_PURPOSE: current.verdict(each, purpose)}, EVERY_PURPOSE, now)
        for each in address_ids
    }


def _tools(connection: Connection, tenant: str, deciding: Collection[str]) -> dict[str, dict[str, bool]]:
    """By decision, whether each destination has applied it: at all of the person's addresses."""
    if not deciding:
        return {}
    parameters = {"ids": list(map(UUID, deciding)), "tenant": tenant}
    found: dict[str, dict[str, bool]] = {}
    for row in connection.execute(_QUEUED, parameters):
        found.setdefault(row.decision_id, {})[row.destination] = False
    seen: set[tuple[str, str]] = set()
    for row in connection.execute(_RECEIPTS, parameters):
        of_decision, place = found[row.decision_id], (row.decision_id, row.destination)
        of_decision[row.destination] = row.applied and (place not in seen or of_decision[row.destination])
        seen.add(place)
    return found


def _setting(
    purpose: str,
    channel: str,
    verdicts: Mapping[int, Verdict],
    *,
    tools: Mapping[str, Mapping[str, bool]],
    ends: Mapping[str, int],
) -> Setting:
    """A person may be contacted where one of the addresses may."""
    on = [each for each in verdicts.values() if each.permitted]
    off = [each for each in verdicts.values() if not each.permitted and each.decision_id is not None]
    shown = max(on or off, key=lambda each: each.since or 0, default=None)
    if shown is None:
        return Setting(purpose=purpose, channel=channel, state=State.UNSET)
    informed = tools.get(shown.decision_id or "", {})
    until = ends.get(shown.decision_id or "")
    if on:
        state = State.ON
    elif shown.reason == EXPIRED:
        state = State.ENDED
    else:
        state = State.PAUSED if until is not None else State.OFF
    return Setting(
        purpose=purpose,
        channel=channel,
        state=state,
        since=shown.since,
        until=until,
        expires_at=min((each.expires_at for each in on if each.expires_at is not None), default=None),
        permitted=tuple(address_id for address_id, each in verdicts.items() if each.permitted),
        tools=len(informed),
        applied=sum(informed.values()),
    )
