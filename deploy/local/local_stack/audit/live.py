"""The audited system as it really is: its destinations, what the sandboxed tools believe, what the gate answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import yaml

from consent_contracts import Verdict
from consent_privacy.keyring import Keyring, key_order
from consent_service.clock import now_micros
from local_stack.audit.compare import AuditedDestination, ChannelAddress, Findings, compare, compare_gate, purposes_of
from local_stack.endpoints import Endpoints

ACCOUNTS = {"twilio": "twilio", "sendgrid": "sendgrid", "genesys": "genesys"}
MOST_ADDRESSES = 10_000  # of one call to the gate


def tools(endpoints: Endpoints) -> list[AuditedDestination]:
    """The destinations that `up` declared, as the audit needs them."""
    key = partial(oldest_address_key, Keyring.load(Path(endpoints.keyring_file)), endpoints.tenant)
    declared = yaml.safe_load(Path(endpoints.destinations_file).read_text("utf-8"))["destinations"]
    return [_tool(each, key) for each in declared]


def oldest_address_key(keyring: Keyring, tenant: str, place: ChannelAddress) -> str:
    """The address under the tenant's oldest live hash key: permissions are delivered from its entry (record 0009)."""
    return min(keyring.live_address_keys(tenant, *place), key=lambda each: key_order(each.partition(".")[0]))


def audit(
    endpoints: Endpoints, expected: Mapping[ChannelAddress, Mapping[str, Verdict]], *, but: Collection[str] = ()
) -> Findings:
    """Compare every decision with the state at every destination (``but`` these), and with the gate's answer."""
    now = now_micros()
    all_findings = Findings()
    with httpx.Client(timeout=60) as client:
        found = [
            compare(expected, tool, _provider_states(client, endpoints.sandbox_control, tool.account), now=now)
            for tool in tools(endpoints)
            if tool.destination not in but
        ]
        found.append(compare_gate(expected, _answers(client, endpoints, expected), now=now))
    for each in found:
        all_findings.matches += each.matches
        all_findings.differences += each.differences
    return all_findings


def _tool(declared: Mapping[str, Any], key: Callable[[ChannelAddress], str]) -> AuditedDestination:
    purposes = declared["purposes"]
    receives_addresses = declared["connector"] != "webhook" or declared.get("options", {}).get("clear_addresses")
    return AuditedDestination(
        destination=declared["name"],
        channel=declared["channel"],
        account=ACCOUNTS.get(declared["connector"]) or "/".join(declared["url"].split("/")[3:]),
        targets=None if purposes == "same" else {name: _targets(value) for name, value in purposes.items()},
        push_permissions=bool(declared.get("push_permissions", False)),
        name_of=itemgetter(1) if receives_addresses else key,
    )


def _targets(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _provider_states(client: httpx.Client, sandbox: str, account: str) -> Mapping[str, Mapping[str, str]]:
    answer = client.get(f"{sandbox}/_state/{account}")
    answer.raise_for_status()
    states: Mapping[str, Mapping[str, str]] = answer.json()["states"]
    return states


def _answers(
    client: httpx.Client, endpoints: Endpoints, expected: Mapping[ChannelAddress, Mapping[str, Verdict]]
) -> dict[tuple[ChannelAddress, str], bool]:
    asked: dict[tuple[str, str], list[ChannelAddress]] = defaultdict(list)
    for place, known in expected.items():
        for purpose in purposes_of(known):
            asked[place[0], purpose].append(place)
    answers: dict[tuple[ChannelAddress, str], bool] = {}
    for (channel, purpose), places in asked.items():
        for some in _slices(places):
            answer = client.post(
                f"{endpoints.gate}/v1/check",
                headers={"Authorization": f"Bearer {endpoints.check_key}"},
                json={
                    "channel": channel,
                    "purpose": purpose,
                    "addresses": [place[1] for place in some],
                    "when_stale": "deny",
                },
            )
            answer.raise_for_status()
            for place, result in zip(some, answer.json()["results"], strict=True):
                answers[place, purpose] = result["permitted"]
    return answers


def _slices(places: list[ChannelAddress]) -> Iterator[list[ChannelAddress]]:
    for start in range(0, len(places), MOST_ADDRESSES):
        yield places[start : start + MOST_ADDRESSES]
