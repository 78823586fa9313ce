"""The propagator as processes, with Kafka and the sandbox alone: fills, restarts, takeovers, the end of an outage."""

from __future__ import annotations

from tests.bench import propagator_fill, propagator_outage, propagator_takeover
from tests.bench.figures import Figure, Servers


def measure(servers: Servers) -> list[Figure]:
    """Entries are written to the list topics as the merge writes them."""
    return [
        *propagator_fill.measure(servers),
        *propagator_takeover.measure(servers),
        *propagator_outage.measure(servers),
    ]
