"""librdkafka gives -1001 for an end that it does not know, at times without an error: it is no end."""

from __future__ import annotations

from typing import Any

import confluent_kafka

from consent_api.ingest.positions import EndOffsets
from consent_api.outbox_relay.topic_info import TopicInfo
from tests.support.offset_answers import Admin


def test_ingest_does_not_take_an_unknown_end_for_the_end_of_a_topic() -> None:  # R63
    admin: Any = Admin(7, confluent_kafka.OFFSET_INVALID)
    assert EndOffsets(lambda: admin)([("inbound", 0), ("inbound", 1)]) == {("inbound", 0): 7}


def test_the_relay_knows_no_end_where_the_client_knows_none() -> None:
    admin: Any = Admin(confluent_kafka.OFFSET_INVALID)
    assert TopicInfo(admin, "changes").end_offset(0) is None
    admin = Admin(0)
    assert TopicInfo(admin, "changes").end_offset(0) == 0


def test_a_client_that_gives_no_end_is_replaced_after_the_third_time_and_closed() -> None:
    clients: list[Any] = []

    def connect() -> Any:
        clients.append(Admin(confluent_kafka.OFFSET_INVALID if not clients else 7))
        return clients[-1]

    ends = EndOffsets(connect)
    assert [ends([("inbound", 0)]) for _ in range(2)] == [{}, {}]
    assert len(clients) == 1
    assert not clients[0].is_closed
    assert ends([("inbound", 0)]) == {}
    assert clients[0].is_closed
    assert ends([("inbound", 0)]) == {("inbound", 0): 7}
    assert len(clients) == 2


def test_a_client_that_gives_an_end_now_and_then_is_kept() -> None:
    admin: Any = Admin(confluent_kafka.OFFSET_INVALID)
    ends = EndOffsets(lambda: admin)
    for _ in range(3):
        admin.offsets = [confluent_kafka.OFFSET_INVALID]
        assert [ends([("inbound", 0)]) for _ in range(2)] == [{}, {}]
        admin.offsets = [7]
        assert ends([("inbound", 0)]) == {("inbound", 0): 7}
    assert not admin.is_closed
