"""Writes suppression entries as the merge stage does: the codec, Java's partitioner, transactions."""

from uuid import uuid4

from consent_client import SuppressionView
from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.records import entry_to_avro
from consent_contracts.topics import Topics
from consent_kafka import clients
from consent_privacy.addresses import canonical
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.support.waiting import until

TENANT = "acme"


def decision(
    purpose: str = "newsletter",
    status: str = "given",
    *,
    subject: str | None = "crm-1",
    at: int | None = None,
    expires: int | None = None,
) -> Decision:
    moment = now_micros() - 60_000_000 if at is None else at
    return Decision(
        decision_id=str(uuid4()),
        subject_ref=subject,
        purpose=purpose,
        status=status,
        effective_at=moment,
        recorded_at=moment,
        expires_at=expires,
    )


class Entries:
    """A writer of the suppression topics of one installation."""

    def __init__(self, *, bootstrap: str, codec: Codec, topics: Topics, keyring: Keyring) -> None:
        self.codec = codec
        self.topics = topics
        self.keyring = keyring
        self._producer = clients.transactional_producer(bootstrap, topics.group(f"entries-{uuid4().hex[:8]}"))
        self._producer.init_transactions(30)

    def key(self, channel: str, address: str, *, tenant: str = TENANT) -> str:
        return self.keyring.address_key(tenant, channel, canonical(channel, address, default_region="FR"))

    def datum(self, channel: str, address_key: str, *decisions: Decision, tenant: str = TENANT) -> dict[str, object]:
        entry = AddressEntry(
            tenant=tenant, channel=channel, address_key=address_key, sealed_address=None, decisions=decisions
        )
        return entry_to_avro(entry, now_micros())

    def write(self, channel: str, address: str, *decisions: Decision, tenant: str = TENANT) -> str:
        """The entry of a clear address; returns its address key."""
        address_key = self.key(channel, address, tenant=tenant)
        self.write_value(channel, address_key, self.datum(channel, address_key, *decisions, tenant=tenant))
        return address_key

    def write_value(self, channel: str, address_key: str, datum: dict[str, object]) -> None:
        self.write_bytes(channel, address_key, self.codec.encode(self.topics.suppression(channel), datum))

    def write_bytes(self, channel: str, address_key: str, value: bytes | None, *, abort: bool = False) -> None:
        self._producer.begin_transaction()
        self._producer.produce(self.topics.suppression(channel), value, address_key.encode())
        if abort:
            self._producer.flush(30)
            self._producer.abort_transaction(30)
        else:
            self._producer.commit_transaction(30)

    def close(self) -> None:
        self._producer.flush(5)


def wait_for(view: SuppressionView) -> None:
    """Until the view is usable and reflects all that has been written before."""
    written = now_micros()
    until(lambda: view.usable and (snapshot := view.snapshot()) and (snapshot.as_of or 0) >= written, 30)
