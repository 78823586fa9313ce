"""The commands of the propagator, as entry points."""

from __future__ import annotations

from propagator.cli.destinations import destinations
from propagator.cli.propagator import propagator

__all__ = ["destinations", "propagator"]
