"""`consent-relay keyring`: a hash key is promoted, and its predecessor retired, only when no decision is lost. # R12"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, Engine, text

from consent_api.cli.keyring import keyring as command
from consent_api.ledger import key_rotation
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.operations.republish import merged
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from local_stack.servers import ServerEndpoints
from tests.integration.consent_api.accepted import EVIDENCE_TEXTS, decision
from tests.integration.consent_api.erasure_rig import ErasureRig
from tests.integration.consent_api.test_ledger_rotation import under


class Commands:
    """`consent-relay keyring` on a file of its own, over the tests' ledger."""

    def __init__(self, path: Path, servers: ServerEndpoints, topics: Topics) -> None:
        self.path = path
        self._servers, self._topics = servers, topics

    def run(self, name: str, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(command, [name, str(self.path), *words])
        assert result.exit_code == code, result.output
        return result.output

    def keyring(self) -> Keyring:
        return Keyring.load(self.path)

    def ids(self) -> list[tuple[str, bool]]:
        return [(key.id, key.primary) for key in self.keyring().hash_keys["acme"]]

    def swap_primary(self) -> None:
        """Promoted with an editor."""
        hash_keys, link_keys, rest = self.path.read_text(encoding="utf-8").partition('[[tenants."acme".link_keys]]')
        swapped = hash_keys.replace("= true", "= x").replace("= false", "= true").replace("= x", "= false")
        self.path.write_text(swapped + link_keys + rest, encoding="utf-8")

    def republished(self, ledger: Ledger, *key_ids: str, merged: bool = True) -> None:
        """What a run of everything under these keys leaves in the ledger, and the merge that has read it."""
        keys = [("acme", key_id) for key_id in key_ids]
        ledger.transact(lambda c: key_rotation.store_completed(c, self.keyring(), keys))
        if merged:
            self.merged()

    def merged(self, *, seconds: float = 1.0, partitions: int = 4, **changes: object) -> None:
        """What the merge states when it has read all that was published until so many seconds from now."""
        at = now_micros() + int(seconds * 1_000_000)
        codec = Codec.connect(self._servers.registry, self._topics)
        producer = clients.producer(self._servers.kafka)
        for partition in range(partitions):
            datum = {
                "partition": partition,
                "resolved_at": at,
                "bulk_resolved_at": at,
                "inbound_resolved_at": None,
                "loss": 0,
                "lists": [],
                "inputs": [],
                "hole": None,
                "channel_holes": {},
                "written_at": at,
            } | (changes if partition == 1 else {})
            topic = self._topics.resolved
            producer.produce(topic, codec.encode(topic, datum), str(partition).encode(), partition=partition)
        assert producer.flush(30) == 0


@pytest.fixture
def commands(
    tmp_path: Path, service: URL, servers: ServerEndpoints, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> Commands:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", servers.kafka)
    monkeypatch.setenv("CONSENT_RELAY_REGISTRY", servers.registry)
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", topics.prefix)
    made = Commands(tmp_path / "keyring.toml", servers, topics)
    made.run("generate", "--tenant", "acme")
    return made


def test_a_keyring_is_generated_once_and_gains_keys(commands: Commands) -> None:
    assert "Keep it" in commands.run("generate", "--tenant", "acme", code=1)
    assert commands.run("rotate") == "added s2\n"
    assert commands.run("rotate", "--tenant", "acme") == "added h2\n"
    commands.run("rotate", "--tenant", "newcomer", code=1)


def test_a_rotation_goes_through_when_each_step_has_been_done(commands: Commands, ledger: Ledger) -> None:
    commands.run("rotate", "--tenant", "acme")
    commands.republished(ledger, "h2")
    assert commands.run("promote", "acme", "h2") == "h2 is now the primary hash key of acme\n"
    assert commands.run("retire", "acme", "h1") == "removed h1\n"
    assert commands.ids() == [("h2", True)]


def test_promote_refuses_until_a_republish_under_the_key_has_ended(commands: Commands, ledger: Ledger) -> None:
    commands.run("rotate", "--tenant", "acme")
    output = commands.run("promote", "acme", "h2", code=1)
    assert "h2 of tenant acme" in output
    assert "republish --tenant acme" in output
    assert commands.ids() == [("h1", True), ("h2", False)]
    commands.republished(ledger, "h1")
    commands.run("promote", "acme", "h2", code=1)


def test_retire_refuses_while_its_successor_is_not_complete(commands: Commands, ledger: Ledger) -> None:
    commands.run("rotate", "--tenant", "acme")
    commands.swap_primary()
    assert "h2 of tenant acme" in commands.run("retire", "acme", "h1", code=1)
    assert commands.ids() == [("h1", False), ("h2", True)]
    commands.republished(ledger, "h2")
    commands.run("retire", "acme", "h1")


@pytest.mark.parametrize("command", ["promote", "retire"])
def test_it_refuses_until_the_merge_has_read_the_republish(commands: Commands, ledger: Ledger, command: str) -> None:
    commands.run("rotate", "--tenant", "acme")
    if command == "retire":
        commands.swap_primary()
    before = commands.ids()
    key_id = "h2" if command == "promote" else "h1"
    commands.republished(ledger, "h2", merged=False)
    assert "is not known of every partition" in commands.run(command, "acme", key_id, code=1)
    commands.merged(partitions=3)
    assert "is not known of every partition" in commands.run(command, "acme", key_id, code=1)
    commands.merged(seconds=-30)
    assert "the merge has not read all" in commands.run(command, "acme", key_id, code=1)
    commands.merged(bulk_resolved_at=now_micros() - 60_000_000)
    assert "the merge has not read all" in commands.run(command, "acme", key_id, code=1)
    for hole in ({"hole": "h", "resolved_at": None, "bulk_resolved_at": None}, {"channel_holes": {"sms": "h"}}):
        commands.merged(**hole)
        assert "is not known of every partition" in commands.run(command, "acme", key_id, code=1)
    assert commands.ids() == before
    commands.merged()
    commands.run(command, "acme", key_id)


def test_without_kafka_nothing_is_changed(commands: Commands, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.run("rotate", "--tenant", "acme")
    commands.republished(ledger, "h2")
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", "127.0.0.1:1")
    monkeypatch.setattr(merged, "READ_SECONDS", 1.0)
    output = commands.run("promote", "acme", "h2", code=1)
    assert "could not be read to its end" in output
    assert "Nothing was changed" in output
    assert commands.ids() == [("h1", True), ("h2", False)]


def test_a_republish_under_another_secret_with_the_same_id_does_not_count(commands: Commands, ledger: Ledger) -> None:
    before = commands.path.read_text(encoding="utf-8")
    commands.run("rotate", "--tenant", "acme")
    commands.republished(ledger, "h2")
    commands.path.write_text(before, encoding="utf-8")  # Restored, and rotated again.
    commands.run("rotate", "--tenant", "acme")
    commands.run("promote", "acme", "h2", code=1)


def test_an_address_that_a_service_with_the_old_keyring_recorded_meanwhile_is_noticed(
    commands: Commands, ledger: Ledger
) -> None:
    before = commands.keyring()
    commands.run("rotate", "--tenant", "acme")
    commands.republished(ledger, "h2")
    under(ledger, before).record([decision(subject_ref="s1", address="+33639980001")])
    assert "Bring this keyring to every service" in commands.run("promote", "acme", "h2", code=1)
    under(ledger, commands.keyring()).record([decision(subject_ref="s1", address="+33639980001")])
    commands.run("promote", "acme", "h2")


def test_what_is_wrong_with_the_key_itself_is_reported_as_such(commands: Commands) -> None:
    assert "no hash key h9" in commands.run("promote", "acme", "h9", code=1)
    assert "no tenant newcomer" in commands.run("promote", "newcomer", "h1", code=1)
    assert "cannot" in commands.run("retire", "acme", "h1", code=1)


def test_without_the_ledger_nothing_is_changed(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.run("rotate", "--tenant", "acme")
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", "postgresql://svc:x@127.0.0.1:1/none")
    assert "nothing was changed" in commands.run("promote", "acme", "h2", code=1)
    monkeypatch.delenv("CONSENT_RELAY_API_DATABASE")
    commands.run("promote", "acme", "h2", code=2)
    assert commands.ids() == [("h1", True), ("h2", False)]


def test_a_database_without_the_ledger_is_reported(
    commands: Commands, owner: URL, owner_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.run("rotate", "--tenant", "acme")
    with owner_engine.connect() as connection:
        other = connection.execute(text("SELECT datname FROM pg_database WHERE datname = 'postgres'")).scalar_one()
    elsewhere = owner.set(database=other).render_as_string(hide_password=False)
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", elsewhere)
    assert "consent-relay migrate" in commands.run("promote", "acme", "h2", code=1)


def test_retire_refuses_a_key_under_which_erased_persons_are_known_alone(
    commands: Commands, ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:  # R33
    """They cannot be hashed again: without the key an import would bring them back."""
    rig = ErasureRig(ledger=under(ledger, commands.keyring()), owner=owner_engine, codec=codec)
    person = {"address": "+33639987711", "subject_ref": "customer-4711", "purpose": "survey"}
    rig.record("given", evidence=EVIDENCE_TEXTS, **person)
    rig.erase(subject_ref="customer-4711")
    commands.run("rotate", "--tenant", "acme")
    commands.republished(ledger, "h2")
    commands.run("promote", "acme", "h2")
    output = commands.run("retire", "acme", "h1", code=1)
    assert "4 erased addresses and persons of tenant acme are known by h1 alone" in output
    assert commands.ids() == [("h1", False), ("h2", True)]
    rig.ledger = under(ledger, commands.keyring())
    assert rig.refused(decision("given", bulk=True, **person), lane=Lane.BULK) == "erased"
