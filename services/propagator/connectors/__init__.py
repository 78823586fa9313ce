"""The providers we can tell: one file each, listed in the catalogue by the name that destinations use."""

from __future__ import annotations

from propagator.connector import Kind
from propagator.connectors import genesys, sendgrid, twilio, webhook

CATALOGUE: dict[str, Kind] = {kind.name: kind for kind in (genesys.KIND, sendgrid.KIND, twilio.KIND, webhook.KIND)}
