"""Rates of a budget, as settings have them. Apart from what applies them, so that settings need no web framework."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Units a second on average; 0: no limit."""

    per_key: float
    per_tenant: float
