"""The providers we can tell: one file each, listed in the catalogue by the name that destinations use."""

from __future__ import annotations

from propagator.connector import Kind

CATALOGUE: dict[str, Kind] = {}
