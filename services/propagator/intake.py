"""From the bytes of an entry to what the destination is to hold; what cannot be read goes to dead letters."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any

from consent_contracts.errors import ContractError, InvalidRecord, RegistryUnavailable, Unreadable
from consent_contracts.records import entry_of, verdicts_of
from consent_runtime.kafka import DeliveryFailed
from consent_runtime.transport.contract import Record
from propagator.desired import Desired, desired
from propagator.room import Room

log = logging.getLogger(__name__)

REGISTRY_SECONDS = 1.0
BROKER_SECONDS = 1.0
UNKNOWN_SCHEMA = "unknown_schema"
ADDRESS_KEY = re.compile(r"[a-z][a-z0-9]{0,15}\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One entry, understood."""

    want: Desired
    tenant: str
    sealed: bytes | None
    written_at: int
    """When the merge wrote it, in micros by its clock."""


class Intake:
    """Reads the entries of one partition."""

    def __init__(self, room: Room, topic: str, partition: int) -> None:
        self._room = room
        self._topic = topic
        self._partition = partition

    async def read(self, key: str, value: bytes) -> Reading:
        """Raises ContractError when the entry can never be read. What may yet be readable is waited for."""
        room = self._room
        datum = await self._decoded(key, value)
        entry = entry_of(datum)
        if entry.address_key != key or entry.channel != room.destination.channel:
            raise InvalidRecord("address_key", "the entry belongs under another key or to another channel")
        want = desired(
            entry.decisions,
            verdicts_of(datum),
            room.destination.purposes,
            # An entry is written again when a permission in it has ended: by the writer's clock, ours may be behind.
            now=max(room.now(), datum["written_at"]),
            push_permissions=room.ahead is not None and self._saw_every_decision(entry.tenant, key),
        )
        return Reading(want=want, tenant=entry.tenant, sealed=entry.sealed_address, written_at=datum["written_at"])

    async def bury(self, record: Record, error: ContractError) -> None:
        """Returns once the dead letter is acknowledged; a broker that is away is waited for."""
        room = self._room
        reason = error.reason if isinstance(error, Unreadable) else "invalid_record"
        room.metrics.unreadable.labels(room.destination.name, reason).inc()
        while True:
            try:
                return await room.dead_letters.send(record, reason, str(error))
            except DeliveryFailed:
                await asyncio.sleep(BROKER_SECONDS)

    async def _decoded(self, key: str, value: bytes) -> dict[str, Any]:
        """The schema of an entry was registered before the merge wrote it: where the registry does not know it, the
        registry is wrong, not the entry, and no revocation is given up for that. What does not stand under the key of
        an address was not written by the merge."""
        room, waited = self._room, False
        try:
            while True:
                try:
                    return room.codec.decode(self._topic, value)
                except RegistryUnavailable as error:
                    why = str(error)
                except Unreadable as error:
                    if error.reason != UNKNOWN_SCHEMA or not ADDRESS_KEY.fullmatch(key):
                        raise
                    why = "the schema registry does not know the schema of an entry: restore it, or run `topics apply`"
                if not waited:
                    log.error("entries wait", extra={"destination": room.destination.name, "why": why})
                waited = True
                room.on_waiting(self._partition, why)
                await asyncio.sleep(REGISTRY_SECONDS)
        finally:
            if waited:
                room.on_waiting(self._partition, None)

    def _saw_every_decision(self, tenant: str, address_key: str) -> bool:
        """Only the entry under the tenant's oldest live hash key has, as every decision is published under each live
        key, and so only that entry speaks for a permission. Oldest by its place in the keyring and by its number: a
        file that contradicts itself permits nothing."""
        ids = [key.id for key in self._room.keyring.hash_keys.get(tenant, ())]
        oldest = min(ids, key=lambda each: (len(each), each), default=None)
        return bool(ids) and address_key.partition(".")[0] == oldest == ids[0]
