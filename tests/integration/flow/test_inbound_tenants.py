"""Inbound topics that are bound to tenants: who may write to one decides for its tenants alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from consent_api.errors import MisconfiguredError
from consent_api.ledger.lanes import Lane
from consent_privacy.keyring_file import generate
from tests.integration.flow.rig import Rig, grant, refusal
from tests.support.waiting import until


@pytest.fixture
def two_tenants(rig: Rig, tmp_path: Path) -> Rig:
    path = tmp_path / "two-tenants.toml"
    generate(path, ["acme", "zenith"])
    return rig.elsewhere(keyring_file=path)


@pytest.mark.parametrize("lane", list(Lane))
def test_a_record_for_another_tenant_than_its_topic_s_is_a_dead_letter(two_tenants: Rig, lane: Lane) -> None:  # R45
    rig = two_tenants
    topic = rig.topics.inbound if lane is Lane.LIVE else rig.topics.inbound_bulk
    codec = rig.codec()
    data = [grant(tenant="zenith"), refusal(tenant="zenith"), refusal(tenant=None), refusal(tenant="acme")]
    rig.submit([codec.encode(topic, each) for each in data], topic=topic)
    with rig.ingest(**{f"ingest_{lane}_tenants": "acme"}) as ingest:
        for outcome, count in (("recorded", 2), ("dead_letter", 2)):
            until(
                lambda outcome=outcome, count=count: (
                    ingest.metric("consent_relay_ingest_records_total", topic=topic, outcome=outcome) == count
                ),
                what=outcome,
            )
    assert rig.ask("SELECT count(*) FROM decisions WHERE tenant <> 'acme'") == 0
    letters = rig.topics.dead_letters("consent-api")
    found = [codec.decode(letters, each.value()) for each in rig.records(letters)]
    assert [each["reason"] for each in found] == ["invalid", "invalid"]
    assert all("/tenant" in each["error"] and "CONSENT_RELAY_INGEST_LIVE_TENANTS" in each["error"] for each in found)


def test_the_other_topic_is_not_bound_with_it(two_tenants: Rig) -> None:  # R45
    rig = two_tenants
    rig.submit(rig.encoded([refusal(tenant="zenith")]))
    with rig.ingest(ingest_bulk_tenants="acme") as ingest:
        until(
            lambda: (
                ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome="recorded") == 1
            )
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"ingest_live_tenants": "newcomer"},
        {"ingest_bulk_tenants": "acme,newcomer"},
        {"ingest_live_tenants": "zenith", "ingest_tenant": "acme"},
    ],
)
def test_tenants_that_cannot_be_meant_end_the_start(two_tenants: Rig, wrong: dict[str, str]) -> None:
    with pytest.raises(MisconfiguredError, match="names a tenant"), two_tenants.ingest(**wrong):
        pass


def test_purposes_of_one_tenant_that_cannot_be_read_stop_no_other(two_tenants: Rig, tmp_path: Path) -> None:  # R45
    rig = two_tenants
    file = tmp_path / "purposes.yaml"
    file.write_text("acme: {purposes: [newsletter]}\nzenith: {purposes: [Not a slug]}\n")
    rig.submit(rig.encoded([grant(tenant="zenith"), refusal(tenant="zenith"), grant(tenant="acme")]))
    with rig.ingest(tenant_purposes=file) as ingest:
        for outcome, count in (("recorded", 2), ("dead_letter", 1)):
            until(
                lambda outcome=outcome, count=count: (
                    ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome=outcome)
                    == count
                ),
                what=outcome,
            )
        assert ingest.metric("consent_relay_wrong_entries", setting="CONSENT_RELAY_TENANT_PURPOSES") == 1
    assert rig.ask("SELECT count(*) FROM decisions WHERE tenant = 'zenith' AND status = 'withdrawn'") == 1
    letters = rig.topics.dead_letters("consent-api")
    [letter] = rig.records(letters)
    assert "mend the purposes of this tenant" in rig.codec().decode(letters, letter.value())["error"]
