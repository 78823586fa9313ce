"""The gate's files: what is judged a fault, and with which cure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent_service.doctor.findings import Result
from suppression.gate.doctor import GateFacts, judge

GATE = GateFacts(
    key_tenants=["acme"],
    keyring_tenants=("acme", "other"),
    seals=False,
    policy_channels=["voice"],
    channels=("sms", "voice"),
    keys_open=False,
)


@pytest.mark.parametrize(
    ("change", "result", "found"),
    [
        ({}, Result.OK, "1 API keys, the keyring of 2 tenants"),
        ({"key_tenants": []}, Result.WARNING, "no API key has the scope check"),
        ({"key_tenants": ["gone"]}, Result.FAULT, "the keyring has no hash keys of gone"),
        ({"seals": True}, Result.WARNING, "the keyring opens addresses"),
        ({"policy_channels": ["fax"]}, Result.FAULT, "CONSENT_RELAY_GATE_UNKNOWN names fax"),
        ({"stale_registers": ["tps"]}, Result.FAULT, "the gate denies for registers that are too old: tps"),
        ({"keys_open": True}, Result.FAULT, "other users may write CONSENT_RELAY_GATE_KEYS_FILE"),
    ],
)
def test_what_does_not_belong_together_is_named(change: dict[str, object], result: Result, found: str) -> None:
    [finding] = judge(replace(GATE, **change))  # type: ignore[arg-type]
    assert finding.result is result
    assert finding.found.startswith(found)
    assert bool(finding.cure) == (result is not Result.OK)
