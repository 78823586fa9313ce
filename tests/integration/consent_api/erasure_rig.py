"""Erasures on a real ledger: the list is what the merge makes of the outbox, and every table is looked through."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Engine, inspect, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import SubmissionInvalidError
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.rights.erasure import erasures
from consent_api.rights.erasure.eraser import Eraser
from consent_api.rights.erasure.erasures import Erasure, NewErasure
from consent_api.rights.person_ref import PersonRef
from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry
from consent_contracts.errors import UnreadableError
from consent_contracts.records import entry_from_change
from consent_contracts.topics import Topics
from consent_contracts.verdict import Verdict, verdict
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring
from consent_service.health import Health
from suppression.merge.rule import EntryKey, merge
from tests.integration.consent_api.accepted import decision

SECOND = 1_000_000


@dataclass(kw_only=True)
class ErasureRig:
    ledger: Ledger
    owner: Engine
    codec: Codec
    entries: dict[EntryKey, AddressEntry] = field(default_factory=dict)

    @property
    def keyring(self) -> Keyring:
        return self.ledger.context.keyring

    def record(self, status: str, **given: Any) -> RecordedDecision:
        (outcome,) = self.ledger.record([decision(status, **given)])
        assert isinstance(outcome, RecordedDecision), outcome
        return outcome

    def refused(self, accepted: ValidDecision, *, lane: Lane = Lane.LIVE) -> str:
        """The code with which it is refused."""
        (outcome,) = self.ledger.record([accepted], lane=lane)
        assert isinstance(outcome, SubmissionInvalidError), outcome
        return outcome.faults[0].code

    def begin(self, *, notify_seconds: int = 0, **person: Any) -> Erasure:
        new = NewErasure(person=PersonRef(tenant="acme", **person), by="key:test", notify_seconds=notify_seconds)
        return self.ledger.write(Lane.LIVE, lambda c, now: erasures.begin(c, self.ledger.context, new, now=now))

    def find(self, erasure: Erasure) -> Erasure:
        return self.ledger.transact(
            lambda c: erasures.find(c, tenant=erasure.tenant, erasure_id=UUID(erasure.erasure_id), settle=0)
        )

    def eraser(self) -> Eraser:
        return Eraser(self.ledger, health=Health(), failures=Counter("f", "f", registry=None), settle=0)

    def turn(self) -> int:
        with self.owner.begin() as connection:
            connection.execute(text("UPDATE erasures SET next_turn_at = 0"))
        return self.eraser().turn()

    def erase(self, **person: Any) -> Erasure:
        """From beginning to end, with a relay that publishes meanwhile."""
        return self.finish(self.begin(**person))

    def finish(self, erasure: Erasure) -> Erasure:
        for _ in range(100):
            self.turn()
            self.publish()
            found = self.find(erasure)
            if found.ended_at is not None:
                return found
        raise AssertionError(f"the erasure is still {found.state}")

    def publish(self) -> None:
        """Bring what is in the outbox into the list, as relay and merge do."""
        with self.owner.begin() as connection:
            for table in ("outbox", "outbox_bulk"):
                values = connection.execute(text(f"SELECT value FROM {table} ORDER BY outbox_id")).scalars().all()
                self.merge(bytes(each) for each in values)
                connection.execute(text(f"DELETE FROM {table}"))

    def merge(self, values: Iterable[bytes]) -> None:
        for value in values:
            change = entry_from_change(self.codec.decode(Topics().changes, value))
            self.entries |= merge(self.entries, [change]).entries

    def entry(self, address: str, channel: str = "sms") -> AddressEntry:
        self.publish()
        (key, *_) = self.keyring.live_address_keys("acme", channel, address)
        return self.entries[channel, key]

    def verdict(self, address: str, purpose: str = "survey", channel: str = "sms") -> Verdict:
        return verdict(self.entry(address, channel).decisions, purpose)

    def found_in(self, *marks: str) -> list[str]:
        """Where in the database, or on the list, one of these texts is, in the clear or sealed."""
        places = []
        tables = [each for each in inspect(self.owner).get_table_names() if each != "alembic_version"]
        with self.owner.connect() as connection:
            for table in tables:
                for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                    places += [f"{table}.{name}" for name, value in row.items() if self._shows(row, value, marks)]
        self.publish()
        for entry in self.entries.values():
            keyed = {"address_key": entry.address_key}
            if self._shows(keyed, entry.sealed_address, marks) or self._shows(keyed, repr(entry), marks):
                places.append("the list")
        return places

    def _shows(self, row: Any, value: object, marks: tuple[str, ...]) -> bool:
        texts = [repr(value)]
        if isinstance(value, bytes | memoryview):
            sealed = bytes(value)
            texts.append(sealed.decode("latin-1"))
            for bound in (row.get("address_key"), row.get("request_id"), row.get("review_id")):
                try:
                    texts.append(self.keyring.open_record(sealed, str(bound).encode()).decode("latin-1"))
                except DecryptionFailedError:
                    continue
            with suppress(UnreadableError):
                texts.append(repr(self.codec.decode(Topics().changes, sealed)))
        return any(mark in each for mark in marks for each in texts)


def stated(accepted: ValidDecision, **changes: Any) -> ValidDecision:
    return replace(accepted, **changes)
