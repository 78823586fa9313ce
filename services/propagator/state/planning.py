"""From the stored bytes of one address to what is pending for it. Reads nothing and writes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consent_contracts import entry_layout
from consent_contracts.codec import Codec
from consent_contracts.decisions import KEY_ID, choices
from consent_contracts.errors import InvalidRecordError, RegistryUnavailableError, UnreadableError
from consent_contracts.records import entry_from_avro, verdicts_of
from consent_contracts.verdict import verdicts
from propagator.desired.model import NOTHING, DeliveredTarget, DestinationRules, ListEntry, Plan, own_entry
from propagator.desired.plan import plan
from propagator.sending.ports import PendingPush
from propagator.state.recent_values import RecentValues
from propagator.state.rows import DestinationFill, check_row, delivered_of, fill_of
from propagator.state.unknown_schemas import UnknownSchemas

_ADDRESS_KEY = re.compile(rf"{KEY_ID}\.[A-Za-z0-9_-]+")
_KEPT_BYTES = 4 * 1024 * 1024
"""Of recent entries, and of recent rows: some 7,000 ordinary entries, more than the calls of two destinations hold.
Decoded, they take five times as much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedDestination:
    """One destination as the tables know it."""

    rules: DestinationRules
    generation: int
    fingerprint: str
    """Of everything that its plans depend on beside the two states."""

    @property
    def name(self) -> str:
        return self.rules.destination

    @property
    def channel(self) -> str:
        return self.rules.channel


class RecordDecoder:
    """Decodes the records of list topics and of the state topic. Used by several threads.

    The newest are kept.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        list_topics: Mapping[str, str],
        state_topic: str,
        unknown_schemas: UnknownSchemas | None = None,
    ) -> None:
        """`list_topics`: channel to topic."""
        self._codec = codec
        self._list_topics = list_topics
        self._state_topic = state_topic
        self._unknown_schemas = unknown_schemas or UnknownSchemas()
        self._own_headers = {
            channel: b"\0" + codec.schema_id(topic).to_bytes(4, "big") for channel, topic in list_topics.items()
        }
        self._entries = RecentValues[ListEntry](_KEPT_BYTES)
        self._rows = RecentValues[Mapping[str, DeliveredTarget]](_KEPT_BYTES)

    def entry(
        self,
        channel: str,
        address_key: str,
        value: bytes,
        *,
        append_time: int,
        traceparent: str | None = None,
        read_at: float | None = None,
    ) -> ListEntry:
        """The entry under this key, appended at `append_time`, micros; `read_at` as for `Codec.decode`.

        Raises UnreadableError, InvalidRecordError and RegistryUnavailableError. The schema of an entry is registered
        before the merge writes it: where the registry does not know the schema, the registry may be wrong and not the
        entry. That is RegistryUnavailableError too, for some minutes.
        """
        recent = self._entries.get((channel, address_key, value))
        if recent is not None:
            return recent
        try:
            datum = self._codec.decode(self._list_topics[channel], value, read_at=read_at)
        except RegistryUnavailableError:
            self._unknown_schemas.no_answer()
            raise
        except UnreadableError as error:
            if error.reason != "unknown_schema" or not _ADDRESS_KEY.fullmatch(address_key):
                raise
            if not self._unknown_schemas.may_wait(append_time):
                raise
            raise RegistryUnavailableError("the registry does not know the schema of an entry") from error
        decisions = entry_from_avro(datum)
        if decisions.address_key != address_key or decisions.channel != channel:
            raise InvalidRecordError("address_key", "the entry belongs under another key or to another channel")
        # Each tool knows its own bounces, and what it took for a person's choice it would not take back.
        chosen = choices(decisions.decisions)
        entry = ListEntry(
            tenant=decisions.tenant,
            channel=channel,
            address_key=address_key,
            sealed_address=decisions.sealed_address,
            decisions=chosen,
            verdicts=verdicts_of(datum) if chosen is decisions.decisions else verdicts(chosen),
            written_at=datum["written_at"],
            erased_at=decisions.erased_at,
            traceparent=traceparent,
        )
        self._entries.keep((channel, address_key, value), entry, len(value))
        return entry

    def erased_at(self, channel: str, address_key: bytes, value: bytes) -> int | None:
        """When the last erasure took place that concerned this entry, micros; 0: perhaps there was one. Cheap: nothing
        is decoded."""
        if not value.startswith(self._own_headers[channel]):
            return entry_layout.UNREADABLE
        return entry_layout.erased_at(value, address_key)

    def delivered(self, value: bytes | None, *, read_at: float | None = None) -> Mapping[str, DeliveredTarget]:
        """An address's row, by target. Raises UnreadableError and RegistryUnavailableError."""
        if value is None:
            return {}
        found = self._rows.get(value)
        if found is None:
            found = delivered_of(self._own_row(value, read_at))
            self._rows.keep(value, found, len(value))
        return found

    def delivered_or_unknown(self, value: bytes | None) -> Mapping[str, DeliveredTarget]:
        """As `delivered`; a row that cannot be read holds nothing that is known. Raises RegistryUnavailableError."""
        try:
            return self.delivered(value)
        except UnreadableError:
            return {}

    def fill(self, value: bytes | None) -> DestinationFill | None:
        """A destination's own row. Raises UnreadableError and RegistryUnavailableError."""
        return None if value is None else fill_of(self._own_row(value, None))

    def _own_row(self, value: bytes, read_at: float | None) -> dict[str, Any]:
        datum = self._codec.decode(self._state_topic, value, read_at=read_at)
        try:
            check_row(datum)
        except InvalidRecordError as error:
            raise UnreadableError("undecodable", str(error)) from None
        return datum


