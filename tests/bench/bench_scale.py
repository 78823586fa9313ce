"""Merge and push at one, two and four processes: throughput, efficiency (throughput at n by n times that at one),
processor time, and the cores that are busy meanwhile."""

from __future__ import annotations

from tests.bench import scale_merge, scale_push
from tests.bench.figures import Figure, Servers


def measure(servers: Servers) -> list[Figure]:
    """Where nearly all cores are in use, they are the limit, and processor time is the figure that carries over."""
    return [*scale_merge.measure(servers), *scale_push.measure(servers)]
