from __future__ import annotations

import pytest

from propagator.connectors import CATALOGUE
from provider_sandbox.config import Limit, SandboxConfig

DOCUMENTED = SandboxConfig()


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("twilio", DOCUMENTED.twilio.limit),
        ("sendgrid", DOCUMENTED.sendgrid.limit),
        ("genesys", DOCUMENTED.genesys.limit),
    ],
)
def test_pace_and_burst_together_stay_within_what_the_provider_allows(name: str, limit: Limit) -> None:  # R26
    can = CATALOGUE[name].capabilities
    assert can.burst + can.calls_per_second * limit.seconds <= limit.calls
