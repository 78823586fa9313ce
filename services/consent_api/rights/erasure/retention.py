"""How long what outlives an erasure is kept, by country: `retention.toml`. Pure; times in micros, UTC."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from consent_privacy.phones import country_of

DAY_MICROS = 86_400_000_000
_YEAR_MICROS = 366 * DAY_MICROS
"""Every year counts as a leap year: a proof is never gone before its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """``ground`` names the law."""

    years: int
    ground: str

    def ends(self, since: int) -> int:
        """When what is kept since then is due for deletion, or, an objection, for review."""
        return since + self.years * _YEAR_MICROS


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    objection: Period
    proofs: Mapping[tuple[str | None, str], Period]
    """By country and channel."""

    def proof(self, channel: str, canonical: str | None) -> Period | None:
        """For which a permission at this address must be provable; the longest where the address cannot be read."""
        periods = {country: each for (country, of_channel), each in self.proofs.items() if of_channel == channel}
        if canonical is None:
            return max(periods.values(), key=lambda each: each.years, default=None)
        return periods.get(country_of(canonical)) if periods else None


@cache
def load() -> Retention:
    data = tomllib.loads(resources.files(__package__ or "").joinpath("retention.toml").read_text("utf-8"))
    return Retention(
        objection=_period(data["objection"]),
        proofs={(each["country"], each["channel"]): _period(each) for each in data["proof"]},
    )


def _period(entry: dict[str, object]) -> Period:
    return Period(years=int(str(entry["years"])), ground=str(entry["ground"]))
