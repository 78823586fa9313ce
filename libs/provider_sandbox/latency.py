"""How long a sandboxed provider takes to answer: a log-normal time, as remote APIs have."""

from __future__ import annotations

import math
import random

from provider_sandbox.config import Latency

_Z99 = 2.3263478740408408  # the standard normal's 99th percentile


def sample(latency: Latency, source: random.Random) -> float:
    """One answer time in seconds; a median of 0 means at once."""
    if latency.p50_ms <= 0:
        return 0.0
    spread = math.log(max(latency.p99_ms, latency.p50_ms) / latency.p50_ms) / _Z99
    return source.lognormvariate(math.log(latency.p50_ms), spread) / 1_000
