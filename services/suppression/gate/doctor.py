"""What `consent-relay doctor` checks of the gate's files: of the entry point `gate`."""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from consent_client import InvalidRegistersError, registers
from consent_http import api_keys
from consent_http.errors import InvalidApiKeysError
from consent_privacy.errors import InvalidKeyringError
from consent_privacy.keyring import Keyring
from consent_service.doctor.findings import MEND_KEYRING, Check, CheckContext, Finding, Result, all_ok, readable
from suppression.gate.settings import GateSettings

NAME = "files of the gate"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, kw_only=True, slots=True)
class GateFacts:
    """`key_tenants`: of the API keys with the scope `check`. `keyring_tenants`: of the keyring. `seals`: whether that
    opens addresses too, in the environment of a gate. `policy_channels`: those that CONSENT_RELAY_GATE_UNKNOWN names;
    `channels`: those that there are. `keys_open`: whether other users may write the file of API keys.
    `stale_registers`: those of its file that are too old."""

    key_tenants: Sequence[str]
    keyring_tenants: Collection[str]
    seals: bool
    policy_channels: Collection[str]
    channels: Collection[str]
    keys_open: bool
    stale_registers: Sequence[str] = ()


def checks(context: CheckContext) -> list[Check]:
    """Whether the gate's API keys, keyring and policies belong together."""
    is_its_own = "gate" in context.processes
    return [Check(name=NAME, find=lambda: _find(is_its_own, context.clock()))] if context.concerns("gate") else []


def _find(is_its_own: bool, now: int) -> Sequence[Finding]:
    """`is_its_own`: the environment is a gate's, not an operator's with the keyring of the installation."""
    settings = readable(GateSettings)
    if settings is None:
        return [Finding(name=NAME, result=Result.NOT_CONFIGURED, found="settings of the gate are not set here")]
    try:
        keys = api_keys.read(settings.gate_keys_file)
        keyring = Keyring.load(settings.keyring_file)
        path = settings.gate_registers_file
        limits = () if path is None else registers.read(path).limits
    except InvalidApiKeysError as error:
        cure = "write it again: consent-relay keys export --scope check FILE"
        return [Finding(name=NAME, result=Result.FAULT, found=str(error), cure=cure)]
    except InvalidKeyringError as error:
        return [Finding(name=NAME, result=Result.FAULT, found=str(error), cure=MEND_KEYRING)]
    except InvalidRegistersError as error:
        cure = "write it again: consent-relay registers export FILE"
        return [Finding(name=NAME, result=Result.FAULT, found=str(error), cure=cure)]
    named = [part.strip().rpartition("=")[0].strip() for part in settings.gate_unknown.split(",")]
    return judge(
        GateFacts(
            key_tenants=[key.tenant for key in keys.values() if key.allows("check")],
            keyring_tenants=keyring.tenants,
            seals=is_its_own and bool(keyring.seal_keys),
            policy_channels=[channel for channel in named if channel],
            channels=settings.channels,
            keys_open=bool(settings.gate_keys_file.stat().st_mode & _WRITABLE_BY_OTHERS),
            stale_registers=[each.name for each in limits if each.stale_at is not None and each.stale_at <= now],
        )
    )


def judge(gate: GateFacts) -> Sequence[Finding]:
    """The gate starts with all of these but answers no, or more than it is meant to."""
    found = []
    if not gate.key_tenants:
        cure = "consent-relay keys export --scope check FILE"
        found.append(_finding(Result.WARNING, "no API key has the scope check: every caller is refused", cure))
    if unknown := sorted(set(gate.key_tenants) - set(gate.keyring_tenants)):
        text = f"the keyring has no hash keys of {', '.join(unknown)}, whose API keys are accepted"
        cure = "export the keyring again, with these tenants: consent-relay keyring export"
        found.append(_finding(Result.FAULT, text, cure))
    if gate.seals:
        cure = "give the gate what `consent-relay keyring export --hash-only` writes"
        found.append(_finding(Result.WARNING, "the keyring opens addresses, which the gate never does", cure))
    if foreign := sorted(set(gate.policy_channels) - set(gate.channels)):
        text = f"CONSENT_RELAY_GATE_UNKNOWN names {', '.join(foreign)}, which is no channel of this installation"
        found.append(_finding(Result.FAULT, text, "correct it, or CONSENT_RELAY_CHANNELS"))
    if gate.keys_open:
        cure = "let their owner alone write it: a user who writes it lets callers in"
        found.append(_finding(Result.FAULT, "other users may write CONSENT_RELAY_GATE_KEYS_FILE", cure))
    if gate.stale_registers:
        text = f"the gate denies for registers that are too old: {', '.join(gate.stale_registers)}"
        cure = "load newer ones, then: consent-relay registers export FILE"
        found.append(_finding(Result.FAULT, text, cure))
    return all_ok(NAME, found, f"{len(gate.key_tenants)} API keys, the keyring of {len(gate.keyring_tenants)} tenants")


def _finding(result: Result, found: str, cure: str) -> Finding:
    return Finding(name=NAME, result=result, found=found, cure=cure)
