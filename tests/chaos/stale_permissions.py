"""No tool received a permission again once it had acknowledged the newest refusal: what a zombie worker could do.

The end state does not show it, as the next suppression hides it; each tool's history beside the receipts does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from consent_contracts import EVERY_PURPOSE, AddressEntry, Decision, Topics, Verdict, effective_verdict, permits
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, UnreadableError
from consent_contracts.records import entry_from_avro
from consent_privacy.keyring import Keyring
from local_stack.audit.compare import PERMITTED, AuditedDestination, ChannelAddress
from local_stack.audit.live import oldest_address_key, tools
from local_stack.endpoints import Endpoints
from tests.support.topic_records import records

DELIVERED = ("accepted", "effective")
Acknowledged = Mapping[tuple[str, str, str], int]
"""(destination, address key, decision) to the moment of its first acknowledgement, in micros."""


def stale_permissions(
    endpoints: Endpoints, codec: Codec, expected: Mapping[ChannelAddress, Mapping[str, Verdict]], *, now: int
) -> tuple[int, list[str]]:
    """How many (address, target) pairs could be judged, and what is wrong."""
    topics = Topics(prefix=endpoints.topic_prefix)
    keyring = Keyring.load(Path(endpoints.keyring_file))
    since = acknowledged(_data(endpoints, codec, topics.receipts))
    judged, wrong = 0, []
    for tool in tools(endpoints):
        if not tool.push_permissions:
            continue
        entries = _entries(endpoints, codec, topics.suppression(tool.channel))
        states = httpx.get(
            f"{endpoints.sandbox_control}/_state/{tool.account}", params={"details": 1}, timeout=30
        ).json()
        for place, known in expected.items():
            if place[0] != tool.channel:
                continue
            entry = entries[oldest_address_key(keyring, endpoints.tenant, place)]
            found = judge(tool, known, entry, states["states"].get(tool.name_of(place), {}), since, now=now)
            judged += len(found)
            wrong += [f"{place[1]}: {each}" for each in chain(*found)]
    return judged, wrong


def judge(
    tool: AuditedDestination,
    known: Mapping[str, Verdict],
    entry: AddressEntry,
    states: Mapping[str, Mapping[str, Any]],
    acknowledged_at: Acknowledged,
    *,
    now: int,
) -> list[list[str]]:
    """Pure: for each target of one address that could be judged, what is wrong with its history."""
    found = []
    for target, refusal in _refused(tool, known, entry, now):
        since = acknowledged_at.get((tool.destination, entry.address_key, refusal.decision_id))
        if since is not None and target in states:
            changes = states[target]["changes"]
            found.append(
                [
                    f"{tool.destination} permitted at {target} {(at - since) / 1e6:.3f} s after it had acknowledged"
                    f" {refusal.decision_id} ({refusal.status}): {changes}"
                    for at, state in changes
                    if state == PERMITTED and at > since
                ]
            )
    return found


def acknowledged(receipts: Iterable[Mapping[str, Any]]) -> Acknowledged:
    """When each destination first said that it had taken each refusal."""
    since: dict[tuple[str, str, str], int] = {}
    for receipt in receipts:
        if receipt["action"] == "suppress" and receipt["stage"] in DELIVERED:
            for decision_id in receipt["decision_ids"]:
                pair = (receipt["destination"], receipt["address_key"], decision_id)
                since[pair] = min(receipt["reached_at"], since.get(pair, receipt["reached_at"]))
    return since


def _refused(
    tool: AuditedDestination, known: Mapping[str, Verdict], entry: AddressEntry, now: int
) -> Iterator[tuple[str, Decision]]:
    """Each target that is to be suppressed, with the newest decision that says so."""
    for target, purposes in tool.by_target(known).items():
        answers = [effective_verdict(known, purpose, now) for purpose in purposes]
        if any(not each.permitted and each.reason in ("withdrawn", "refused", "objected") for each in answers):
            no = _newest(each for each in entry.decisions if each.purpose in (*purposes, EVERY_PURPOSE))
            if no is not None:
                yield target, no


def _newest(decisions: Iterable[Decision]) -> Decision | None:
    return max((each for each in decisions if not permits(each)), key=lambda each: each.effective_at, default=None)


def _entries(endpoints: Endpoints, codec: Codec, topic: str) -> Mapping[str, AddressEntry]:
    entries: dict[str, AddressEntry] = {}
    for datum in _data(endpoints, codec, topic):
        try:
            entries[datum["address_key"]] = entry_from_avro(datum)
        except InvalidRecordError:
            continue
    return entries


def _data(endpoints: Endpoints, codec: Codec, topic: str) -> Iterator[dict[str, Any]]:
    """What can be read; the rest is poison, and counted elsewhere."""
    for message in records(endpoints.kafka, topic):
        try:
            yield codec.decode(topic, message.value())
        except UnreadableError:
            continue
