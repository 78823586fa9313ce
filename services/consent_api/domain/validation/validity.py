"""How long a permission lasts at most, by channel and jurisdiction (R37, R50): data in validity_bounds.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from phonenumbers import country_code_for_region

from consent_api.domain.validation.times import midnight
from consent_privacy.addresses import PHONE_CHANNELS

_DAY_MICROS = 24 * 3600 * 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidityBound:
    """``since`` in micros: permissions that are recorded from then on last ``days`` from their collection at most.

    ``numbers``: what the jurisdiction's numbers begin with; none where the channel has no telephone numbers."""

    jurisdiction: str
    channels: tuple[str, ...]
    numbers: tuple[str, ...]
    since: int
    days: int
    source: str

    def latest(self, collected_at: int) -> int:
        return collected_at + self.days * _DAY_MICROS


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpiryCut:
    """A permission that was to last longer than its bound: it ends at ``expires_at``, in micros."""

    bound: ValidityBound
    expires_at: int


@cache
def bounds() -> tuple[ValidityBound, ...]:
    document = tomllib.loads((files(__package__) / "validity_bounds.toml").read_text("utf-8"))
    return tuple(
        ValidityBound(
            jurisdiction=each["jurisdiction"],
            channels=tuple(each["channels"]),
            numbers=tuple(each["numbers"]),
            since=midnight(each["from"]),
            days=each["days"],
            source=each["source"],
        )
        for each in document["bounds"]
    )


def cut(
    *,
    channel: str,
    address: str | None,
    region: str,
    collected_at: int,
    expires_at: int,
    now: int,
    known: Sequence[ValidityBound] | None = None,
) -> ExpiryCut | None:
    """How a permission is cut that is recorded now, by the strictest bound. None: it is not.

    ``address`` is canonical. Without one, the numbers of the person are taken for those of ``region``."""
    if address is None and channel in PHONE_CHANNELS:
        address = f"+{country_code_for_region(region)}"
    cuts = [
        ExpiryCut(bound=each, expires_at=latest)
        for each in (bounds() if known is None else known)
        if channel in each.channels
        and now >= each.since
        and (not each.numbers or (address or "").startswith(each.numbers))
        and (latest := each.latest(collected_at)) < expires_at
    ]
    return min(cuts, key=lambda each: each.expires_at, default=None)
