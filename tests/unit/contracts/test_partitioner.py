"""Every producer partitions as Java does: murmur2, held against the vectors that Kafka itself publishes."""

from typing import Any

import pytest

from consent_contracts import murmur2, partition_of
from consent_contracts.truth_table import vectors


@pytest.mark.parametrize("case", vectors("murmur2"), ids=lambda case: case["key"])
def test_murmur2_is_that_of_java(case: dict[str, Any]) -> None:
    key = case["key"].encode()
    assert murmur2(key) == case["murmur2"] & 0xFFFFFFFF
    assert partition_of(key, 6) == case["partition_of_6"]
