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
