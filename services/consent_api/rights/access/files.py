"""An export as JSON or CSV, in pieces: a person with a hundred thousand decisions costs the memory of some hundreds."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from consent_api.domain.validation import EVIDENCE
from consent_api.rights.access import model
from consent_api.rights.access.reading import Export

COLUMNS = (
    *("record", "channel", "address", "purpose", "choice", "effective_at", "recorded_at", "expires_at", "effect"),
    *("recipient", "target", "stage", "at", "text", "state", "reference", "decision_id", *EVIDENCE),
)
_FORMULA = re.compile(r"""^(?=[\t\r\n])|(?:^|[;\t\r\n])(?=["'\s]{0,8}[=+\-@＝＋－＠])""")
"""Where a spreadsheet may begin to run a text (OWASP, CSV injection). Where numbers have a comma it opens this file by
semicolons, so that one within a text begins another cell."""
_BOM = "\ufeff"
"""By which spreadsheets know UTF-8."""


def json_pieces(export: Export) -> Iterator[bytes]:
    """One object as docs/personal-data.schema.json describes it."""
    yield msgspec.json.encode(export.head)[:-1] + b',"decisions":['
    separator = b""
    for page in export.pages():
        yield separator + msgspec.json.encode(page)[1:-1]
        separator = b","
    yield b"]," + msgspec.json.encode(export.tail)[1:]


def csv_pieces(export: Export) -> Iterator[bytes]:
    """A line for each thing that is held; ``record`` says what it is. RFC 4180, UTF-8 with a byte order mark."""
    yield (_BOM + ",".join(COLUMNS) + "\r\n").encode()
    yield _lines(_head(export.head)).encode()
    for page in export.pages():
        yield _lines(row for each in page for row in _decision(each)).encode()
    yield _lines(_tail(export.tail)).encode()


Cells = Mapping[str, object]


def _head(head: model.Head) -> Iterator[Cells]:
    person = head.person
    yield {
        "record": "person" if head.held else "person_not_held",
        "channel": person.channel,
        "address": person.address,
        "reference": person.subject_ref,
        "at": head.generated_at,
        "text": head.controller,
    }
    for subject in head.subjects:
        yield {"record": "subject", "reference": subject.subject_ref, "at": subject.known_since}
    for address in head.addresses:
        place = {"channel": address.channel, "address": address.address}
        yield {
            "record": "address",
            **place,
            "state": "unlinked" if address.unlinked_at is not None else "linked" if address.linked_at else "",
            "at": address.known_since,
            "effective_at": address.linked_at,
            "expires_at": address.unlinked_at,
        }
        for name in ("erased_at", "bounced_at", "delivered_at", "code_at", "confirmed_at"):
            if (at := getattr(address, name)) is not None:
                yield {"record": f"address_{name}", **place, "at": at}
        for current in address.current:
            yield {
                "record": "current",
                **place,
                "purpose": current.purpose,
                "state": "permitted" if current.permitted else "denied",
                "choice": current.reason,
                "effective_at": current.since,
                "expires_at": current.expires_at,
            }
    for purpose in head.purposes:
        yield {"record": "purpose", "purpose": purpose.purpose, "text": f"{purpose.title}: {purpose.text}"}
    for pause in head.pauses:
        yield {
            "record": "pause",
            "channel": pause.channel,
            "purpose": pause.purpose,
            "effective_at": pause.paused_at,
            "expires_at": pause.ends_at,
        }
        yield {
            "record": "permission_after_pause",
            "channel": pause.channel,
            "purpose": pause.purpose,
            "effective_at": pause.ends_at,
            "expires_at": pause.permission_expires_at,
        }
    for request in head.requests:
        yield {
            "record": "request",
            "choice": request.kind,
            "recorded_at": request.opened_at,
            "expires_at": request.due_at,
            "state": request.state,
            "at": request.resolved_at,
            "text": request.reason,
            "reference": request.request_id,
        }
        yield {
            "record": "request_identity",
            "choice": request.identity,
            "text": request.identity_note,
            "reference": request.request_id,
        }
        if request.extended_at is not None:
            yield {
                "record": "request_extended",
                "at": request.extended_at,
                "text": request.extension_reason,
                "reference": request.request_id,
            }
    for proof in head.retained_proofs:
        yield {
            "record": "retained_proof",
            "channel": proof.channel,
            "purpose": proof.purpose,
            "choice": "given",
            "effective_at": proof.effective_at,
            "recorded_at": proof.recorded_at,
            "expires_at": proof.expires_at,
            "at": proof.kept_until,
            "text": proof.ground,
            **proof.notice,
        }
    for entry in head.registers:
        yield {
            "record": "register",
            "channel": entry.channel,
            "address": entry.address,
            "purpose": entry.purpose,
            "at": entry.as_of,
            "source_system": entry.register,
        }
    for hold in head.holds:
        yield {
            "record": "legal_hold",
            "recorded_at": hold.set_at,
            "expires_at": hold.until,
            "at": hold.released_at,
            "text": hold.reason,
        }
    for other in head.decided_by_another:
        common = {"channel": other.channel, "address": other.address, "purpose": other.purpose}
        yield {
            "record": "decided_by_another",
            **common,
            "choice": other.status,
            "effective_at": other.effective_at,
            "expires_at": other.expires_at,
        }
        yield from (_passed_on(each, common) for each in other.passed_on)


def _decision(each: model.HeldDecision) -> Iterator[Cells]:
    common = {"purpose": each.purpose, "decision_id": each.decision_id}
    yield {
        "record": "decision",
        **common,
        "channel": each.channel,
        "address": " ".join(address for address in each.addresses if address is not None),
        "choice": each.status,
        "effective_at": each.effective_at,
        "recorded_at": each.recorded_at,
        "expires_at": each.expires_at,
        "effect": each.effect,
        "at": each.stated_at,
        "reference": each.event_id,
        **msgspec.structs.asdict(each.evidence),
        "source_system": each.evidence.source_system or each.source_system,
    }
    if each.event_source is not None:
        yield {"record": "reported", **common, "text": each.event_source, "reference": each.event_id}
    if each.superseded_since is not None or each.superseded_by is not None:
        yield {"record": "superseded", **common, "at": each.superseded_since, "reference": each.superseded_by}
    if each.renewal_asked_at is not None:
        yield {"record": "renewal_asked", **common, "channel": each.channel, "at": each.renewal_asked_at}
    yield from (_passed_on(receipt, common) for receipt in each.passed_on)


def _passed_on(receipt: model.PassedOn, common: Cells) -> Cells:
    return {
        "record": "passed_on",
        **common,
        "channel": receipt.channel,
        "recipient": receipt.recipient,
        "target": receipt.target,
        "choice": receipt.action,
        "stage": receipt.stage,
        "at": receipt.at,
        "text": receipt.detail,
        "reference": receipt.reference,
    }


def _tail(tail: model.Tail) -> Iterator[Cells]:
    for review in tail.reviews:
        yield {
            "record": "reply_in_doubt",
            "channel": review.channel,
            "recorded_at": review.received_at,
            "text": review.reply,
            "source_system": review.source,
            "state": review.resolution or "open",
            "at": review.resolved_at,
        }
    for recipient in tail.recipients:
        yield {
            "record": "recipient",
            "recipient": recipient.recipient,
            "channel": recipient.channel,
            "effective_at": recipient.first_at,
            "at": recipient.last_at,
        }


def _lines(rows: Iterable[Cells]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(row.get(name)) for name in COLUMNS] for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    """A text that a spreadsheet shows, and does not run: what would be a formula gets an apostrophe in front."""
    found = "" if value is None else str(value)
    return _FORMULA.sub(r"\g<0>'", found)
