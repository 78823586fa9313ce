"""The servers and fixtures that the other tests use."""

from pathlib import Path

import psycopg

from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_privacy.keyring import Keyring


def test_topics_exist_and_their_schemas_have_ids(topics: Topics, registry_url: str) -> None:
    codec = Codec.connect(registry_url, topics)
    assert codec.schema_id(topics.changes) > 0


def test_each_test_has_a_database_of_its_own(database: str) -> None:
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_the_keyring_is_complete(keyring: Keyring, keyring_file: Path) -> None:
    assert keyring.tenants == ("acme",)
    assert keyring_file.stat().st_mode & 0o777 == 0o600
