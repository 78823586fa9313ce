"""From what a provider reports to what is recorded. Pure: every rule about events is here.

A withdrawal and what is in doubt withdraw, a complaint objects; START grants nothing. A hard bounce and a delivery say
whether the address takes messages, and soft bounces are counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from consent_api.inbound.providers.base import InboundEvent, Kind
from consent_api.inbound.sms_replies import Meaning, read
from consent_api.inbound.sources import Source
from consent_contracts.decisions import DELIVERED, UNDELIVERABLE


class Outcome(StrEnum):
    """What becomes of an event; a label."""

    WITHDRAWN = "withdrawn"
    NEEDS_REVIEW = "needs_review"
    REPEATED = "repeated"
    SUPERSEDED = "superseded"
    """Recorded, and of no effect: a decision that is newer by its time counts."""
    ECHO = "echo"
    START = "start"
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"
    DELIVERED = "delivered"
    OTHER = "other"
    UNREADABLE = "unreadable"
    NO_ADDRESS = "no_address"
    """What it names is no address of the channel."""
    NOT_RECORDED = "not_recorded"


class Method(StrEnum):
    """The evidence's capture_method."""

    REPLY = "reply"
    OPT_OUT = "provider_opt_out"
    COMPLAINT = "complaint"
    NEEDS_REVIEW = "needs_review"


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """What is to be recorded: one decision for each purpose of the source."""

    event: InboundEvent
    method: Method
    event_id: str
    rule: str = ""
    """By which a reply was read."""

    @property
    def needs_review(self) -> bool:
        return self.method is Method.NEEDS_REVIEW

    def fields(self, source: Source) -> list[dict[str, object]]:
        """Submissions, with times in micros."""
        return [
            {
                "event_id": f"{self.event_id}-{number}" if number else self.event_id,
                "channel": source.channel,
                "purpose": purpose,
                # Who reports a mail as spam objects to it (GDPR art. 21), whatever the legal basis was.
                "status": "objected" if self.method is Method.COMPLAINT else "withdrawn",
                "address": self.event.address,
                "occurred_at": self.event.occurred_at,
                "evidence": {
                    "source_system": f"inbound-{source.id}",
                    "capture_method": self.method.value,
                    "actor": source.provider,
                },
            }
            for number, purpose in enumerate(source.purposes)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A hard bounce, or a delivery."""

    event: InboundEvent
    outcome: Outcome

    @property
    def status(self) -> str:
        return UNDELIVERABLE if self.outcome is Outcome.HARD_BOUNCE else DELIVERED

    def evidence(self, source: Source) -> dict[str, str]:
        return {
            "source_system": f"inbound-{source.id}",
            "capture_method": self.outcome.value,
            "actor": source.provider,
        }


_COUNTED = {
    Kind.OPT_IN: Outcome.START,
    Kind.SOFT_BOUNCE: Outcome.SOFT_BOUNCE,
    Kind.OTHER: Outcome.OTHER,
}
_FOUND = {Kind.HARD_BOUNCE: Outcome.HARD_BOUNCE, Kind.DELIVERED: Outcome.DELIVERED}
_REPORTED = {Kind.STOP: Method.REPLY, Kind.OPT_OUT: Method.OPT_OUT, Kind.COMPLAINT: Method.COMPLAINT}
_SAID = {Meaning.WITHDRAW: Method.REPLY, Meaning.UNCLEAR: Method.NEEDS_REVIEW}


def translate(event: InboundEvent, *, keyed: Callable[[str], str]) -> Withdrawal | Finding | Outcome:
    """What becomes of one event. ``keyed``: a hash that reveals nothing of a text that may hold an address."""
    if event.kind is Kind.REPLY:
        reading = read(event.text or "")
        method = _SAID.get(reading.meaning)
        if method is None:
            return Outcome.START if reading.meaning is Meaning.START else Outcome.OTHER
        return Withdrawal(event=event, method=method, event_id=_event_id(event, keyed), rule=reading.rule)
    if (reported := _REPORTED.get(event.kind)) is not None:
        return Withdrawal(event=event, method=reported, event_id=_event_id(event, keyed))
    if (found := _FOUND.get(event.kind)) is not None:
        return Finding(event=event, outcome=found)
    return _COUNTED[event.kind]


def _event_id(event: InboundEvent, keyed: Callable[[str], str]) -> str:
    """By which a retry is recognised. Letters only, so that none looks like a phone number."""
    named = event.id or keyed(f"{event.kind}\0{event.address}\0{event.occurred_at}\0{event.text}")
    digest = hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()
    return "in-" + digest[:40].translate(_LETTERS)


_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
