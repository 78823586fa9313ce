"""Between Avro data (plain dicts, as the codec gives and takes them) and the structs that the rules work on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from consent_contracts.checks import CHANNEL, MAX_LOSS, check_moments
from consent_contracts.decisions import DELIVERY, EVERY_PURPOSE, FINDINGS, GIVEN, STATUSES, AddressEntry, Decision
from consent_contracts.errors import InvalidRecordError
from consent_contracts.join import join
from consent_contracts.verdict import Verdict, verdicts

PURPOSE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LONGEST_TEXT = 200
"""Characters of a name, a reference or an id in a change."""
LONGEST_SEAL = 1_024
"""Bytes: a mailbox has 254 at most, and a seal adds some forty."""


def entry_from_change(datum: Mapping[str, Any]) -> AddressEntry:
    """One recorded decision as an entry of its own, ready to be joined.

    Raises InvalidRecordError for what neither the API nor ingest accepts: it must not become state, whatever wrote it.
    """
    purpose, status = datum["purpose"], datum["status"]
    known = FINDINGS if purpose == DELIVERY else STATUSES
    if status not in known:
        raise InvalidRecordError("status", f"must be one of {', '.join(sorted(known))}")
    if purpose == DELIVERY:
        if datum["subject_ref"] is not None:
            raise InvalidRecordError("subject_ref", "a bounce or a delivery is of the address alone")
    elif purpose == EVERY_PURPOSE:
        if status == GIVEN:
            raise InvalidRecordError("purpose", "a permission names its purpose; * is for refusals")
    elif not PURPOSE.fullmatch(purpose):
        raise InvalidRecordError("purpose", "must be a slug of a-z, 0-9, _ and -, or *")
    if not CHANNEL.fullmatch(datum["channel"]):
        raise InvalidRecordError("channel", "must be a lower-case name of a-z, 0-9, _ and -")
    for name in ("tenant", "address_key", "decision_id"):
        if not datum[name]:
            raise InvalidRecordError(name, "must not be empty")
    for name in ("tenant", "address_key", "decision_id", "subject_ref"):
        if len(datum[name] or "") > LONGEST_TEXT:
            raise InvalidRecordError(name, f"must not exceed {LONGEST_TEXT} characters")
    if len(datum["sealed_address"] or b"") > LONGEST_SEAL:
        raise InvalidRecordError("sealed_address", f"must not exceed {LONGEST_SEAL} bytes")
    if datum["effective_at"] > datum["recorded_at"]:
        raise InvalidRecordError("effective_at", "must not be later than recorded_at")
    check_moments(datum, "erased_at")
    entry = AddressEntry(
        tenant=datum["tenant"],
        channel=datum["channel"],
        address_key=datum["address_key"],
        sealed_address=datum["sealed_address"] or None,
        decisions=(_decision(datum),),
        erased_at=datum["erased_at"],
    )
    remaining = tuple(map(_decision, datum["remaining"]))
    return join(entry, msgspec.structs.replace(entry, decisions=remaining)) if remaining else entry


def entry_from_avro(datum: Mapping[str, Any]) -> AddressEntry:
    """The decisions of a SuppressionEntry. Raises InvalidRecordError for times that no calendar holds."""
    check_moments(datum, "written_at", "erased_at")
    return AddressEntry(
        tenant=datum["tenant"],
        channel=datum["channel"],
        address_key=datum["address_key"],
        sealed_address=datum["sealed_address"] or None,
        decisions=tuple(_decision(each) for each in datum["decisions"]),
        erased_at=datum["erased_at"],
    )


def verdicts_of(datum: Mapping[str, Any]) -> dict[str, Verdict]:
    """The verdicts of a SuppressionEntry, by purpose. Raises InvalidRecordError as `entry_from_avro` does."""
    for each in datum["verdicts"].values():
        check_moments(each, "since", "expires_at")
    return {purpose: Verdict(**each) for purpose, each in datum["verdicts"].items()}


def check_mark(datum: Mapping[str, Any]) -> None:
    """Raises InvalidRecordError for a ConsentResolved that no relay has written."""
    check_moments(datum, "resolved_at", "inbound_resolved_at")
    if not 0 <= datum["loss"] <= MAX_LOSS:
        raise InvalidRecordError("loss", "must be a number of losses")


def entry_to_avro(entry: AddressEntry, written_at: int) -> dict[str, Any]:
    """A SuppressionEntry: the whole state of one address, with the verdicts that follow from it."""
    return {
        "tenant": entry.tenant,
        "channel": entry.channel,
        "address_key": entry.address_key,
        "sealed_address": entry.sealed_address,
        "erased_at": entry.erased_at,
        "decisions": [msgspec.structs.asdict(d) for d in entry.decisions],
        "verdicts": {
            purpose: {
                "permitted": v.permitted,
                "reason": v.reason,
                "since": v.since,
                "expires_at": v.expires_at,
                "decision_id": v.decision_id,
            }
            for purpose, v in verdicts(entry.decisions).items()
        },
        "written_at": written_at,
    }


def _decision(datum: Mapping[str, Any]) -> Decision:
    check_moments(datum, "effective_at", "recorded_at", "expires_at")
    return Decision(
        decision_id=datum["decision_id"],
        subject_ref=datum["subject_ref"],
        purpose=datum["purpose"],
        status=datum["status"],
        effective_at=datum["effective_at"],
        recorded_at=datum["recorded_at"],
        expires_at=datum["expires_at"],
        bulk=datum["bulk"],
    )
