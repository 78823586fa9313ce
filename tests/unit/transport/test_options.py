"""Times that do not fit each other are refused at start."""

import pytest

from consent_kafka.transport.options import Options
from consent_kafka.transport.timing import DRAIN_SECONDS, STOP_SECONDS
from propagator.timing import TERM_END_SECONDS


@pytest.mark.parametrize("seconds", [5.9, 10.1])
def test_a_session_is_neither_too_short_nor_too_long(seconds: float) -> None:
    with pytest.raises(ValueError, match="6 to 10 s"):
        Options(bootstrap="", instance_id="a", session_timeout=seconds)


def test_a_partition_lets_go_before_the_process_is_ended_without_it() -> None:
    with pytest.raises(ValueError, match="let go"):
        Options(bootstrap="", instance_id="a", close_timeout=(STOP_SECONDS - DRAIN_SECONDS) / 2)


def test_a_term_of_the_sender_ends_before_that() -> None:
    assert Options(bootstrap="", instance_id="a", close_timeout=TERM_END_SECONDS).close_timeout == TERM_END_SECONDS
