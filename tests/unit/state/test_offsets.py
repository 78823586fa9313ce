"""What the broker reports about offsets, or that it reports nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest

from consent_state import RestoreFailedError, TopicPartition, high_watermarks, low_watermarks
from consent_state.offsets import last_stable_offsets
from tests.support.offset_answers import Admin

AT = [TopicPartition("t", 0), TopicPartition("t", 1)]


@pytest.mark.parametrize("ask", [low_watermarks, high_watermarks, last_stable_offsets])
def test_the_client_s_mark_of_an_offset_that_is_not_known_is_no_offset(ask: Callable[..., Any]) -> None:
    assert ask(Admin(0, 7), AT) == {AT[0]: 0, AT[1]: 7}
    for unknown in (confluent_kafka.OFFSET_INVALID, confluent_kafka.OFFSET_END):
        with pytest.raises(RestoreFailedError, match="t:1"):
            ask(Admin(7, unknown), AT)
