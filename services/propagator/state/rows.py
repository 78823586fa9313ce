"""Delivered state as it is in Kafka: PropagationState data from and to the values that `plan` works on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from consent_contracts.checks import check_moments
from propagator.desired.decision_ids import compacted
from propagator.desired.model import DeliveredTarget, RetryState

MAX_ID_CHARACTERS = 200_000
"""Of the decision ids of all targets of a row together, and again of those of its retries: with the widest targets that
an entry of 128 KiB can have it still fits into a record of the state topic, 2 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DestinationFill:
    """The destination's own row in one partition. `began_at` in micros."""

    generation: int
    began_at: int
    loss: int
    """The partition's loss number when the fill began."""


def row_key(destination: str, address_key: str) -> bytes:
    """The Kafka key of an address's row; with an empty `address_key` that of the destination's own row."""
    return f"{destination}/{address_key}".encode()


def parse_row_key(key: bytes) -> tuple[str, str] | None:
    """Destination and address key (empty: the destination's own row); None for a key that is not ours."""
    try:
        destination, separator, address_key = key.decode("ascii").partition("/")
    except UnicodeDecodeError:
        return None
    return (destination, address_key) if destination and separator else None


def check_row(datum: Mapping[str, Any]) -> None:
    """Raises InvalidRecordError for times that no calendar holds: they could be neither sent nor written again."""
    for each in datum["targets"]:
        check_moments(each, "version", "repeat_at", "delivered_at", "fill_began_at")
        if each["retry"] is not None:
            check_moments(each["retry"], "retry_at")
    if datum["fill"] is not None:
        check_moments(datum["fill"], "began_at")


def delivered_of(datum: Mapping[str, Any]) -> dict[str, DeliveredTarget]:
    """What an address's row holds, by target."""
    return {each["target"]: _target_of(each) for each in datum["targets"]}


def fill_of(datum: Mapping[str, Any]) -> DestinationFill | None:
    """What the destination's own row holds; None for the row of an address."""
    fill = datum["fill"]
    return None if fill is None else DestinationFill(**fill)


def address_datum(
    *, destination: str, tenant: str, address_key: str, rows: Iterable[DeliveredTarget], written_at: int
) -> dict[str, Any]:
    """The PropagationState of one address."""
    targets = list(rows)
    share = MAX_ID_CHARACTERS // max(1, len(targets))
    return {
        "destination": destination,
        "tenant": tenant,
        "address_key": address_key,
        "targets": [_target_datum(row, share) for row in targets],
        "fill": None,
        "written_at": written_at,
    }


def destination_datum(*, destination: str, tenant: str, fill: DestinationFill, written_at: int) -> dict[str, Any]:
    """The PropagationState of the destination itself."""
    return {
        "destination": destination,
        "tenant": tenant,
        "address_key": None,
        "targets": [],
        "fill": asdict(fill),
        "written_at": written_at,
    }


def _target_datum(row: DeliveredTarget, max_characters: int) -> dict[str, Any]:
    datum = msgspec.structs.asdict(row)
    datum["decision_ids"] = compacted(row.decision_ids, max_characters=max_characters)
    if row.retry is not None:
        datum["retry"] = msgspec.structs.asdict(row.retry)
        datum["retry"]["decision_ids"] = compacted(row.retry.decision_ids, max_characters=max_characters)
    return datum


def _target_of(datum: Mapping[str, Any]) -> DeliveredTarget:
    retry = datum["retry"]
    return DeliveredTarget(
        target=datum["target"],
        action=datum["action"],
        decision_ids=tuple(datum["decision_ids"]),
        version=datum["version"],
        in_doubt=datum["in_doubt"],
        repeat_at=datum["repeat_at"],
        refused=datum["refused"],
        provider_reference=datum["provider_reference"],
        delivered_at=datum["delivered_at"],
        fill_began_at=datum["fill_began_at"],
        retry=None
        if retry is None
        else RetryState(
            action=retry["action"],
            decision_ids=tuple(retry["decision_ids"]),
            attempts=retry["attempts"],
            reason=retry["reason"],
            retry_at=retry["retry_at"],
        ),
    )
