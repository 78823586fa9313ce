"""The propagator's receipts into the ledger's tables (R28): which destination took what, and when."""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from consent_api.ingest.dead_letter_writer import NOT_STORABLE, DeadLetterWriter, RejectedRecord, without_unfetchable
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.record import Consumed
from consent_api.ledger.database import refusal
from consent_api.ledger.ledger import Ledger
from consent_contracts.checks import check_moments
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, UnreadableError

ACTIONS = frozenset({"suppress", "permit"})
STAGES = frozenset({"queued", "accepted", "effective", "failed", "impossible"})

_TEXTS = (
    "receipt_id",
    "tenant",
    "destination",
    "channel",
    "address_key",
    "target",
    "action",
    "stage",
    "provider_reference",
    "detail",
)
LONGEST = dict.fromkeys(_TEXTS, 200) | {"target": 1_000, "provider_reference": 1_000, "detail": 2_000}
"""Characters. A provider's own text is cut: the receipt proves the delivery without the rest."""
MAX_DECISIONS = 1_000
_CUT = ("provider_reference", "detail")
_TIMES = ("version", "recorded_at", "queued_at", "reached_at")
_COLUMNS = {
    **dict.fromkeys(_TEXTS, "text"),
    **dict.fromkeys(_TIMES, "bigint"),
    "attempts": "integer",
}
_NAMES = ", ".join(_COLUMNS)
_ARRAYS = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())

# A receipt never changes, so the first one with its id stays. Ids in order: two writers cannot deadlock here.
_RECEIPTS = text(
    f"INSERT INTO receipts ({_NAMES}) SELECT {_NAMES} FROM unnest({_ARRAYS}) AS new ({_NAMES})"  # noqa: S608
    " ORDER BY receipt_id ON CONFLICT (receipt_id) DO NOTHING RETURNING receipt_id"
)
_DECISIONS = text(
    "INSERT INTO receipt_decisions (decision_id, receipt_id)"
    " SELECT decision_id, receipt_id"
    " FROM unnest(CAST(:decision_ids AS uuid[]), CAST(:receipt_ids AS text[])) AS new (decision_id, receipt_id)"
    " ORDER BY decision_id, receipt_id ON CONFLICT DO NOTHING"
)


class Receipts:
    """Raises LedgerUnavailableError, RegistryUnavailableError or DeadLettersNotWrittenError: try the batch again."""

    def __init__(self, *, codec: Codec, ledger: Ledger, dead_letters: DeadLetterWriter, metrics: IngestMetrics) -> None:
        self._codec = codec
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._metrics = metrics

    def handle(self, records: Sequence[Consumed]) -> Sequence[Consumed]:
        """When this returns, each receipt is committed or acknowledged as a dead letter: none is left."""
        receipts: dict[str, tuple[Consumed, Mapping[str, Any]]] = {}
        fetched, rejected = without_unfetchable(records)
        read_at = time.monotonic()
        for record in fetched:
            try:
                receipt = checked(self._codec.decode(record.topic, record.value, read_at=read_at))
                receipts.setdefault(receipt["receipt_id"], (record, receipt))
            except (UnreadableError, InvalidRecordError) as error:
                rejected.append(RejectedRecord(record=record, reason=error.reason, error=str(error)))
        stored, refused = self._store(list(receipts.values()))
        rejected += refused
        if rejected:
            self._dead_letters.write(rejected)
        self._metrics.count(
            records[0].topic,
            total=len(records),
            repeated=len(records) - len(rejected) - stored,
            dead_letters=len(rejected),
        )
        return ()

    def _store(self, receipts: Sequence[tuple[Consumed, Mapping[str, Any]]]) -> tuple[int, list[RejectedRecord]]:
        """How many were added, and those that the database cannot hold. All together if it can hold all."""
        try:
            return self._ledger.transact(lambda connection: store(connection, [each for _, each in receipts])), []
        except DBAPIError as error:
            if (code := refusal(error)) is None:
                raise
        if len(receipts) == 1:
            return 0, [
                RejectedRecord(record=receipts[0][0], reason=NOT_STORABLE, error=f"the database refuses it: {code}")
            ]
        one_by_one = [self._store([each]) for each in receipts]
        return sum(added for added, _ in one_by_one), [each for _, refused in one_by_one for each in refused]


def checked(receipt: Mapping[str, Any]) -> Mapping[str, Any]:
    """The receipt, if PostgreSQL can hold it and R28 knows its stage; what a provider said, cut. Raises
    InvalidRecordError.

    Avro's varints can carry more than the 32 or 64 bits of their type, and its strings a NUL.
    """
    receipt = {**receipt, **{name: receipt[name] and receipt[name][: LONGEST[name]] for name in _CUT}}
    for name in _TEXTS:
        value = receipt[name]
        if value is not None and "\x00" in value:
            raise InvalidRecordError(name, "must hold no NUL")
        if value is not None and len(value) > LONGEST[name]:
            raise InvalidRecordError(name, f"must not exceed {LONGEST[name]} characters")
    check_moments(receipt, *_TIMES)
    if not 0 <= receipt["attempts"] < 2**31:
        raise InvalidRecordError("attempts", "must be a non-negative 32-bit number")
    if receipt["action"] not in ACTIONS:
        raise InvalidRecordError("action", f"must be one of {', '.join(sorted(ACTIONS))}")
    if receipt["stage"] not in STAGES:
        raise InvalidRecordError("stage", f"must be one of {', '.join(sorted(STAGES))}")
    for name in ("receipt_id", "tenant", "destination", "channel", "address_key"):
        if not receipt[name]:
            raise InvalidRecordError(name, "must not be empty")
    if len(receipt["decision_ids"]) > MAX_DECISIONS:
        raise InvalidRecordError("decision_ids", f"must not be more than {MAX_DECISIONS}")
    for decision_id in receipt["decision_ids"]:
        try:
            UUID(decision_id)
        except ValueError:
            raise InvalidRecordError("decision_ids", "must be UUIDs") from None
    return receipt


def store(connection: Connection, receipts: Sequence[Mapping[str, Any]]) -> int:
    """Adds the receipts that are not there yet, within the caller's transaction; how many those were."""
    if not receipts:
        return 0
    columns = {name: [receipt[name] for receipt in receipts] for name in _COLUMNS}
    added = connection.execute(_RECEIPTS, columns).all()
    pairs = {(UUID(each), receipt["receipt_id"]) for receipt in receipts for each in receipt["decision_ids"]}
    if pairs:
        decision_ids, receipt_ids = zip(*pairs, strict=True)
        connection.execute(_DECISIONS, {"decision_ids": list(decision_ids), "receipt_ids": list(receipt_ids)})
    return len(added)
