"""The providers we can send to: one file each, listed in the catalogue by the name that destinations use."""

from __future__ import annotations

from propagator.connectors import genesys, sendgrid, twilio, webhook
from propagator.connectors.base import ConnectorType

CATALOGUE: dict[str, ConnectorType] = {
    each.name: each for each in (genesys.TYPE, sendgrid.TYPE, twilio.TYPE, webhook.TYPE)
}