def plan_address(
    destination: PlannedDestination,
    entry: ListEntry | None,
    delivered: Mapping[str, DeliveredTarget],
    *,
    fill_began_at: int,
    now: int,
) -> Plan:
    """The difference at one destination. The entry's own time counts as now where our clock is earlier."""
    own = own_entry(destination.rules, entry)
    if own is None and not delivered:
        return NOTHING
    if own is not None:
        now = max(now, own.entry.written_at)
    return plan(own, delivered, destination.rules, fill_began_at=fill_began_at, now=now)


def pending_of(address_key: str, planned: Plan) -> list[PendingPush]:
    """The rows of the pending index for this plan: one a target, and one for what needs no call.
    Those of kind `impossible` are no work.

    Raises ValueError for a target that cannot be part of a key.
    """
    if any("\0" in push.state.target for push in planned.pushes):
        raise ValueError("a target holds NUL")
    rows = [
        PendingPush(
            address_key=address_key,
            target=push.state.target,
            kind=push.state.action,
            live=push.live,
            since=push.since,
            not_before=push.not_before,
        )
        for push in planned.pushes
    ]
    if planned.adoptions or planned.unmapped is not None:
        since = [each.recorded_at for each in planned.adoptions]
        if planned.unmapped is not None:
            since.append(planned.unmapped.unmapped_recorded_at)
        rows.append(PendingPush(address_key=address_key, target="", kind="record", live=False, since=min(since)))
    rows += [
        PendingPush(address_key=address_key, target=target, kind="impossible", live=False, since=0)
        for target in planned.impossible
    ]
    if planned.forget:
        rows.append(PendingPush(address_key=address_key, target="", kind="forget", live=False, since=0))
    return rows


def unplanned(address_key: str, since: int) -> PendingPush:
    """The row of an address that cannot be planned now: live, as it may be a withdrawal. It is planned again later."""
    return PendingPush(address_key=address_key, target="", kind="record", live=True, since=since)


def is_unplanned(push: PendingPush) -> bool:
    """Whether it is the row of `unplanned`: no other record work is live."""
    return push.live and push.kind == "record"
